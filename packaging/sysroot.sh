#!/bin/sh
# Gather what musl-gcc does not look for by itself: the kernel's headers, and
# headers and static archives of the codec libraries.
#
# usage: sysroot.sh DIR
set -eu
dir=$1
multiarch=$(cc -print-multiarch 2>/dev/null || true)
mkdir -p "$dir/include" "$dir/lib"
for name in linux asm asm-generic mtd zlib.h zconf.h zstd.h zstd_errors.h libdeflate.h; do
    for from in "/usr/include/$multiarch/$name" "/usr/include/$name"; do
        if [ -e "$from" ]; then
            ln -sfn "$from" "$dir/include/$name"
            break
        fi
    done
done
for name in z zstd deflate; do
    archive=$(cc -print-file-name="lib$name.a")
    if [ -e "$archive" ]; then
        ln -sfn "$archive" "$dir/lib/lib$name.a"
    fi
done
