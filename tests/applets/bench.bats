#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-bench: its words, its requests.

load ../helper

setup() {
    fresh_folder
    truncate -s 1M a.raw
}

# The time that it took is another one every time.
timed() {
    sed -i -E 's/^(Run completed in) [0-9]+\.[0-9]{3} (seconds\.)$/\1 N \2/' "$OUT"
}

@test "bench: what it prints" {
    img 0 bench -f raw -c 10 a.raw
    timed
    out 'Sending 10 read requests, 4096 bytes each, 64 in parallel (starting at offset 0, step size 4096)' \
        'Run completed in N seconds.'
    err ''
    img 0 bench -f raw -q -c 3 -d 2 -s 1k -S 700k -o 64k -w --pattern 65 a.raw
    timed
    out 'Sending 3 write requests, 1024 bytes each, 2 in parallel (starting at offset 65536, step size 716800)' \
        'Run completed in N seconds.'
    err ''
    img 0 bench -f raw -c 0x14 -d 4 -w --flush-interval 4 a.raw
    timed
    out 'Sending 20 write requests, 4096 bytes each, 4 in parallel (starting at offset 0, step size 4096)' \
        'Sending flush every 4 requests' \
        'Run completed in N seconds.'
    err ''
    img 0 bench -f raw -c 2 -n -t none a.raw
    img 0 bench -f raw -c 2 -i io_uring -U a.raw
    img 0 bench --image-opts -c 2 driver=raw,file.filename=a.raw
    img 0 bench -f raw a.raw
    timed
    out 'Sending 75000 read requests, 4096 bytes each, 64 in parallel (starting at offset 0, step size 4096)' \
        'Run completed in N seconds.'
}

@test "bench: what it refuses" {
    refused() {  # MESSAGE ARGUMENT...
        img 1 bench "${@:2}"
        out ''
        err "qemu-img: $1"
    }
    refused 'Invalid request count specified. Must be between 1 and 2147483647.' -c 0 a.raw
    refused "Invalid request count specified: '1K'." -c 1K a.raw
    refused "Invalid request count specified: ''." -c '' a.raw
    refused "Invalid queue depth specified: 'x'." -d x a.raw
    refused 'Invalid queue depth specified. Must be between 1 and 2147483647.' -d 2147483648 a.raw
    refused 'Invalid buffer size specified. Must be between 1 and 2147483647.' -s 3G a.raw
    refused 'Invalid step size specified. Must be between 0 and 2147483647.' -S -1 a.raw
    refused 'Invalid offset specified. Must be between 0 and 9223372036854775807.' -o -1 a.raw
    refused 'Invalid pattern byte specified. Must be between 0 and 255.' --pattern=256 a.raw
    refused "Invalid flush interval specified: 'x'." --flush-interval=x a.raw
    refused 'Invalid cache mode' -t foo a.raw
    refused 'Invalid aio option: foo' -i foo a.raw
    refused '--flush-interval is only available in write tests' --flush-interval=64 a.raw
    refused "Flush interval can't be smaller than depth" -w --flush-interval=63 a.raw
    refused '--image-opts and --format are mutually exclusive' --image-opts -f raw a.raw
    refused "Could not open 'missing': Could not open 'missing': No such file or directory" -n missing
    refused "Could not open 'a.raw': aio=native was specified, but it requires cache.direct=on, which was not specified." \
            -n -f raw a.raw
    refused "Could not open 'a.raw': force-share=on can only be used with read-only images" -U -w -f raw a.raw
    img 1 bench
    has "$ERR" 'Expecting one image file name'
    img 1 bench a.raw a.raw
    has "$ERR" 'Expecting one image file name'
}

@test "bench: a request behind the end fails" {
    for options in '-o 1M' '-s 2M' '-s 300k -d 1' '-o 1040000 -s 64k'; do
        # shellcheck disable=SC2086
        img 1 bench -f raw $options a.raw
        has "$OUT" '^Sending 75000 read requests'
        [ "$(wc -l < "$OUT")" -eq 1 ]
        err 'qemu-img: Failed request: Input/output error'
    done
    truncate -s 0 e.raw
    img 1 bench -f raw -w -c 1 e.raw
    err 'qemu-img: Failed request: Input/output error'
    [ "$(stat -c %s e.raw)" -eq 0 ]
}

# requests TRACE: "r OFFSET LENGTH" or "w ..." or "f", in order, of the image's descriptor
requests() {
    grep -v -e '+++' -e '---' "$1" | sed -nE \
        -e 's/.*pread64(\(| resumed>).*, ([0-9]+), ([0-9]+)\) *= [0-9]+$/r \3 \2/p' \
        -e 's/.*pwrite64\([0-9]+, .*, ([0-9]+), ([0-9]+)(\) *= .*| <unfinished.*)/w \2 \1/p' \
        -e 's/.*fdatasync\([0-9]+.*/f/p'
}

traced() {
    need_strace
    strace -f -P "$PWD/a.raw" -e trace=pread64,pwrite64,fdatasync -o trace "$IMG" bench -f raw "$@" a.raw > told
    requests trace
}

@test "bench: the requests are made, and wrap around at the end" {
    cmd 0 traced -c 5 -d 1 -S 700k -s 8k
    out 'r 0 8192' 'r 716800 8192' 'r 385024 8192' 'r 53248 8192' 'r 770048 8192'
    cmd 0 traced -c 3 -d 1 -w -o 512 -s 512 -S 1000
    head -3 "$OUT" > first
    same first 'w 512 512' 'w 1512 512' 'w 2512 512'
    cmd 0 traced -c 2000 -d 16
    [ "$(grep -c '^r' "$OUT")" -eq 2000 ]
    [ "$(sort -u "$OUT" | wc -l)" -eq 256 ]
    # more than one thread made them
    [ "$(grep pread64 trace | cut -d ' ' -f 1 | sort -u | wc -l)" -gt 1 ]
}

@test "bench: flushes" {
    cmd 0 traced -c 7 -d 1 -w -s 4k --flush-interval 3
    head -10 "$OUT" > first
    same first 'w 0 4096' f 'w 4096 4096' 'w 8192 4096' 'w 12288 4096' f 'w 16384 4096' 'w 20480 4096' 'w 24576 4096' f
    cmd 0 traced -c 9 -d 3 -w -s 4k --flush-interval 3
    # drained: each flush has three writes before it
    [ "$(head -12 "$OUT" | cut -c 1 | tr -d '\n')" = wwwfwwwfwwwf ]
    cmd 0 traced -c 40 -d 4 -w -s 4k --flush-interval 10 --no-drain
    [ "$(grep -c '^f' "$OUT")" -ge 1 ]
    [ "$(grep -c '^w' "$OUT")" -eq 40 ]
    cmd 0 traced -c 9 -d 3 -w -s 4k --flush-interval 3 -t unsafe
    [ "$(grep -c '^f' "$OUT")" -eq 0 ]
}

@test "bench: the pattern is written, also into one cluster at a time by many" {
    img 0 bench -f raw -w --pattern 65 -c 4 -s 1k -o 4k a.raw
    head -c 4k /dev/zero > want
    head -c 4k /dev/zero | tr '\0' A >> want
    truncate -s 1M want
    cmp a.raw want
    for options in '' -o\ extended_l2=on '-o cluster_size=2M'; do
        # shellcheck disable=SC2086
        img 0 create -q -f qcow2 $options a.qcow2 4M
        img 0 bench -f qcow2 -w --pattern 66 -c 900 -d 64 -s 3000 -S 4660 -t unsafe a.qcow2
        img 0 check -q a.qcow2
        img 0 convert -O raw a.qcow2 a.out
        python3 - <<'EOF'
size, want = 4 << 20, bytearray(4 << 20)
for i in range(900):
    want[i * 4660 % size:i * 4660 % size + 3000] = b'B' * 3000
assert open('a.out', 'rb').read() == want[:size]
EOF
    done
}

@test "bench: messages of the old profile" {
    beyond
    export IMGBOX_COMPAT=7.2
    img 0 bench -f raw -c 0 a.raw
    img 1 bench -c x a.raw
    err 'qemu-img: Invalid request count specified'
    img 1 bench --pattern=300 a.raw
    err 'qemu-img: Invalid pattern byte specified'
    img 1 bench -S x a.raw
    err 'qemu-img: Invalid step_size specified. You may use k, M, G, T, P or E suffixes for' \
        'qemu-img: kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.'
}
