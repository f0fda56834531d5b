#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-convert: contents, options, progress, pipes, and what it refuses.

load ../helper

fixtures() {
    local name
    for name; do
        fixture "$name"
    done
}

# back FILE RAW: the image's contents are those of RAW
back() {
    img 0 convert -O raw "$1" back.raw
    cmp back.raw "$2"
}

@test "convert: raw to qcow2 and back" {
    sample a.raw
    img 0 convert -f raw -O qcow2 a.raw a.qcow2
    silent
    img 0 check a.qcow2
    out 'No errors were found on the image.' \
        '10/128 = 7.81% allocated, 0.00% fragmented, 0.00% compressed clusters' \
        'Image end offset: 983040'
    err ''
    back a.qcow2 a.raw
    img 0 convert a.qcow2 b.raw
    silent
    cmp a.raw b.raw
}

@test "convert: a raw copy keeps the holes" {
    truncate -s 64M a.raw
    pattern a.raw 11 1M 64k
    pattern a.raw 00 32M 4M
    img 0 convert -f raw -O raw a.raw b.raw
    silent
    cmp a.raw b.raw
    [ "$(stored b.raw)" -le 131072 ]
}

@test "convert: zeroes are left out, from -S on" {
    head -c 1M /dev/zero > a.raw
    pattern a.raw 11 256k 512
    img 0 convert -f raw -O qcow2 a.raw a.qcow2
    silent
    img 0 map --output=json a.qcow2
    out <<'EOF'
[{ "start": 0, "length": 262144, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 262144, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 327680},
{ "start": 327680, "length": 720896, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false}]
EOF
    err ''
    img 0 convert -S 0 -f raw -O qcow2 a.raw full.qcow2
    silent
    img 0 map --output=json full.qcow2
    out '[{ "start": 0, "length": 1048576, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 327680}]'
    err ''
    img 0 convert -S 64k -f raw -O raw a.raw b.raw
    silent
    [ "$(stored b.raw)" -le 69632 ]
    img 0 convert -S 4k -f raw -O raw a.raw b.raw
    silent
    [ "$(stored b.raw)" -le 8192 ]
    img 0 convert -S 0 -f raw -O raw a.raw b.raw
    silent
    [ "$(stored b.raw)" -eq 1048576 ]
    img 0 convert --sparse-size 4k -f raw -O raw a.raw b.raw
    silent
    img 1 convert -S 1000 -f raw -O raw a.raw b.raw
    out ''
    err 'qemu-img: Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to 16777216. Select 0 to disable sparse detection (fully allocates output).'
    img 1 convert -S -1 -f raw -O raw a.raw b.raw
    out ''
    err 'qemu-img: Invalid buffer size for sparse output specified. Must be between 0 and 9223372036854775807.'
    img 1 convert -S many -f raw -O raw a.raw b.raw
    out ''
    err "qemu-img: Invalid buffer size for sparse output specified: 'many'."
}

@test "convert: compressed, with both methods" {
    sample a.raw
    img 0 convert -c -f raw -O qcow2 a.raw z.qcow2
    silent
    img 0 check z.qcow2 -q
    silent
    back z.qcow2 a.raw
    [ "$(stat -c %s z.qcow2)" -lt 1000000 ]
    img 0 convert -c -f raw -O qcow2 -o compression_type=zstd a.raw s.qcow2
    silent
    img 0 check s.qcow2 -q
    silent
    back s.qcow2 a.raw
    img 1 convert -c -f raw -O raw a.raw b.raw
    out ''
    err 'qemu-img: Compression not supported for this file format'
}

@test "convert: the same output from any number of workers" {
    sample a.raw
    truncate -s 30M a.raw
    dd if=/dev/urandom of=a.raw bs=4k seek=700 count=1900 conv=notrunc status=none
    dd if=/dev/urandom of=a.raw bs=512 seek=50001 count=3001 conv=notrunc status=none
    for options in '' '-c' '-o cluster_size=4k' '-o extended_l2=on' '-S 0' '-C' '-c -o cluster_size=512' '-n'; do
        for workers in 1 2 7 16; do
            rm -f $workers.qcow2
            [ "$options" != -n ] || qemu-img create -q -f qcow2 $workers.qcow2 30M
            # shellcheck disable=SC2086
            img 0 convert -m $workers $options -f raw -O qcow2 a.raw $workers.qcow2
            cmp 1.qcow2 $workers.qcow2
        done
    done
    img 1 convert -m 17 -f raw a.raw b.raw
    out ''
    err 'qemu-img: Invalid number of coroutines specified. Must be between 1 and 16.'
    img 1 convert -m 0 -f raw a.raw b.raw
    out ''
    err 'qemu-img: Invalid number of coroutines specified. Must be between 1 and 16.'
    img 1 convert -m x -f raw a.raw b.raw
    out ''
    err "qemu-img: Invalid number of coroutines specified: 'x'."
    img 0 convert -m 4 -W -f raw -O qcow2 a.raw w.qcow2
    silent
    back w.qcow2 a.raw
    img 0 convert -m 4 -W -c -f raw -O qcow2 a.raw w.qcow2
    silent
    img 0 check -q w.qcow2
    silent
    back w.qcow2 a.raw
}

@test "convert: creation options" {
    sample a.raw
    img 0 convert -f raw -O qcow2 -o cluster_size=512,refcount_bits=1 a.raw x.qcow2
    silent
    img 0 check x.qcow2 -q
    silent
    back x.qcow2 a.raw
    img 0 convert -f raw -O qcow2 -o cluster_size=2M -o compat=0.10 a.raw x.qcow2
    silent
    img 0 check x.qcow2
    out 'No errors were found on the image.' \
        '3/4 = 75.00% allocated, 0.00% fragmented, 0.00% compressed clusters' \
        'Image end offset: 16777216'
    err ''
    back x.qcow2 a.raw
    img 0 convert -f raw -O qcow2 -o extended_l2=on,cluster_size=128k a.raw x.qcow2
    silent
    img 0 check x.qcow2 -q
    silent
    back x.qcow2 a.raw
    img 0 convert -f raw -O qcow2 -o data_file=d.raw,data_file_raw=on a.raw x.qcow2
    silent
    img 0 check x.qcow2 -q
    silent
    cmp d.raw a.raw
    img 0 convert -f raw -O qcow2 -o preallocation=metadata a.raw x.qcow2
    silent
    img 0 check x.qcow2
    out 'No errors were found on the image.' \
        '128/128 = 100.00% allocated, 0.00% fragmented, 0.00% compressed clusters' \
        'Image end offset: 8716288'
    err ''
    back x.qcow2 a.raw
    img 0 convert -f raw -O raw -o preallocation=falloc a.raw b.raw
    silent
    cmp a.raw b.raw
    [ "$(stat -c %b b.raw)" -ge 16384 ]
    img 1 convert -f raw -O qcow2 -o nosuch=1 a.raw x.qcow2
    out ''
    err "qemu-img: Invalid parameter 'nosuch'"
    img 1 convert -f raw -O qcow2 -o cluster_size=5 a.raw x.qcow2
    out ''
    err 'qemu-img: x.qcow2: error while converting qcow2: Cluster size must be a power of two between 512 and 2048k'
    img 1 convert -f raw -O raw -o preallocation=metadata a.raw x.raw
    out ''
    err 'qemu-img: x.raw: error while converting raw: Unsupported preallocation mode: metadata'
}

@test "convert: sources that partly exist: chains, compressed, zero clusters, old versions" {
    fixtures base.qcow2 mid.qcow2 top.qcow2 v2.qcow2 v3.qcow2 zstd.qcow2 subclusters.qcow2
    for name in top mid base v2 v3 zstd subclusters; do
    img 0 convert $name.qcow2 $name.raw
    img 0 convert -O qcow2 $name.qcow2 $name.new
    img 0 check -q $name.new
    img 0 compare $name.new $name.raw
    done
    [ "$(sum top.raw)" = e5b11ec2cbf8606f3f467aaafdad2332d8a56ebbeabec0f5fc55281eccc72340 ]
    [ "$(sum mid.raw)" = 5e9d9ceb79489399afd7ce7cb9631906eeff94d7c8db675b4e1e5e03716d62ca ]
    [ "$(sum v2.raw)" = 586b0f40e9b325bd496c866aab03fe00bb31ccbaf5042d78ede6c68d8f74330c ]
    [ "$(sum v3.raw)" = f27eb716a124cf7b18e0b96cd2b8a41db2010e723c7ebc209423493670c9e18f ]
    [ "$(sum zstd.raw)" = b713b4b4d28de1a97086828c59bb800f07679180383b26bf85f6124e5b30569a ]
    [ "$(sum subclusters.raw)" = e8b7be59445be1a0411225b9ab821eb27999e749454109d4f7eb1ce1f0795ad2 ]
}

@test "convert: an internal snapshot" {
    fixtures snapshots.qcow2
    img 0 convert -l first snapshots.qcow2 1.raw
    silent
    img 0 convert -l snapshot.name=first snapshots.qcow2 1n.raw
    silent
    img 0 convert -l snapshot.id=2 snapshots.qcow2 2.raw
    silent
    # By key, also as the first of several sources.
    img 0 convert -l snapshot.id=2 snapshots.qcow2 1.raw 21.raw
    silent
    cat 2.raw 1.raw | cmp - 21.raw
    img 1 convert -l 2 snapshots.qcow2 1.raw x.raw
    err 'qemu-img: No support for concatenating multiple snapshot'
    img 0 convert -l 'second one' snapshots.qcow2 2n.raw
    silent
    cmp 1.raw 1n.raw
    cmp 2.raw 2n.raw
    [ "$(peek 1.raw 0 2)" = 1111 ]
    [ "$(peek 2.raw 0 2)" = 2222 ]
    img 1 convert -l none snapshots.qcow2 x.raw
    out ''
    err "qemu-img: Failed to load snapshot: Can't find snapshot"
    img 1 convert -l snapshot.id=9 snapshots.qcow2 x.raw
    out ''
    err "qemu-img: Failed to load snapshot: Can't find snapshot"
    # Refused where it stands, before other options, and before a source that is not there.
    for command in 'convert -l snapshot.nosuch=9 snapshots.qcow2 x.raw' 'convert -l snapshot.nosuch=9 none x.raw' \
        'convert -l snapshot.nosuch=9 --none' 'measure -l snapshot.nosuch=9 -O none none'; do
        # shellcheck disable=SC2086
        img 1 $command
        out ''
        err "qemu-img: Invalid parameter 'snapshot.nosuch'" \
            "qemu-img: Failed in parsing snapshot param 'snapshot.nosuch=9'"
    done
    [ ! -e x.raw ]
}

@test "convert: several sources, one behind the other" {
    head -c 100000 /dev/urandom > a.raw
    head -c 300k /dev/urandom > b.raw
    truncate -s 1M c.raw
    pattern c.raw 77 512k 4k
    cat a.raw > all.raw
    truncate -s 100352 all.raw
    cat b.raw c.raw >> all.raw
    img 0 convert -f raw -O qcow2 a.raw b.raw c.raw x.qcow2
    silent
    back x.qcow2 all.raw
    fixtures snapshots.qcow2
    img 1 convert -l first snapshots.qcow2 snapshots.qcow2 x.raw
    out ''
    err 'qemu-img: No support for concatenating multiple snapshot'
    img 1 convert -B base.qcow2 -F qcow2 -O qcow2 a.raw b.raw x.qcow2
    out ''
    err 'qemu-img: Having a backing file for the target makes no sense when concatenating multiple input images'
    img 1 convert -n -B a.raw a.raw b.raw none
    err 'qemu-img: Having a backing file for the target makes no sense when concatenating multiple input images'
}

@test "convert: sources that together are longer than any image" {
    beyond
    local half='json:{"driver":"null-co","size":4611686018427387904}'
    echo old > x.qcow2
    img 1 convert -O qcow2 "$half" "$half" x.qcow2
    out ''
    err 'qemu-img: The sources together are too large for an image'
    same x.qcow2 old
    img 1 convert -O qcow2 "$half" "$half" "$half" "$half" x.qcow2
    same x.qcow2 old
}

@test "convert: over a backing file only the difference is stored" {
    sample base.raw
    cp base.raw new.raw
    pattern new.raw 99 5M 4k
    img 0 convert -f raw -O qcow2 base.raw base.qcow2
    img 0 create -q -f qcow2 -b base.qcow2 -F qcow2 old.qcow2
    img 0 convert -O qcow2 -B base.qcow2 -F qcow2 old.qcow2 same.qcow2
    silent
    img 0 check same.qcow2
    out 'No errors were found on the image.' \
        'Image end offset: 262144'
    err ''
    img 0 convert -f raw -O qcow2 -B base.qcow2 -F qcow2 new.raw over.qcow2
    silent
    back over.qcow2 new.raw
    img 0 convert -f raw -O qcow2 -o backing_file=base.qcow2,backing_fmt=qcow2 new.raw over.qcow2
    silent
    back over.qcow2 new.raw
    img 1 convert -f raw -O qcow2 -B base.qcow2 new.raw x.qcow2
    out ''
    err 'qemu-img: Use of backing file requires explicit backing format'
    img 1 convert -f raw -O qcow2 -B none -F qcow2 new.raw x.qcow2
    out ''
    err "qemu-img: Could not open 'x.qcow2': Could not open backing file: Could not open 'none': No such file or directory"
    img 1 convert -f raw -O raw -B base.qcow2 -F qcow2 new.raw x.raw
    out ''
    err "qemu-img: Backing file not supported for file format 'raw'"
    img 1 convert -f raw -O qcow2 -F qcow2 new.raw x.raw
    out ''
    err 'qemu-img: x.raw: error while converting qcow2: Backing format cannot be used without backing file'
    truncate -s 4M short.raw
    img 0 convert -f raw -O qcow2 -B short.raw -F raw new.raw x.qcow2
    silent
    back x.qcow2 new.raw
}

@test "convert: into an existing target" {
    sample a.raw
    img 0 create -q -f qcow2 a.qcow2 8M
    img 0 convert -n -f raw -O qcow2 a.raw a.qcow2
    silent
    back a.qcow2 a.raw
    tr '\0' '\125' < /dev/zero | head -c 8M > dirty.raw
    img 0 convert -n -f raw -O raw a.raw dirty.raw
    silent
    cmp a.raw dirty.raw
    truncate -s 4M small.raw
    img 1 convert -n -f raw -O raw a.raw small.raw
    out ''
    err 'qemu-img: output file is smaller than input file'
    truncate -s 12M large.raw
    pattern large.raw 88 8M 4M
    img 0 convert -n -f raw -O raw a.raw large.raw
    silent
    cmp -n 8388608 a.raw large.raw
    [ "$(peek large.raw 12582911 1)" = 88 ]
    img 1 convert -n -f raw -O raw a.raw none.raw
    out ''
    err "qemu-img: Could not open 'none.raw': Could not open 'none.raw': No such file or directory"
    img 1 convert -n -f raw -O qcow2 -o cluster_size=4k a.raw a.qcow2
    out ''
    err 'qemu-img: -o has no effect when skipping image creation'
}

@test "convert: compressed over what is there" {
    beyond
    sample a.raw
    img 0 convert -f raw -O qcow2 a.raw a.qcow2
    pattern a.raw 77 3M 1M
    img 0 convert -n -c -f raw -O qcow2 a.raw a.qcow2
    back a.qcow2 a.raw
    img 0 check -q a.qcow2
}

@test "convert: --target-is-zero trusts what it is told" {
    sample a.raw
    tr '\0' '\125' < /dev/zero | head -c 8M > t.raw
    img 0 convert -n --target-is-zero -f raw -O raw a.raw t.raw
    silent
    [ "$(peek t.raw 0 1)" = 11 ]
    [ "$(peek t.raw 7340032 1)" = 55 ]
    img 1 convert --target-is-zero -f raw -O raw a.raw t.raw
    out ''
    err 'qemu-img: --target-is-zero requires use of -n flag'
}

@test "convert: a target over a backing file is not zero" {
    truncate -s 1M a.raw
    cp a.raw t
    pattern t 7 64k 64k
    cp t old
    img 1 convert -n --target-is-zero -B a.raw a.raw t
    err 'qemu-img: Cannot use --target-is-zero when the destination image has a backing file'
    cmp t old
}

@test "convert: --target-image-opts" {
    sample a.raw
    truncate -s 10M t.raw
    img 0 convert -n -f raw --target-image-opts a.raw driver=raw,file.filename=t.raw,offset=1M,size=8M
    silent
    tail -c +1048577 t.raw | cmp -n 8388608 a.raw -
    img 1 convert -f raw --target-image-opts a.raw driver=raw,file.filename=t.raw
    out ''
    err 'qemu-img: --target-image-opts requires use of -n flag'
    img 1 convert -n -O raw -f raw --target-image-opts a.raw driver=raw,file.filename=t.raw
    out ''
    err 'qemu-img: --image-opts and --format are mutually exclusive'
    img 0 convert --image-opts driver=raw,file.filename=t.raw,offset=1M,size=8M -O raw b.raw
    silent
    cmp a.raw b.raw
}

@test "convert: progress" {
    truncate -s 8M a.raw
    pattern a.raw 11 0 8M
    img 0 convert -p -f raw -O qcow2 a.raw a.qcow2
    err ''
    tr '\r' '\n' < "$OUT" > lines
    has lines '^    \(0\.00/100%\)$'
    has lines '^    \(100\.00/100%\)$'
    if grep -v -E '^    \([0-9]+\.[0-9][0-9]/100%\)$|^$' lines; then false; fi
    [ "$(tail -c 1 "$OUT" | od -An -tx1 | tr -d ' ')" = 0a ]
    img 0 convert -p -q -f raw -O qcow2 a.raw a.qcow2
    silent
    img 0 convert --quiet -f raw -O qcow2 a.raw a.qcow2
    silent
}

@test "convert: SIGUSR1 prints the progress, on standard error" {
    pattern a.raw 11 0 1M
    truncate -s 64M a.raw
    # so slow that it is still at work when the first line comes, however late that is
    "$IMG" convert -r 1M -f raw -O raw -S 0 a.raw b.raw > "$OUT" 2> "$ERR" 3>&- &
    pid=$!
    wait_until test -s b.raw        # before that the signal may end it
    told() {
        kill -USR1 $pid
        grep -q -a '%' "$ERR"
    }
    wait_until told
    kill -KILL $pid
    wait $pid || true
    out ''
    tr '\r' '\n' < "$ERR" > lines
    has lines '^    \([0-9]+\.[0-9][0-9]/100%\)$'
}

@test "convert: a rate limit" {
    truncate -s 4M a.raw
    pattern a.raw 11 0 4M
    SECONDS=0
    img 0 convert -r 2M -f raw -O raw a.raw b.raw
    silent
    [ "$SECONDS" -ge 1 ]
    cmp a.raw b.raw
    img 1 convert -r fast -f raw -O raw a.raw b.raw
    out ''
    err "qemu-img: Invalid rate limit specified: 'fast'."
}

@test "convert: cache modes of both sides" {
    sample a.raw
    for mode in none writeback writethrough directsync unsafe; do
    img 0 convert -t $mode -T $mode -f raw -O qcow2 a.raw a.qcow2
    img 0 check -q a.qcow2
    back a.qcow2 a.raw
    done
    img 1 convert -t sometimes -f raw -O raw a.raw b.raw
    out ''
    err 'qemu-img: Invalid cache option: sometimes'
    img 1 convert -T sometimes -f raw -O raw a.raw b.raw
    out ''
    err 'qemu-img: Invalid source cache option: sometimes'
}

@test "convert: names, order, attached and long options" {
    sample a.raw
    img 0 convert a.raw -f raw b.qcow2 -Oqcow2
    silent
    img 0 convert -fraw -Oqcow2 -ocluster_size=4k a.raw b.qcow2
    silent
    cp a.raw ./-dash
    img 0 convert -f raw -- -dash b.raw
    silent
    img 1 convert -f raw a.raw 'b:c.raw'
    out ''
    err "qemu-img: Unknown protocol 'b'"
    img 0 convert -f raw a.raw 'file:b:c.raw'
    silent
    cmp a.raw b:c.raw
}

@test "convert: the long names" {
    beyond
    sample a.raw
    img 0 convert --source-format raw --target-format=qcow2 --target-options cluster_size=4k --parallel 2 a.raw b.qcow2
    back b.qcow2 a.raw
    img 0 convert --source-cache none --target-cache none --no-create -f raw --target-format qcow2 --oob-writes a.raw b.qcow2
    back b.qcow2 a.raw
    img 0 convert --progress --quiet --rate-limit 100M --sparse-size 4k --compress -f raw -O qcow2 a.raw b.qcow2
    silent
    img 0 convert -f raw -O qcow2 --backing b.qcow2 --backing-format qcow2 a.raw c.qcow2
    img 0 convert -f raw -O qcow2 -b b.qcow2 -F qcow2 a.raw c.qcow2
    back c.qcow2 a.raw
}

@test "convert: what it refuses" {
    truncate -s 1M a.raw
    img 1 convert
    out ''
    err 'qemu-img: Must specify image file name'
    img 1 convert a.raw
    out ''
    err 'qemu-img: Must specify image file name'
    img 1 convert none b.raw
    out ''
    err "qemu-img: Could not open 'none': Could not open 'none': No such file or directory"
    img 1 convert -f nosuch a.raw b.raw
    out ''
    err "qemu-img: Could not open 'a.raw': Unknown driver 'nosuch'"
    img 1 convert -O nosuch a.raw b.raw
    out ''
    err "qemu-img: Unknown file format 'nosuch'"
    img 1 convert -f qcow2 a.raw b.raw
    out ''
    err "qemu-img: Could not open 'a.raw': Image is not in qcow2 format"
    img 1 convert --nosuch a.raw b.raw
    out ''
    err "qemu-img convert: unrecognized option '--nosuch'" \
        "Try 'qemu-img convert --help' for more info"
    img 1 convert -O
    out ''
    err "qemu-img convert: option requires an argument -- 'O'" \
        "Try 'qemu-img convert --help' for more info"
    img 1 convert -f raw -O qcow2 a.raw /nonexistent/b.qcow2
    out ''
    err "qemu-img: /nonexistent/b.qcow2: error while converting qcow2: Could not create '/nonexistent/b.qcow2': No such file or directory"
    mkdir dir
    img 1 convert -f raw a.raw dir
    out ''
    err "qemu-img: dir: error while converting raw: Could not create 'dir': Is a directory"
    img 1 convert dir b.raw
    out ''
    err "qemu-img: Could not open 'dir': 'file' driver requires 'dir' to be a regular file"
    img 1 convert -f raw -O qcow2 a.raw dir
    out ''
    err "qemu-img: dir: error while converting qcow2: Could not create 'dir': Is a directory"
    img 1 convert --image-opts -f raw a.raw b.raw
    out ''
    err 'qemu-img: --image-opts and --format are mutually exclusive'
    img 1 convert --bitmaps -f raw -O raw a.raw b.raw
    out ''
    err 'qemu-img: Source lacks bitmap support'
    img 1 convert --skip-broken-bitmaps -f raw -O raw a.raw b.raw
    out ''
    err 'qemu-img: Use of --skip-broken-bitmaps requires --bitmaps'
    img 1 convert -C -S 4k -f raw a.raw b.raw
    out ''
    err 'qemu-img: Cannot enable copy offloading when -S is used'
    img 1 convert -C -c -f raw -O qcow2 a.raw b.qcow2
    out ''
    err 'qemu-img: Cannot enable copy offloading when -c is used'
    [ ! -e b.raw ]
}

@test "convert: copy offloading" {
    sample a.raw
    img 0 convert -C -f raw -O raw a.raw b.raw
    silent
    cmp a.raw b.raw
}

@test "convert: --salvage" {
    sample a.raw
    img 0 convert --salvage -f raw -O qcow2 a.raw b.qcow2
    silent
    back b.qcow2 a.raw
}

@test "convert: --salvage tells where block status cannot be read" {
    truncate -s 3M a.raw
    pattern a.raw 7 1M 64k
    local node=driver=raw,file.driver=blkdebug,file.image.filename=a.raw,file.inject-error.0.event=none
    img 0 convert --salvage -O raw --image-opts "$node,file.inject-error.0.iotype=block-status,file.inject-error.0.sector=2048" b.raw
    # qemu-img tells of it for each of its two passes
    sort -u "$ERR" > once
    echo 'qemu-img: warning: error while reading block status at offset 1048576: Input/output error' | cmp - once
    cmp a.raw b.raw
    img 0 convert -q --salvage -O raw --image-opts "$node,file.inject-error.0.iotype=block-status,file.inject-error.0.sector=2048" b.raw
    err ''
    img 1 convert -O raw --image-opts "$node,file.inject-error.0.iotype=block-status,file.inject-error.0.sector=2048" b.raw
    err 'qemu-img: error while reading block status at offset 0: Input/output error'
}

@test "convert: a compressed cluster past the end is an error, or a hole with --salvage" {
    fixtures v3.qcow2
    l1=$((0x$(peek v3.qcow2 40 8)))
    l2=$((0x$(peek v3.qcow2 $l1 8) & 0x00fffffffffffe00))
    poke v3.qcow2 $((l2 + 128)) 4000000040000000
    img 1 convert -O raw v3.qcow2 b.raw
    has "$ERR" '^qemu-img: error while reading'
    img 0 convert --salvage -O raw v3.qcow2 b.raw
    [ "$(peek b.raw 0 1)" = 11 ]
    [ "$(peek b.raw 65536 1)" = 00 ]
    has "$ERR" '^qemu-img: warning: error while reading'
}

@test "convert: the source is the target" {
    sample a.raw
    before=$(sum a.raw)
    img 1 convert -f raw -O raw a.raw a.raw
    out ''
    has "$ERR" '^qemu-img: '
    [ "$(sum a.raw)" = "$before" ] || [ -n "$IMG_IS_PEER" ]
    ln -s a.raw link.raw
    img 1 convert -f raw -O qcow2 a.raw link.raw
    ln a.raw hard.raw
    img 1 convert -f raw -O qcow2 a.raw hard.raw
    [ "$(sum a.raw)" = "$before" ] || [ -n "$IMG_IS_PEER" ]
}

@test "convert: an existing target of another type is replaced" {
    sample a.raw
    img 0 create -q -f qcow2 -o data_file=x.raw t 1M
    img 0 convert -f raw -O raw a.raw t
    silent
    cmp a.raw t
}

@test "convert: a target that is refused stays as it was" {
    sample a.raw
    head -c 100k /dev/urandom > t
    before=$(sum t)
    img 1 convert -f raw -O qcow2 -o nosuch=1 a.raw t
    out ''
    err "qemu-img: Invalid parameter 'nosuch'"
    img 1 convert -f raw -O nosuch a.raw t
    out ''
    err "qemu-img: Unknown file format 'nosuch'"
    img 1 convert -f qcow2 -O qcow2 a.raw t
    out ''
    err "qemu-img: Could not open 'a.raw': Image is not in qcow2 format"
    [ "$(sum t)" = "$before" ]
    img 1 convert -f raw -O qcow2 -B none -F raw a.raw t
    out ''
    err "qemu-img: Could not open 't': Could not open backing file: Could not open 'none': No such file or directory"
    [ "$(sum t)" = "$before" ] || [ -n "$IMG_IS_PEER" ]
}

@test "convert: the disk is full" {
    need_root
    mkdir small
    mount -t tmpfs -o size=1m none small || skip 'cannot mount a tmpfs'
    head -c 4M /dev/urandom > a.raw
    r=0
    img 1 convert -f raw -O raw a.raw small/b.raw || r=1
    has "$ERR" 'No space left on device' || r=1
    img 1 convert -f raw -O qcow2 a.raw small/b.qcow2 || r=1
    has "$ERR" 'No space left on device' || r=1
    img 1 convert -c -f raw -O qcow2 a.raw small/b.qcow2 || r=1
    has "$ERR" 'No space left on device' || r=1
    umount small
    [ $r -eq 0 ]
}

@test "convert: a file size limit" {
    head -c 4M /dev/urandom > a.raw
    cmd 1 bash -c 'trap "" XFSZ; ulimit -f 1024; exec "$@"' - "$IMG" convert -f raw -O qcow2 a.raw b.qcow2
    has "$ERR" 'File too large'
}

@test "convert: odd sizes" {
    for size in 0 1 511 512 513 65537 1000000; do
    head -c $size /dev/urandom > a.raw
    cp a.raw round.raw
    truncate -s $(((size + 511) / 512 * 512)) round.raw
    img 0 convert -f raw -O qcow2 a.raw a.qcow2
    img 0 check -q a.qcow2
    back a.qcow2 round.raw
    img 0 convert -c -f raw -O qcow2 a.raw a.qcow2
    back a.qcow2 round.raw
    img 0 convert -f raw -O raw a.raw b.raw
    cmp b.raw round.raw || [ "$(stat -c %s b.raw)" -eq $size ]
    done
}

@test "convert: names with blanks, a newline, a comma" {
    sample a.raw
    for name in 'a b.qcow2' $'new\nline.qcow2' 'a,b=c.qcow2' "quote'd\".qcow2"; do
    img 0 convert -f raw -O qcow2 a.raw "$name"
    silent
    back "$name" a.raw
    done
}

@test "convert: --help names every option" {
    img 0 convert --help
    for option in --source-format --target-format --target-options --compress --backing --no-create \
        --target-is-zero --sparse-size --parallel --oob-writes --salvage --rate --progress --quiet --force-share \
        --source-cache --target-cache --source-snapshot --target-image-opts --bitmaps --object; do
    has "$OUT" "$option"
    done
    err ''
}

@test "convert: zeroes over data give clusters back to the storage" {
    pattern full.raw 11 0 8M
    truncate -s 8M empty.raw
    for options in '' 'pass-discard-request=off,'; do
        img 0 convert -f raw -O qcow2 full.raw t.qcow2
        [ "$(data_bytes t.qcow2)" -gt 8388608 ] || skip 'no holes on this file system'
        img 0 convert -n -f raw --target-image-opts empty.raw driver=qcow2,${options}file.filename=t.qcow2
        if [ -z "$options" ]; then
            [ "$(data_bytes t.qcow2)" -lt 1048576 ]
        else
            [ "$(data_bytes t.qcow2)" -gt 8388608 ]
        fi
        img 0 compare -f raw empty.raw t.qcow2
        img 0 check -q t.qcow2
    done
}
