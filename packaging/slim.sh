#!/bin/sh
# Copy a static archive for a small executable: without unwind tables, and without members that
# only tables of functions refer to and that imgbox never calls.
#
# usage: slim.sh LIBRARY ARCHIVE RESULT COMPILER...
#
# One object replaces the removed members: it aborts the program if it is ever called, and defines what the tool
# needs to know (img_zstd_level_max, see libimg/codec/codec.c).  A trial program is linked and run with the result;
# if that fails, the archive is copied whole.  The script prints what it did.
set -eu
library=$1 archive=$2 result=$3
shift 3
here=$(dirname "$0")
rm -rf "$result.work"
mkdir -p "$result.work"
work=$(cd "$result.work" && pwd)
trap 'rm -rf "$work"' EXIT

whole() {
    if [ -e "$work/all.a" ]; then
        cp "$work/all.a" "$result"
    else
        cp "$archive" "$result"
    fi
    echo "$library: whole ($1)"
    exit 0
}

# Symbols that the members given after $1 define (--defined-only) or need (--undefined-only).
symbols() {
    kind=$1
    shift
    nm -g "$kind" "$@" 2> "$work/log" | awk 'NF >= 2 { print $NF }' | sort -u
}

# Remove members from $work/lib.a; $work/gone.names lists their symbols that other members still need.
drop() {
    (cd "$work" && ar x lib.a && ar d lib.a "$@") 2> "$work/log" || return 1
    (cd "$work" && symbols --defined-only "$@") > "$work/gone.defined"
    symbols --undefined-only "$work/lib.a" > "$work/wanted"
    comm -12 "$work/gone.defined" "$work/wanted" > "$work/gone.names"
}

stubs() {
    echo 'static void never_called(void) { __builtin_trap(); }'
    while read -r name; do
        echo "void $name(void) __attribute__((alias(\"never_called\")));"
    done < "$work/gone.names"
}

add() {  # CFLAGS... -- reads C on standard input
    cat > "$work/imgbox-slim.c"
    "$@" -w -O2 -fno-builtin -fno-asynchronous-unwind-tables -ffunction-sections -c \
        -o "$work/imgbox-slim.o" "$work/imgbox-slim.c" && (cd "$work" && ar r lib.a imgbox-slim.o 2> log)
}

# zstd still decodes everything and encodes at its fast levels without these members: the
# compressors of the higher levels, blocks of a target size, the formats before version 0.8.
slim_zstd() {
    drop zstd_lazy.o zstd_opt.o zstd_compress_superblock.o zstd_v05.o zstd_v06.o zstd_v07.o || return 1
    { stubs; echo 'const int img_zstd_level_max = 3;'; } | add "$@" || return 1
    "$@" -DLEVEL_MAX=3 -static -o "$work/trial" "$here/trial-zstd.c" "$work/lib.a" 2> "$work/log" &&
        "$work/trial" || return 1
    echo 'libzstd: slimmed to levels up to 3'
}

# zlib's CRC has tables for speed, but only gzip streams need it, and no image has any.  The replacement is correct.
slim_zlib() {
    drop crc32.o && [ "$(cat "$work/gone.names")" = crc32 ] || return 1
    add "$@" < "$here/slim-crc32.c" || return 1
    "$@" -static -o "$work/trial" "$here/trial-zlib.c" "$work/lib.a" 2> "$work/log" && "$work/trial" || return 1
    echo 'libz: slimmed, a CRC without tables'
}

# Only the decoder of libbz2 is used.
slim_bz2() {
    drop compress.o blocksort.o || return 1
    stubs | add "$@" || return 1
    "$@" -static -o "$work/trial" "$here/trial-bzip2.c" "$work/lib.a" 2> "$work/log" && "$work/trial" || return 1
    echo 'libbz2: slimmed to its decoder'
}

# The texts that libargon2 makes of keys are not used.
slim_argon2() {
    drop encoding.o || return 1
    stubs | add "$@" || return 1
    "$@" -static -o "$work/trial" "$here/trial-argon2.c" "$work/lib.a" 2> "$work/log" && "$work/trial" || return 1
    echo 'libargon2: slimmed, without texts'
}

# Archives that were made with glibc's headers may call functions that only glibc has.
add_checked() {
    nm -u "$work/lib.a" 2> "$work/log" | grep -q '_chk$' || return 0
    "$@" -w -O2 -fno-builtin -fno-asynchronous-unwind-tables -ffunction-sections -U_FORTIFY_SOURCE -c \
        -o "$work/imgbox-chk.o" "$here/slim-chk.c" && (cd "$work" && ar r lib.a imgbox-chk.o 2> log)
}

strip_unwind() {
    objcopy --remove-section .eh_frame --remove-section .note.gnu.property "$1" "$work/lib.a" 2> "$work/log"
}

strip_unwind "$archive" || whole 'no objcopy'
add_checked "$@" || whole 'not to be completed'
cp "$work/lib.a" "$work/all.a"
case $library in
    libzstd) slim_zstd "$@" || whole 'of another layout' ;;
    libz) slim_zlib "$@" || whole 'of another layout' ;;
    libbz2) slim_bz2 "$@" || whole 'of another layout' ;;
    libargon2) slim_argon2 "$@" || whole 'of another layout' ;;
    *) echo "$library: whole, without unwind tables" ;;
esac
mv "$work/lib.a" "$result"
