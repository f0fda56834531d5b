#!/bin/sh
# SPDX-License-Identifier: MIT
# Make an initramfs of busybox and the static imgbox, for a machine that works on disk images and nothing else.
#
# usage: make.sh INITRD BUSYBOX IMGBOX SCRIPT [FILE...]
#
# BUSYBOX and IMGBOX are static executables.  When the system is up it runs SCRIPT (with sh), and then powers off.  Each
# FILE is put at its top: modules (NAME.ko), which are loaded in this order, and whatever SCRIPT needs.
set -eu
initrd=$1 busybox=$(realpath "$2") imgbox=$(realpath "$3") script=$4
here=$(cd "$(dirname "$0")" && pwd)
shift 4

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/tmp"
cp "$busybox" "$root/bin/busybox"
cp "$imgbox" "$root/bin/imgbox"
for box in busybox imgbox; do
    "$root/bin/$box" --list | while read -r name; do
        [ "$name" = "$box" ] || ln -sf "$box" "$root/bin/$name"
    done
done
install -m 755 "$here/init" "$root/init"
cp "$script" "$root/script"
: > "$root/modules"
for file; do
    cp "$file" "$root/"
    case $file in
        *.ko) basename "$file" >> "$root/modules" ;;
    esac
done
(cd "$root" && find . | "$busybox" cpio -o -H newc 2> /dev/null) > "$initrd.new"
gzip -n -f "$initrd.new"
mv "$initrd.new.gz" "$initrd"
