#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Clients of other makers see the same disk, whatever the image is made of.

# (each test runs in a process of its own, and so does its server)
# shellcheck disable=SC2030,SC2031

load ../helper
load ../nbd

# same_disk FORMAT FILE RAW [OPTION...]: three clients read from a server of FILE what RAW has
same_disk() {
    start_nbd -t -r -e 0 -f "$1" "${@:4}" "$2"
    [ -z "$PEER" ] || [ "$("$PEER" compare -f raw -F raw "$3" "$(uri)")" = 'Images are identical.' ]
    nbdcopy "$(uri)" copy.raw
    cmp "$3" copy.raw
    nbdcopy --connections=4 --requests=8 "$(uri)" copy.raw
    cmp "$3" copy.raw
    nbdcopy --synchronous --no-extents "$(uri)" copy.raw
    cmp "$3" copy.raw
    stop_server
}

@test "serve-clients: contents of images of all kinds" {
    need nbdcopy
    sample src.raw
    for format in raw qcow2 vmdk vdi vhdx vpc qed parallels; do
        img 0 convert -f raw -O $format src.raw x
        img 0 convert -f $format -O raw x whole.raw
        same_disk $format x whole.raw
    done
    for how in '-O qcow2 -c' '-O qcow2 -c -o compression_type=zstd' '-O vmdk -o subformat=streamOptimized' \
        '-O qcow2 -o extended_l2=on,cluster_size=128k'; do
        # shellcheck disable=SC2086
        img 0 convert -f raw $how src.raw x
        format=${how#-O }
        same_disk "${format%% *}" x src.raw
    done
}

@test "serve-clients: a client that starts the server" {
    need nbdcopy
    sample src.raw
    img 0 convert -f raw -O qcow2 src.raw x
    nbdcopy -- [ "$NBD" -r -e 0 -f qcow2 x ] copy.raw
    cmp src.raw copy.raw
}

@test "serve-clients: a backing chain, a snapshot, a part" {
    need nbdcopy
    sample src.raw
    img 0 convert -f raw -O qcow2 src.raw base.qcow2
    img 0 snapshot -c old base.qcow2
    img 0 create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
    same_disk qcow2 top.qcow2 src.raw
    pattern new.raw 77 0 8M
    start_nbd -f qcow2 base.qcow2
    nbdcopy new.raw "$(uri)"
    ended
    same_disk qcow2 base.qcow2 new.raw
    same_disk qcow2 base.qcow2 src.raw -l old
    same_disk qcow2 base.qcow2 src.raw -l snapshot.name=old
    dd if=src.raw of=part.raw bs=64k skip=1 status=none
    same_disk raw src.raw part.raw -o 65536
}

@test "serve-clients: writes of nbdcopy and of the other qemu-img" {
    need nbdcopy
    sample src.raw
    for format in raw qcow2 vdi vhdx vmdk; do
        img 0 create -q -f $format x 8M
        start_nbd -f $format x
        nbdcopy --flush src.raw "$(uri)"
        ended
        img 0 compare -f raw -F $format src.raw x
        [ -n "$PEER" ] || continue
        img 0 create -q -f $format x 8M
        start_nbd -f $format -e 0 x
        "$PEER" convert -n -f raw -O raw src.raw "$(uri)"
        ended
        img 0 compare -f raw -F $format src.raw x
    done
}

@test "serve-clients: the other qemu-img maps what the image has" {
    need_peer
    need nbdinfo
    truncate -s 4M src.raw
    pattern src.raw 11 1M 64k
    pattern src.raw 22 3M 128k
    for format in raw qcow2; do
        img 0 convert -f raw -O $format src.raw x
        [ $format != raw ] || cp src.raw x      # (a converted file begins with data)
        start_nbd -t -e 0 -r -f $format x
        "$PEER" map --output=json -f raw "$(uri)" |
            python3 -c 'import json, sys
print([(e["start"], e["length"]) for e in json.load(sys.stdin) if e["data"]])' > data
        [ "$(cat data)" = '[(1048576, 65536), (3145728, 131072)]' ]
        nbdinfo --map "$(uri)" | awk '$3 == 0 { print $1, $2 }' > data
        [ "$(tr '\n' ' ' < data)" = '1048576 65536 3145728 131072 ' ]
        stop_server
    done
}

@test "serve-clients: allocation depth and bitmaps" {
    need nbdinfo
    img 0 create -q -f qcow2 base.qcow2 1M
    start_nbd -f qcow2 base.qcow2
    nbdsh -u "$(uri)" -c 'h.pwrite(b"b" * 65536, 0); h.pwrite(b"b" * 65536, 131072)'
    ended
    img 0 create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
    img 0 bitmap --add top.qcow2 changed
    start_nbd -f qcow2 top.qcow2
    nbdsh -u "$(uri)" -c 'h.pwrite(b"t" * 65536, 65536)'
    ended
    start_nbd -t -r -f qcow2 -A -B changed top.qcow2
    map_of() {
        nbdinfo --map="$1" "$(uri)" | awk '{ print $1, $2, $3 }'
    }
    map_of qemu:allocation-depth > got
    same got '0 65536 2' '65536 65536 1' '131072 65536 2' '196608 851968 0'
    map_of qemu:dirty-bitmap:changed > got
    same got '0 65536 0' '65536 65536 1' '131072 917504 0'
    nbdinfo --json "$(uri)" |
        python3 -c 'import json, sys
print(sorted(json.load(sys.stdin)["exports"][0]["contexts"]))' > got
    same got "['base:allocation', 'qemu:allocation-depth', 'qemu:dirty-bitmap:changed']"
    stop_server
}

@test "serve-clients: what nbdinfo says an export can" {
    need nbdinfo
    truncate -s 1M a.raw
    start_nbd -t -e 0 -f raw a.raw
    for what in cache df fast-zero flush fua multi-conn trim write zero; do
        nbdinfo --can $what "$(uri)" || { echo "not $what"; false; }
    done
    never nbdinfo --is read-only "$(uri)"
    never nbdinfo --is rotational "$(uri)"
    stop_server
    start_nbd -t -r -f raw a.raw
    for what in trim write zero fast-zero multi-conn; do
        never nbdinfo --can $what "$(uri)" || { echo "$what"; false; }
    done
    for what in cache df flush fua; do
        nbdinfo --can $what "$(uri)"
    done
    nbdinfo --is read-only "$(uri)"
    stop_server
}

@test "serve-clients: a script of nbdsh uses every request" {
    need nbdsh
    for format in raw qcow2; do
        img 0 create -q -f $format x 4M
        start_nbd -f $format --discard=unmap x
        nbdsh -u "$(uri)" -c '
import errno
h.set_strict_mode(0)
h.pwrite(b"a" * 100000, 12345, nbd.CMD_FLAG_FUA)
assert h.pread(100000, 12345) == b"a" * 100000
h.zero(65536, 65536, nbd.CMD_FLAG_NO_HOLE)
assert h.pread(65536, 65536) == bytes(65536)
h.zero(100, 20000)
assert h.pread(102, 19999) == b"a" + bytes(100) + b"a"
h.trim(65536, 0)
h.cache(65536, 0)
h.flush()
for call in (lambda: h.pread(512, h.get_size()), lambda: h.pwrite(bytes(512), h.get_size() - 1)):
    try:
        call()
        assert False
    except nbd.Error as error:
        assert error.errnum in (errno.EINVAL, errno.ENOSPC), error
assert h.pread(1, h.get_size() - 1) == b"\0"'
        ended
    done
}

@test "serve-clients: reads of many clients at once" {
    need nbdcopy
    sample src.raw
    img 0 convert -c -f raw -O qcow2 src.raw x
    start_nbd -t -r -e 4 -f qcow2 x
    jobs=
    for n in 1 2 3 4 5 6; do
        nbdcopy --connections=1 "$(uri)" "copy.$n" 3>&- &
        jobs="$jobs $!"
    done
    for job in $jobs; do
        wait "$job"
    done
    for n in 1 2 3 4 5 6; do
        cmp src.raw "copy.$n"
    done
    stop_server
}

@test "serve-clients: clients without options of their own: nbd-client -l, oldstyle words" {
    need nbd-client
    truncate -s 1M a.raw
    start_nbd -t -f raw -x name a.raw
    cmd 0 nbd-client -l -unix "$PWD/s"
    has "$OUT" '^name'
    stop_server
}

@test "serve-clients: TLS with keys, and nobody without" {
    need_tls
    need psktool nbdcopy
    sample src.raw
    psktool -u qemu -p keys.psk > /dev/null 2>&1
    start_nbd -t -f raw --object "tls-creds-psk,id=t,dir=$PWD,endpoint=server" --tls-creds=t src.raw
    nbdcopy "nbds+unix://qemu@/?socket=$PWD/s&tls-psk-file=$PWD/keys.psk" copy.raw
    cmp src.raw copy.raw
    never nbdcopy "$(uri)" copy.raw
    if [ -n "$PEER" ]; then
        "$PEER" compare --object "tls-creds-psk,id=t,dir=$PWD,username=qemu,endpoint=client" --image-opts \
            driver=raw,file.filename=src.raw "driver=raw,file.driver=nbd,file.path=$PWD/s,file.tls-creds=t"
    fi
    nbd 1 -L -k "$PWD/s"
    err 'qemu-nbd: TLS negotiation required before option 3 (list)' 'Did you forget a valid tls-creds?' \
        'server reported: Option 0x3 not permitted before TLS'
    nbd 0 -L -k "$PWD/s" --object "tls-creds-psk,id=t,dir=$PWD,username=qemu,endpoint=client" --tls-creds=t
    has "$OUT" '^exports available: 1$'
    stop_server
}

@test "serve-clients: fio's requests" {
    need fio
    fio --enghelp 2> /dev/null | grep -q '\bnbd\b' || skip 'this fio has no engine for nbd'
    img 0 create -q -f qcow2 x 16M
    start_nbd -t -e 0 -f qcow2 x
    fio --name=x --ioengine=nbd --uri="$(uri)" --rw=randrw --bs=4k --size=16M --io_size=8M --iodepth=16 \
        --verify=crc32c --thread > fio.out
    stop_server
    img 0 check -f qcow2 x
}
