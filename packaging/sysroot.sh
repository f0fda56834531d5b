#!/bin/sh
# Collect what musl-gcc does not find by itself: the kernel's headers, and the
# headers and static archives of the linked libraries, made smaller by slim.sh.
# Prints what it did to each archive.
#
# usage: sysroot.sh DIR COMPILER...
set -eu
dir=$1
shift
multiarch=$(cc -print-multiarch 2>/dev/null || true)
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
for name in z zstd deflate bz2 lzma nettle argon2; do
    archive=$(cc -print-file-name="lib$name.a")
    if [ -e "$archive" ]; then
        rm -f "$dir/lib/lib$name.a"
        sh "$(dirname "$0")/slim.sh" "lib$name" "$archive" "$dir/lib/lib$name.a" "$@" -isystem "$dir/include"
    fi
done
