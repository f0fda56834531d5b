#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# How often what lies below an image is opened, and how much of it there may be.

load ../helper

# opens NAME ARGUMENT...: how often a run of the tool opens files whose name begins so
opens() {
    local name=$1
    shift
    strace -f -e trace=open,openat -o trace "$IMG" "$@" > out.txt || return 1
    grep -c -F "\"$name" trace
}

# link NAME BACKING: an image over that backing file, whose format it does not tell
link() {
    img 0 create -q -u -f qcow2 -F qcow2 -b "$2" "$1" 1M
    # the extension of the header that has the format becomes one that nobody knows
    sed -i 's/\xe2\x79[*]\xca/\x01\x23\x45\x67/' "$1"
}

# A raw disk in NAME as a qcow2 image, without the name of a driver for the disk.
in_qcow2() {
    echo 'json:{"file":{"driver":"qcow2","file":{"driver":"file","filename":"'"$1"'"}}}'
}

@test "graph: a storage is opened once" {
    need_strace
    beyond
    for format in raw qcow2 qcow qed vdi vmdk vpc vhdx parallels; do
        img 0 create -q -f "$format" x.img 4M
        [ "$(opens x.img info x.img)" -eq 1 ]
        [ "$(opens x.img info -U x.img)" -eq 1 ]
        [ "$(opens x.img measure -O raw --image-opts file.filename=x.img)" -eq 1 ]
    done
    # for writing, too
    img 0 create -q -f qcow2 x.img 4M
    [ "$(opens x.img resize x.img 8M)" -eq 1 ]
    [ "$(opens x.img snapshot -c one x.img)" -eq 1 ]
}

@test "graph: a chain costs one open a layer" {
    need_strace
    beyond
    img 0 create -q -f raw link.0 1M
    for n in 1 2 3 4 5 6 7 8; do
        link link.$n link.$((n - 1))
    done
    [ "$(opens link. map link.8)" -eq 9 ]
    [ "$(opens link. convert -O raw link.8 all)" -eq 9 ]
    [ "$(opens link. info --backing-chain link.8)" -eq 9 ]
}

@test "graph: links that name no driver" {
    need_strace
    beyond
    img 0 create -q -f qcow2 link.0 1M
    for n in $(seq 22); do
        link "link.$n" "$(in_qcow2 "link.$((n - 1))")"
    done
    [ "$(opens link. map link.12)" -eq 13 ]
    [ "$(opens link. map link.22)" -eq 23 ]
}

# hold BYTE...: another process holds these lock bytes of x, until `release`
hold() {
    rm -f held
    python3 - "$@" > held <<'END' &
import fcntl, struct, sys, time
file = open("x", "rb")
for byte in sys.argv[1:]:
    fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, int(byte), 1, 0))
print("yes", flush=True)
time.sleep(60)
END
    HOLDER=$!
    wait_until grep -q yes held
}

release() {
    kill $HOLDER
    wait $HOLDER || true
}

IN_USE='Is another process using the image [x]?'

@test "graph: what a format needs is asked for after the look at the content" {
    # qcow2: nobody else may write
    img 0 create -q -f qcow2 x 4M
    img 0 create -q -f qcow2 -b x -F qcow2 over
    hold 101
    for command in info map; do
        img 1 "$command" x
        err "qemu-img: Could not open 'x': Failed to get shared \"write\" lock" "$IN_USE"
    done
    img 1 map over
    err "qemu-img: Could not open 'over': Could not open backing file: Failed to get shared \"write\" lock" "$IN_USE"
    img 0 info -U x
    release
    # raw: what its user does counts, which is nothing for info and reading for map
    rm x
    truncate -s 1M x
    hold 200
    img 0 info x
    img 1 map x
    err "qemu-img: Could not open 'x': Failed to get \"consistent read\" lock" "$IN_USE"
    img 1 map 'json:{"file":{"driver":"blkdebug","image":{"driver":"file","filename":"x"}}}'
    has "$ERR" "Failed to get \"consistent read\" lock\$"
    release
    hold 201
    img 0 map x
    img 1 resize x 2M
    err "WARNING: Image format was not specified for 'x' and probing guessed raw." \
        "         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted." \
        "         Specify the 'raw' format explicitly to remove the restrictions." \
        "qemu-img: Could not open 'x': Failed to get \"write\" lock" "$IN_USE"
    release
}

# nest DEPTH DESCRIPTION: so many raw nodes over that one, as JSON
nest() {
    local depth=$1 node=$2
    while ((depth-- > 0)); do
        node='{"driver":"raw","file":'$node'}'
    done
    echo "json:$node"
}

quick() {
    (ulimit -t 2; exec -a qemu-img "$IMG" "$@")
}

@test "graph: a bound to the nodes of an image" {
    beyond
    # deep: 14 more nodes with each backing file
    img 0 create -q -f qcow2 0 1M
    for n in $(seq 80); do
        link "$n" "$(nest 14 '{"driver":"qcow2","file":{"driver":"file","filename":"'$((n - 1))'"}}')"
    done
    img 0 map 50
    cmd 1 quick map 80
    has "$ERR" ': Too many nodes in one image \(the limit is 1000\)$'
    cmd 1 quick info --backing-chain 80
    # an image whose backing file is a disk in an image which is itself
    link self "$(nest 1 '{"driver":"qcow2","file":{"driver":"file","filename":"self"}}')"
    cmd 1 quick map self
    has "$ERR" ': (Too many nodes in one image \(the limit is 1000\)|More than 200 backing files)$'
    # wide
    truncate -s 1M part
    { printf '# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="twoGbMaxExtentFlat"\n'
      for n in $(seq 1000); do echo 'RW 2048 FLAT "part" 0'; done; } > wide.vmdk
    cmd 1 quick info wide.vmdk
    err "qemu-img: Could not open 'wide.vmdk': Too many nodes in one image (the limit is 1000)"
    sed -i '100,$d' wide.vmdk
    img 0 info wide.vmdk
}

@test "graph: the bound is each image's own" {
    beyond
    truncate -s 1M part
    { printf '# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="twoGbMaxExtentFlat"\n'
      for n in $(seq 400); do echo 'RW 8 FLAT "part" 0'; done; } > a.vmdk
    img 0 compare a.vmdk a.vmdk
    img 0 convert -U a.vmdk a.vmdk a.vmdk raw
}
