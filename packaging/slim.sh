#!/bin/sh
# Prepare a static archive for a small executable: a copy without unwind tables, and an object that is linked before it
# and stands for the parts that imgbox never calls.
#
# usage: slim.sh LIBRARY ARCHIVE FOLDER COMPILER...
#
# The archive itself stays whole.  The linker takes a member of it only for a symbol that nothing defines yet, and the
# object FOLDER/LIBRARY.o defines those of the members that are not wanted (they abort the program; which would be a
# call that imgbox does not make).  All of its symbols are weak: a member that is needed after all, because another
# version of the library arranges its code otherwise, is linked as usual, and the file is merely larger.
# A trial program is linked and run with both (and with FOLDER/chk.o, see sysroot.sh).  If it fails, or cannot be run
# here, there is no object.
# The script prints what it did.
set -eu
library=$1 archive=$2 folder=$3
shift 3
here=$(dirname "$0")
copy=$folder/$library.a object=$folder/$library.o
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The tools that belong to the compiler, which may be one for another machine.
tool() {
    "$compiler" -print-prog-name="$1"
}
compiler=$1
nm=$(tool nm) objcopy=$(tool objcopy)

whole() {
    rm -f "$object"
    echo "$library: whole ($1)"
    exit 0
}

# The symbols of members given as a pattern that other members need.
wanted_of() {  # MEMBER|MEMBER...
    "$nm" -A "$copy" 2> "$work/log" | awk -v gone="^($1)\$" '
        {
            split($1, where, ":")
            dropped = where[2] ~ gone
            kind = $(NF - 1)
        }
        dropped && kind ~ /^[A-TVWX-Z]$/ { defined[$NF] = 1 }
        !dropped && kind == "U" { needed[$NF] = 1 }
        END {
            for (name in defined)
                if (name in needed)
                    print name
        }' | sort
}

# What stands for members.  Nothing, if the library has none of these names.
stubs() {  # MEMBER|MEMBER...
    echo 'static void never_called(void) { __builtin_trap(); }'
    wanted_of "$1" | while read -r name; do
        echo "void $name(void) __attribute__((weak, alias(\"never_called\")));"
    done
}

add() {  # SOURCE COMPILER...
    source=$1
    shift
    "$@" -w -O2 -fno-builtin -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections -c \
        -o "$object" "$source" 2> "$work/log" || whole 'the object for its parts does not compile'
}

try() {  # PROGRAM WORDS COMPILER...
    program=$here/$1 words=$2
    shift 2
    "$@" -static -o "$work/trial" "$program" "$object" "$folder/chk.o" "$copy" 2> "$work/log" ||
        whole 'a trial does not link'
    "$work/trial" 2> "$work/log" || whole 'a trial does not run here'
    echo "$library: $words"
}

# zstd still decodes everything and encodes at its fast levels without these members: the
# compressors of the higher levels, blocks of a target size, the formats before version 0.8.
slim_zstd() {
    stubs 'zstd_(lazy|opt|compress_superblock|v05|v06|v07)[.]o' > "$work/stubs.c"
    echo 'const int img_zstd_level_max = 3;' >> "$work/stubs.c"
    add "$work/stubs.c" "$@"
    try trial-zstd.c 'slimmed to levels up to 3' "$@" -DLEVEL_MAX=3
}

# zlib's CRC has tables for speed, but only gzip streams need it, and no image has any.  The replacement is correct.
slim_zlib() {
    add "$here/slim-crc32.c" "$@"
    try trial-zlib.c 'slimmed, a CRC without tables' "$@"
}

# Only the decoder of libbz2 is used.
slim_bz2() {
    stubs '(compress|blocksort)[.]o' > "$work/stubs.c"
    add "$work/stubs.c" "$@"
    try trial-bzip2.c 'slimmed to its decoder' "$@"
}

# The texts that libargon2 makes of keys are not used.
slim_argon2() {
    stubs 'encoding[.]o' > "$work/stubs.c"
    add "$work/stubs.c" "$@"
    try trial-argon2.c 'slimmed, without texts' "$@"
}

# iSCSI over RDMA wants libraries that a self-contained file cannot have.
slim_iscsi() {
    add "$here/slim-iser.c" "$@"
    echo "$library: without iSER"
}

mkdir -p "$folder"
"$objcopy" --remove-section .eh_frame --remove-section .note.gnu.property "$archive" "$copy" 2> "$work/log" || {
    cp "$archive" "$copy"
    echo "$library: with unwind tables (no objcopy)"
}
case $library in
    libzstd) slim_zstd "$@" ;;
    libz) slim_zlib "$@" ;;
    libbz2) slim_bz2 "$@" ;;
    libargon2) slim_argon2 "$@" ;;
    libiscsi) slim_iscsi "$@" ;;
    *) echo "$library: whole, without unwind tables" ;;
esac
