#!/bin/sh
# SPDX-License-Identifier: MIT
# Set up a fresh Debian 12 or 13, from a clone, as root.
#
# usage: setup.sh build     install what the build needs, build, convert a real image
#        setup.sh test      install what the tests need, run the tests; with --no-peers neither the reference tools nor
#                           the source of packages that they come from
set -eu

cd "$(dirname "$0")/.."
root=$(pwd)
unset BUILD IMG

# Convert an image of a disk with real files, and convert it back.
demo() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    echo '--- an ext4 image of /usr/include and this clone'
    mkdir "$work/files"
    cp -R /usr/include "$work/files/"
    cp -R applets libimg drivers docs packaging tests "$work/files/"
    truncate -s 512M "$work/disk.raw"
    mke2fs -q -t ext4 -d "$work/files" "$work/disk.raw"
    echo '--- qemu-img convert -c -O qcow2 disk.raw disk.qcow2'
    build/bin/qemu-img convert -p -c -f raw -O qcow2 "$work/disk.raw" "$work/disk.qcow2"
    echo '--- qemu-img info disk.qcow2'
    (cd "$work" && "$root/build/bin/qemu-img" info disk.qcow2)
    echo '--- qemu-img check disk.qcow2'
    (cd "$work" && "$root/build/bin/qemu-img" check disk.qcow2)
    echo '--- qemu-img compare disk.raw disk.qcow2'
    (cd "$work" && "$root/build/bin/qemu-img" compare -f raw -F qcow2 disk.raw disk.qcow2)
}

case ${1-},${2-} in
    build,)
        sh packaging/install-deps.sh build
        make -s -j "$(nproc)"
        demo
        echo 'Built: build/imgbox, and its links in build/bin/.'
        ;;
    test, | test,--no-peers)
        # shellcheck disable=SC2086
        sh packaging/install-deps.sh test ${2-}
        make -s -j "$(nproc)" all static asan
        make -s -j "$(nproc)" check
        ;;
    *)
        echo "usage: $0 build | test [--no-peers]" >&2
        exit 2
        ;;
esac
