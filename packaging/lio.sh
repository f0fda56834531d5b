#!/bin/sh
# SPDX-License-Identifier: MIT
# Make the system of the emulated machine that is an iSCSI target of the Linux kernel (LIO), for
# tests/drivers/iscsi-lio.bats, on Debian 12.
#
# usage: lio.sh [DIR]                (default: $PEERS/lio, else /opt/peers/lio)
#
# A kernel and busybox are unpacked from Debian's packages, not installed; DIR gets `vmlinuz` and `initrd`.  The machine
# is run by qemu-system-x86_64.  Safe to run again.
set -eu

dir=${1:-${PEERS:-/opt/peers}/lio}
here=$(cd "$(dirname "$0")" && pwd)
modules='virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio virtio_pci failover net_failover virtio_net
         configfs scsi_common target_core_mod target_core_file iscsi_target_mod'

[ ! -e "$dir/initrd" ] || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kernel=$(apt-cache depends --important linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[^ ]*\).*/\1/p' |
         head -n 1)
[ -n "$kernel" ] || { echo "$0: no kernel for a virtual machine" >&2; exit 1; }
(cd "$work" && apt-get -q -o APT::Sandbox::User=root download "$kernel" busybox-static > /dev/null)
for package in "$work"/*.deb; do dpkg -x "$package" "$work/system"; done

root=$work/root
mkdir -p "$root/bin" "$root/lib/modules" "$root/dev" "$root/proc" "$root/sys" "$root/tmp" "$dir"
cp "$work/system/bin/busybox" "$root/bin/"
ln -s busybox "$root/bin/sh"
cp "$here/../tests/interop/lio/init" "$root/init"
for module in $modules; do
    echo "$module"
    find "$work/system/lib/modules" -name "$module.ko" -exec cp {} "$root/lib/modules/" ';'
done > "$root/modules"
cp "$work"/system/boot/vmlinuz-* "$dir/vmlinuz"
(cd "$root" && find . | "$root/bin/busybox" cpio -o -H newc 2> /dev/null | gzip) > "$dir/initrd.new"
mv "$dir/initrd.new" "$dir/initrd"
