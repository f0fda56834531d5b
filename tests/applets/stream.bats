#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-convert and img-dd: images that are written in order, to standard output and into named pipes.

load ../helper

# to FILE ARGUMENT...: through a pipe; silent
to() {
    local file=$1
    shift
    if ! { qemu-img "$@" 2> "$ERR" && echo written > .status; } | cat > "$file" || [ ! -e .status ]; then
        show
        return 1
    fi
    rm .status
    : > "$OUT"
    err ''
}

# The reference tool and ours find nothing to repair in a qcow2 image, and both read what is in FILE.
sound() {  # IMAGE FILE [FORMAT]
    local format=${3-raw} tool
    img 0 check -f qcow2 "$1"
    has "$OUT" '^No errors were found on the image.$'
    for tool in "$IMG" "$PEER"; do
        [ -n "$tool" ] || continue
        "$tool" check -f qcow2 "$1" > "$OUT" 2> "$ERR" || { show; return 1; }
        ! grep -i leak "$OUT" || return 1
        "$tool" compare -f "$format" -F qcow2 "$2" "$1" > "$OUT" 2> "$ERR" || { show; return 1; }
    done
}

# The map without the places; neighbours that then say the same are one.
map_of() {
    img 0 map -f qcow2 --output=json "$1"
    sed -E 's/^.*"start": ([0-9]+), "length": ([0-9]+), |, "offset": [0-9]+|}.*$/\1 \2 /g' "$OUT" |
        awk '{ start = $1; end = $1 + $2; $1 = $2 = "" }
             $0 != last { if (NR > 1) print from, to, last; from = start; last = $0 }
             { to = end } END { print from, to, last }'
}

same_map() {
    map_of "$1" > .map
    map_of "$2" | diff .map -
}

size() {
    stat -c %s "$1"
}

@test "stream: qcow2 in order" {
    beyond
    sample a.raw
    to s.qcow2 convert -f raw -O qcow2 a.raw -
    sound s.qcow2 a.raw
    img 0 convert -f raw -O qcow2 a.raw /dev/stdout     # a file: an image like any other
    cmd 0 qemu-img convert -f raw -O qcow2 a.raw -
    cmp s.qcow2 "$OUT"
}

@test "stream: one pass plans with the map, another one looks for zeroes" {
    beyond
    truncate -s 8M a.raw
    pattern a.raw 11 1M 64k
    pattern a.raw 00 2M 2M
    to map.qcow2 convert -f raw -O qcow2 a.raw -
    sound map.qcow2 a.raw
    [ "$(size map.qcow2)" -gt 2097152 ]
    to zero.qcow2 convert -S 4k -f raw -O qcow2 a.raw -
    sound zero.qcow2 a.raw
    img 0 convert -f raw -O qcow2 a.raw file.qcow2
    [ "$(size zero.qcow2)" -le "$(size file.qcow2)" ]
    same_map zero.qcow2 file.qcow2
    to all.qcow2 convert -S 0 -f raw -O qcow2 a.raw -
    sound all.qcow2 a.raw
    [ "$(size all.qcow2)" -gt 8388608 ]
}

@test "stream: compressed" {
    beyond
    local options
    sample a.raw
    for options in '' compression_type=zstd compression_type=zstd,compression_level=1 compression_level=6 \
            compression_window=4k cluster_size=4k cluster_size=2M,extended_l2=on cluster_size=512,refcount_bits=1 \
            refcount_bits=2,cluster_size=1k; do
        to s.qcow2 convert -c -f raw -O qcow2 ${options:+-o "$options"} a.raw -
        sound s.qcow2 a.raw
        img 0 convert -c -f raw -O qcow2 ${options:+-o "$options"} a.raw file.qcow2
        same_map s.qcow2 file.qcow2
        [ "$(size s.qcow2)" -le $(($(size file.qcow2) + 300000)) ]
    done
}

@test "stream: creation options" {
    beyond
    local options
    sample a.raw
    for options in compat=0.10 cluster_size=512 cluster_size=2M lazy_refcounts=on refcount_bits=64 \
            extended_l2=on cluster_size=16k,extended_l2=on refcount_bits=1,cluster_size=1k; do
        to s.qcow2 convert -S 4k -f raw -O qcow2 -o "$options" a.raw -
        sound s.qcow2 a.raw
        img 0 convert -f raw -O qcow2 -o "$options" a.raw file.qcow2
        same_map s.qcow2 file.qcow2
        qemu-img info s.qcow2 | sed -n '/cluster_size/p; /Format/,/Child/p' > .info
        qemu-img info file.qcow2 | sed -n '/cluster_size/p; /Format/,/Child/p' | diff .info -
    done
}

@test "stream: an overlay keeps its holes" {
    beyond
    local options words
    sample base.raw
    img 0 create -q -f qcow2 -b base.raw -F raw top.qcow2 12M
    img 0 convert -f raw -O raw base.raw over.raw
    pattern over.raw 55 300k 10k
    pattern over.raw 00 1M 64k
    img 0 rebase -f qcow2 -b '' top.qcow2
    for options in '' extended_l2=on compat=0.10 cluster_size=4k; do
        rm -f top.qcow2
        img 0 create -q -f qcow2 -o "cluster_size=64k${options:+,$options}" -b base.raw -F raw top.qcow2 12M
        img 0 convert -n -f raw -O qcow2 -S 512 over.raw top.qcow2
        img 0 dd -f raw -O qcow2 if=over.raw of=top.qcow2 bs=64k skip=3 count=1 seek=3 conv=notrunc
        for words in '' -c '-S 4k'; do
            # shellcheck disable=SC2086
            to s.qcow2 convert $words -f qcow2 -O qcow2 ${options:+-o "$options"} -B base.raw -F raw top.qcow2 -
            sound s.qcow2 top.qcow2 qcow2
            # shellcheck disable=SC2086
            img 0 convert $words -f qcow2 -O qcow2 ${options:+-o "$options"} -B base.raw -F raw top.qcow2 file.qcow2
            [ -z "$words" ] || same_map s.qcow2 file.qcow2
        done
    done
    rm top.qcow2
    img 0 create -q -f qcow2 -b base.raw -F raw top.qcow2
    to s.qcow2 convert -f qcow2 -O qcow2 -B base.raw -F raw top.qcow2 -
    [ "$(size s.qcow2)" -le 327680 ]
    img 1 convert -f qcow2 -O qcow2 -B none.raw -F raw top.qcow2 -
    out ''
    has "$ERR" 'No such file or directory'
}

@test "stream: snapshots, several sources, odd sizes" {
    beyond
    sample a.raw
    head -c 100000 /dev/urandom > b.raw
    img 0 convert -f raw -O qcow2 a.raw a.qcow2
    img 0 snapshot -c one a.qcow2
    img 0 dd -f raw -O qcow2 if=b.raw of=a.qcow2 bs=512 count=195 conv=notrunc
    to s.qcow2 convert -l one -O qcow2 a.qcow2 -
    sound s.qcow2 a.raw
    cat a.raw b.raw > ab.raw
    to s.qcow2 convert -c -f raw -O qcow2 a.raw b.raw -
    sound s.qcow2 ab.raw
    : > none.raw
    to s.qcow2 convert -f raw -O qcow2 none.raw -
    sound s.qcow2 none.raw
}

@test "stream: the same bytes whatever the number of workers" {
    beyond
    local words m
    sample a.raw
    for words in '' -c '-S 4k'; do
        # shellcheck disable=SC2086
        to s.qcow2 convert $words -m 1 -f raw -O qcow2 a.raw -
        for m in 2 5 16; do
            # shellcheck disable=SC2086
            to more.qcow2 convert $words -W -m $m -f raw -O qcow2 a.raw -
            cmp s.qcow2 more.qcow2
        done
    done
}

@test "stream: digest, rate, progress into a named pipe" {
    beyond
    "$IMG" convert --help | grep -q -e --digest || skip 'no digests in this build'
    sample a.raw
    mkfifo pipe
    cat pipe > s.qcow2 &
    img 0 convert -c -p -r 100M --digest sha256 -f raw -O qcow2 a.raw pipe
    wait $!
    has "$OUT" "$(sum a.raw)"
    tr '\r' '\n' < "$OUT" | awk -F'[(/]' '/100%/ { if ($2 + 0 < last) exit 1; last = $2 + 0 }'
    sound s.qcow2 a.raw
    img 0 convert --digest sha256 -f raw -O qcow2 a.raw -
    has "$ERR" "$(sum a.raw)"
}

@test "stream: a source that changes between the passes is an error" {
    beyond
    local words
    mkfifo pipe
    for words in '' -c '-S 4k'; do
        truncate -s 0 a.raw
        truncate -s 16M a.raw
        head -c 8M /dev/urandom | dd of=a.raw conv=notrunc status=none
        # the reader takes a little, and the writer is in its second pass; then it goes on
        { head -c 1000; pattern a.raw 11 12M 64k; cat; } < pipe > s.qcow2 3>&- &
        # shellcheck disable=SC2086
        img 1 convert $words -f raw -O qcow2 a.raw pipe
        wait $!
        has "$ERR" '^qemu-img: the source was changed while it was read \(at byte [0-9]+\)$'
    done
}

@test "stream: data that become zeroes are zeroes" {
    beyond
    mkfifo pipe
    head -c 16M /dev/urandom > a.raw
    { head -c 1000; pattern a.raw 00 12M 1M; cat; } < pipe > s.qcow2 3>&- &
    img 0 convert -f raw -O qcow2 a.raw pipe
    wait $!
    sound s.qcow2 a.raw
}

@test "stream: a reader that exits is an error" {
    beyond
    head -c 4M /dev/urandom > a.raw
    { qemu-img convert -f raw -O qcow2 a.raw - 2> "$ERR" || echo $? > rc; } | head -c 1000 > /dev/null
    [ "$(cat rc)" -eq 1 ]
    has "$ERR" '^qemu-img: error while writing at byte [0-9]+: Broken pipe$'
    [ "$(wc -l < "$ERR")" -eq 1 ]
}

@test "stream: an output that is full, or closed" {
    beyond
    head -c 4M /dev/urandom > a.raw
    qemu-img convert -f raw -O qcow2 a.raw - > /dev/full 2> "$ERR" || echo $? > rc
    [ "$(cat rc)" -eq 1 ]
    err 'qemu-img: error while writing at byte 0: No space left on device'
    rm rc
    qemu-img convert -f raw -O qcow2 a.raw - 2> "$ERR" >&- || echo $? > rc
    [ "$(cat rc)" -eq 1 ]
    [ "$(size a.raw)" -eq 4194304 ]
}

@test "stream: what cannot be read" {
    beyond
    local words source
    head -c 4M /dev/urandom > a.raw
    source=driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=a.raw
    source=$source,file.inject-error.0.event=none,file.inject-error.0.sector=4097,file.inject-error.0.errno=5
    qemu-img info --image-opts "$source" > "$OUT" 2>&1 || skip 'no blkdebug in this build'
    for words in '' -c '-S 4k'; do
        # shellcheck disable=SC2086
        img 1 convert $words -O qcow2 --image-opts "$source" -
        has "$ERR" '^qemu-img: error while reading at byte [0-9]+: Input/output error$'
        # shellcheck disable=SC2086
        qemu-img convert $words --salvage -O qcow2 --image-opts "$source" - > s.qcow2 2> "$ERR"
        err 'qemu-img: warning: error while reading offset 2097664: Input/output error'
        cp a.raw b.raw
        pattern b.raw 00 2097664 512
        sound s.qcow2 b.raw
    done
}

@test "stream: what cannot be written in order is refused, and nothing is written" {
    beyond
    sample a.raw
    img 1 convert -f raw -O qcow2 -o preallocation=full a.raw -
    out ''
    has "$ERR" 'preallocation'
    img 1 convert -f raw -O qcow2 -o data_file=x a.raw -
    out ''
    [ ! -e x ]
    img 1 convert -f raw -O qcow2 -o nocow=on a.raw -
    out ''
    err "qemu-img: -: error while converting qcow2: Invalid parameter 'nocow'"
    img 1 convert -f raw -O qcow2 -o cluster_size=3 a.raw -
    out ''
    img 1 convert -f raw -O qcow2 -n a.raw -
    out ''
    img 1 convert -f raw -O qcow2 -p a.raw -
    out ''
    img 0 convert -f raw -O qcow2 a.raw a.qcow2
    img 1 convert --bitmaps -f qcow2 -O qcow2 a.qcow2 -
    out ''
    if qemu-img create -q -f vdi x.vdi 1M 2> /dev/null; then
        img 1 convert -f raw -O vdi a.raw -
        out ''
        has "$ERR" "^qemu-img: Image format 'vdi' cannot be written in order, .*: .*qcow2.*raw"
    fi
}

@test "stream: vmdk, streamOptimized" {
    beyond
    local options m
    sample a.raw
    for options in subformat=streamOptimized subformat=streamOptimized,compat6=on,adapter_type=lsilogic; do
        for m in 1 4; do
            to s.vmdk convert -m $m -f raw -O vmdk -o "$options" a.raw -
            for tool in "$IMG" "$PEER"; do
                [ -z "$tool" ] || "$tool" compare -f raw -F vmdk a.raw s.vmdk
            done
            img 0 convert -f raw -O vmdk -o "$options" a.raw file.vmdk
            # all but the content id, which is drawn by lot
            cmp <(sed 's/^CID=.*//; s/"file.vmdk"//' file.vmdk) <(sed 's/^CID=.*//; s/"disk.vmdk"//' s.vmdk)
        done
    done
    ! command -v 7zz > /dev/null || cmp a.raw <(7zz x -tvmdk -so s.vmdk)
    img 1 convert -f raw -O vmdk a.raw -
    out ''
    err 'qemu-img: -: error while converting vmdk: Only subformat=streamOptimized can be written in order'
    img 1 convert -f raw -O vmdk -o subformat=streamOptimized -B a.raw -F raw a.raw -
    out ''
}

@test "stream: a large disk takes no memory" {
    beyond
    no_asan
    truncate -s 7T a.raw
    pattern a.raw 22 5T 64k 2> /dev/null || pattern a.raw 22 5497558138880 64k
    (ulimit -v 400000 && to s.qcow2 convert -f raw -O qcow2 a.raw -)
    sound s.qcow2 a.raw
    (ulimit -v 400000 && to s.qcow2 convert -c -f raw -O qcow2 a.raw -)
    sound s.qcow2 a.raw
}

@test "stream: a device without a map is read twice" {
    beyond
    need_root
    local device
    truncate -s 8M a.raw
    pattern a.raw 11 1M 64k
    device=$(losetup -f --show a.raw 2> /dev/null) || skip 'no loop devices'
    to s.qcow2 convert -f raw -O qcow2 "$device" - || { losetup -d "$device"; return 1; }
    losetup -d "$device"
    sound s.qcow2 a.raw
    [ "$(size s.qcow2)" -le 524288 ]
}

@test "stream: dd writes images to standard output too" {
    beyond
    sample a.raw
    to s.qcow2 dd -f raw -O qcow2 if=a.raw bs=1000 skip=300 count=5000
    dd if=a.raw of=part.raw bs=1000 skip=300 count=4700 status=none
    sound s.qcow2 part.raw
    to s.qcow2 dd -f raw -O qcow2 if=a.raw bs=64k conv=sparse
    sound s.qcow2 a.raw
    [ "$(size s.qcow2)" -lt 4000000 ]
    to s.qcow2 dd -f raw -O qcow2 if=a.raw bs=1M skip=8
    : > none.raw
    sound s.qcow2 none.raw
    # what is read once is saved first
    to s.qcow2 dd -O qcow2 bs=64k < <(cat a.raw)
    sound s.qcow2 a.raw
}

@test "stream: standard input into formats that must know its length" {
    beyond
    sample_for_input a.raw
    for target in vdi vpc vhdx vmdk 'vmdk -o subformat=streamOptimized' qed; do
        # shellcheck disable=SC2086,SC2002
        cat a.raw | qemu-img convert -O $target - out
        img 0 compare -f raw -F "${target%% *}" a.raw out
        # shellcheck disable=SC2086
        qemu-img convert -O $target - out < a.raw
        img 0 compare -f raw -F "${target%% *}" a.raw out
    done
    # what is read once is written twice: a pipe into a pipe
    # shellcheck disable=SC2002
    cat a.raw | qemu-img convert -c -O qcow2 - - | cat > out
    img 0 compare -f raw -F qcow2 a.raw out
    img 0 check -q -f qcow2 out
    # nothing is kept where the options are wrong, and nothing is left behind
    mkdir left
    # shellcheck disable=SC2002
    [ "$(cat a.raw | TMPDIR=$PWD/left qemu-img convert -O qcow2 -o foo=1 - - 2> /dev/null | wc -c)" -eq 0 ]
    # shellcheck disable=SC2002
    cat a.raw | TMPDIR=$PWD/left qemu-img convert -O qcow2 - - > out
    [ -z "$(ls -A left)" ]
    # shellcheck disable=SC2002
    cat a.raw | qemu-img convert -O vdi - "file:$PWD/left/out"
    img 0 compare -f raw -F vdi a.raw left/out
    img 1 convert -O vdi - nowhere/out < <(cat a.raw)
    err "qemu-img: Could not make a temporary file in 'nowhere' for standard input: No such file or directory"
}

@test "stream: an error on closing standard output" {
    beyond
    need_strace
    sample_for_input a.raw
    for words in 'convert -f raw -O qcow2 a.raw -' 'convert -f raw -O raw a.raw -' 'dd -f raw if=a.raw'; do
        # shellcheck disable=SC2086
        cmd 1 strace -f -o trace -P "$OUT" -e trace=close -e inject=close:error=EDQUOT "$IMG" $words
        has "$ERR" 'Disk quota exceeded'
    done
}

sample_for_input() {
    truncate -s 9M "$1"
    dd if=/dev/urandom of="$1" bs=4k seek=300 count=700 conv=notrunc status=none
}

@test "stream: pipes that somebody made non-blocking" {
    beyond
    head -c 3M /dev/urandom > a.raw
    python3 - "$IMG" << 'END'
import os, subprocess, sys, threading, time
def slowly(fd, data):
    for at in range(0, len(data), 300000):
        time.sleep(0.01)
        os.write(fd, data[at:at + 300000])
    os.close(fd)
def through(data, want, *command):
    source, feed = os.pipe()
    drain, target = os.pipe()
    os.set_blocking(source, False)
    os.set_blocking(target, False)
    tool = subprocess.Popen([sys.argv[1], *command], stdin=source, stdout=target)
    os.close(source)
    os.close(target)
    threading.Thread(target=slowly, args=(feed, data)).start()
    got = b''
    while True:
        time.sleep(0.001)
        part = os.read(drain, 100000)
        if not part:
            break
        got += part
    return tool.wait() or got != want
data = open('a.raw', 'rb').read()
if through(data, data, 'convert', '-O', 'raw', '-', '-'):
    sys.exit('convert')
# Passing over the start waits for bytes too, and so does the look for more than the output takes.
if through(data, data[1000000:], 'dd', 'bs=1000000', 'skip=1'):
    sys.exit('dd')
open('b.raw', 'wb').write(b'x' * len(data))
if through(data, b'', 'dd', '-n', '-O', 'raw', 'of=b.raw') or open('b.raw', 'rb').read() != data:
    sys.exit('dd -n')
END
}
