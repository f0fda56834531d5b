#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# json: names and --image-opts: graphs of nodes, options of every node, and their refusal by name.

load ../helper

# A base with data, a compressed cluster and zeroes, and an overlay with one cluster.
chain() {
    truncate -s 1M raw
    pattern raw 11 0 64k
    img 0 convert -f raw -O qcow2 raw base
    yes abcdefgh | head -c 64k > packed
    img 0 create -q -f qcow2 one 64k
    pattern raw 22 128k 64k
    img 0 convert -c -f raw -O qcow2 raw coded
    img 0 create -q -f qcow2 -b base -F qcow2 top
}

@test "image-opts: raw over a format keeps its map" {
    chain
    img 0 map --output=json --image-opts driver=raw,file.driver=qcow2,file.file.filename=coded
    out '[{ "start": 0, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": true},' \
        '{ "start": 65536, "length": 65536, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},' \
        '{ "start": 131072, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": true},' \
        '{ "start": 196608, "length": 851968, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false}]'
    node=driver=raw,offset=128k,size=96k,file.driver=qcow2,file.file.filename=coded
    img 0 map --output=json --image-opts "$node"
    out '[{ "start": 0, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": true},' \
        '{ "start": 65536, "length": 32768, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false}]'
    img 0 convert --image-opts -O raw "$node" got
    truncate -s 96k want
    pattern want 22 0 64k
    cmp want got
}

# There the real tool shows zeroes for what lies in the backing file.
@test "image-opts: raw over an overlay reads its backing file" {
    beyond
    chain
    img 0 compare --image-opts driver=raw,file.driver=qcow2,file.file.filename=top driver=qcow2,file.filename=base
    img 0 convert --image-opts -O raw driver=raw,file.driver=qcow2,file.file.filename=top got
    img 0 compare -f raw -F qcow2 got base
}

@test "image-opts: filters are seen through" {
    chain
    for node in driver=compress,file.driver=qcow2,file.file.filename=top \
        driver=blkdebug,image.driver=qcow2,image.file.filename=top \
        driver=throttle,throttle-group=tg,file.driver=qcow2,file.file.filename=top \
        driver=throttle,throttle-group=tg,file.driver=compress,file.file.driver=qcow2,file.file.file.filename=top; do
        img 0 map --object throttle-group,id=tg --output=json --image-opts "$node"
        out '[{ "start": 0, "length": 65536, "depth": 1, "present": true, "zero": false, "data": true, "compressed": false, "offset": 327680},' \
            '{ "start": 65536, "length": 983040, "depth": 1, "present": false, "zero": true, "data": false, "compressed": false}]'
        img 0 compare --object throttle-group,id=tg --image-opts "$node" driver=qcow2,file.filename=base
        img 0 convert --object throttle-group,id=tg -B base -F qcow2 -O qcow2 --image-opts "$node" copy
        img 0 compare -U copy base
    done
    # As a backing file, too.
    img 0 create -q -f qcow2 -F compress over 1M \
        -b 'json:{"driver":"compress","file":{"driver":"qcow2","file":{"driver":"file","filename":"base"}}}'
    img 0 map --output=json over
    has "$OUT" '"depth": 1, "present": true, "zero": false, "data": true'
}

@test "image-opts: info lists what lies below, backing files of inner formats as well" {
    chain
    img 0 info --image-opts driver=raw,file.driver=qcow2,file.file.filename=top
    grep -E "Child node|backing file" "$OUT" > lines
    same lines "Child node '/file':" '    backing file: base' '    backing file format: qcow2' \
        "    Child node '/file/backing':" "        Child node '/file/backing/file':" "    Child node '/file/file':"
    img 0 info --output=json 'json:{"driver":"compress","file":{"driver":"qcow2","file":{"driver":"file","filename":"top"}}}'
    has "$OUT" '^                        "name": "backing",$'
    has "$OUT" '^    "filename": "json:\{\\"driver\\": \\"compress\\", \\"file\\": \{\\"driver\\": \\"qcow2\\", \\"file\\": \{\\"driver\\": \\"file\\", \\"filename\\": \\"top\\"\}\}\}",$'
}

@test "image-opts: backing=null, another backing file" {
    chain
    img 0 map --output=json 'json:{"driver":"qcow2","backing":null,"file":{"driver":"file","filename":"top"}}'
    out '[{ "start": 0, "length": 1048576, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false}]'
    img 0 compare --image-opts driver=qcow2,file.filename=top,backing.driver=qcow2,backing.file.filename=coded \
        driver=qcow2,file.filename=coded
    name='json:{"driver":"qcow2","backing":{"driver":"null-co"},"file":{"driver":"file","filename":"top"}}'
    img 1 map "$name"
    err "qemu-img: Could not open '$name': Could not open backing file: The only allowed filename for this driver is 'null-co://'"
}

@test "image-opts: unknown options" {
    chain
    # refused NAME MESSAGE
    refused() {
        img 1 info --image-opts "$1"
        err "qemu-img: Could not open '$1': $2"
    }
    refused driver=qcow2,file.filename=base,bogus=1 "Block format 'qcow2' does not support the option 'bogus'"
    refused driver=qcow2,file.filename=base,file.bogus=1 "Block protocol 'file' doesn't support the option 'bogus'"
    refused driver=qcow2,file.filename=base,copy-on-read=on "Block format 'qcow2' does not support the option 'copy-on-read'"
    refused driver=qcow2,file.filename=base,cache.writeback=off \
        "Block format 'qcow2' does not support the option 'cache.writeback'"
    refused driver=raw,file=base "Cannot find device='base' nor node-name='base'"
    refused driver=foo,file.filename=base "Unknown driver 'foo'"
    refused driver=qcow2,file.filename=base,detect-zeroes=unmap \
        'setting detect-zeroes to unmap is not allowed without setting discard operation to unmap'
    refused driver=qcow2,file.filename=base,discard=foo 'Invalid discard option'
    name='json:{"driver":"compress","file":{"driver":"qcow2","bogus":2,"file":{"driver":"file","filename":"base"}}}'
    img 1 info "$name"
    err "qemu-img: Could not open '$name': Block format 'qcow2' does not support the option 'bogus'"
}

@test "image-opts: a node that is not active shows only itself" {
    img 0 create -q -f qcow2 x 1M
    case $("$IMG" --version) in
        *' 7.2'*) skip 'not in 7.2' ;;
    esac
    img 0 info --image-opts driver=qcow2,file.filename=x,active=off
    img 1 check -r all --image-opts driver=qcow2,file.filename=x,active=off
    err "qemu-img: Could not open 'driver=qcow2,file.filename=x,active=off': Permission 'consistent read, write' unavailable on inactive node"
}

@test "image-opts: zeroes that are detected are not written" {
    truncate -s 1M zeroes
    head -c 512k /dev/zero | dd of=zeroes conv=notrunc status=none
    for mode in off on unmap; do
        img 0 create -q -f qcow2 x 1M
        img 0 convert -S 0 -n -f raw --target-image-opts zeroes \
            driver=qcow2,discard=unmap,detect-zeroes=$mode,file.filename=x
        img 0 map --output=json x
        if [ $mode = off ]; then
            has "$OUT" '"length": 1048576, "depth": 0, "present": true, "zero": false, "data": true'
        else
            out '[{ "start": 0, "length": 1048576, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false}]'
        fi
    done
}
