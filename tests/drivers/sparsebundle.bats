#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# sparsebundle: sparse bundles of macOS, read only.  (qemu-img does not read them.)

load ../helper

setup() {
    fresh_folder
    beyond
}

# bundle SIZE BAND [NUMBER LETTER LENGTH]...: d.sparsebundle with these bands, and raw, its disk
bundle() {
    rm -rf d.sparsebundle
    crafting - "$@" <<'END'
import sys, apple
size, band, *words = sys.argv[1:]
size, band = int(size), int(band)
rounded = -(-size // 512) * 512
bands, disk = {}, bytearray(rounded)
for number, letter, length in zip(*[iter(words)] * 3):
    number, content = int(number), letter.encode() * int(length)
    bands[number] = content
    disk[number * band:(number + 1) * band] = content.ljust(band, b'\0')[:band]
apple.sparsebundle('d.sparsebundle', size, band, bands)
with open('raw', 'wb') as file:
    file.write(disk[:rounded])
END
}

holds() {
    img 0 compare d.sparsebundle raw
    img 0 convert -O raw d.sparsebundle out
    raw_is out raw
}

no_bundle() {
    img 1 info d.sparsebundle
    err "qemu-img: Could not open 'd.sparsebundle': $1"
}

@test "sparsebundle: by its folder and by its property list" {
    bundle 1000000 65536 0 a 65536 2 b 700 10 c 65536 15 d 20000
    img 0 info d.sparsebundle
    has "$OUT" '^file format: sparsebundle$'
    has "$OUT" '^virtual size: 977 KiB \(1000448 bytes\)$'
    holds
    img 0 compare d.sparsebundle/Info.plist raw
    (cd d.sparsebundle && img 0 compare Info.plist ../raw && img 0 compare . ../raw)
    ln -s d.sparsebundle link
    img 0 compare link raw
    img 0 info -f sparsebundle d.sparsebundle
    img 0 map --output=json d.sparsebundle
    out '[{ "start": 0, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false},' \
        '{ "start": 65536, "length": 65536, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},' \
        '{ "start": 131072, "length": 1024, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false},' \
        '{ "start": 132096, "length": 523264, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},' \
        '{ "start": 655360, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false},' \
        '{ "start": 720896, "length": 262144, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},' \
        '{ "start": 983040, "length": 17408, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false}]'
    img 0 measure --output=json -O raw d.sparsebundle
    img 63 check d.sparsebundle
    img 0 create -q -f qcow2 -F sparsebundle -b d.sparsebundle over.qcow2
    img 0 compare over.qcow2 raw
}

@test "sparsebundle: bands of odd lengths, and what lies beside them" {
    # a band is no power of two; one is longer than it may be, one lies behind the end, one is no band
    bundle 100352 1536 3 x 1536 40 y 9999 64 z 1536
    printf 9 > d.sparsebundle/bands/200
    printf 9 > d.sparsebundle/bands/03
    printf 9 > d.sparsebundle/bands/.x
    holds
    # names have small letters
    bundle 32768 512 27 q 512
    [ -e d.sparsebundle/bands/1b ]
    holds
    mv d.sparsebundle/bands/1b d.sparsebundle/bands/1B
    img 1 compare d.sparsebundle raw
    # the allocated size is that of all files
    bundle 4194304 1048576 0 a 1048576 3 b 1048576
    python3 - "$IMG" <<'END'
import json, os, subprocess, sys
info = json.loads(subprocess.run([sys.argv[1], 'info', '--output=json', 'd.sparsebundle'], stdout=subprocess.PIPE).stdout)
files = ['Info.plist', 'bands/0', 'bands/3']
assert info['actual-size'] == sum(os.stat('d.sparsebundle/' + name).st_blocks * 512 for name in files), info
END
}

@test "sparsebundle: many bands" {
    # shellcheck disable=SC2046
    bundle 10485760 512 $(seq 0 7 20479 | sed 's/$/ m 512/')
    holds
    for workers in 1 8; do
        img 0 convert -m $workers -W -O qcow2 d.sparsebundle out.qcow2
        img 0 compare out.qcow2 raw
    done
}

@test "sparsebundle: property lists that are refused" {
    local plist=d.sparsebundle/Info.plist
    while IFS='|' read -r change message; do
        bundle 65536 4096
        sed -i "$change" $plist
        no_bundle "$message"
    done <<'END'
s/com.apple.diskimage.sparsebundle/com.apple.diskimage.other/|Info.plist: not that of a sparse bundle
/diskimage-bundle-type/d|Info.plist: not that of a sparse bundle
s,<integer>1</integer>,<integer>2</integer>,|Info.plist: version 2 is not supported
s/>4096</>4097</|Info.plist: 'band-size' is no number of sectors
s/>4096</>0</|Info.plist: 'band-size' is no number of sectors
s/>4096</>9223372036854775808</|Info.plist: 'band-size' is no number of sectors
s/>4096</>-4096</|Info.plist: 'band-size' is no number of bytes
s/>4096</>99999999999999999999</|Info.plist: 'band-size' is no number of bytes
s/>4096</></|Info.plist: 'band-size' is no number of bytes
s/>65536</>0</|Info.plist: 'size' is out of range
s/>65536</>9223372036854775807</|Info.plist: 'size' is out of range
s/>65536</>64k</|Info.plist: 'size' is no number of bytes
END
    bundle 65536 4096
    truncate -s 2M $plist
    no_bundle 'Info.plist is longer than 1 MiB'
}

@test "sparsebundle: property lists as others write them" {
    local plist=d.sparsebundle/Info.plist
    bundle 65536 4096 3 x 4096
    # comments, another dictionary inside, an array, keys in another order, an attribute
    python3 - <<'END'
head, rest = open('d.sparsebundle/Info.plist').read().split('<dict>')
more = '<key>size</key><!-- <integer>1</integer> --><integer>65536</integer><key>x</key><dict><key>size</key>' \
       '<integer>77</integer></dict><key>y</key><array><integer>9</integer><dict/></array><key>z</key><true/>'
rest = rest.replace('<key>size</key>', '<key>last</key>').replace('<integer>4096', '<integer a="b">4096')
open('d.sparsebundle/Info.plist', 'w').write(head + '<dict>' + more + rest)
END
    holds
    # cut anywhere, it is refused or read, and nothing worse
    cp $plist whole
    for length in $(seq 0 37 "$(stat -c %s whole)"); do
        head -c "$length" whole > $plist
        qemu-img info -f sparsebundle d.sparsebundle > "$OUT" 2> "$ERR" || [ $? -eq 1 ]
    done
}

@test "sparsebundle: bands that cannot be read" {
    bundle 65536 4096 2 x 4096
    rm d.sparsebundle/bands/2
    mkdir d.sparsebundle/bands/2
    img 1 convert -O raw d.sparsebundle out
    err 'qemu-img: error while reading block status at offset 8192: Input/output error'
    rmdir d.sparsebundle/bands/2
    mkfifo d.sparsebundle/bands/2
    img 1 convert -O raw d.sparsebundle out
    rm d.sparsebundle/bands/2
    rmdir d.sparsebundle/bands
    no_bundle "Could not open the folder 'bands' of the sparse bundle: No such file or directory"
}

@test "sparsebundle: links lead out of no bundle" {
    bundle 65536 4096 2 x 4096
    cp d.sparsebundle/bands/2 secret
    for target in ../../secret "$PWD/secret" 3; do
        cp secret d.sparsebundle/bands/3
        ln -sf "$target" d.sparsebundle/bands/2
        img 1 convert -O raw d.sparsebundle out
        img 1 dd bs=4096 count=3 if=d.sparsebundle of=out
    done
    bundle 65536 4096 2 x 4096
    mv d.sparsebundle/bands elsewhere
    ln -s ../elsewhere d.sparsebundle/bands
    no_bundle "Could not open the folder 'bands' of the sparse bundle: Not a directory"
    bundle 65536 4096 2 x 4096
    mv d.sparsebundle/Info.plist plist
    ln -s ../plist d.sparsebundle/Info.plist
    no_bundle "'d.sparsebundle/Info.plist' leads out of the folder 'd.sparsebundle', and is not opened"
}

@test "sparsebundle: an encrypted one is refused" {
    bundle 65536 4096 2 x 4096
    printf 'encrcdsa\0\0\0\2' > d.sparsebundle/token
    no_bundle 'Encrypted sparse bundles are not supported'
    truncate -s 0 d.sparsebundle/token
    truncate -s 4096 d.sparsebundle/token
    holds
}

@test "sparsebundle: other folders with a property list, and other formats, are refused as all folders are" {
    mkdir -p app
    printf '<?xml version="1.0"?>\n<plist version="1.0"><dict><key>CFBundleName</key></dict></plist>\n' > app/Info.plist
    local why="Could not open 'app': 'file' driver requires 'app' to be a regular file"
    img 1 info app
    err "qemu-img: $why"
    img 1 info -f raw app
    err "qemu-img: $why"
    img 0 info app/Info.plist
    has "$OUT" '^file format: raw$'
    bundle 65536 4096
    img 1 info -f raw d.sparsebundle
    err "qemu-img: Could not open 'd.sparsebundle': 'file' driver requires 'd.sparsebundle' to be a regular file"
    cp d.sparsebundle/Info.plist before
    img 1 convert -n -f raw -O raw raw d.sparsebundle
    cmp before d.sparsebundle/Info.plist
    cp before list
    img 0 info list
    has "$OUT" '^file format: raw$'
}

@test "sparsebundle: nothing can be created or changed" {
    bundle 65536 4096
    img 1 resize -f sparsebundle d.sparsebundle 1M
    err "qemu-img: Could not open 'd.sparsebundle': A sparse bundle can only be read"
    img 1 create -f sparsebundle y 1M
    err "qemu-img: y: Format driver 'sparsebundle' does not support image creation"
}
