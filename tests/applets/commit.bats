#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-commit: what an image holds, down into its backing chain.

load ../helper

# data NAME HEX OFFSET LENGTH SIZE: a qcow2 image with one piece of data
data() {
    rm -f flat.raw
    pattern flat.raw "$2" "$3" "$4"
    truncate -s "$5" flat.raw
    qemu-img create -q -f qcow2 "$1" "$5"
    qemu-img convert -n --target-is-zero -f raw -O qcow2 flat.raw "$1"
}

# low.qcow2 <- mid.qcow2 <- top.qcow2
chain() {
    data low.qcow2 11 0 2M 4M
    data mid.qcow2 22 1M 64k 4M
    data top.qcow2 33 2M 64k 4M
    qemu-img rebase -u -b low.qcow2 -F qcow2 mid.qcow2
    qemu-img rebase -u -b mid.qcow2 -F qcow2 top.qcow2
    qemu-img convert -O raw top.qcow2 want.raw
}

# reads IMAGE FORMAT: it reads as top.qcow2 did
reads() {
    qemu-img convert -f "$2" -O raw "$1" now.raw
    cmp now.raw want.raw
    [ "$2" = raw ] || img 0 check -q "$1"
}

holds_nothing() {
    [ "$(qemu-img map --output=json "$1" | grep -c '"depth": 0')" -eq 0 ]
}

@test 'into the backing file; the image is empty afterwards, as small as a new one' {
    chain
    img 0 commit top.qcow2
    out 'Image committed.'
    err ''
    reads mid.qcow2 qcow2
    reads top.qcow2 qcow2
    holds_nothing top.qcow2
    [ "$(stat -c %s top.qcow2)" -eq $((4 * 65536)) ]
    img 0 commit -q top.qcow2
    silent
}

@test '-d keeps what the image holds' {
    chain
    sum=$(sum top.qcow2)
    img 0 commit -d top.qcow2
    [ "$(sum top.qcow2)" = "$sum" ]
    reads mid.qcow2 qcow2
}

@test '-b goes further down, with all that lies between, and empties nothing' {
    chain
    top=$(sum top.qcow2) mid=$(sum mid.qcow2)
    img 0 commit -b low.qcow2 top.qcow2
    out 'Image committed.'
    [ "$(sum top.qcow2) $(sum mid.qcow2)" = "$top $mid" ]
    reads low.qcow2 qcow2
    reads top.qcow2 qcow2
}

@test '-b by other spellings, relative to the image that names it' {
    chain
    img 0 commit -b ./low.qcow2 top.qcow2
    img 0 commit -b "$PWD/low.qcow2" top.qcow2
    mkdir sub
    qemu-img rebase -u -b ../mid.qcow2 -F qcow2 top.qcow2
    mv top.qcow2 sub
    img 1 commit -b mid.qcow2 sub/top.qcow2
    err "qemu-img: Did not find 'mid.qcow2' in the backing chain of 'sub/top.qcow2'"
    img 0 commit -b ../mid.qcow2 sub/top.qcow2
    out 'Image committed.'
}

@test 'into raw, which grows' {
    pattern low.raw 11 0 1000k
    data top.qcow2 33 2M 64k 4M
    qemu-img rebase -u -b low.raw -F raw top.qcow2
    qemu-img convert -O raw top.qcow2 want.raw
    img 0 commit top.qcow2
    [ "$(stat -c %s low.raw)" -eq 4194304 ]
    cmp low.raw want.raw
    reads top.qcow2 qcow2
}

@test 'a backing file that is larger keeps its tail' {
    data low.qcow2 11 0 8M 8M
    data top.qcow2 33 2M 64k 4M
    qemu-img rebase -u -b low.qcow2 -F qcow2 top.qcow2
    qemu-img convert -O raw top.qcow2 want.raw
    img 0 commit top.qcow2
    reads top.qcow2 qcow2
    qemu-img convert -O raw low.qcow2 low.raw
    [ "$(peek low.raw 8388600 8)" = 1111111111111111 ]
}

@test 'zero clusters become zeroes without data' {
    data low.qcow2 11 0 4M 4M
    qemu-img create -q -f qcow2 empty.qcow2 4M
    # gets zero clusters for all of it
    qemu-img rebase -b low.qcow2 -F qcow2 empty.qcow2
    qemu-img convert -O raw empty.qcow2 want.raw
    img 0 commit empty.qcow2
    reads low.qcow2 qcow2
    [ "$(qemu-img map --output=json low.qcow2 | grep -c '"data": true')" -eq 0 ]
}

@test 'into an image with snapshots, which keep their content' {
    need_peer
    chain
    "$PEER" snapshot -c s mid.qcow2
    qemu-img convert -l s -O raw mid.qcow2 old.raw
    img 0 commit top.qcow2
    reads mid.qcow2 qcow2
    qemu-img convert -l s -O raw mid.qcow2 now.raw
    cmp now.raw old.raw
}

@test 'an image with snapshots is emptied, the snapshots keep their content' {
    need_peer
    chain
    "$PEER" snapshot -c s top.qcow2
    img 0 commit top.qcow2
    reads top.qcow2 qcow2
    holds_nothing top.qcow2
    qemu-img convert -l s -O raw top.qcow2 now.raw
    cmp now.raw want.raw
}

@test 'images of other kinds are emptied too' {
    for options in compat=0.10 cluster_size=512 extended_l2=on lazy_refcounts=on data_file=data refcount_bits=1 \
        cluster_size=512,refcount_bits=64; do
        chain
        rm top.qcow2
        qemu-img create -q -f qcow2 -o $options top.qcow2 100M
        pattern flat.raw 77 2M 300k
        truncate -s 100M flat.raw
        qemu-img convert -n --target-is-zero -f raw -O qcow2 flat.raw top.qcow2
        qemu-img rebase -u -b mid.qcow2 -F qcow2 top.qcow2
        qemu-img convert -O raw top.qcow2 want.raw
        img 0 commit top.qcow2
        reads top.qcow2 qcow2
        reads mid.qcow2 qcow2
        holds_nothing top.qcow2
    done
}

@test 'progress comes before the last word' {
    chain
    img 0 commit -p top.qcow2
    [ "$(tr '\r' '\n' < "$OUT" | head -1)" = '    (0.00/100%)' ]
    [ "$(tr '\r' '\n' < "$OUT" | tail -3)" = '    (100.00/100%)

Image committed.' ]
}

@test '-r limits the rate' {
    data low.qcow2 11 0 64k 4M
    data top.qcow2 33 0 2M 4M
    qemu-img rebase -u -b low.qcow2 -F qcow2 top.qcow2
    start=$(date +%s%N)
    img 0 commit -r 4M top.qcow2
    [ $((($(date +%s%N) - start) / 1000000)) -ge 300 ]
    img 1 commit -r foo top.qcow2
    err "qemu-img: Invalid rate limit specified: 'foo'."
}

@test 'what is refused, in the words of qemu-img' {
    chain
    img 1 commit
    has "$ERR" '^qemu-img: Expecting one image file name$'
    img 1 commit low.qcow2
    err 'qemu-img: Image does not have a backing file'
    img 1 commit -f raw want.raw
    err 'qemu-img: Image does not have a backing file'
    img 1 commit -b none top.qcow2
    err "qemu-img: Did not find 'none' in the backing chain of 'top.qcow2'"
    img 1 commit -b '' top.qcow2
    err "qemu-img: Did not find '' in the backing chain of 'top.qcow2'"
    img 1 commit -b top.qcow2 top.qcow2
    err "qemu-img: Did not find 'top.qcow2' in the backing chain of 'top.qcow2'"
    img 1 commit -t foo top.qcow2
    err 'qemu-img: Invalid cache option: foo'
    img 1 commit --image-opts -f qcow2 driver=qcow2,file.filename=top.qcow2
    err 'qemu-img: --image-opts and --format are mutually exclusive'
    img 1 commit none
    err "qemu-img: Could not open 'none': Could not open 'none': No such file or directory"
    reads top.qcow2 qcow2
}

@test 'a base that cannot grow' {
    truncate -s 1M low.raw
    data top.qcow2 33 2M 64k 4M
    qemu-img rebase -u -b 'json:{"driver":"raw","size":1048576,"file":{"driver":"file","filename":"low.raw"}}' -F raw top.qcow2
    sum=$(sum top.qcow2)
    img 1 commit top.qcow2
    err 'qemu-img: Block job failed: Operation not supported'
    [ "$(sum top.qcow2)" = "$sum" ]
}

@test 'a base that may not be written' {
    need_root
    chain
    chmod 755 . && chmod 666 -- *.qcow2 && chmod 444 mid.qcow2
    dir=$PWD
    while [ "$dir" != / ]; do chmod a+x "$dir" 2> /dev/null || true; dir=$(dirname "$dir"); done
    setpriv --reuid=65534 --regid=65534 --clear-groups cat mid.qcow2 > /dev/null 2>&1 || skip 'folder out of reach'
    setpriv --reuid=65534 --regid=65534 --clear-groups "$IMG" --version > /dev/null 2>&1 || skip 'tool out of reach'
    cmd 1 setpriv --reuid=65534 --regid=65534 --clear-groups "$IMG" commit top.qcow2
    err "qemu-img: Could not open 'mid.qcow2': Permission denied"
    reads top.qcow2 qcow2
}

@test 'somebody else uses the base: the lock is told as qemu-img tells it' {
    need_peer
    chain
    hold qcow2 mid.qcow2 -r
    img 1 commit top.qcow2
    err 'qemu-img: Failed to get "write" lock' 'Is another process using the image [mid.qcow2]?'
    let_go
    reads top.qcow2 qcow2
}

@test '--image-opts' {
    chain
    img 0 commit --image-opts driver=qcow2,file.filename=top.qcow2
    out 'Image committed.'
    reads mid.qcow2 qcow2
}

@test "commit: -p shows no progress if the image cannot be opened" {
    img 1 commit -p none.qcow2
    out ''
    err "qemu-img: Could not open 'none.qcow2': Could not open 'none.qcow2': No such file or directory"
}

@test "commit: zeroes give clusters of the base back to the storage" {
    pattern full.raw 11 0 8M
    img 0 convert -f raw -O qcow2 full.raw base.qcow2
    [ "$(data_bytes base.qcow2)" -gt 8388608 ] || skip 'no holes on this file system'
    img 0 create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
    truncate -s 8M empty.raw
    img 0 convert -n -f raw -O qcow2 empty.raw top.qcow2
    img 0 commit -q top.qcow2
    [ "$(data_bytes base.qcow2)" -lt 1048576 ]
    img 0 compare -f raw empty.raw base.qcow2
    img 0 check -q base.qcow2
}

@test 'a filter on top is seen through' {
    local group=(--object 'throttle-group,id=g' --image-opts)
    local top=driver=throttle,throttle-group=g,file.driver=qcow2,file.file.filename=top.qcow2
    chain
    img 0 commit "${group[@]}" "$top"
    out 'Image committed.'
    reads mid.qcow2 qcow2
    chain
    img 0 commit "${group[@]}" -b low.qcow2 "$top"
    reads low.qcow2 qcow2
    img 1 commit "${group[@]}" -b none.qcow2 "$top"
}
