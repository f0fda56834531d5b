#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-rebase: another backing file under an image.

load ../helper

# low.qcow2 <- mid.qcow2 <- top.qcow2, and other.raw; 4 MiB each
chain() {
    qemu-img create -q -f qcow2 low.qcow2 4M
    pattern low.raw 11 0 2M && truncate -s 4M low.raw
    qemu-img convert -n --target-is-zero -f raw -O qcow2 low.raw low.qcow2
    pattern mid.raw 22 1M 64k
    truncate -s 4M mid.raw
    overlay mid.qcow2 low.qcow2 mid.raw
    pattern top.raw 33 2M 64k
    truncate -s 4M top.raw
    overlay top.qcow2 mid.qcow2 top.raw
    pattern other.raw 44 0 64k
    pattern other.raw 11 64k 64k
    truncate -s 4M other.raw
    qemu-img convert -O raw top.qcow2 want.raw
}

# overlay NAME BACKING RAW: an overlay with the data (not the holes) of RAW
overlay() {
    qemu-img create -q -f qcow2 -o cluster_size=64k flat.qcow2 4M
    qemu-img convert -n --target-is-zero -f raw -O qcow2 "$3" flat.qcow2
    mv flat.qcow2 "$1"
    qemu-img rebase -u -b "$2" -F qcow2 "$1"
}

reads_as_before() {
    qemu-img convert -O raw top.qcow2 now.raw
    cmp now.raw want.raw
    img 0 check -q top.qcow2
    silent
}

# The backing file as info tells it; nothing: none.
backing() {
    qemu-img info top.qcow2 | sed -n -E 's/^backing file: ([^ ]*).*/\1/p'
}

depth_0() {
    qemu-img map --output=json top.qcow2 | grep '"depth": 0' | grep -o '"start": [0-9]*, "length": [0-9]*'
}

@test 'onto an ancestor: what the image between holds is copied, and no more' {
    chain
    img 0 rebase -b low.qcow2 -F qcow2 top.qcow2
    silent
    [ "$(backing)" = low.qcow2 ]
    rm mid.qcow2
    reads_as_before
    [ "$(depth_0)" = '"start": 1048576, "length": 65536
"start": 2097152, "length": 65536' ]
}

@test 'onto a stranger: what agrees with it is not copied' {
    chain
    img 0 rebase -b other.raw -F raw top.qcow2
    silent
    rm mid.qcow2 low.qcow2
    reads_as_before
    [ "$(depth_0 | head -1)" = '"start": 0, "length": 65536' ]
    [ "$(depth_0 | sed -n 2p | cut -d, -f1)" = '"start": 131072' ]
}

@test 'onto nothing' {
    chain
    img 0 rebase -b '' top.qcow2
    silent
    [ -z "$(backing)" ]
    rm mid.qcow2 low.qcow2
    reads_as_before
}

@test 'an image without a backing file gets one: its zeroes stay zeroes' {
    chain
    qemu-img create -q -f qcow2 top.qcow2 4M
    truncate -s 4M zero.raw
    cp zero.raw want.raw
    img 0 rebase -b low.qcow2 -F qcow2 top.qcow2
    silent
    reads_as_before
    # zero clusters, no data
    [ "$(stat -c %s top.qcow2)" -lt 400000 ]
    # Version 2 has no zero clusters: it is data.
    for options in compat=0.10 compat=0.10,cluster_size=512; do
        qemu-img create -q -f qcow2 -o $options top.qcow2 4M
        qemu-img convert -n --target-is-zero -f raw -O qcow2 top.raw top.qcow2
        cp top.raw want.raw
        img 0 rebase -b low.qcow2 -F qcow2 top.qcow2
        silent
        reads_as_before
    done
    qemu-img create -q -f qed top.qed 4M
    qemu-img rebase -f qed -b low.qcow2 -F qcow2 top.qed
    qemu-img compare -q top.qed zero.raw
}

@test 'new backing files that are shorter or longer than the image' {
    chain
    truncate -s 1000k short.raw
    img 0 rebase -b short.raw -F raw top.qcow2
    silent
    reads_as_before
    pattern long.raw 55 0 9M
    img 0 rebase -b long.raw -F raw top.qcow2
    silent
    reads_as_before
    img 0 rebase -b mid.qcow2 -F qcow2 top.qcow2
    reads_as_before
}

@test 'an old backing file that is shorter than the image' {
    chain
    qemu-img resize -q top.qcow2 6M
    qemu-img convert -O raw top.qcow2 want.raw
    pattern long.raw 55 0 7M
    img 0 rebase -b long.raw -F raw top.qcow2
    silent
    reads_as_before
    img 0 rebase -b low.qcow2 -F qcow2 top.qcow2
    reads_as_before
}

@test 'a chain with a short image between: zeroes behind its end are not taken for its own' {
    chain
    qemu-img create -q -f qcow2 -b low.qcow2 -F qcow2 short.qcow2 1M
    qemu-img create -q -f qcow2 -b short.qcow2 -F qcow2 top.qcow2 4M
    qemu-img convert -O raw top.qcow2 want.raw
    img 0 rebase -b low.qcow2 -F qcow2 top.qcow2
    silent
    reads_as_before
}

@test 'chains that share a tail: only what lies above it is read' {
    chain
    qemu-img create -q -f qcow2 -b low.qcow2 -F qcow2 cousin.qcow2
    img 0 rebase -b cousin.qcow2 -F qcow2 top.qcow2
    silent
    reads_as_before
    [ "$(depth_0)" = '"start": 1048576, "length": 65536
"start": 2097152, "length": 65536' ]
}

@test '-c writes compressed clusters' {
    chain
    img 0 rebase -c -b '' top.qcow2
    silent
    reads_as_before
    qemu-img check top.qcow2 | grep -q -E '[1-9][0-9.]*% compressed'
    img 1 rebase -c -f raw -b low.qcow2 -F qcow2 other.raw
    err 'qemu-img: Compression not supported for this file format'
}

@test 'subclusters and version 2' {
    chain
    for options in extended_l2=on,cluster_size=16k compat=0.10 compat=0.10,cluster_size=512; do
        qemu-img create -q -f qcow2 -o $options -b mid.qcow2 -F qcow2 top.qcow2
        qemu-img convert -O raw top.qcow2 want.raw
        img 0 rebase -b other.raw -F raw top.qcow2
        silent
        reads_as_before
        img 0 rebase -b '' top.qcow2
        reads_as_before
    done
}

@test '-u changes the name alone, of files that need not exist' {
    chain
    rm mid.qcow2
    sum=$(sum low.qcow2)
    img 0 rebase -u -b none.qcow2 -F qcow2 top.qcow2
    silent
    [ "$(backing)" = none.qcow2 ]
    img 0 rebase -u -b "json:{'driver':'raw','file.filename':'x'}" -F raw top.qcow2
    img 0 rebase -u -b '' top.qcow2
    [ -z "$(backing)" ]
    img 0 rebase -u -b low.qcow2 -F qcow2 top.qcow2
    img 0 rebase -u top.qcow2
    [ -z "$(backing)" ]
    [ "$(sum low.qcow2)" = "$sum" ]
}

@test 'names relative to the image' {
    chain
    mkdir sub
    qemu-img rebase -u -b ../mid.qcow2 -F qcow2 top.qcow2
    mv top.qcow2 sub/
    img 1 rebase -b low.qcow2 -F qcow2 sub/top.qcow2
    err "qemu-img: Could not open new backing file 'low.qcow2': Could not open 'sub/low.qcow2': No such file or directory"
    img 0 rebase -b ../low.qcow2 -F qcow2 sub/top.qcow2
    silent
    mv sub/top.qcow2 .
    qemu-img rebase -u -b low.qcow2 -F qcow2 top.qcow2
    reads_as_before
    img 1 rebase -b low.qcow2 -F qcow2 \
        'json:{"driver":"qcow2","file":{"driver":"raw","file":{"driver":"file","filename":"top.qcow2"}}}'
    has "$ERR" '^qemu-img: Could not resolve backing filename: Cannot use relative backing file names for .json:'
}

@test 'a name as json:, and --image-opts' {
    chain
    name='json:{"driver":"raw","file":{"driver":"file","filename":"other.raw"}}'
    img 0 rebase -b "$name" -F raw top.qcow2
    silent
    reads_as_before
    img 0 rebase --image-opts -b mid.qcow2 -F qcow2 driver=qcow2,file.filename=top.qcow2
    silent
    reads_as_before
}

@test 'progress' {
    chain
    img 0 rebase -p -b '' top.qcow2
    [ "$(tr '\r' '\n' < "$OUT" | head -1)" = '    (0.00/100%)' ]
    [ "$(tr '\r' '\n' < "$OUT" | tail -2)" = '    (100.00/100%)' ]
    img 0 rebase -p -u -b mid.qcow2 -F qcow2 top.qcow2
    [ "$(tr '\r' '|' < "$OUT")" = '    (0.00/100%)|    (100.00/100%)|' ]
    img 0 rebase -p -q -b '' top.qcow2
    silent
}

@test 'what is refused, in the words of qemu-img' {
    chain
    img 1 rebase top.qcow2
    has "$ERR" '^qemu-img: Must specify backing file \(-b\) or use unsafe mode \(-u\)$'
    img 1 rebase -b '' top.qcow2 low.qcow2
    has "$ERR" '^qemu-img: Expecting one image file name$'
    img 1 rebase -b low.qcow2 top.qcow2
    err "qemu-img: Could not change the backing file to 'low.qcow2': backing format must be specified"
    img 1 rebase -u -b low.qcow2 top.qcow2
    err "qemu-img: Could not change the backing file to 'low.qcow2': backing format must be specified"
    img 1 rebase -b low.qcow2 -F foo top.qcow2
    err "qemu-img: Invalid format name: 'foo'"
    img 1 rebase -b none -F qcow2 top.qcow2
    err "qemu-img: Could not open new backing file 'none': Could not open 'none': No such file or directory"
    img 1 rebase -f raw -b low.qcow2 -F qcow2 other.raw
    err "qemu-img: Could not change the backing file to 'low.qcow2': Operation not supported"
    img 1 rebase -f raw -u other.raw
    err "qemu-img: Could not change the backing file to '(null)': Operation not supported"
    img 1 rebase -t foo -T bar -b '' top.qcow2
    err 'qemu-img: Invalid cache option: foo'
    img 1 rebase -u -T bar -b '' top.qcow2
    err 'qemu-img: Invalid source cache option: bar'
    img 1 rebase --image-opts -f qcow2 -b '' driver=qcow2,file.filename=top.qcow2
    err 'qemu-img: --image-opts and --format are mutually exclusive'
    img 1 rebase -u -b "$(printf 'x%.0s' {1..1024})" -F raw top.qcow2
    has "$ERR" "xxx': Invalid argument$"
    qemu-img create -q -f qcow2 -o cluster_size=512 small.qcow2 1M
    img 1 rebase -u -b "$(printf 'x%.0s' {1..600})" -F raw small.qcow2
    has "$ERR" "xxx': No space left in the file header$"
    qemu-img create -q -f qcow2 -o data_file=data,data_file_raw=on plain.qcow2 1M
    img 1 rebase -b low.qcow2 -F qcow2 plain.qcow2
    err "qemu-img: Could not change the backing file to 'low.qcow2': Invalid argument"
    [ "$(backing)" = mid.qcow2 ]
    reads_as_before
}

@test 'a new chain that contains the image itself is refused' {
    chain
    img 1 rebase -b top.qcow2 -F qcow2 low.qcow2
    err "qemu-img: Could not open new backing file 'top.qcow2': Could not open backing file: Could not open backing file: Failed to get shared \"write\" lock" \
        'Is another process using the image [low.qcow2]?'
    img 1 rebase -b top.qcow2 -F qcow2 top.qcow2
    has "$ERR" 'Failed to get shared "write" lock'
    reads_as_before
}

@test 'also with -U, where qemu-img makes an image that no one can open' {
    beyond
    chain
    img 1 rebase -U -b top.qcow2 -F qcow2 mid.qcow2
    err "qemu-img: Could not open new backing file 'top.qcow2': Backing file 'mid.qcow2' creates an infinite loop."
    reads_as_before
}

@test 'a filter on top is seen through' {
    local group=(--object 'throttle-group,id=g' --image-opts)
    local top=driver=throttle,throttle-group=g,file.driver=qcow2,file.file.filename=top.qcow2
    qemu-img create -q -f qcow2 low.qcow2 1M
    qemu-img bench -w --pattern=5 -c 4 -s 64k -f qcow2 low.qcow2 > /dev/null
    qemu-img create -q -f qcow2 -b low.qcow2 -F qcow2 mid.qcow2
    qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2
    qemu-img convert -O raw top.qcow2 want.raw
    img 0 rebase "${group[@]}" -b "$PWD/low.qcow2" -F qcow2 "$top"
    qemu-img info top.qcow2 | grep -qx "backing file: $PWD/low.qcow2"
    img 1 rebase "${group[@]}" -b "$PWD/top.qcow2" -F qcow2 "$top"
    img 0 rebase "${group[@]}" -b '' "$top"
    img 0 compare -f qcow2 -F raw top.qcow2 want.raw
    img 0 rebase -u "${group[@]}" -b low.qcow2 -F qcow2 "$top"
    qemu-img info top.qcow2 | grep -qx 'backing file: low.qcow2'
}
