#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-compare: equal, different, unequal sizes, strict, and its exit codes.

load ../helper

@test "compare: equal contents in different formats" {
    sample a.raw
    img 0 convert -f raw -O qcow2 a.raw a.qcow2
    img 0 convert -c -f raw -O qcow2 a.raw c.qcow2
    img 0 compare a.raw a.qcow2
    out 'Images are identical.'
    err ''
    img 0 compare -f raw -F qcow2 a.raw c.qcow2
    out 'Images are identical.'
    err ''
    img 0 compare -q a.raw a.qcow2
    silent
    img 0 compare a.qcow2 c.qcow2
    out 'Images are identical.'
    err ''
    img 0 compare a.raw a.raw
    out 'Images are identical.'
    err ''
}

@test "compare: a difference, where it begins" {
    sample a.raw
    cp a.raw b.raw
    pattern b.raw 44 3000000 1
    img 1 compare -f raw -F raw a.raw b.raw
    out 'Content mismatch at offset 2999808!'
    err ''
    img 1 compare -q -f raw -F raw a.raw b.raw
    silent
    pattern b.raw 44 1048576 1
    img 1 compare -f raw -F raw a.raw b.raw
    out 'Content mismatch at offset 1048576!'
    err ''
}

@test "compare: a hole and zeroes are equal, except in strict mode" {
    truncate -s 4M hole.raw
    head -c 4M /dev/zero > zero.raw
    img 0 compare -f raw -F raw hole.raw zero.raw
    out 'Images are identical.'
    err ''
    img 1 compare -s -f raw -F raw hole.raw zero.raw
    out 'Strict mode: Offset 0 block status mismatch!'
    err ''
    img 0 convert -f raw -O qcow2 hole.raw hole.qcow2
    img 0 convert -S 0 -f raw -O qcow2 hole.raw full.qcow2
    img 0 compare hole.qcow2 full.qcow2
    out 'Images are identical.'
    err ''
    img 1 compare -s hole.qcow2 full.qcow2
    out 'Strict mode: Offset 0 block status mismatch!'
    err ''
}

@test "compare: sizes that differ" {
    truncate -s 4M a.raw
    truncate -s 6M b.raw
    img 0 compare -f raw -F raw a.raw b.raw
    out 'Warning: Image size mismatch!' \
        'Images are identical.'
    err ''
    img 0 compare -f raw -F raw b.raw a.raw
    out 'Warning: Image size mismatch!' \
        'Images are identical.'
    err ''
    img 1 compare -s -f raw -F raw a.raw b.raw
    out 'Strict mode: Image size mismatch!'
    err ''
    pattern b.raw 11 5M 512
    img 1 compare -f raw -F raw a.raw b.raw
    out 'Warning: Image size mismatch!' \
        'Content mismatch at offset 5242880!'
    err ''
    img 1 compare -f raw -F raw b.raw a.raw
    out 'Warning: Image size mismatch!' \
        'Content mismatch at offset 5242880!'
    err ''
}

@test "compare: through backing files" {
    for name in base mid top; do fixture $name.qcow2; done
    img 0 convert top.qcow2 flat.raw
    img 0 compare top.qcow2 flat.raw
    out 'Images are identical.'
    err ''
    img 1 compare mid.qcow2 flat.raw
    out 'Content mismatch at offset 102400!'
    err ''
    img 1 compare base.qcow2 top.qcow2
    out 'Content mismatch at offset 65536!'
    err ''
    img 1 compare -s base.qcow2 top.qcow2
    out 'Strict mode: Image size mismatch!'
    err ''
}

@test "compare: progress" {
    truncate -s 4M a.raw
    img 0 compare -p -f raw -F raw a.raw a.raw
    tr '\r' '\n' < "$OUT" > lines
    has lines '^ +\(0\.00/100%\)$'
    has lines '^ +\(100\.00/100%\)$'
    has lines '^Images are identical\.$'
    err ''
}

@test "compare: what it refuses" {
    truncate -s 1M a.raw
    img 1 compare a.raw
    out ''
    err 'qemu-img: Expecting two image file names' \
        "Try 'qemu-img compare --help' for more info"
    img 1 compare
    out ''
    err 'qemu-img: Expecting two image file names' \
        "Try 'qemu-img compare --help' for more info"
    img 1 compare a.raw a.raw a.raw
    out ''
    err 'qemu-img: Expecting two image file names' \
        "Try 'qemu-img compare --help' for more info"
    img 2 compare a.raw none
    out ''
    err "qemu-img: Could not open 'none': Could not open 'none': No such file or directory"
    img 2 compare none a.raw
    out ''
    err "qemu-img: Could not open 'none': Could not open 'none': No such file or directory"
    img 2 compare -f qcow2 a.raw a.raw
    out ''
    err "qemu-img: Could not open 'a.raw': Image is not in qcow2 format"
    img 2 compare -F nosuch a.raw a.raw
    out ''
    err "qemu-img: Could not open 'a.raw': Unknown driver 'nosuch'"
    img 2 compare -T sometimes a.raw a.raw
    out ''
    err 'qemu-img: Invalid source cache option: sometimes'
    img 1 compare --nosuch a.raw a.raw
    out ''
    err "qemu-img compare: unrecognized option '--nosuch'" \
        "Try 'qemu-img compare --help' for more info"
    mkdir dir
    img 2 compare a.raw dir
    out ''
    err "qemu-img: Could not open 'dir': 'file' driver requires 'dir' to be a regular file"
}

@test "compare: image options and long names" {
    truncate -s 1M a.raw
    pattern a.raw 11 512k 4k
    truncate -s 512k b.raw
    pattern b.raw 11 0 4k
    img 0 compare --image-opts driver=raw,offset=512k,file.filename=a.raw driver=raw,file.filename=b.raw
    out 'Images are identical.'
    err ''
    img 0 compare --a-format raw --b-format=raw --strict --quiet a.raw a.raw
    silent
    img 2 compare --image-opts -f raw a.raw b.raw
    out ''
    err 'qemu-img: --image-opts and --format are mutually exclusive'
}

@test "compare: --output=json" {
    beyond
    truncate -s 4M a.raw
    cp a.raw b.raw
    pattern b.raw 11 1M 1
    img 0 compare --output=json -f raw -F raw a.raw a.raw
    has "$OUT" '"identical": true'
    img 1 compare --output=json -f raw -F raw a.raw b.raw
    has "$OUT" '"identical": false'
    has "$OUT" '1048576'
}

@test "compare: --help names every option" {
    img 0 compare --help
    for option in --a-format --b-format --image-opts --strict --cache --quiet --progress --force-share --object; do
        has "$OUT" "$option"
    done
    err ''
}
