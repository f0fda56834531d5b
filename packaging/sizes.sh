#!/bin/sh
# Print how many bytes each part adds to an executable, from its link map.
#
# usage: sizes.sh MAP [EXECUTABLE]     (the executable, to include its headers and padding)
set -eu
map=$1
whole=0
if [ -n "${2-}" ]; then
    strip -o "$map.stripped" "$2"
    whole=$(wc -c < "$map.stripped")
    rm -f "$map.stripped"
fi
awk -v whole="$whole" '
function number(hex,    n, i) {
    for (i = 3; i <= length(hex); i++)
        n = n * 16 + index("0123456789abcdef", substr(hex, i, 1)) - 1
    return n
}
# The part that a file of the map belongs to.
function part(file,    name) {
    if (match(file, /drivers\/[^\/]+\//))
        return "driver " substr(file, RSTART + 8, RLENGTH - 9)
    if (file ~ /libzstd\.a/) return "zstd"
    if (file ~ /libdeflate\.a/) return "libdeflate"
    if (file ~ /libz\.a/) return "zlib"
    if (file ~ /libbz2\.a/) return "libbz2"
    if (file ~ /liblzma\.a/) return "liblzma"
    if (file ~ /libnettle\.a/) return "nettle"
    if (file ~ /libargon2\.a/) return "libargon2"
    if (match(file, /lib(curl|gnutls|hogweed|gmp|nbd|nfs|iscsi)\.a/))
        return substr(file, RSTART, RLENGTH - 2)
    if (file ~ /\/gen\/code-pages/) return "code pages"
    if (file ~ /\/(applets|compat)\//) return "applets"
    if (file ~ /\/obj\/gen\/|libimg\//) return "libimg"
    return "C library"
}
function take(section, address, size, file) {
    # Count only what is in the file: no zeroes, no debugging information, no dropped sections.
    if (section ~ /^\.(bss|tbss|debug|comment|note)/ || section == "COMMON" || number(address) == 0)
        return
    end_strings(number(address))
    if (section ~ /\.str[0-9.]+$/) {
        at = number(address)
        size_at = weight_at = number(size)
        part_at = part(file)
    } else
        bytes[part(file)] += number(size)
}
# Sections of strings are merged.  Linkers until 2.42 say of each what is left of it.  Newer ones say of the first what is
# left of all of them, and of the others what they were: these take no space, and the next section has the same address.
# What is left is shared out by what they were.
function end_strings(next_address) {
    if (size_at && next_address >= at + size_at)
        left += size_at
    if (size_at)
        was[part_at] += weight_at
    size_at = 0
}
function share(    name, sum) {
    for (name in was)
        sum += was[name]
    for (name in was)
        bytes[name] += int(left * was[name] / sum)
}
/^Linker script and memory map/ { started = 1 }
!started { next }
/^ [.C][^ ]*$/ { section = $1; next }
/^ [.C][^ ]* +0x[0-9a-f]+ +0x[0-9a-f]+ +[^ ]/ { take($1, $2, $3, $4); section = ""; next }
/size before relaxing/ { weight_at = number($1); next }
/^ +0x[0-9a-f]+ +0x[0-9a-f]+ +[^ ]/ { if (section != "") take(section, $1, $2, $3) }
{ section = "" }
END {
    end_strings(at + size_at)
    share()
    for (name in bytes) {
        printf "%9d  %s\n", bytes[name], name | "sort -rn"
        sum += bytes[name]
    }
    close("sort -rn")
    if (whole) {
        printf "%9d  headers and padding\n", whole - sum
        printf "%9d  the whole file\n", whole
    }
}' "$map"
