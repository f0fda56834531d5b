#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# rbd: an image in a Ceph cluster.  The cluster is a real one, of one monitor and one osd in memory.

load ../helper
load ../servers
load ../ceph

setup_file() {
    export RIG=$BATS_FILE_TMPDIR
    is_there || return 0
    ceph_start
}

teardown_file() {
    ceph_stop
}

is_there() {
    ceph_needs && "$IMG" --help | grep -q '\<rbd\>'
}

# Each test has its own images: their names begin with its number.
setup() {
    fresh_folder
    is_there || skip 'not root, or ceph-mon, ceph-osd, ceph, rbd are missing, or rbd is not built in'
    export CEPH_CONF=$RIG/ceph.conf
    N=t$BATS_TEST_NUMBER
}

teardown() {
    [ -z "${STOPPED-}" ] || ceph_signal osd CONT
    end_servers
}

# at IMAGE [KEY=VALUE...]: its name
at() {
    local name="rbd:rbd/$N$1:conf=$CEPH_CONF" setting
    for setting in "${@:2}"; do
        name+=:$setting
    done
    echo "$name"
}

# with IMAGE [OPTION...]: the same as options
with() {
    printf 'driver=rbd,pool=rbd,image=%s,conf=%s' "$N$1" "$CEPH_CONF"
    [ $# -eq 1 ] || printf ',%s' "${@:2}"
}

# json IMAGE [MEMBER]: the name that is shown
json() {
    echo "json:{\"pool\": \"rbd\", \"image\": \"$N$1\", \"conf\": \"$CEPH_CONF\", ${2-}\"driver\": \"rbd\", \"namespace\": \"\"}"
}

opened() {
    err "qemu-img: Could not open '$1': $2"
}

make() {
    "$IMG" create -q -f raw "$(at "$1")" "$2"
}

stop_osd() {
    STOPPED=yes
    ceph_signal osd STOP
}

continue_osd() {
    ceph_signal osd CONT
    STOPPED=
}

@test "create, info and resize" {
    img 0 create -f raw -o cluster_size=1M "$(at a)" 8M
    img 0 info "$(at a)"
    out "image: json:{\"driver\": \"raw\", \"file\": $(json a | sed 's/^json://')}" 'file format: raw' \
        'virtual size: 8 MiB (8388608 bytes)' 'disk size: unavailable' 'cluster_size: 1048576' "Child node '/file':" \
        "    filename: $(json a)" '    protocol type: rbd' '    file length: 8 MiB (8388608 bytes)' \
        '    disk size: unavailable' '    cluster_size: 1048576'
    img 0 info --output=json "$(at a)"
    has "$OUT" '"type": "rbd",'
    img 0 resize -f raw "$(at a)" 12M
    img 1 resize -f raw "$(at a)" 10M
    img 0 resize -f raw --shrink "$(at a)" 10M
    img 0 info --image-opts "$(with a)"
    has "$OUT" '^virtual size: 10 MiB'
    img 1 resize -f raw --preallocation=full "$(at a)" 12M
    err "qemu-img: Unsupported preallocation mode 'full'"
    img 1 resize -f raw "$(at a)" 999999T
    err 'qemu-img: Failed to resize file: Invalid argument'
}

@test "what create refuses" {
    make a 1M
    img 1 create -q -f raw "$(at a)" 1M
    err "qemu-img: $(at a): error rbd create: File exists"
    while IFS='|' read -r size text; do
        img 1 create -q -f raw -o "cluster_size=$size" "$(at b)" 1M
        err "qemu-img: $(at b): $text"
    done <<- end
	3M|obj size needs to be power of 2
	2k|obj size too small
	64M|error rbd create: Numerical argument out of domain
	end
    img 1 create -q -f raw -o preallocation=full "$(at b)" 1M
    err "qemu-img: $(at b): Invalid parameter 'preallocation'"
    img 1 create -q -f raw "rbd:none/$N:conf=$CEPH_CONF" 1M
    err "qemu-img: rbd:none/$N:conf=$CEPH_CONF: error opening pool none: No such file or directory"
    img 1 create -q -f raw "$(at b)" 4E
    err "qemu-img: $(at b): error rbd create: Invalid argument"
}

@test "converting both ways" {
    sample disk
    img 0 convert -O qcow2 disk "$(at q)"
    img 0 convert -O raw "$(at q)" back
    raw_is back disk
    img 0 check "$(at q)"
    img 0 convert -f raw -O raw disk "$(at r)"
    img 0 convert -f raw -O raw "$(at r)" back
    raw_is back disk
    img 1 convert -f raw -O raw disk "$(at r)"
    err "qemu-img: $(at r): error while converting raw: error rbd create: File exists"
    img 0 create -f qcow2 -F raw -b "$(at r)" over.qcow2
    img 0 rebase -b '' over.qcow2
    img 0 compare over.qcow2 disk
}

@test "convert -n writes zeroes over what was there, and gives the objects back" {
    head -c 20M /dev/urandom > old
    img 0 convert -f raw -O raw old "$(at a)"
    truncate -s 20M disk
    pattern disk 17 5M 1000
    pattern disk 34 14M 6M
    img 0 convert -n -W -m 16 -f raw -O raw disk "$(at a)"
    img 0 convert -f raw -O raw "$(at a)" back
    raw_is back disk
    img 0 map --output=json "$(at a)"
    out '[{ "start": 0, "length": 4194304, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 0},' \
        '{ "start": 4194304, "length": 4194304, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 4194304},' \
        '{ "start": 8388608, "length": 4194304, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 8388608},' \
        '{ "start": 12582912, "length": 8388608, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 12582912}]'
    img 0 map "$(at a)"
    out 'Offset          Length          Mapped to       File' "0x400000        0x400000        0x400000        $(json a)" \
        "0xc00000        0x800000        0xc00000        $(json a)"
}

@test "an image that grows has no more room than it needs when it is closed" {
    sample disk
    img 0 convert -O qcow2 disk "$(at q)"
    img 0 convert -O qcow2 disk local.qcow2
    [ "$(in_ceph rbd info --format json "rbd/${N}q" | python3 -c 'import json, sys; print(json.load(sys.stdin)["size"])')" -eq \
        "$(stat -c %s local.qcow2)" ]
}

@test "snapshots" {
    truncate -s 8M one two
    pattern one 17 1M 2M
    pattern two 34 3M 3M
    img 0 convert -f raw -O raw one "$(at a)"
    img 0 snapshot --image-opts -c s1 "$(with a)"
    img 0 convert -n -f raw -O raw two "$(at a)"
    img 0 resize -f raw "$(at a)" 9M
    img 0 snapshot --image-opts -c two "$(with a)"
    img 0 snapshot -l "$(at a)"
    out 'Snapshot list:' 'ID      TAG               VM_SIZE                DATE        VM_CLOCK     ICOUNT' \
        's1      s1                  8 MiB 1970-01-01 00:00:00  0000:00:00.000          0' \
        'two     two                 9 MiB 1970-01-01 00:00:00  0000:00:00.000          0'
    img 0 info "$(at a)"
    has "$OUT" '^    two     two                 9 MiB 1970-01-01'
    img 0 convert -f raw -O raw "rbd:rbd/${N}a@s1:conf=$CEPH_CONF" back
    raw_is back one
    img 0 convert --image-opts -O raw "$(with a snapshot=s1)" back
    raw_is back one
    img 0 snapshot --image-opts -a s1 "$(with a)"
    img 0 info -f raw "$(at a)"
    has "$OUT" '^virtual size: 8 MiB'
    img 0 convert -f raw -O raw "$(at a)" back
    raw_is back one
    img 0 snapshot --image-opts -d two "$(with a)"
    img 0 snapshot -l "$(at a)"
    [ "$(wc -l < "$OUT")" -eq 3 ]
}

@test "what cannot be done with snapshots" {
    make a 1M
    img 0 snapshot --image-opts -c s1 "$(with a)"
    img 1 snapshot --image-opts -c s1 "$(with a)"
    err 'qemu-img: failed to create snap: File exists' "qemu-img: Could not create snapshot 's1': File exists"
    img 1 snapshot --image-opts -c '' "$(with a)"
    err "qemu-img: Could not create snapshot '': Invalid argument"
    local long
    long=$(letters a 128)
    img 1 snapshot --image-opts -c "$long" "$(with a)"
    err "qemu-img: Could not create snapshot '$long': Numerical result out of range"
    img 1 snapshot --image-opts -a none "$(with a)"
    err "qemu-img: Could not apply snapshot 'none': Failed to load snapshot: No such file or directory"
    img 1 snapshot --image-opts -d none "$(with a)"
    err "qemu-img: Could not delete snapshot 'none': snapshot not found"
    in_ceph rbd snap protect "rbd/${N}a@s1"
    img 1 snapshot --image-opts -d s1 "$(with a)"
    err "qemu-img: Could not delete snapshot 's1': Failed to remove the snapshot: Device or resource busy"
    img 1 resize -f raw "rbd:rbd/${N}a@s1:conf=$CEPH_CONF" 2M
    opened "rbd:rbd/${N}a@s1:conf=$CEPH_CONF" 'rbd snapshots are read-only'
    img 1 convert -l s1 -O raw "$(at a)" back
    has "$ERR" "does not support temporarily loading internal snapshots$"
}

@test "a clone, which is all data, reads its parent" {
    truncate -s 12M disk
    pattern disk 17 5M 3000
    img 0 convert -f raw -O raw disk "$(at a)"
    in_ceph rbd snap create "rbd/${N}a@s" 2> /dev/null
    in_ceph rbd snap protect "rbd/${N}a@s"
    in_ceph rbd clone "rbd/${N}a@s" "rbd/${N}b"
    img 0 convert -f raw -O raw "$(at b)" back
    raw_is back disk
    img 0 map --output=json "$(at b)"
    out '[{ "start": 0, "length": 12582912, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0}]'
}

@test "an image without an object map is all data" {
    in_ceph rbd create --size 8M --image-feature layering "rbd/${N}a"
    img 0 map --output=json "$(at a)"
    out '[{ "start": 0, "length": 8388608, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0}]'
}

@test "a disk that is no whole number of sectors or objects" {
    beyond
    in_ceph rbd create --size 5000B "rbd/${N}a" || skip 'this rbd makes only whole MiB'
    img 0 convert -f raw -O raw "$(at a)" back
    [ "$(stat -c %s back)" -eq 5120 ]
}

@test "names" {
    local name text
    while IFS='|' read -r name text; do
        img 1 info "$name"
        opened "$name" "$text"
    done <<- end
	rbd:|Pool name is required
	rbd:rbd|Pool name is required
	rbd:rbd/a:foo|conf option foo has no value
	rbd:rbd/a:conf=/none/x|error reading conf file /none/x: No such file or directory
	rbd:rbd/a:foo=bar:conf=$CEPH_CONF|invalid conf option foo: No such file or directory
	rbd:rbd/a:fo\\=o=3:conf=$CEPH_CONF|invalid conf option fo=o: No such file or directory
	rbd:rbd/a:rbd_cache=maybe:conf=$CEPH_CONF|invalid conf option rbd_cache: Invalid argument
	rbd:rbd/a\\@b:conf=$CEPH_CONF|error reading header from a@b: No such file or directory
	rbd:rbd/a\\:b\\/c\\\\d:conf=$CEPH_CONF|error reading header from a:b/c\\d: No such file or directory
	rbd:rbd/a\\nb@s\\:1:conf=$CEPH_CONF|error reading header from anb: No such file or directory
	rbd:r\\/d/a:conf=$CEPH_CONF|error opening pool r/d: No such file or directory
	rbd:rbd/ns/a:conf=$CEPH_CONF|namespace 'ns' does not exist
	rbd:rbd/n\\/s/a/b:conf=$CEPH_CONF|namespace 'n/s' does not exist
	end
    name="rbd:rbd/$N sp ace\\:x:id=me:conf=$CEPH_CONF"
    img 0 create -q -f raw "$name" 1M
    img 0 info "$name"
    has "$OUT" "\"image\": \"$N sp ace:x\", \"conf\": \"$CEPH_CONF\", \"driver\": \"rbd\", \"namespace\": \"\", \"user\": \"me\"}"
    in_ceph rbd namespace create "rbd/$N"
    img 0 create -q -f raw "rbd:rbd/$N/a:conf=$CEPH_CONF" 1M
    img 0 info --image-opts "driver=rbd,pool=rbd,namespace=$N,image=a,conf=$CEPH_CONF"
    has "$OUT" "\"namespace\": \"$N\"}"
}

@test "options" {
    make a 1M
    local options text v1
    while IFS='|' read -r options text; do
        img 1 info --object secret,id=s,data=x --image-opts "$options"
        opened "$options" "$text"
    done <<- end
	driver=rbd,image=a,conf=$CEPH_CONF|Parameter 'pool' is missing
	driver=rbd,pool=rbd,conf=$CEPH_CONF|Parameter 'image' is missing
	$(with a foo=1)|Parameter 'foo' is unexpected
	$(with a key-secret=none)|No secret with id 'none'
	$(with a password-secret=none)|No secret with id 'none'
	$(with a auth-client-required=cephx)|Invalid parameter type for 'auth-client-required', expected: array
	$(with a auth-client-required.0=x)|Parameter 'null' does not accept value 'x'
	$(with a auth-client-required.1=none)|List indices are not contiguous, saw 1 elements but 1 largest index
	$(with a server=x)|Invalid parameter type for 'server', expected: array
	$(with a server.host=x)|Invalid parameter type for 'server', expected: array
	$(with a server.0.host=x)|Parameter 'server.0.port' is missing
	$(with a server.0.foo=x)|Parameter 'server.0.host' is missing
	$(with a server.0.host=x server.0.port=1 server.0.x=1)|Parameter 'server.0.x' is unexpected
	$(with a namespace=no)|namespace 'no' does not exist
	$(with a encrypt=x)|Invalid parameter type for 'encrypt', expected: object
	$(with a encrypt.key-secret=s)|Parameter 'encrypt.format' is missing
	$(with a encrypt.format=luks)|Parameter 'encrypt.key-secret' is missing
	$(with a encrypt.format=bad encrypt.key-secret=s)|Parameter 'format' does not accept value 'bad'
	$(with a encrypt.format=luks encrypt.key-secret=none)|No secret with id 'none'
	$(with a encrypt.format=luks encrypt.key-secret=s encrypt.x=1)|Parameter 'encrypt.x' is unexpected
	$(with a encrypt.format=luks encrypt.key-secret=s encrypt.parent.format=bad)|Parameter 'format' does not accept value 'bad'
	$(with a encrypt.format=luks encrypt.key-secret=s)|encryption load fail: Invalid argument
	end
    v1=$(sed -n 's/^mon_host = .*v1:127.0.0.1:\([0-9]*\)]$/\1/p' "$CEPH_CONF")
    img 0 info --object secret,id=s,data=x --image-opts "$(with a user=me auth-client-required.0=none \
        server.0.host=127.0.0.1 "server.0.port=$v1")"
    has "$OUT" "\"conf\": \"$CEPH_CONF\", \"server.0.host\": \"127.0.0.1\", \"driver\": \"rbd\", \"server.0.port\": \"$v1\", \"user\": \"me\"}"
    img 0 info --image-opts "driver=rbd,filename=$(at a)"
    err 'qemu-img: warning: RBD options encoded in the filename as keyvalue pairs is deprecated'
    has "$OUT" "^image: $(at a)$"
}

@test "an old filename without the prefix" {
    beyond
    img 1 info --image-opts "driver=rbd,filename=rbd/a:conf=$CEPH_CONF"
    has "$ERR" "File name must start with 'rbd:'$"
}

@test "the settings of a name as an option of a user" {
    beyond
    for value in '"x"' '["x"]' '[1, 2]' '{"a": "b"}' null; do
        img 1 info "json:{\"driver\": \"rbd\", \"pool\": \"rbd\", \"image\": \"a\", \"=keyvalue-pairs\": $value}"
        has "$ERR" "Parameter '=keyvalue-pairs' is unexpected$"
    done
}

@test "no message has the key of a user" {
    beyond
    img 1 info "$(at none key=AQBhidden==)"
    ! grep -q hidden "$ERR" || return 1
    has "$ERR" 'key=\*'
    img 1 create -q -f raw "rbd:none/a:key=AQBhidden==:conf=$CEPH_CONF" 1M
    ! grep -q hidden "$ERR" || return 1
    make a 1M
    img 0 info "$(at a key=AQBhidden==)"
    ! grep -q hidden "$OUT" || return 1
}

# ---- encryption by librbd

@test "an encrypted image" {
    local secret=(--object 'secret,id=s,data=abc' --object 'secret,id=w,data=wrong') enc
    img 0 create -q -f raw "${secret[@]}" -o encrypt.format=luks,encrypt.key-secret=s "$(at e)" 24M
    img 0 info "$(at e)"
    has "$OUT" '^virtual size: 24 MiB'
    has "$OUT" '^        encryption format: luks$'
    enc=$(with e encrypt.format=luks encrypt.key-secret=s)
    img 0 info "${secret[@]}" --image-opts "$enc"
    has "$OUT" '^virtual size: 24 MiB'
    truncate -s 24M disk
    pattern disk 17 21M 3M
    pattern disk 34 5M 70000
    img 0 convert -n "${secret[@]}" --image-opts --target-image-opts driver=raw,file.filename=disk "$enc"
    img 0 convert "${secret[@]}" -O raw --image-opts "$enc" back
    raw_is back disk
    img 1 info "${secret[@]}" --image-opts "${enc%=s}=w"
    opened "${enc%=s}=w" 'encryption load fail: Operation not permitted'
}

@test "an encrypted image is read and resized with regard to its header" {
    beyond
    local secret=(--object 'secret,id=s,data=abc') enc
    img 0 create -q -f raw "${secret[@]}" -o encrypt.format=luks,encrypt.key-secret=s "$(at e)" 24M
    enc=$(with e encrypt.format=luks encrypt.key-secret=s)
    truncate -s 8M part
    pattern part 17 0 8M
    img 0 dd "${secret[@]}" if=part of=whole bs=1M
    img 0 resize "${secret[@]}" --image-opts "$enc" 32M
    img 0 info "${secret[@]}" --image-opts "$enc"
    has "$OUT" '^virtual size: 32 MiB'
    img 0 resize --shrink "${secret[@]}" --image-opts "$enc" 8M
    img 0 convert -n "${secret[@]}" --image-opts --target-image-opts driver=raw,file.filename=part "$enc"
    img 0 resize --shrink "${secret[@]}" --image-opts "$enc" 5M
    img 0 convert "${secret[@]}" -O raw --image-opts "$enc" back
    truncate -s 5M part
    raw_is back part
}

@test "encryption that cannot be made leaves no image" {
    local options text
    while IFS='|' read -r options text; do
        img 1 create -q -f raw --object secret,id=s,data=abc -o "$options" "$(at e)" 1M
        err "qemu-img: $(at e): $text"
    done <<- end
	encrypt.format=foo,encrypt.key-secret=s|Parameter 'format' does not accept value 'foo'
	encrypt.format=luks-any,encrypt.key-secret=s|Parameter 'key-secret' is unexpected
	encrypt.format=luks|Parameter 'key-secret' is missing
	encrypt.key-secret=s|Parameter 'format' is missing
	encrypt.format=luks,encrypt.key-secret=none|No secret with id 'none'
	encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=foo|Parameter 'cipher-alg' does not accept value 'foo'
	encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=aes-192|unknown encryption algorithm: 1: Operation not supported
	encrypt.format=luks,encrypt.key-secret=s|encryption format fail: No space left on device
	end
    img 1 info "$(at e)"
    opened "$(at e)" "error reading header from ${N}e: No such file or directory"
}

# ---- use by others, and faults

# (a watcher goes with its process)
@test "somebody else has the image open" {
    beyond
    make a 4M
    timeout 60 "$IMG" bench -w -c 100000000 -f raw "$(at a)" > /dev/null 2>&1 3>&- &
    remember $!
    wait_until is_watched "${N}a"
    IMGBOX_HINTS=1 img 0 snapshot --image-opts -c s1 "$(with a)"
    has "$ERR" "^hint: '${N}a' is in use by others"
    img 0 snapshot --image-opts -c s2 "$(with a)"
    silent
}

is_watched() {
    in_ceph rbd status "rbd/$1" 2> /dev/null | grep -q watcher=
}

@test "no cluster" {
    local name
    name=$(at a mon_host=127.0.0.1\\\\:1 client_mount_timeout=1)
    name=${name//\\\\/\\}
    img 1 info "$name"
    opened "$name" 'error connecting: Connection timed out'
}

@test "a cluster that is silent is given up, one that is slow is waited for" {
    beyond
    local before
    sample disk
    img 0 convert -f raw -O raw disk "$(at a)"
    stop_osd
    before=$SECONDS
    img 1 convert -O raw --image-opts "$(with a timeout=2)" back
    has "$ERR" "error reading header from ${N}a: Connection timed out$"
    [ $((SECONDS - before)) -lt 50 ]
    timeout 60 "$IMG" convert -f raw -O raw "$(at a)" back 3>&- &
    TOOL=$!
    sleep 1
    continue_osd
    wait "$TOOL"
    raw_is back disk
}

@test "an osd that stops while it is written to: an error, and what was acknowledged is there" {
    beyond
    local before
    make a 1G
    timeout 100 "$IMG" bench -w -c 1000000000 -s 1M -S 1M -d 4 --pattern=85 --image-opts "$(with a timeout=2)" \
        > log 2>&1 3>&- &
    TOOL=$!
    wait_until has_nine "$(at a)"
    stop_osd
    before=$SECONDS
    ! wait "$TOOL" || return 1
    [ $((SECONDS - before)) -lt 60 ]
    has log 'Connection timed out'
    continue_osd
    has_nine "$(at a)"
}

# The first nine requests of bench are written.  (Of those in flight any may be late: that the ninth is there says nothing of
# the others.)
has_nine() {
    timeout 20 "$IMG" dd -f raw -O raw if="$1" of=nine bs=1M count=9 && [ "$(tr -d 'U' < nine | wc -c)" -eq 0 ]
}

@test "an osd that is started again in the middle" {
    head -c 200M /dev/urandom > disk
    make a 200M
    timeout 100 "$IMG" convert -n -f raw -O raw disk "$(at a)" 3>&- &
    TOOL=$!
    sleep 0.2
    ceph_signal osd TERM
    wait_until never kill -0 "$(< "$RIG/osd.process")"
    osd_start
    wait "$TOOL"
    img 0 compare -f raw -F raw disk "$(at a)"
}

# keep_right IMAGE: a process that is the one that may write.  (It is a client of its own, which gives that right to nobody.)
keep_right() {
    python3 -c 'import ctypes; ctypes.CDLL("librbd.so.1").rbd_lock_acquire' 2> /dev/null || skip 'no librbd'
    timeout 100 python3 - "$CEPH_CONF" "$N$1" <<- 'end' 3>&- &
	import ctypes, os, sys, time
	rados, rbd = ctypes.CDLL("librados.so.2"), ctypes.CDLL("librbd.so.1")
	cluster, pool, image = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
	conf, name = (word.encode() for word in sys.argv[1:])
	assert not rados.rados_create(ctypes.byref(cluster), None)
	assert not rados.rados_conf_read_file(cluster, conf) and not rados.rados_connect(cluster)
	assert not rados.rados_ioctx_create(cluster, b"rbd", ctypes.byref(pool))
	assert not rbd.rbd_open(pool, name, ctypes.byref(image), None)
	assert not rbd.rbd_lock_acquire(image, 0)
	open("locked.new", "w").write(str(os.getpid()))
	os.rename("locked.new", "locked")
	time.sleep(90)
	end
    remember $!
    wait_until test -e locked
}

@test "somebody else keeps the right to write" {
    make a 8M
    head -c 3M /dev/urandom > disk
    keep_right a
    img 1 convert -n -f raw -O raw disk "$(at a)"
    has "$ERR" '^qemu-img: rbd request failed: cmd 1 offset [0-9]* bytes [0-9]* flags 0 task.ret -30 [(]Read-only file system[)]$'
    has "$ERR" '^qemu-img: error while writing at byte [0-9]*: Read-only file system$'
    img 0 info "$(at a)"
}

# librbd waits for it until the cluster thinks that it is dead, and librados ends nothing.
@test "somebody who has the right to write says nothing" {
    beyond
    local at
    make a 8M
    in_ceph rbd snap create "rbd/${N}a@s"
    in_ceph rbd feature enable "rbd/${N}a" journaling
    head -c 3M /dev/urandom > disk
    keep_right a
    kill -STOP "$(< locked)"
    at=$(with a timeout=1)
    img 1 resize --image-opts "driver=raw,file.${at//,/,file.}" 16M
    has "$ERR" '^qemu-img: Failed to resize file: Connection timed out$'
    img 1 snapshot --image-opts -c t "$at"
    has "$ERR" ': Connection timed out$'
    # (librbd does not wait for this one)
    img 1 snapshot --image-opts -a s "$at"
    has "$ERR" ': (Connection timed out|Read-only file system)$'
    img 1 snapshot --image-opts -d s "$at"
    has "$ERR" ': Connection timed out$'
    # writing; and reading: with a journal, that needs the right, too
    img 1 convert -n --image-opts --target-image-opts driver=raw,file.filename=disk "driver=raw,file.${at//,/,file.}"
    has "$ERR" 'error while writing at byte [0-9]*: Connection timed out$'
    img 1 bitmap --add --image-opts "driver=qcow2,file.${at//,/,file.}" b
    has "$ERR" ': Connection timed out$'
    kill -KILL "$(< locked)"
    # none of it was done
    img 0 info --image-opts "$(with a)"
    has "$OUT" '^virtual size: 8 MiB'
    img 0 snapshot --image-opts -l "$(with a)"
    [ "$(grep -c ' [0-9:.]*$' "$OUT")" -eq 1 ]
}

@test "timeout" {
    beyond
    make a 1M
    img 1 info --image-opts "$(with a timeout=-1)"
    has "$ERR" 'timeout must be between 0 and 86400$'
    img 0 info --image-opts "$(with a timeout=0)"
}
