#!/bin/sh
# Collect what musl-gcc does not find by itself: the kernel's headers, and the
# headers and static archives of the linked libraries, made smaller by slim.sh.
# Prints what it did to each archive.
#
# usage: sysroot.sh DIR COMPILER...
#
# DIR/lib/*.o are objects to link before the archives.
set -eu
dir=$1
shift
here=$(dirname "$0")
multiarch=$("$1" -print-multiarch 2> /dev/null || true)
mkdir -p "$dir/include" "$dir/lib"
for name in linux asm asm-generic mtd zlib.h zconf.h zstd.h zstd_errors.h libdeflate.h \
        bzlib.h lzma.h lzma nettle argon2.h; do
    for from in "/usr/include/$multiarch/$name" "/usr/include/$name"; do
        if [ -e "$from" ]; then
            ln -sfn "$from" "$dir/include/$name"
            break
        fi
    done
done
# Archives that were made with glibc's headers may call functions that only glibc has.
"$@" -w -O2 -fno-builtin -fno-asynchronous-unwind-tables -ffunction-sections -U_FORTIFY_SOURCE -c \
    -o "$dir/lib/chk.o" "$here/slim-chk.c"
for name in z zstd deflate bz2 lzma nettle argon2; do
    archive=$("$1" -print-file-name="lib$name.a")
    if [ -e "$archive" ]; then
        sh "$here/slim.sh" "lib$name" "$archive" "$dir/lib" "$@" -isystem "$dir/include"
    fi
done
