#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The filter throttle, and the throttle groups that --object defines.

load ../helper

NODE=driver=throttle,throttle-group=tg,file.filename=f

# group OPTIONS: define it, open an image with it
group() {
    img "$1" info --object "throttle-group,id=tg${2:+,$2}" --image-opts "$NODE"
}

refused() {
    group 1 "$1"
    err "qemu-img: $2"
    out ''
}

# milliseconds COMMAND...: how long it takes
milliseconds() {
    local start
    start=$(date +%s%N)
    "$@"
    elapsed=$((($(date +%s%N) - start) / 1000000))
}

@test "throttle: a group is needed" {
    truncate -s 1M f
    img 1 info --image-opts driver=throttle,file.filename=f
    err "qemu-img: Could not open 'driver=throttle,file.filename=f': Please specify a throttle group"
    img 1 info --image-opts "$NODE"
    err "qemu-img: Could not open '$NODE': Throttle group 'tg' does not exist"
    img 1 info --object secret,id=tg,data=x --image-opts "$NODE"
    err "qemu-img: Could not open '$NODE': Throttle group 'tg' does not exist"
    group 0
    has "$OUT" '^image: json:\{"throttle-group": "tg", "driver": "throttle", "file": \{"driver": "file", "filename": "f"\}\}$'
    has "$OUT" '^    protocol type: file$'
}

@test "throttle: limits in both forms, and as JSON" {
    truncate -s 1M f
    group 0 limits.bps-total=1000
    group 0 x-bps-total=0x10,limits.iops-read=7
    img 0 info --image-opts "$NODE" --object \
        '{"qom-type":"throttle-group","id":"tg","limits":{"bps-total":1000,"bps-total-max":2000,"bps-total-max-length":3}}'
}

@test "throttle: invalid limits" {
    truncate -s 1M f
    refused bogus=1 "Parameter 'bogus' is unexpected"
    refused limits.foo=3 "Parameter 'limits.foo' is unexpected"
    refused limits=3 "Invalid parameter type for 'limits', expected: object"
    refused x-bps-total=-1 'Property values cannot be negative'
    refused limits.bps-total=-1 'bps/iops/max values must be within [0, 1000000000000000]'
    refused x-bps-total=1k "Parameter 'x-bps-total' expects integer"
    refused x-iops-size=3 'iops size requires an iops value to be set'
    refused x-bps-total-max=10 'bps_max/iops_max require corresponding bps/iops values'
    refused x-bps-total=10,x-bps-total-max=3 'bps_max/iops_max cannot be lower than bps/iops'
    refused x-bps-total-max-length=3 'burst length set without burst rate'
    refused x-bps-total-max-length=0 'the burst length cannot be 0'
    refused limits.bps-total=100,limits.bps-read=2 \
        'bps/iops/max total values and read/write values cannot be used at the same time'
    refused limits.bps-total-max-length=5000000000 'bps-total-max-length value must be in the range [0, 4294967295]'
}

# As long as it takes, less what a bucket holds and the last request, which nobody waits for.
@test "throttle: bytes a second, reading and writing" {
    head -c 4M /dev/urandom > f
    for limit in x-bps-total x-bps-read; do
        milliseconds img 0 convert --object "throttle-group,id=tg,$limit=6000000" -O raw --image-opts "$NODE" out
        [ "$elapsed" -ge 200 ]
        cmp f out
    done
    truncate -s 4M out
    milliseconds img 0 convert -n --object throttle-group,id=tg,x-bps-write=6000000 -f raw --target-image-opts f \
        driver=throttle,throttle-group=tg,file.filename=out
    [ "$elapsed" -ge 200 ]
    cmp f out
    # Another direction is not held up.
    milliseconds img 0 convert --object throttle-group,id=tg,x-bps-write=1000 -O raw --image-opts "$NODE" out
    [ "$elapsed" -lt 2000 ]
}

@test "throttle: requests a second, with and without a size of theirs" {
    beyond # it asks for more at once
    head -c 4M /dev/urandom > f
    milliseconds img 0 convert --object throttle-group,id=tg,x-iops-total=20 -O raw --image-opts "$NODE" out
    [ "$elapsed" -ge 200 ]
    milliseconds img 0 convert --object throttle-group,id=tg,x-iops-read=2000,x-iops-size=4096 -O raw \
        --image-opts "$NODE" out
    [ "$elapsed" -ge 200 ]
    cmp f out
}

@test "throttle: under a format" {
    img 0 create -q -f qcow2 f 1M
    img 0 info --object throttle-group,id=tg --image-opts \
        driver=qcow2,file.driver=throttle,file.throttle-group=tg,file.file.filename=f
    has "$OUT" '^image: json:\{"driver": "qcow2", "file": \{"throttle-group": "tg", "driver": "throttle", '
    has "$OUT" "^Child node '/file':\$"
    has "$OUT" '^    file format: throttle$'
}
