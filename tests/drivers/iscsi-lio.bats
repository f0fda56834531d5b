#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# iscsi: copies that a real target does by itself.  The target is LIO, of the Linux kernel, in an emulated machine that
# packaging/lio.sh makes; what it was asked for is read from a capture of its network.

load ../helper
load ../servers

setup_file() {
    export RIG=$BATS_FILE_TMPDIR LIO=${PEERS:-/opt/peers}/lio PORT
    command -v qemu-system-x86_64 > /dev/null && [ -e "$LIO/initrd" ] || return 0
    PORT=$(free_port)
    qemu-system-x86_64 -accel tcg -cpu max -m 256 -M q35 -nodefaults -no-user-config -display none -no-reboot \
        -kernel "$LIO/vmlinuz" -initrd "$LIO/initrd" -append 'console=ttyS0 quiet panic=-1' \
        -serial "file:$RIG/console" -netdev "user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:$PORT-:3260" \
        -device virtio-net-pci,netdev=n,romfile= -object "filter-dump,id=f,netdev=n,file=$RIG/capture" \
        > "$RIG/log" 2>&1 3>&- &
    echo $! > "$RIG/server"
    for _ in $(seq 1200); do
        grep -q 'the target is up' "$RIG/console" 2> /dev/null && break
        sleep 0.1
    done
}

teardown_file() {
    [ ! -s "$RIG/server" ] || kill "$(< "$RIG/server")" || true
}

setup() {
    fresh_folder
    need qemu-system-x86_64
    [ -e "$LIO/initrd" ] || skip 'no system for the machine: packaging/lio.sh'
    "$IMG" --help | grep -q '\<iscsi\>' || skip 'iscsi is not built in'
    grep -q 'the target is up' "$RIG/console"
    truncate -s 16M disk
    dd if=/dev/urandom of=disk bs=64k seek=3 count=150 conv=notrunc status=none
}

# at DISK
at() {
    echo "iscsi://127.0.0.1:$PORT/iqn.2026-01.example:lio/$1"
}

# commands CODE: how many of them the target was sent (hex; see the capture)
commands() {
    python3 "$ROOT/tests/interop/lib/iscsi_capture.py" "$RIG/capture" "$1"
}

# copied FROM TO OPTION...: the disk is copied to FROM, and from there to TO; sets $SENT to the number of EXTENDED COPY
copied() {
    local before
    img 0 convert -n -f raw -O raw disk "$(at "$1")"
    before=$(commands 83)
    img 0 convert -n -f raw "${@:3}" "$(at "$1")" "$(at "$2")"
    [ ! -s "$ERR" ]
    SENT=$(($(commands 83) - before))
}

@test "LIO copies by itself" {
    for pair in '1 2' '3 4'; do
        # shellcheck disable=SC2086
        copied $pair -C -O raw
        [ "$SENT" -eq 2 ]
        img 0 compare -f raw -F raw disk "$(at "${pair#* }")"
    done
    copied 2 1 -O raw
    [ "$SENT" -eq 0 ]
}

@test "LIO copies into a format" {
    truncate -s 8M disk
    img 0 create -q -f qcow2 "$(at 2)" 8M
    copied 6 2 -C -O qcow2 -m 8 -W
    [ "$SENT" -gt 0 ]
    img 0 compare -f raw -F qcow2 disk "$(at 2)"
    img 0 check -f qcow2 "$(at 2)"
}

@test "disks that LIO does not copy" {
    for pair in '1 4' '1 5' '5 1' '4 1'; do
        # shellcheck disable=SC2086
        copied $pair -C -O raw
        img 0 compare -f raw -F raw disk "$(at "${pair#* }")"
    done
}

@test "the reference tool copies the same" {
    need_peer
    local modules=${PEER%/bin/*}/lib/x86_64-linux-gnu/qemu
    [ -e "$modules/block-iscsi.so" ] || skip 'the reference tool has no iscsi'
    copied 1 2 -C -O raw
    local ours=$SENT before
    before=$(commands 83)
    QEMU_MODULE_DIR=$modules "$PEER" convert -n -C -f raw -O raw "$(at 2)" "$(at 1)" 2> /dev/null
    [ $(($(commands 83) - before)) -eq "$ours" ]
    img 0 compare -f raw -F raw disk "$(at 1)"
}
