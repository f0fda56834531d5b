#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Images on standard input, in pipes and in descriptors.

load ../helper

setup() {
    fresh_folder
    beyond
}

# in_shell TEXT: a pipeline, failing when a part of it fails
in_shell() {
    (set -o pipefail; eval "$1")
}

# a.raw of 16 MiB, of which 2 MiB cannot be compressed
disk() {
    pattern a.raw 11 0 1M
    truncate -s 16M a.raw
    head -c 2M /dev/urandom | dd of=a.raw bs=1M seek=5 conv=notrunc status=none
    pattern a.raw 12 12M 70000
}

# as_a_stream FILE: nothing can be saved
as_a_stream() {
    # shellcheck disable=SC2002
    cat "$1" | TMPDIR=/nonexistent qemu-img convert -O raw - - | cmp - "${2:-a.raw}"
}

@test "stdin: an image is read as what it is, whatever the format" {
    disk
    for format in qcow2 qcow qed vmdk vdi vhdx parallels; do
        img 0 convert -f raw -O $format a.raw "a.$format"
        for target in raw qcow2 vdi; do
            cmd 0 in_shell "cat a.$format | qemu-img convert -O $target - b"
            silent
            img 0 compare -f raw -F $target a.raw b
            cmd 0 in_shell "cat a.$format | qemu-img convert -f $format -O $target - b"
            img 0 compare -f raw -F $target a.raw b
        done
        cmd 0 in_shell "cat a.$format | qemu-img convert -O raw - - | cmp - a.raw"
    done
    # only -f tells a fixed VHD from raw
    img 0 convert -f raw -O vpc -o subformat=fixed,force_size a.raw a.vpc
    cmd 0 in_shell 'cat a.vpc | qemu-img convert -f vpc -O raw - - | cmp - a.raw'
    cmd 0 in_shell 'cat a.vpc | qemu-img convert -O raw - - | cmp - a.vpc'
}

@test "stdin: an image whose tables come first is read as it comes, and not saved" {
    disk
    for how in '-O qcow2' '-c -O qcow2' '-c -O qcow2 -o compression_type=zstd' '-O qcow2 -o cluster_size=2M' \
        '-O qcow2 -o extended_l2=on' '-O qcow2 -o cluster_size=512' '-O vmdk -o subformat=streamOptimized'; do
        # shellcheck disable=SC2086
        qemu-img convert $how -f raw a.raw - > a.image
        for _ in 1 2 3; do
            as_a_stream a.image || { echo "$how"; return 1; }
        done
        cmd 0 in_shell 'cat a.image | TMPDIR=/nonexistent qemu-img convert -m 16 -c -O qcow2 - b.qcow2'
        img 0 compare a.raw b.qcow2
        TMPDIR=/nonexistent cmd 0 qemu-img dd bs=1000 skip=5300 count=6000 of=b.raw < <(cat a.image)
        head -c 6000000 a.raw | tail -c 700000 > want
        truncate -s 700416 want
        cmp b.raw want
        for tree in '' --tree; do
            want=$(qemu-img digest $tree a.raw | tr -d '\n' | sed 's/  a.raw/  -/; s/(a.raw)/(-)/')
            # shellcheck disable=SC2002
            [ "$(cat a.image | TMPDIR=/nonexistent qemu-img digest $tree -)" = "$want" ]
        done
        cmd 0 in_shell 'cat a.image | TMPDIR=/nonexistent qemu-img compare - a.raw'
        out 'Images are identical.'
    done
}

@test "stdin: other images that a conversion makes come in order too" {
    disk
    for format in vdi parallels vpc; do
        img 0 convert -f raw -O $format a.raw "a.$format"
        img 0 convert -f $format -O raw "a.$format" want.raw
        as_a_stream "a.$format" want.raw
    done
}

@test "stdin: a fixed VHD, whose footer comes last" {
    disk
    for options in force_size '' azure=on; do
        img 0 convert -f raw -O vpc -o "subformat=fixed${options:+,$options}" a.raw a.vpc
        img 0 convert -f vpc -O raw a.vpc want.raw
        cmd 0 in_shell 'cat a.vpc | TMPDIR=/nonexistent qemu-img convert -f vpc -O raw - - | cmp - want.raw'
        cmd 0 in_shell 'cat a.vpc | TMPDIR=/nonexistent qemu-img convert -f vpc -O qcow2 - b.qcow2'
        img 0 compare -f raw want.raw b.qcow2
        cmd 0 in_shell 'cat a.vpc | TMPDIR=/nonexistent qemu-img digest -f vpc - | cut -c -64'
        out "$(sha256sum < want.raw | cut -c -64)"
        TMPDIR=/nonexistent cmd 0 qemu-img dd -f vpc bs=1000 skip=77 of=b.raw < <(cat a.vpc)
        tail -c +77001 want.raw | cmp -n $(($(stat -c %s want.raw) - 77000)) - b.raw
        # a disk that is shorter than what comes: by less than a cylinder the geometry may leave out
        head -c "$(stat -c %s want.raw)" want.raw > long
        head -c 1M /dev/urandom >> long
        tail -c 512 a.vpc >> long
        cmd 0 in_shell 'cat long | TMPDIR=/nonexistent qemu-img convert -f vpc -O raw - - | cmp - want.raw'
    done
    head -c 3M /dev/urandom > long
    cat a.vpc >> long
    cmd 1 in_shell 'cat long | qemu-img convert -f vpc -O raw - b.raw'
    has "$ERR" "^qemu-img: '-': The image says that its disk has [0-9]+ bytes, but [0-9]+ came"
    cmd 1 in_shell 'head -c 9M a.vpc | qemu-img convert -f vpc -O raw - b.raw'
    has "$ERR" "^qemu-img: '-': invalid VPC image"
    cmd 1 in_shell 'head -c 400 a.vpc | qemu-img convert -f vpc -O raw - b.raw'
    has "$ERR" '^qemu-img: '
}

@test "stdin: the streamOptimized files of qemu-img are read as they come" {
    need_peer
    disk
    "$PEER" convert -f raw -O vmdk -o subformat=streamOptimized a.raw a.vmdk
    as_a_stream a.vmdk
    "$PEER" convert -f vmdk -O qcow2 a.vmdk b.qcow2
    as_a_stream b.qcow2
}

@test "stdin: what needs another order is saved first, beside the target" {
    disk
    img 0 convert -f raw -O vhdx a.raw a.vhdx
    mkdir d
    cmd 0 in_shell 'cat a.vhdx | TMPDIR=/nonexistent qemu-img convert -O raw - d/b.raw'
    cmp a.raw d/b.raw
    [ "$(ls -A d)" = b.raw ]
    cmd 1 in_shell 'cat a.vhdx | TMPDIR=/nonexistent qemu-img digest -'
    err "qemu-img: Could not make a temporary file in '/nonexistent' for standard input: No such file or directory"
    # an image into a pipe is made in two passes
    cmd 0 in_shell 'cat a.vhdx | TMPDIR=d qemu-img convert -O qcow2 - - > b.qcow2'
    img 0 compare a.raw b.qcow2
    [ "$(ls -A d)" = b.raw ]
    # a target without a size of its own
    for format in vdi vpc vmdk; do
        cmd 0 in_shell "cat a.raw | TMPDIR=/nonexistent qemu-img convert -f raw -O $format - d/b"
        img 0 compare -f raw a.raw d/b
        cmd 0 in_shell "cat a.raw | TMPDIR=/nonexistent qemu-img dd -f raw -O $format of=d/b"
        img 0 compare -f raw a.raw d/b
    done
}

@test "stdin: a file is opened like one" {
    disk
    img 0 convert -f raw -O qcow2 a.raw a.qcow2
    img 0 snapshot -c s a.qcow2
    "$IMG" convert -f raw -O vhdx a.raw a.vhdx
    for image in a.qcow2 a.vhdx; do
        for words in 'convert -O raw - b.raw' "convert -f ${image#a.} -O raw - b.raw" 'dd bs=1M of=b.raw'; do
            cmd 0 in_shell "TMPDIR=/nonexistent qemu-img $words < $image"
            silent
            cmp a.raw b.raw
        done
        cmd 0 in_shell "TMPDIR=/nonexistent qemu-img compare -s - $image < $image"
    done
    cmd 0 in_shell 'qemu-img convert -l s -O raw - b.raw < a.qcow2'
    cmp a.raw b.raw
    cmd 1 in_shell 'qemu-img convert -f qcow2 -O raw - b.raw < a.vhdx'
    err "qemu-img: Could not open '-': Image is not in qcow2 format"
    # what was read of it before is gone
    { head -c 1M > /dev/null; qemu-img convert -f raw -O raw - b.raw; } < a.raw
    tail -c +1048577 a.raw | cmp - b.raw
}

@test "stdin: all names of a pipe are taken" {
    disk
    img 0 convert -f raw -O qcow2 a.raw a.qcow2
    mkfifo fifo
    for words in 'convert -O raw SOURCE TARGET' 'dd bs=64k if=SOURCE of=TARGET'; do
        for source in - /dev/stdin /dev/fd/0 /proc/self/fd/0; do
            cmd 0 in_shell "cat a.qcow2 | qemu-img ${words//SOURCE/$source}" > /dev/null
            cmp a.raw TARGET
            # shellcheck disable=SC2016
            cmd 0 in_shell "qemu-img ${words//SOURCE/$source} < a.qcow2"
            cmp a.raw TARGET
        done
        for target in - /dev/stdout /dev/fd/1; do
            cmd 0 in_shell "x='$words'; x=\${x//SOURCE/a.qcow2}; qemu-img \${x//TARGET/$target} | cmp - a.raw"
        done
        cat a.qcow2 > fifo &
        cmd 0 in_shell "qemu-img ${words//SOURCE/fifo}"
        cmp a.raw TARGET
        cmd 0 in_shell "qemu-img ${words//SOURCE/<(cat a.qcow2)}"
        cmp a.raw TARGET
        cmd 0 in_shell "qemu-img ${words//SOURCE//dev/fd/7} 7< a.qcow2"
        cmp a.raw TARGET
    done
    cmd 0 in_shell 'qemu-img compare <(cat a.qcow2) <(cat a.raw)'
    cmd 1 in_shell 'qemu-img compare <(cat a.qcow2) <(head -c 7M a.raw)'
    cmd 0 in_shell 'qemu-img digest <(cat a.qcow2) /dev/fd/7 7< a.qcow2 | cut -c -64'
    out "$(sha256sum < a.raw | cut -c -64)" "$(sha256sum < a.raw | cut -c -64)"
    [ ! -e ./- ]
}

@test "stdin: sockets, and a descriptor of a VMDK whose extents are files" {
    disk
    img 0 convert -f raw -O qcow2 a.raw a.qcow2
    python3 - "$IMG" <<'END'
import os, socket, subprocess, sys, threading
ours, theirs = socket.socketpair()
def write():
    with open('a.qcow2', 'rb') as file:
        ours.sendfile(file)
    ours.shutdown(socket.SHUT_WR)
writer = threading.Thread(target=write)
writer.start()
fd = theirs.fileno()
process = subprocess.Popen([sys.argv[1], 'convert', '-O', 'raw', f'/dev/fd/{fd}', f'/dev/fd/{fd}'], pass_fds=[fd])
theirs.close()
with open('b.raw', 'wb') as file:
    while piece := ours.recv(1 << 16):
        file.write(piece)
writer.join()
sys.exit(process.wait())
END
    cmp a.raw b.raw
    img 0 convert -f raw -O vmdk -o subformat=twoGbMaxExtentSparse a.raw split.vmdk
    cmd 0 in_shell 'cat split.vmdk | qemu-img convert -O raw - b.raw'
    cmp a.raw b.raw
    img 0 convert -f raw -O vmdk -o subformat=streamOptimized a.raw stream.vmdk
    printf '%s\n' '# Disk DescriptorFile' version=1 CID=fffffffe parentCID=ffffffff 'createType="twoGbMaxExtentSparse"' \
        'RW 32768 SPARSE "stream.vmdk"' > text.vmdk
    cmd 0 in_shell 'cat text.vmdk | qemu-img convert -O raw - b.raw'
    cmp a.raw b.raw
}

@test "stdin: several sources, one after the other" {
    disk
    img 0 convert -f raw -O qcow2 a.raw a.qcow2
    cat a.raw a.raw a.raw > want
    cmd 0 in_shell 'cat a.qcow2 | qemu-img convert -O raw - a.qcow2 <(cat a.raw) b.raw'
    cmp b.raw want
}

@test "stdin: dd if=- of=-, and a file of this name" {
    disk
    cmd 0 in_shell 'qemu-img dd if=- of=- bs=1M skip=4 < a.raw | cmp - <(tail -c +4194305 a.raw)'
    [ ! -e ./- ]
    img 0 dd if=a.raw of=./- bs=1M
    cmp ./- a.raw
    img 0 dd if=./- of=b.raw bs=1M
    cmp b.raw a.raw
    cmd 0 in_shell 'cat a.raw | qemu-img dd bs=1M -O qcow2 | cat > b.qcow2'
    img 0 compare a.raw b.qcow2
}

@test "stdin: snapshots and bitmaps of an image in a pipe" {
    img 0 create -q -f qcow2 a.qcow2 8M
    need_peer
    "$PEER_IO" -f qcow2 -c 'write -P 3 0 2M' a.qcow2 > /dev/null
    img 0 snapshot -c s a.qcow2
    img 0 convert -l s -O raw a.qcow2 s.raw
    "$PEER_IO" -f qcow2 -c 'write -P 4 1M 2M' a.qcow2 > /dev/null
    img 0 bitmap --add a.qcow2 b
    cmd 0 in_shell 'cat a.qcow2 | qemu-img convert -l s -O raw - b.raw'
    cmp s.raw b.raw
    cmd 0 in_shell 'cat a.qcow2 | qemu-img convert --bitmaps -O qcow2 - b.qcow2'
    img 0 info b.qcow2
    has "$OUT" 'name: b$'
    cmd 0 in_shell 'cat a.qcow2 | qemu-img digest -l s - | cut -c -64'
    out "$(sha256sum < s.raw | cut -c -64)"
    cmd 1 in_shell 'cat a.qcow2 | qemu-img digest -l t -'
    cmd 1 in_shell 'cat s.raw | qemu-img convert --bitmaps -O qcow2 - b.qcow2'
    err 'qemu-img: Source lacks bitmap support'
}

@test "stdin: an overlay finds its backing file from the current folder" {
    disk
    img 0 create -q -f qcow2 -b a.raw -F raw o.qcow2
    cmd 0 in_shell 'cat o.qcow2 | qemu-img convert -O raw - b.raw'
    cmp a.raw b.raw
    cmd 0 in_shell 'qemu-img convert -O raw - b.raw < o.qcow2'
    cmp a.raw b.raw
    qemu-img convert -B a.raw -F raw -O qcow2 o.qcow2 - > p.qcow2
    cmd 0 in_shell 'cat p.qcow2 | qemu-img convert -B a.raw -F raw -O qcow2 - b.qcow2'
    img 0 compare a.raw b.qcow2
    mv a.raw c.raw
    cmd 1 in_shell 'cat o.qcow2 | qemu-img convert -O raw - b.raw'
    err "qemu-img: Could not open '-': Could not open backing file: Could not open 'a.raw': No such file or directory"
}

@test "stdin: info, map, measure and check take a file, and refuse a pipe" {
    disk
    img 0 convert -f raw -O qcow2 a.raw a.qcow2
    for words in 'info' 'map' 'measure -O raw' 'check'; do
        cmd 0 in_shell "qemu-img $words - < a.qcow2"
        sed 's/image: -/image: a.qcow2/; s/filename: -/filename: a.qcow2/; s/ -$/ a.qcow2/' "$OUT" > piped
        cmd 0 in_shell "qemu-img $words a.qcow2"
        diff piped "$OUT"
        cmd 1 in_shell "cat a.qcow2 | qemu-img $words -"
        err "qemu-img: Could not open '-': Standard input is a pipe, and this needs a file"
        IMGBOX_HINTS=1 cmd 1 in_shell "cat a.qcow2 | qemu-img $words -"
        has "$ERR" '^hint: .*save it to a file'
        cmd 1 in_shell "qemu-img $words <(cat a.qcow2)"
        has "$ERR" "'file' driver requires '/dev/fd/[0-9]*' to be a regular file"
    done
    # a backing file of this name is a file
    img 0 create -q -f qcow2 ./- 1M
    img 0 create -q -f qcow2 -b ./- -F qcow2 o.qcow2
    cmd 0 in_shell 'qemu-img info --backing-chain o.qcow2 < a.qcow2'
    has "$OUT" 'virtual size: 1 MiB'
}

@test "stdin: an image that is cut off is an error" {
    disk
    for how in '-O qcow2' '-c -O qcow2' '-O vmdk -o subformat=streamOptimized'; do
        # shellcheck disable=SC2086
        qemu-img convert $how -f raw a.raw - > a.image
        for length in 1500000 2000000; do
            cmd 1 in_shell "head -c $length a.image | TMPDIR=/nonexistent qemu-img convert -O raw - b.raw"
            has "$ERR" "^qemu-img: '-' ended after $length bytes, before the end of the image\$"
        done
    done
}

@test "stdin: grains in another order, and markers that are not true" {
    disk
    qemu-img convert -O vmdk -o subformat=streamOptimized -f raw a.raw - > a.vmdk
    python3 - <<'END'
import struct
data = bytearray(open('a.vmdk', 'rb').read())
at, grains = 128 * 512, []
while at < len(data):
    sector, length, kind = struct.unpack_from('<QII', data, at)
    if length:
        grains.append((at, sector, length))
        at += (12 + length + 511) // 512 * 512
    else:
        at += 512 + sector * 512
def save(name, change):
    new = bytearray(data)
    change(new)
    open(name, 'wb').write(new)
a, b = grains[20], grains[21]
def swap(new):
    struct.pack_into('<Q', new, a[0], b[1])
    struct.pack_into('<Q', new, b[0], a[1])
save('swapped', swap)
save('long', lambda new: struct.pack_into('<I', new, b[0] + 8, 1 << 31))
save('far', lambda new: struct.pack_into('<Q', new, b[0], 1 << 60))
save('odd', lambda new: struct.pack_into('<Q', new, b[0], b[1] + 1))
save('huge', lambda new: struct.pack_into('<QII', new, b[0], 1 << 55, 0, 1))
def hollow(new):
    new[b[0]:] = bytes(len(new) - b[0])
save('hollow', hollow)
save('none', lambda new: struct.pack_into('<Q', new, 64, 1 << 62))
END
    cmd 1 in_shell 'cat swapped | qemu-img convert -O raw - b.raw'
    has "$ERR" "^qemu-img: '-': The grains are not in the order of the disk; save the image to a file first"
    for name in long far odd huge; do
        cmd 1 in_shell "cat $name | qemu-img convert -O raw - b.raw"
        has "$ERR" "^qemu-img: '-': Invalid (grain )?marker"
    done
    cmd 1 in_shell 'cat hollow | qemu-img convert -O raw - b.raw'
    has "$ERR" "^qemu-img: '-': The stream ends before its directory"
    cmd 1 in_shell "cat none | qemu-img convert -O raw - b.raw"
}

@test "stdin: tables that lie far away are looked for in the whole file" {
    disk
    qemu-img convert -O qcow2 -f raw a.raw - > a.qcow2
    # the entry of the only L2 table in the L1 table: the table moves further away than is kept
    l1=$((0x$(peek a.qcow2 40 8)))
    table=$((0x$(peek a.qcow2 "$l1" 8) & 0xfffffffffe00))
    dd if=a.qcow2 of=a.qcow2 bs=64k iflag=skip_bytes skip=$table seek=1024 count=1 conv=notrunc status=none
    poke a.qcow2 "$l1" 8000000004000000
    img 0 convert -O raw a.qcow2 want.raw
    cmp want.raw a.raw
    cmd 0 in_shell 'cat a.qcow2 | qemu-img convert -O raw - b.raw'
    cmp want.raw b.raw
    # and further than there is anything
    poke a.qcow2 "$l1" 8000010000000000
    img 1 convert -O raw a.qcow2 c.raw
    cmd 1 in_shell 'cat a.qcow2 | qemu-img convert -O raw - c.raw'
    has "$ERR" 'image is truncated: needs'
}

@test "stdin: the writer gets to write all of it" {
    disk
    for how in '-O qcow2' '-O vmdk -o subformat=streamOptimized'; do
        # shellcheck disable=SC2086
        { qemu-img convert $how -f raw a.raw -; head -c 3M /dev/urandom; } > a.image
        cmd 0 in_shell 'cat a.image | qemu-img convert -O raw - b.raw'
        cmp a.raw b.raw
        cmd 0 in_shell 'cat a.image | qemu-img digest -'
        cmd 0 in_shell 'cat a.image | qemu-img compare - a.raw'
    done
}

@test "stdin: a target that fails is told while an image is still to come" {
    need_root
    mkdir small
    mount -t tmpfs -o size=1m none small || skip 'needs mount'
    head -c 12M /dev/urandom > a.raw
    mkfifo idle
    for how in '-O qcow2' '-O vmdk -o subformat=streamOptimized'; do
        # shellcheck disable=SC2086
        qemu-img convert $how -f raw a.raw - > a.image
        # it gives 4 MiB and then nothing, until it is ended
        (head -c 4M a.image || true; exec sleep 600) > idle 2> /dev/null &
        writer=$!
        rc=0
        timeout 60 "$IMG" convert -O raw - small/x < idle 2> err || rc=$?
        kill "$writer"
        [ "$rc" -eq 1 ] && grep -F 'No space left on device' err || { umount small; return 1; }
        rm -f small/x
    done
    umount small
}

@test "stdin: memory is bounded" {
    no_asan
    pattern a.raw 5 0 256M
    for how in '-O raw' '-O qcow2' '-O vmdk -o subformat=streamOptimized'; do
        # shellcheck disable=SC2086
        "$IMG" convert $how -f raw a.raw - | python3 -c '
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
sys.exit(most > 48 and f"{most} MiB")' "$IMG" convert -O raw - b.raw || return 1
        cmp a.raw b.raw
    done
}

# No tool may need /proc where the work itself does not.  (AddressSanitizer does.)
without_proc() {
    unshare -m sh -c 'mount -t tmpfs none /proc && mount -t tmpfs none /sys && exec "$@"' - "$@"
}

@test "stdin: without /proc" {
    need_root
    no_asan
    disk
    img 0 convert -f raw -O qcow2 a.raw a.qcow2
    without_proc true 2> /dev/null || skip 'needs unshare and mount'
    for format in vpc vmdk vhdx vdi raw qcow2; do
        # shellcheck disable=SC2002
        cat a.raw | without_proc "$IMG" convert -f raw -O $format - b
        img 0 compare -f raw -F $format a.raw b
        without_proc "$IMG" convert -O $format - b < a.qcow2
        img 0 compare -f raw -F $format a.raw b
        # shellcheck disable=SC2002
        cat a.qcow2 | without_proc "$IMG" convert -O $format /dev/stdin b
        img 0 compare -f raw -F $format a.raw b
    done
    for name in /dev/stdin /dev/fd/0 /dev/fd/8; do
        without_proc "$IMG" compare $name a.raw < a.qcow2 8< a.qcow2
        without_proc "$IMG" info $name < a.qcow2 8< a.qcow2
    done
    without_proc "$IMG" convert -O raw a.qcow2 /dev/stdout | cmp - a.raw
    without_proc "$IMG" convert -f raw -O qcow2 a.raw /dev/fd/9 9<> c.qcow2
    img 0 compare a.raw c.qcow2
    # O_DIRECT, and an end inside a block
    head -c 100352 a.raw > odd
    without_proc "$IMG" convert -t none -f raw -O raw odd even
    cmp odd even
}

@test "stdin: a descriptor that is shared keeps no locks" {
    need_root
    no_asan
    disk
    img 0 convert -f raw -O qcow2 a.raw a.qcow2
    without_proc true 2> /dev/null || skip 'needs unshare and mount'
    exec 8< a.qcow2
    without_proc "$IMG" convert -O raw /dev/fd/8 b.raw
    img 0 resize -q a.qcow2 17M
    exec 8<&-
}
