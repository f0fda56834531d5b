#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# iscsi: a disk of an iSCSI target.  The target is tgt's, and for faults tests/interop/lib/iscsi_target.py.

load ../helper
load ../examples
load ../nbd

# The disks of the target "a", all of 16 MiB.
THIN=1 THICK=2 LARGE_BLOCKS=3 READ_ONLY=4

setup_file() {
    export RIG=$BATS_FILE_TMPDIR
    cd "$RIG" || return 1
    [ "$(id -u)" -eq 0 ] && have tgtd tgtadm || return 0
    export PORT TGT_IPC_SOCKET=$RIG/socket
    PORT=$(free_port)
    tgtd -f -C 0 --iscsi "portal=127.0.0.1:$PORT" > log 2>&1 3>&- &
    echo $! > server
    for _ in $(seq 600); do
        admin show sys > /dev/null 2>&1 && break
        sleep 0.05
    done
    target 1 iqn.2026-01.example:a
    for lun in 1 2 3 4; do truncate -s 16M disk$lun; done
    lun 1 1 disk1 thin_provisioning=1
    lun 1 2 disk2
    lun 1 3 disk3 thin_provisioning=1 --blocksize 4096
    lun 1 4 disk4 readonly=1
    target 2 iqn.2026-01.example:chap
    truncate -s 1M secret
    lun 2 1 secret thin_provisioning=1
    admin new account --user bob --password secretsecret12
    admin bind account --tid 2 --user bob
}

teardown_file() {
    [ -s "$RIG/server" ] || return 0
    for tid in 1 2; do admin delete target --force --tid "$tid" || true; done
    admin delete system || true
    kill "$(< "$RIG/server")" 2> /dev/null || true
}

admin() {
    tgtadm --lld iscsi --op "$1" --mode "${@:2}"
}

# target TID NAME
target() {
    admin new target --tid "$1" -T "$2"
    admin bind target --tid "$1" -I 127.0.0.1
}

# lun TID LUN FILE [PARAMETER [OPTION...]]
lun() {
    admin new logicalunit --tid "$1" --lun "$2" -b "$PWD/$3" "${@:5}"
    [ -z "${4-}" ] || admin update logicalunit --tid "$1" --lun "$2" --params "$4"
}

setup() {
    fresh_folder
    need_root
    need tgtd tgtadm
    "$IMG" --help | grep -q '\<iscsi\>' || skip 'iscsi is not built in'
    unset LIBISCSI_CHAP_USERNAME LIBISCSI_CHAP_PASSWORD IMGBOX_ISCSI_CONF
    TARGET=iqn.2026-01.example:a
}

teardown() {
    [ -z "${SERVER-}" ] || kill "$SERVER" || true
    for fake in ${FAKE-} ${FIRST-}; do kill "$fake" || true; done
}

# at LUN: its URL
at() {
    echo "iscsi://127.0.0.1:$PORT/$TARGET/$1"
}

# json LUN: the name that info shows
json() {
    printf 'json:{"lun": "%s", "portal": "127.0.0.1:%s", "driver": "iscsi", "transport": "tcp", "target": "%s"}' \
        "$1" "$PORT" "$TARGET"
}

# options [LUN]: as --image-opts has them
options() {
    echo "driver=iscsi,transport=tcp,portal=127.0.0.1:$PORT,target=$TARGET,lun=${1-1}"
}

opened() {
    err "qemu-img: Could not open '$1': $2"
}

# A sample of the size of the disks.
sample16() {
    sample "$1"
    truncate -s 16M "$1"
}

# fresh LUN: zeroes again, without blocks
fresh() {
    fallocate -p -o 0 -l 16M "$RIG/disk$1"
}

# ---- what is said

@test "info names the disk by its options" {
    fresh $THIN
    img 0 info "$(at $THIN)"
    out "image: json:{\"driver\": \"raw\", \"file\": $(json $THIN | cut -c6-)}" 'file format: raw' \
        'virtual size: 16 MiB (16777216 bytes)' 'disk size: unavailable' "Child node '/file':" \
        "    filename: $(json $THIN)" '    protocol type: iscsi' '    file length: 16 MiB (16777216 bytes)' \
        '    disk size: unavailable'
    img 0 info --image-opts "$(options $THIN)"
    has "$OUT" "^image: $(json $THIN | sed 's/[{}]/\\&/g')$"
    img 0 info "iscsi://127.0.0.1:$PORT/iqn.2026-01.example%3Aa/1"
}

@test "the reference tool says the same" {
    need_peer
    local modules=${PEER%/bin/*}/lib/x86_64-linux-gnu/qemu
    [ -e "$modules/block-iscsi.so" ] || skip 'the reference tool has no iscsi'
    sample16 disk
    img 0 convert -O raw disk "$(at $THIN)"
    for words in "info $(at 1)" "map --output=json $(at 1)" "map --output=json $(at 2)" "info $(at 0)" \
        "measure -O qcow2 $(at 1)" "info $(at 9)" "resize -f raw $(at 1) 32M" "create -f raw $(at 4) 1M"; do
        # shellcheck disable=SC2086
        "$IMG" $words > ours 2>&1 || true
        # shellcheck disable=SC2086
        QEMU_MODULE_DIR=$modules "$PEER" $words > theirs 2>&1 || true
        diff theirs ours
    done
}

@test "options" {
    img 1 info --image-opts driver=iscsi
    opened driver=iscsi 'Need all of transport, portal and target options'
    img 1 info --image-opts "$(options),user=bob"
    opened "$(options),user=bob" 'CHAP username specified but no password was given'
    img 1 info --image-opts "$(options),header-digest=CRC32C"
    opened "$(options),header-digest=CRC32C" 'Invalid header-digest setting : CRC32C'
    img 1 info --image-opts "driver=iscsi,transport=udp,portal=a,target=b"
    has "$ERR" ': Unknown transport: udp$'
    img 1 info --image-opts "$(options -1)"
    has "$ERR" ': lun must be between 0 and 65535$'
    img 1 info --image-opts "$(options),connections=17"
    has "$ERR" ': connections must be between 1 and 16$'
    img 0 info --image-opts "$(options),header-digest=crc32c,initiator-name=iqn.x:y"
    has "$OUT" '"header-digest": "crc32c", "initiator-name": "iqn.x:y", "driver"'
}

@test "names" {
    local long
    long=$(printf 'x%.0s' {1..300})
    for name in iscsi:x iscsi:// iscsi://h iscsi://h/t iscsi://h/t/ iscsi://h/t/x iscsi://h/t/1x iscsi://h/t/-1 \
        iscsi://h/t/65536 "iscsi://h/$long/1"; do
        img 1 info "$name"
        opened "$name" "Failed to parse URL : $name"
    done
}

@test "what is not there" {
    img 1 info "$(at 9)"
    opened "$(at 9)" 'iSCSI: Failed to connect to LUN : SENSE KEY:ILLEGAL_REQUEST(5) ASCQ:LOGICAL_UNIT_NOT_SUPPORTED(0x2500)'
    img 1 info "iscsi://127.0.0.1:$PORT/none/1"
    has "$ERR" ': iSCSI: Failed to connect to LUN : Failed to log in to target. Status: Target not found\(515\)$'
    IMGBOX_HINTS=1 img 1 info iscsi://127.0.0.1:1/t/1
    has "$ERR" 'iSCSI: Failed to connect to LUN : iscsi_service failed with : '
    has "$ERR" '^hint: is there an iSCSI target at 127.0.0.1:1'
    img 1 info "$(at 0)x"
}

@test "a LUN that is no disk" {
    img 0 info "$(at 0)"
    has "$OUT" '^virtual size: 0 B'
    err 'qemu-img: iSCSI: Failed MODE_SENSE(6), LUN assumed writable'
    img 1 create -q -f raw "$(at 0)" 1M
    has "$ERR" ': Cannot resize non-disk iSCSI devices$'
}

# ---- data

@test "converting both ways, on all kinds of disks" {
    sample16 disk
    for lun in $THIN $THICK $LARGE_BLOCKS; do
        fresh "$lun"
        img 0 convert -n -O raw disk "$(at "$lun")"
        raw_is "$RIG/disk$lun" disk
        img 0 convert -O raw "$(at "$lun")" back
        raw_is back disk
        img 0 convert -W -m 16 -O qcow2 "$(at "$lun")" back.qcow2
        img 0 compare back.qcow2 disk
    done
}

@test "formats on a disk" {
    sample16 disk
    for lun in $THIN $LARGE_BLOCKS; do
        img 0 convert -f raw -O qcow2 -o cluster_size=4k disk "$(at "$lun")"
        img 0 check "$(at "$lun")"
        img 0 compare -f raw -F qcow2 disk "$(at "$lun")"
        img 0 snapshot -c one "$(at "$lun")"
        silent
        img 0 convert -f raw -c -O qcow2 disk "$(at "$lun")"
        img 0 compare -f raw -F qcow2 disk "$(at "$lun")"
    done
}

@test "holes: mapped, made by zeroes and by discards" {
    fresh $THIN
    head -c 16M /dev/urandom > disk
    img 0 convert -n -f raw -O raw disk "$(at $THIN)"
    [ "$(data_bytes "$RIG/disk1")" -eq 16777216 ]
    truncate -s 16M empty
    img 0 convert -n -f raw -O raw empty "$(at $THIN)"
    [ "$(data_bytes "$RIG/disk1")" -eq 0 ]
    fallocate -p -o 1M -l 14M disk
    img 0 convert -n -f raw -O raw disk "$(at $THIN)"
    img 0 map --output=json "$(at $THIN)"
    out '[{ "start": 0, "length": 1048576, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0},' \
        '{ "start": 1048576, "length": 14680064, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 1048576},' \
        '{ "start": 15728640, "length": 1048576, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 15728640}]'
    img 0 convert -n -f raw -O raw disk "$(at $THICK)"
    img 0 map --output=json "$(at $THICK)"
    out '[{ "start": 0, "length": 16777216, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0}]'
}

@test "create, resize: the size is the target's" {
    head -c 4096 /dev/urandom > "$RIG/noise"
    dd if="$RIG/noise" of="$RIG/disk3" conv=notrunc status=none
    img 0 create -q -f raw "$(at $LARGE_BLOCKS)" 1M
    { head -c 512 /dev/zero; tail -c +513 "$RIG/noise"; } > want
    cmp -n 4096 want "$RIG/disk3"
    img 1 create -q -f raw "$(at $THIN)" 17M
    err "qemu-img: $(at $THIN): Cannot grow iSCSI devices"
    img 1 create -q -f raw -o preallocation=full "$(at $THIN)" 1M
    err "qemu-img: $(at $THIN): Unsupported preallocation mode 'full'"
    img 1 create -q -f raw "$(at 9)" 1M
    has "$ERR" "Protocol driver 'iscsi' does not support creating new images, .*: iSCSI: Failed to connect to LUN"
    img 0 resize -f raw "$(at $THIN)" 16M
    img 1 resize -f raw "$(at $THIN)" 32M
    err 'qemu-img: Cannot resize iSCSI devices'
    img 1 resize -f raw --shrink "$(at $THIN)" 8M
    err 'qemu-img: Cannot resize iSCSI devices'
}

@test "a read-only disk" {
    img 0 convert -O raw "$(at $READ_ONLY)" copy
    truncate -s 16M disk
    img 1 convert -n -O raw disk "$(at $READ_ONLY)"
    opened "$(at $READ_ONLY)" 'LUN is write protected'
}

@test "a disk that is too small" {
    head -c 17M /dev/urandom > disk
    img 1 convert -f raw -O qcow2 disk "$(at $THIN)"
    err 'qemu-img: error while writing at byte [0-9]*: No space left on device' || has "$ERR" 'No space left on device$'
}

# ---- who may

SECRET=secretsecret12

@test "a user, and a password in all the ways" {
    TARGET=iqn.2026-01.example:chap
    img 1 info "$(at 1)"
    has "$ERR" 'Status: Authentication failure\(513\)$'
    LIBISCSI_CHAP_USERNAME=bob LIBISCSI_CHAP_PASSWORD=$SECRET img 0 info "$(at 1)"
    img 0 info --object secret,id=s,data=$SECRET --image-opts "$(options),user=bob,password-secret=s"
    silent_about_secret
    has "$OUT" '"password-secret": "s"'
    img 0 info --image-opts "$(options),user=bob,password=$SECRET"
    err "qemu-img: warning: iSCSI block driver 'password' option is deprecated, use 'password-secret' instead"
    img 1 info --object secret,id=s,data=wrong --image-opts "$(options),user=bob,password-secret=s"
    has "$ERR" 'Authentication failure'
}

silent_about_secret() {
    ! grep -q "$SECRET" "$OUT" "$ERR"
}

@test "no message has the password of a name" {
    TARGET=iqn.2026-01.example:chap
    local name="iscsi://bob%$SECRET@127.0.0.1:$PORT/$TARGET"
    img 0 info "$name/1"
    silent_about_secret
    img 0 info --output=json "$name/1"
    silent_about_secret
    img 1 info "$name/9"
    has "$ERR" "Could not open 'iscsi://bob%\*@127.0.0.1:$PORT/$TARGET/9': "
    silent_about_secret
    img 1 info "$name"
    silent_about_secret
    img 1 create -f qcow2 "$name/1" 17G -o preallocation=metadata
    has "$OUT" "^Formatting 'iscsi://bob%\*@127"
    silent_about_secret
    img 1 info "iscsi://bob%$SECRET/x@127.0.0.1:$PORT/$TARGET/1"
    silent_about_secret
    img 1 info --image-opts "$(options 9),user=bob,password=$SECRET"
    has "$ERR" ",password=\*': iSCSI"
    silent_about_secret
    img 1 info "$(json 9 | sed "s/}/, \"user\": \"bob\", \"password\": \"$SECRET\"}/")"
    silent_about_secret
}

@test "settings of a file" {
    TARGET=iqn.2026-01.example:chap
    printf '%s\n' '# of all' '[iscsi]' '  user = "nobody"' '  password = "wrong"' '[drive "x"]' '  what = ever' \
        "[iscsi \"$TARGET\"]" '  user = "bob"' '  password-secret = "s"' '  header-digest = "NONE-CRC32C"' \
        '  initiator-name = "iqn.x:me"' '  timeout = "7"' > settings
    img 0 info --iscsi-config settings --object secret,id=s,data=$SECRET "$(at 1)"
    has "$OUT" '"password-secret": "s", .*"header-digest": "none-crc32c", "initiator-name": "iqn.x:me", .*"user": "bob"'
    IMGBOX_ISCSI_CONF=settings img 0 map --object secret,id=s,data=$SECRET "$(at 1)"
    img 0 info --iscsi-config=settings "iscsi://127.0.0.1:$PORT/iqn.2026-01.example:a/1"
    has "$OUT" '"user": "nobody"'
    img 1 info --iscsi-config none "$(at 1)"
    opened "$(at 1)" "Could not open the iSCSI settings 'none': No such file or directory"
    for line in 'user' 'user = bob' 'user = "bob' 'usr = "bob"' '[iscsi'; do
        printf '%s\n' '[iscsi]' '' "$line" > wrong
        img 1 info --iscsi-config wrong "$(at 1)"
        opened "$(at 1)" 'wrong:3: the line is no setting of an iSCSI target'
    done
}

# ---- copies that the target does by itself

# fake KEY=VALUE...: our own target; the first disk is named $DISK, the second $OTHER, and $OPTIONS are of the first
fake() {
    [ -z "${FAKE-}" ] || kill "$FAKE"
    rm -f port
    python3 "$ROOT/tests/interop/lib/iscsi_target.py" port "$@" > fake.log 2>&1 3>&- &
    FAKE=$!
    wait_until test -s port
    DISK=iscsi://127.0.0.1:$(< port)/iqn.x:y/1
    OTHER=${DISK%1}2
    OPTIONS=driver=raw,file.driver=iscsi,file.transport=tcp,file.portal=127.0.0.1:$(< port),file.target=iqn.x:y,file.lun=1
}

# The target stays, beside the next one.
keep() {
    FIRST=$FAKE
    FAKE=
}

# How many copies the target was asked for, and how many reads.
logged() {
    grep -c "^$1 " log || true
}

# copied FORMAT OPTION...: a copy of the first disk is on the second
copied() {
    img 0 convert -f raw -O raw disk -n "$DISK"
    : > log
    img 0 convert -C -n -f raw -O "$1" "$DISK" "${@:2}" "$OTHER"
    [ ! -s "$ERR" ]
    cp log used
    img 0 compare -f raw -F "$1" disk "$OTHER"
    mv used log
}

@test "convert -C has the target copy" {
    head -c 768k /dev/urandom > disk
    truncate -s 1M disk
    for way in copy=plain copy=short copy=identified size=4096\ blocks=256 thin=1; do
        # shellcheck disable=SC2086
        fake disks=2 log=log $way
        copied raw
        [ "$(logged 83)" -gt 0 ]
        [ "$(logged 28)" -le 2 ]        # what it took to probe
    done
    fake disks=2 log=log
    img 0 convert -f raw -O raw disk -n "$DISK"
    : > log
    img 0 convert -n -f raw -O raw "$DISK" "$OTHER"
    [ "$(logged 83)" -eq 0 ]
}

@test "convert -C into a format" {
    head -c 512k /dev/urandom > disk
    truncate -s 2M disk
    fake disks=2 log=log blocks=4096 thin=1
    img 0 create -q -f qcow2 "$OTHER" 2M
    copied qcow2
    [ "$(logged 83)" -gt 0 ]
}

@test "convert -C copies the bytes where the target does not" {
    head -c 1M /dev/urandom > disk
    for way in none refused failed same nameless few; do
        fake disks=2 log=log copy=$way
        copied raw
        [ "$(logged 28)" -gt 0 ]
        case $way in
            refused | failed) [ "$(logged 83)" -gt 0 ] ;;
            *) [ "$(logged 83)" -eq 0 ] ;;
        esac
    done
    for fault in busy=3 full=3 attention=3 aborted=3 cut=2; do
        fake disks=2 log=log $fault at=83,84
        copied raw
        [ "$(logged 83)" -gt 0 ]
    done
}

@test "convert -C never has one target copy from another" {
    head -c 1M /dev/urandom > disk
    fake disks=2
    local source=$DISK
    img 0 convert -n -f raw -O raw disk "$source"
    keep
    # a clone of the first: its disks have the same names, and other bytes
    fake disks=2 log=log
    img 0 convert -C -n -f raw -O raw "$source" "$OTHER"
    [ "$(logged 83)" -eq 0 ]
    img 0 compare -f raw disk "$OTHER"
}

# ---- faults

@test "a target that is busy or has news is asked again" {
    head -c 1M /dev/urandom > disk
    for fault in busy=4 full=4 attention=4 aborted=2 cut=3; do
        fake $fault
        img 0 convert -n -f raw -O raw disk "$DISK"
        img 0 convert -f raw -O raw "$DISK" back
        cmp back disk
    done
}

@test "a target that is busy or has news while it is asked what it has" {
    # TEST UNIT READY, INQUIRY, MODE SENSE, READ CAPACITY
    for fault in busy=2 full=2 attention=3 aborted=2 unready=2; do
        for code in 0 12 1a 9e; do
            fake $fault at=$code
            img 0 info -f raw "$DISK"
            [ ! -s "$ERR" ] || { echo "$fault $code"; return 1; }
        done
    done
}

@test "a target that is busy or has news at other commands" {
    head -c 512k /dev/urandom > disk
    truncate -s 1M disk
    # SYNCHRONIZE CACHE, WRITE SAME, UNMAP, GET LBA STATUS (and READ CAPACITY)
    for fault in busy=2 full=2 attention=3 aborted=2; do
        fake $fault at=35,93,42,9e thin=1
        img 0 convert -n -f raw -O raw disk "$DISK"
        img 0 map -f raw "$DISK"
        img 0 convert -f raw -O raw "$DISK" back
        cmp back disk
    done
}

@test "a target that has news for ever is given up" {
    fake attention=1000000
    img 1 convert -f raw -O raw "$DISK" back
    has "$ERR" '^qemu-img: iSCSI READ10/16 failed at lba 0: SENSE KEY:UNIT_ATTENTION\(6\) ASCQ:'
    fake attention=1000000 at=0
    img 1 info -f raw "$DISK"
    has "$ERR" ': iSCSI: Failed to connect to LUN : SENSE KEY:UNIT_ATTENTION\(6\) ASCQ:'
}

@test "a disk that becomes longer meanwhile is used as long as it was" {
    head -c 1M /dev/urandom > disk
    fake resize=2,4096
    img 0 convert -n -f raw -O raw disk "$DISK"
    img 0 info -f raw "$DISK"
    has "$OUT" '^virtual size: 2 MiB'
    img 0 convert -f raw -O raw "$DISK" back
    cmp -n 1M back disk
    fake resize=2,4096
    img 0 convert -f raw -O raw "$DISK" back
    [ "$(stat -c %s back)" -eq 1048576 ]
    # (and through a new session)
    fake resize=2,4096 cut=3
    img 0 convert -n -f raw -O raw disk "$DISK"
    img 0 convert -f raw -O raw "$DISK" back
    cmp -n 1M back disk
}

@test "a disk that becomes shorter meanwhile" {
    head -c 1M /dev/urandom > disk
    fake resize=1,512
    img 1 convert -n -m 1 -f raw -O raw disk "$DISK"
    has "$ERR" '^qemu-img: iSCSI WRITE10/16 failed at lba [0-9]+: SENSE KEY:ILLEGAL_REQUEST\(5\) ASCQ:LBA_OUT_OF_RANGE\(0x2100\)$'
    fake resize=1,512
    img 1 convert -m 1 -f raw -O raw "$DISK" back
    has "$ERR" '^qemu-img: iSCSI READ10/16 failed at lba [0-9]+: .*LBA_OUT_OF_RANGE'
    # (and through a new session)
    fake resize=1,512 cut=2
    img 1 convert -n -m 1 --target-image-opts -f raw disk "$OPTIONS,file.reconnect-delay=1"
    has "$ERR" '^qemu-img: iSCSI: lost the target'
}

@test "sense data in words" {
    fake sense=3,1100
    img 1 convert -f raw -O raw -m 1 "$DISK" back
    has "$ERR" '^qemu-img: iSCSI READ10/16 failed at lba 0: SENSE KEY:MEDIUM_ERROR\(3\) ASCQ:UNRECOVERED_READ_ERROR\(0x1100\)$'
    head -c 1M /dev/urandom > disk
    fake sense=7,2707
    img 1 convert -n -f raw -O raw disk "$DISK"
    has "$ERR" 'ASCQ:SPACE_ALLOCATION_FAILED\(0x2707\)$'
    has "$ERR" ': No space left on device$'
    fake conflict=1
    img 1 convert -f raw -O raw "$DISK" back
    has "$ERR" ': RESERVATION CONFLICT$'
}

@test "a target that lies" {
    for fault in short=1 hidden=1; do
        fake $fault
        img 1 convert -f raw -O raw "$DISK" back
        has "$ERR" 'iSCSI READ10/16 failed at lba [0-9]+: the target transferred too little$'
    done
    for size in 0 1 256 513 131072; do
        fake size=$size blocks=16
        img 1 info -f raw "$DISK"
        has "$ERR" ": iSCSI: the target returned an invalid block size of $size\.$"
    done
    for last in 18446744073709551615 18446744073709551614 9223372036854775807; do
        fake last=$last
        img 1 info -f raw "$DISK"
        has "$ERR" ': iSCSI: the LUN is too large$'
    done
    fake capacity=short
    img 1 info "$DISK"
    has "$ERR" ': iSCSI: Failed to unmarshall readcapacity16 data\.$'
    for answer in empty far zero; do
        fake thin=1 status=$answer
        img 1 map "$DISK"
        has "$ERR" '^qemu-img: iSCSI GET_LBA_STATUS failed at lba 0: the answer tells nothing of it$'
    done
    for answer in long count; do
        fake thin=1 status=$answer
        img 0 map --output=json "$DISK"
        out '[{ "start": 0, "length": 1048576, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 0}]'
    done
}

@test "a target that talks nonsense" {
    for seed in {1..20}; do
        fake noise="$seed" thin=1
        for words in 'info -f raw' 'map -f raw --output=json' 'measure -O qcow2 -f raw'; do
            local got=0
            # shellcheck disable=SC2086
            timeout 60 "$IMG" $words "$DISK" > out 2> err || got=$?
            [ "$got" -le 1 ] || { echo "seed $seed: $words: $got"; cat err; return 1; }
            ! grep Sanitizer err
        done
    done
}

@test "a target that can do little" {
    head -c 1M /dev/urandom > disk
    fallocate -p -o 512k -l 256k disk
    fake capacity=none unknown=93,42,35 status=none limit=16 log=log
    img 0 convert -n -f raw -O raw disk "$DISK"
    img 0 convert -f raw -O raw "$DISK" back
    cmp back disk
    awk '($1 == "28" || $1 == "2a") && $3 > 16 { exit 1 }' log
}

@test "writes that are durable at once" {
    need nbdsh
    fake log=log
    start_nbd --cache=writethrough -f raw "$DISK"
    nbdsh -u "nbd+unix:///?socket=$PWD/s" -c 'h.pwrite(b"x" * 512, 1024)'
    ended
    has log '^2a 2 1 fua$'
}

@test "a login that leads to another portal" {
    fake
    local portal
    portal=127.0.0.1:$(< port)
    keep
    fake "redirect=$portal,1"
    img 0 info -f raw "$DISK"
}

@test "a target that says nothing is given up" {
    fake deaf=1
    img 1 info --image-opts "$OPTIONS,file.timeout=1"
    has "$ERR" ': iSCSI: Failed to connect to LUN : the target does not answer$'
    fake silent=2
    img 1 convert -O raw --image-opts "$OPTIONS,file.timeout=1,file.reconnect-delay=1" back
    has "$ERR" "^qemu-img: iSCSI: lost the target iqn.x:y at 127.0.0.1:"
}

@test "a command that is not answered is repeated in another session" {
    fake silent=1 once=1 log=log
    head -c 1M /dev/urandom > disk
    img 0 convert -n -m 1 -f raw --target-image-opts disk "$OPTIONS,file.timeout=1"
    has log '^abort$'
    fake cut=1
    img 1 convert -n -f raw --target-image-opts disk "$OPTIONS"
    has "$ERR" "^qemu-img: iSCSI: lost the target iqn.x:y"
}

@test "a target that is started again while nothing is asked of it" {
    need nbdsh
    truncate -s 1M own.disk
    local port
    port=$(free_port)
    own "$port"
    start_nbd -t -f raw "iscsi://bob%$SECRET@127.0.0.1:$port/iqn.x:own/1"
    nbdsh -u "nbd+unix:///?socket=$PWD/s" -c 'h.pwrite(b"x" * 512, 0); h.flush()'
    kill -KILL "$OWN"
    wait "$OWN" || true
    rm -f own own.*lock
    own "$port"
    nbdsh -u "nbd+unix:///?socket=$PWD/s" -c 'assert h.pread(512, 0) == b"x" * 512; h.pwrite(b"y" * 512, 512)' ||
        local failed=1
    stop_server
    kill -KILL "$OWN"
    [ -z "${failed-}" ]
}

# A target of its own, which can be killed, for a user with a password.
own() {
    TGT_IPC_SOCKET=$PWD/own tgtd -f -C 0 --iscsi "portal=127.0.0.1:$1" > own.log 2>&1 3>&- &
    OWN=$!
    local TGT_IPC_SOCKET=$PWD/own
    export TGT_IPC_SOCKET
    wait_until admin show sys > /dev/null 2>&1
    # (nobody is let in before the disk is there: without it a target that was started again is another one)
    admin new target --tid 1 -T iqn.x:own
    lun 1 1 own.disk
    admin new account --user bob --password "$SECRET"
    admin bind account --tid 1 --user bob
    admin bind target --tid 1 -I 127.0.0.1
}

@test "a target that is killed in the middle and started again" {
    head -c 64M /dev/urandom > disk
    truncate -s 64M own.disk
    local port tool got=0
    port=$(free_port)
    own "$port"
    "$IMG" convert -n -f raw -O raw -r 40M disk "iscsi://bob%$SECRET@127.0.0.1:$port/iqn.x:own/1" > log 2>&1 3>&- &
    tool=$!
    wait_until cmp -s -n 65536 disk own.disk
    kill -KILL "$OWN"
    wait "$OWN" || true
    rm -f own own.*lock
    own "$port"
    wait "$tool" || got=$?
    kill -KILL "$OWN"
    [ "$got" -eq 0 ] || { cat log; return 1; }
    cmp disk own.disk
}

@test "the examples of the page" {
    fresh $THICK
    make_world
    printf secretsecret12 > "$BATS_FILE_TMPDIR/example-files/pw.txt"
    fresh_folder
    examples_of docs/drivers/iscsi.md "s|=server:3260|=127.0.0.1:$PORT|; s|//server/|//127.0.0.1:$PORT/|g
        s|example:disks/1|example:a/$THICK|; s|example:disks/2|example:a/$THIN|; s|example:disk/1|example:a/$THICK|; s|example:disk|example:chap|"
}
