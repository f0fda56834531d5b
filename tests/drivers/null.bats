#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# null-co and null-aio: names, options, what they read as.

load ../helper

@test "null: both names, size and latency" {
    for driver in null-co null-aio; do
        img 0 info "$driver://"
        out "image: $driver://" 'file format: raw' 'virtual size: 1 GiB (1073741824 bytes)' 'disk size: 0 B' \
            "Child node '/file':" "    filename: $driver://" "    protocol type: $driver" \
            '    file length: 1 GiB (1073741824 bytes)' '    disk size: 0 B'
        img 1 info "$driver:foo"
        err "qemu-img: Could not open '$driver:foo': The only allowed filename for this driver is '$driver://'"
    done
    img 0 info --output=json --image-opts driver=null-co,size=1000,read-zeroes=on,latency-ns=3
    out '{' '    "children": [' '    ],' '    "virtual-size": 1024,' \
        '    "filename": "json:{\"read-zeroes\": \"on\", \"driver\": \"null-co\", \"size\": \"1000\"}",' \
        '    "format": "null-co",' '    "actual-size": 0' '}'
}

@test "null: invalid options" {
    img 1 info --image-opts driver=null-co,latency-ns=-1
    err "qemu-img: Could not open 'driver=null-co,latency-ns=-1': latency-ns is invalid"
    img 1 info --image-opts driver=null-co,bogus=1
    err "qemu-img: Could not open 'driver=null-co,bogus=1': Block protocol 'null-co' doesn't support the option 'bogus'"
    img 1 create -f null-co foo 1M
    err "qemu-img: foo: Format driver 'null-co' does not support image creation"
}

@test "null: reads return zeroes, writes are discarded" {
    img 0 map --output=json --image-opts driver=null-co,size=1M,read-zeroes=on
    out '[{ "start": 0, "length": 1048576, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 0}]'
    sample raw
    img 0 convert -n -f raw --target-image-opts raw driver=null-co,size=8M
    silent
    img 0 convert --image-opts -O raw driver=null-co,size=1M out
    truncate -s 1M want
    cmp out want
    # Sixteen requests of at least 20 ms: it does wait.
    start=$(date +%s%N)
    img 0 bench -c 16 -d 1 --image-opts driver=null-co,size=8M,latency-ns=20000000
    [ $((($(date +%s%N) - start) / 1000000)) -ge 320 ]
}
