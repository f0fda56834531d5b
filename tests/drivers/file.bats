#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The drivers file and host_device: kinds of files, options, creation,
# preallocation, holes, cache modes, locks against the real tools.

load ../helper

teardown() {
    let_go
    [ -z "$LOOP" ] || losetup -d "$LOOP"
}

need_loop() {
    need_root
    truncate -s 16M disk
    LOOP=$(losetup -f --show disk 2> /dev/null) || skip 'no loop device'
}

blocks() {
    stat -c %b "$1"
}

# ---- kinds of files

@test "file: missing, a directory, a path through a file" {
    img 1 info missing
    err "qemu-img: Could not open 'missing': Could not open 'missing': No such file or directory"
    mkdir d
    img 1 info d
    err "qemu-img: Could not open 'd': 'file' driver requires 'd' to be a regular file"
    : > f
    img 1 info f/x
    err "qemu-img: Could not open 'f/x': Could not open 'f/x': Not a directory"
    img 1 info ''
    err "qemu-img: Could not open '': The 'file' block driver requires a file name"
}

@test "file: a FIFO is refused and does not hang" {
    beyond
    mkfifo f
    cmd 1 timeout 300 "$IMG" info f
    has "$ERR" "'file' driver requires 'f' to be a regular file"
}

@test "file: no permission" {
    need_root
    truncate -s 1M f
    chmod 600 f
    chmod 755 .
    cmd 1 setpriv --reuid 65534 --clear-groups "$IMG" info "$PWD/f"
    has "$ERR" "Could not open '$PWD/f': Could not open '$PWD/f': Permission denied\$"
}

@test "file: the wrong driver for the kind" {
    truncate -s 1M f
    img 1 info --image-opts driver=file,filename=/dev/null
    err "qemu-img: Could not open 'driver=file,filename=/dev/null': 'file' driver requires '/dev/null' to be a regular file"
    img 1 info --image-opts driver=host_device,filename=f
    err "qemu-img: Could not open 'driver=host_device,filename=f': 'host_device' driver requires 'f' to be either a character or block device"
    img 1 info host_device:f
    err "qemu-img: Could not open 'host_device:f': 'host_device' driver requires 'f' to be either a character or block device"
}

@test "file: a prefix, and a name with a colon behind ./" {
    truncate -s 1M f a:b
    img 0 info file:f
    has "$OUT" '^image: f$'
    img 0 info ./a:b
    has "$OUT" '^virtual size: 1 MiB'
}

@test "file: create takes off one prefix, its own" {
    echo kept > victim
    img 0 create -q -f qcow2 file:file:victim 1M
    img 0 create -q -f raw file:file:other 1M
    img 0 create -q -f file file:plain 1M
    img 1 create -q -f file host_device:victim/x 1M
    err "qemu-img: host_device:victim/x: Could not create 'host_device:victim/x': No such file or directory"
    img 1 create -q -f host_device file:victim 1M
    [ "$(cat victim)" = kept ]
    [ "$(stat -c %s file:victim file:other plain)" = "$(printf '196616\n1048576\n1048576')" ]
}

@test "file: a character device has no size" {
    img 0 info /dev/null
    out 'image: /dev/null' 'file format: raw' 'virtual size: 0 B (0 bytes)' 'disk size: 0 B' \
        "Child node '/file':" '    filename: /dev/null' '    protocol type: host_device' \
        '    file length: 0 B (0 bytes)' '    disk size: 0 B'
}

@test "file: a size that is no multiple of a sector is rounded up and reads as zeroes there" {
    head -c 1000 /dev/zero | tr '\0' 'x' > f
    img 0 info f
    has "$OUT" '^virtual size: 1 KiB \(1024 bytes\)'
    img 0 convert -O raw f g
    [ "$(stat -c %s g)" -eq 1024 ]
    cmp -n 1000 f g
    [ "$(peek g 1000 24)" = "$(printf '0%.0s' $(seq 48))" ]
}

# ---- options

@test "file: open options and their values" {
    truncate -s 1M f
    for option in locking=auto locking=on locking=off aio=threads aio=io_uring aio-max-batch=3 drop-cache=off \
        x-check-cache-dropped=on; do
        img 0 info --image-opts "driver=file,filename=f,$option"
        err ''
    done
    for option in locking=maybe aio=fast; do
        img 1 info --image-opts "driver=file,filename=f,$option"
        err "qemu-img: Could not open 'driver=file,filename=f,$option': invalid parameter value: ${option#*=}"
    done
    img 1 info --image-opts driver=file,filename=f,aio=native
    err "qemu-img: Could not open 'driver=file,filename=f,aio=native': aio=native was specified, but it requires cache.direct=on, which was not specified."
    img 1 info --image-opts driver=file,filename=f,pr-manager=p
    err "qemu-img: Could not open 'driver=file,filename=f,pr-manager=p': No persistent reservation manager with id 'p'"
    img 1 info --image-opts driver=file,filename=f,foo=1
    err "qemu-img: Could not open 'driver=file,filename=f,foo=1': Block protocol 'file' doesn't support the option 'foo'"
    img 1 info --image-opts driver=file
    err "qemu-img: Could not open 'driver=file': The 'file' block driver requires a file name"
}

# ---- creating

@test "file: create refuses what cannot be a file" {
    mkdir d
    img 1 create -f raw d 1M
    err "qemu-img: d: Could not create 'd': Is a directory"
    img 1 create -f raw d/x/y 1M
    err "qemu-img: d/x/y: Could not create 'd/x/y': No such file or directory"
    img 1 create -f raw /dev/null 1M
    err 'qemu-img: /dev/null: Cannot grow device files'
    img 1 create -f host_device missing 1M
    err "qemu-img: missing: Protocol driver 'host_device' does not support creating new images, so an existing image must be selected as the target; however, opening the given target as an existing image failed: Could not open 'missing': No such file or directory"
}

@test "file: preallocation off, falloc, full" {
    for mode in off falloc full; do
        img 0 create -f raw -o preallocation=$mode f 1M
        out "Formatting 'f', fmt=raw size=1048576 preallocation=$mode"
        err ''
        [ "$(stat -c %s f)" -eq 1048576 ]
        case $mode in
            off) [ "$(stored f)" -lt 32768 ] ;;
            *) [ "$(blocks f)" -ge 2048 ] ;;
        esac
    done
    img 1 create -f raw -o preallocation=metadata g 1M
    err 'qemu-img: g: Unsupported preallocation mode: metadata'
    img 1 create -f raw -o preallocation=some g 1M
    err 'qemu-img: g: invalid parameter value: some'
}

@test "file: the first block of a new file is allocated" {
    img 0 create -q -f raw f 1M
    [ "$(stored f)" -ge 512 ]
    img 0 create -q -f raw f 0
    [ ! -s f ]
}

@test "file: preallocation that does not fit" {
    # (under a limit: some file systems take all space there is before they say no, and others meet a full disk)
    (trap '' XFSZ; ulimit -f 2048; img 1 create -q -f raw -o preallocation=falloc f 4000T)
    has "$ERR" '^qemu-img: f: (Could not preallocate new data: |The image size is too large for file format)'
    [ "$(stat -c %s f 2> /dev/null || echo 0)" -eq 0 ]
}

@test "file: nocow and extent_size_hint" {
    img 0 create -f raw -o extent_size_hint=64k,nocow=on f 1M
    out "Formatting 'f', fmt=raw size=1048576 nocow=on extent_size_hint=65536"
    img 0 create -q -f raw -o extent_size_hint=0 f 1M
    img 1 create -q -f raw -o extent_size_hint=5G f 1M
    err 'qemu-img: f: Extent size hint is too large'
}

@test "file: create help lists the options of the protocol" {
    img 0 create -f raw -o help f
    out <<'EOF'
Supported options:
  extent_size_hint=<size> - Extent size hint for the image file, 0 to disable
  nocow=<bool (on/off)>  - Turn off copy-on-write (valid only on btrfs)
  preallocation=<str>    - Preallocation mode (allowed values: off, falloc, full)
  size=<size>            - Virtual disk size
EOF
    img 0 create -f raw -o help /dev/null
    out <<'EOF'
Supported options:
  preallocation=<str>    - Preallocation mode (allowed values: off)
  size=<size>            - Virtual disk size
EOF
}

# ---- holes and bytes

@test "file: map shows data and holes, and the end of the file to the byte" {
    truncate -s 1M f
    pattern f 11 256k 128k
    img 0 map --output=json f
    out '[{ "start": 0, "length": 262144, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 0},' \
        '{ "start": 262144, "length": 131072, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 262144},' \
        '{ "start": 393216, "length": 655360, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 393216}]'
    head -c 3000 /dev/zero | tr '\0' x > g
    img 0 map --output=json g
    out '[{ "start": 0, "length": 3000, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0},' \
        '{ "start": 3000, "length": 72, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 3000}]'
}

@test "file: many small queries inside one data extent do not ask the kernel each time" {
    beyond
    need_strace
    head -c 32M /dev/urandom > f
    strace -f -e trace=lseek -o trace "$IMG" convert -O qcow2 f g
    [ "$(grep -c SEEK_DATA trace)" -le 4 ]
}

@test "file: the kernel reports a failed write only once" {
    beyond
    need_strace
    truncate -s 40M f
    cmd 1 strace -f -o trace -e inject=sync_file_range:error=EIO "$IMG" convert -S 0 -t writeback -O raw f g
    grep -q 'sync_file_range.*INJECTED' trace
    has "$ERR" 'Input/output error'
}

@test "file: every pair of cache modes gives the same bytes" {
    sample f
    head -c 100 /dev/urandom >> f
    for mode in none writeback writethrough directsync unsafe; do
        img 0 convert -t $mode -T none -O raw f g
        cmp -n "$(stat -c %s f)" f g
        img 0 convert -T $mode -t none -O qcow2 g h
        img 0 compare f h
    done
}

@test "file: no O_DIRECT in /proc" {
    img 1 convert -f raw -T none -O raw /proc/version f
    err "qemu-img: Could not open '/proc/version': Could not open '/proc/version': filesystem does not support O_DIRECT"
}

@test "file: the disk is full" {
    need_root
    mkdir m
    mount -t tmpfs -o size=1m none m || skip 'no mount'
    head -c 4M /dev/urandom > f
    img 1 convert -O raw f m/g || { umount m; false; }
    umount m
    has "$ERR" 'No space left on device'
}

@test "file: a read-only file system" {
    need_root
    mkdir m
    mount -t tmpfs -o size=4m none m || skip 'no mount'
    truncate -s 1M m/f
    mount -o remount,ro m
    img 1 create -q -f raw m/g 1M
    cp "$ERR" err1
    img 1 convert -n -f raw -O raw m/f m/f
    cp "$ERR" err2
    umount m
    has err1 "^qemu-img: m/g: Could not create 'm/g': Read-only file system"
    has err2 "Could not open 'm/f': Read-only file system"
}

# ---- block devices

@test "host_device: info, create, write, read, map" {
    need_loop
    img 0 info "$LOOP"
    has "$OUT" '^virtual size: 16 MiB'
    has "$OUT" '^    protocol type: host_device'
    sample f
    img 0 create -f raw "$LOOP" 1M
    img 1 create -f raw "$LOOP" 17M
    err "qemu-img: $LOOP: Cannot grow device files"
    img 1 create -f raw -o preallocation=falloc "$LOOP" 1M
    err "qemu-img: $LOOP: Unsupported preallocation mode 'falloc'"
    for mode in none writeback directsync; do
        img 0 convert -n -t $mode -O raw f "$LOOP"
        cmp -n 8M f "$LOOP"
        img 0 convert -T $mode -O raw "$LOOP" g
        cmp -n 8M f g
    done
    img 0 map --output=json "$LOOP"
    out '[{ "start": 0, "length": 16777216, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0}]'
}

@test "host_device: old content does not reappear" {
    need_loop
    pattern "$LOOP" ff 0 16M
    truncate -s 16M f
    pattern f 11 1M 64k
    img 0 convert -n -O raw f "$LOOP"
    cmp f "$LOOP"
}

# old FILE: the device is full of old content
old() {
    tr '\0' '\377' < /dev/zero | head -c 16M > "$1"
}

@test "host_device: every format that can live on a device does, whatever was there" {
    beyond
    need_loop
    sample x
    local format tool
    for format in raw qcow2 'qcow2 -c' 'qcow2 -o preallocation=metadata' vdi vpc vhdx 'vhdx -o subformat=fixed' \
        parallels; do
        old "$LOOP"
        # shellcheck disable=SC2086
        img 0 convert -f raw -O $format x "$LOOP"
        silent
        # shellcheck disable=SC2086
        set -- $format
        case $1 in raw | vpc | parallels) ;; *) img 0 check -q -f "$1" "$LOOP" ;; esac
        for tool in "$IMG" "${PEER:-$IMG}"; do
            "$tool" convert -f "$1" -O raw "$LOOP" y
            truncate -s 8M y
            cmp x y
        done
        # into one that was created empty
        old "$LOOP"
        [ "$2" != -c ] || continue
        # shellcheck disable=SC2086
        img 0 create -q -f $format "$LOOP" 8M
        img 0 convert -n -f raw -O "$1" x "$LOOP"
        img 0 convert -f "$1" -O raw "$LOOP" y
        truncate -s 8M y
        cmp x y
    done
    old "$LOOP"
    img 0 convert --object secret,id=k,data=abc -f raw -O luks -o key-secret=k,iter-time=10 x "$LOOP"
    img 0 convert --object secret,id=k,data=abc --image-opts driver=luks,key-secret=k,file.filename="$LOOP" y
    truncate -s 8M y
    cmp x y
}

@test "host_device: a format that cannot is refused before the device is touched" {
    beyond
    need_loop
    sample x
    old "$LOOP"
    sum "$LOOP" > before
    for format in qed qcow 'qcow -c' vmdk 'vmdk -o subformat=monolithicFlat' 'vmdk -c -o subformat=streamOptimized'; do
        # shellcheck disable=SC2086
        img 1 convert -f raw -O $format x "$LOOP"
        format=${format%% *}
        why="A $format image grows with what is written to it, which '$LOOP' cannot"
        err "qemu-img: $LOOP: error while converting $format: $why"
        img 1 create -q -f "$format" "$LOOP" 1M
        err "qemu-img: $LOOP: $why"
        [ "$(sum "$LOOP")" = "$(cat before)" ]
    done
    export IMGBOX_HINTS=1
    img 1 create -q -f qed "$LOOP" 1M
    has "$ERR" '^hint: raw, qcow2, vdi, vpc, vhdx and parallels images can be made there$'
    img 0 create -q -f vhdx "$LOOP" 8M
}

@test "host_device: create wipes the old header" {
    need_loop
    pattern "$LOOP" ff 0 4k
    img 0 create -q -f raw "$LOOP" 1M
    [ "$(head -c 4k "$LOOP" | tr -d '\0' | wc -c)" -eq 3584 ]
}

@test "host_device: read-only" {
    need_root
    truncate -s 1M disk
    LOOP=$(losetup -r -f --show disk 2> /dev/null) || skip 'no loop device'
    truncate -s 1M f
    img 1 create -q -f raw "$LOOP" 1M
    has "$ERR" 'The device is not writable: Permission denied$|Permission denied$'
}

# ---- locks

in_use() {
    err "qemu-img: $1Failed to get $2 lock" "Is another process using the image [f]?"
}

@test "file: a writer elsewhere: a source is refused, -U and locking=off are not" {
    need_peer
    truncate -s 1M f
    hold raw f
    img 1 convert -O raw f g
    in_use "Could not open 'f': " 'shared "write"'
    img 0 convert -U -O raw f g
    img 0 convert -O raw --image-opts driver=raw,file.driver=file,file.filename=f,file.locking=off g
    img 1 convert -O raw --image-opts driver=raw,file.driver=file,file.filename=f,file.locking=on g
    img 0 info f
    img 0 info -U f
    let_go
    img 0 convert -O raw f g
}

@test "file: a new image is not made over one that is in use" {
    need_peer
    "$PEER" create -q -f qcow2 f 1M
    cp f before
    hold qcow2 f
    for format in raw qcow2; do
        img 1 create -q -f "$format" f 2M
        in_use 'f: ' '"write"'
        truncate -s 1M g
        img 1 convert -O "$format" g f
        has "$ERR" 'f: error while converting .*: Failed to get "write" lock'
    done
    cmp f before
    img 1 info f
    in_use "Could not open 'f': " 'shared "write"'
    img 0 info -U f
    img 1 convert -n -O qcow2 g f
    in_use "Could not open 'f': " '"write"'
}

@test "file: our locks keep qemu-img out until the end" {
    need_peer
    truncate -s 4M f
    pattern f 11 0 4M
    truncate -s 4M g
    copying g -n -O raw f g
    cmd 1 "$PEER_IO" -f raw -c 'write 0 512' f
    has "$ERR" 'Failed to get "write" lock'
    cmd 1 "$PEER" convert -O raw g h
    has "$ERR" 'Failed to get shared "write" lock'
    cmd 0 "$PEER" convert -O raw f h
    stop
    cmd 0 "$PEER_IO" -f raw -c 'write 0 512' f
}

@test "file: two readers, also together with qemu-img" {
    need_peer
    truncate -s 1M f
    hold raw f -r
    img 0 convert -O raw f g
    img 0 map f
    img 0 compare f f
}

# ---- alignment ----------------------------------------------------------------------

@test "host_device: a disk with blocks of 4 KiB, with and without the page cache" {
    need_root
    truncate -s 8M disk
    LOOP=$(losetup -b 4096 -f --show disk 2> /dev/null) || skip 'no loop device with blocks of 4 KiB'
    truncate -s 3M old.raw
    pattern old.raw 1 512 1M
    pattern old.raw 2 1537k 700k
    for mode in none writeback directsync; do
        # clusters of 512 bytes: whatever is written begins and ends inside a block
        img 0 create -q -f qcow2 -o cluster_size=512 "$LOOP" 3M
        img 0 convert -n -W -m 16 -t "$mode" -f raw -O qcow2 old.raw "$LOOP"
        img 0 check -q -f qcow2 "$LOOP"
        img 0 convert -T "$mode" -f qcow2 -O raw "$LOOP" new.raw
        cmp old.raw new.raw
        # a window that begins and ends inside blocks; what is around it stays
        head -c 8M /dev/urandom > before
        cat before > "$LOOP"
        img 0 convert -n -t "$mode" -f raw old.raw --target-image-opts "driver=raw,offset=1536,size=3M,file.driver=host_device,file.filename=$LOOP"
        { head -c 1536 before; cat old.raw; tail -c +$((3 * 1024 * 1024 + 1537)) before; } > after
        cmp after "$LOOP"
    done
}

@test "file: direct I/O on a file that ends inside a block" {
    head -c 1048575 /dev/urandom > a.raw
    truncate -s 983040 hole && truncate -s 1048575 hole && dd if=a.raw of=hole bs=1 seek=983040 skip=983040 conv=notrunc status=none
    # the last block is one piece where it is one block
    img 0 map --output=json --image-opts driver=raw,file.driver=file,file.filename=hole,file.cache.direct=on
    has "$OUT" '"start": 983040, "length": 65536,'
    img 0 convert -T none -f raw -O raw a.raw b.raw
    cmp -n 1048575 a.raw b.raw
    [ "$(stat -c %s b.raw)" -eq 1048576 ]
    # written to the end and no further
    cp a.raw c.raw
    img 0 bench -q -w -t none -f raw -c 3 -s 512 -o 1047040 --pattern=9 c.raw
    [ "$(stat -c %s c.raw)" -le 1048576 ]
    cmp -n 1047040 a.raw c.raw
    tail -c +1047041 c.raw | head -c 1535 | tr -d '\011' | cmp - /dev/null
}

@test "file: zeroes over data are zeroes, whatever the C library knows" {
    head -c 1M /dev/urandom > x
    truncate -s 1M zero
    img 0 convert -n -S 0 --image-opts driver=raw,file.filename=zero \
        --target-image-opts driver=raw,file.filename=x,detect-zeroes=on
    cmp x zero
    head -c 1M /dev/urandom > x
    img 0 convert -n -S 0 --image-opts driver=raw,file.filename=zero \
        --target-image-opts driver=raw,file.filename=x,detect-zeroes=unmap,discard=unmap
    cmp x zero
}
