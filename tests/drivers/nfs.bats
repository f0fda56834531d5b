#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# nfs: a file on an NFS server.  The server is nfs-ganesha; one that lies is in interop/lib/nfs_server.py.

load ../helper
load ../examples
load ../nfs

setup_file() {
    export RIG=$BATS_FILE_TMPDIR EXPORT=$BATS_RUN_TMPDIR
    nfs_needs || return 0
    chmod 755 "$BATS_RUN_TMPDIR" "$RIG"
    nfs_world
    nfs_start
}

teardown_file() {
    nfs_stop
}

setup() {
    fresh_folder
    nfs_needs || skip 'not root, or nfs-ganesha, rpcbind, ip, nsenter are missing, or the root is no mount'
    "$IMG" --help | grep -q '\<nfs\>' || skip 'nfs is not built in'
    chmod 755 "$BATS_TEST_TMPDIR"
}

# The tool where the server is.
qemu-img() {
    nsenter -t "$(< "$RIG/world")" -n -- bash -c 'exec -a qemu-img "$@"' bash "$IMG" "$@"
}

# at FILE: its URL
at() {
    echo "nfs://127.0.0.1$PWD/$1"
}

# with FILE [OPTION...]: the same as options
with() {
    local file=$1
    shift
    printf 'driver=raw,file.driver=nfs,file.server.type=inet,file.server.host=127.0.0.1,file.path=%s' "$PWD/$file"
    printf ',file.%s' "$@"
}

opened() {
    err "qemu-img: Could not open '$1': $2"
}

@test "info names the file by its URL, and says what it takes on the server" {
    head -c 1M /dev/urandom > disk
    sync disk
    img 0 info --output=json "$(at disk)"
    has "$OUT" "\"actual-size\": $(($(stat -c %b disk) * 512))"
    img 0 info "$(at disk)"
    sed -i '/disk size/d' "$OUT"
    out "image: $(at disk)" 'file format: raw' 'virtual size: 1 MiB (1048576 bytes)' \
        "Child node '/file':" "    filename: $(at disk)" '    protocol type: nfs' '    file length: 1 MiB (1048576 bytes)'
    img 0 info "$(at disk)?uid=0&gid=7&tcp-syncnt=2&readahead=4096&pagecache=4"
    has "$OUT" "^image: $(at disk)[?]gid=7$"
    img 0 info --output=json "$(at disk)?uid=0x10&gid=7"
    has "$OUT" "\"filename\": \"$(at disk)[?]uid=16&gid=7\""
    img 0 info "json:{\"driver\":\"raw\",\"offset\":512,\"file\":{\"driver\":\"nfs\",\"user\":3,\"group\":4,\"debug\":0,
        \"server\":{\"type\":\"inet\",\"host\":\"127.0.0.1\"},\"path\":\"$PWD/disk\",\"readahead-size\":4096}}"
    has "$OUT" "^image: json:{\"offset\": 512, \"driver\": \"raw\", \"file\": {\"server.host\": \"127.0.0.1\", \"group\": 4, \"driver\": \"nfs\", \"path\": \"$PWD/disk\", \"server.type\": \"inet\", \"user\": 3}}$"
}

@test "converting both ways" {
    sample disk
    img 0 convert -O qcow2 disk "$(at copy.qcow2)"
    img 0 convert -O raw "$(at copy.qcow2)" back
    raw_is back disk
    img 0 convert -O raw disk "$(at copy)"
    raw_is copy disk
    img 0 convert -W -m 16 -O raw "$(at disk)" "$(at copy2)"
    raw_is copy2 disk
    img 0 check "$(at copy.qcow2)"
    [ "$(stat -c %a copy)" = 600 ]
}

@test "writing over an old file, and an image in place" {
    sample disk
    head -c 8M /dev/urandom > old
    img 0 convert -n -O raw disk "$(at old)"
    raw_is old disk
    img 0 create -f qcow2 "$(at disk.qcow2)" 1M
    img 0 snapshot -c one "$(at disk.qcow2)"
    img 0 snapshot -l "$(at disk.qcow2)"
    has "$OUT" ' one '
}

@test "what an old file had is not in the new one" {
    beyond
    head -c 1M /dev/urandom > old
    truncate -s 2M want
    img 0 create -q -f raw "$(at old)" 2M
    raw_is old want
    head -c 8M /dev/urandom > old2
    sample disk
    img 0 convert -O raw disk "$(at old2)"
    raw_is old2 disk
}

@test "growing and shrinking" {
    printf abc > disk
    truncate -s 1M disk
    img 0 resize -f raw "$(at disk)" 2M
    [ "$(stat -c %s disk)" -eq 2097152 ]
    img 0 resize -f raw --shrink "$(at disk)" 1M
    [ "$(stat -c %s disk)" -eq 1048576 ]
    img 1 resize -f raw --preallocation=full "$(at disk)" 3M
    err "qemu-img: Unsupported preallocation mode 'full'"
    img 1 resize -f raw "$(at disk)" 7E
    err 'qemu-img: Failed to truncate file: File too large'
}

@test "a file that is no whole number of sectors" {
    printf abc > disk
    img 0 convert -O raw "$(at disk)" copy
    { printf abc; head -c 509 /dev/zero; } > want
    raw_is copy want
    img 0 map --output=json "$(at disk)"
    out '[{ "start": 0, "length": 512, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0}]'
}

@test "an overlay of an image on a server, here and there" {
    sample base
    img 0 create -f qcow2 -b "$(at base)" -F raw over.qcow2
    img 0 rebase -b '' over.qcow2
    img 0 compare over.qcow2 base
}

@test "a relative backing name is beside its image on the server" {
    beyond
    sample base
    "$IMG" create -q -f qcow2 -b base -F raw there.qcow2
    img 0 compare "$(at there.qcow2)" base
}

@test "names" {
    mkdir sub
    truncate -s 1M 'a b%c'
    img 0 info "nfs://127.0.0.1$PWD/a%20b%25c"
    img 0 info "nfs://127.0.0.1:7$PWD/sub/.././x/%2e%2e/a%20b%25c#there"
    has "$OUT" "^image: nfs://127.0.0.1$PWD/a b%c$"
    for name in nfs: nfs:a nfs:// nfs:///a/b; do
        img 1 info "$name"
        opened "$name" 'missing hostname in URI'
    done
    img 1 info nfs://host
    opened nfs://host 'missing file path in URI'
    for name in nfs://host:port/a 'nfs://host/a%' 'nfs://host/a?uid=%'; do
        img 1 info "$name"
        opened "$name" 'Invalid URI specified'
    done
    img 1 info 'nfs://host/a?nfsport=1'
    opened 'nfs://host/a?nfsport=1' 'Unknown NFS parameter name: nfsport'
    for value in abc -1 '' 1k 18446744073709551616; do
        img 1 info "nfs://host/a?uid=$value"
        opened "nfs://host/a?uid=$value" 'Invalid value for NFS parameter: uid'
    done
    img 0 info "nfs://127.0.0.1$PWD/a%20b%25c?uid=010&gid&foo=1"
    has "$OUT" '[?]uid=8$'
}

@test "what is not there, and what may not be touched" {
    mkdir sub
    echo secret > secret
    chmod 600 secret
    img 1 info "$(at none)"
    opened "$(at none)" 'Failed to open file : open call failed with "NFS: Lookup of /none failed with NFS3ERR_NOENT(-2)"'
    img 1 info "$(at no/disk)"
    opened "$(at no/disk)" 'Failed to mount nfs share: mount_cb: RPC error: Mount failed with error MNT3ERR_ACCES(13) Permission denied(13)'
    img 1 info "$(at secret)?uid=1000&gid=1000"
    opened "$(at secret)?uid=1000&gid=1000" \
        'Failed to open file : open call failed with "NFS: ACCESS denied. Required access r--. Allowed access ---"'
    img 1 create -q -f raw "$(at new)?uid=1000" 1M
    err "qemu-img: $(at new)?uid=1000: Failed to create file: creat call failed with \"NFS: CREATE of /new failed with NFS3ERR_ACCES(-13)\""
    img 1 create -q -f raw "$(at sub)" 1M
    err "qemu-img: $(at sub): Failed to create file: creat call failed with \"NFS: CREATE of /sub failed with NFS3ERR_ISDIR(-21)\""
    img 1 create -q -f raw -o preallocation=full "$(at new)" 1M
    err "qemu-img: $(at new): Invalid parameter 'preallocation'"
    [ ! -e new ]
}

@test "options" {
    truncate -s 1M disk
    local server=driver=nfs,server.type=inet,server.host=127.0.0.1 file="path=$PWD/disk" options text
    while IFS='|' read -r options text; do
        img 1 info --image-opts "$options"
        opened "$options" "$text"
    done <<- end
	driver=nfs,$file|Parameter 'server' is missing
	driver=nfs,server.host=127.0.0.1,$file|Parameter 'server.type' is missing
	driver=nfs,server.type=inet,$file|Parameter 'server.host' is missing
	driver=nfs,server.type=unix,server.host=127.0.0.1,$file|Parameter 'type' does not accept value 'unix'
	driver=nfs,server=127.0.0.1,$file|Invalid parameter type for 'server', expected: object
	$server|Parameter 'path' is missing
	$server,path=disk|Invalid URL specified
	$server,server.port=1,$file|Parameter 'server.port' is unexpected
	$server,$file,bogus=1|Parameter 'bogus' is unexpected
	$server,$file,user=abc|Parameter 'user' expects integer
	$server,$file,readahead-size=1M|Parameter 'readahead-size' expects integer
	$server,$file,readahead-size=0,cache.direct=on|Cannot enable NFS readahead if cache.direct = on
	$server,$file,page-cache-size=1,cache.direct=on|Cannot enable NFS pagecache if cache.direct = on
	end
    img 0 info --image-opts "$server,$file,readahead-size=9999999,page-cache-size=9999"
    err 'qemu-img: warning: Truncating NFS readahead size to 1048576' \
        'qemu-img: warning: Truncating NFS pagecache size to 2048 pages'
    img 0 info --image-opts "$server,$file,debug=5"
    has "$ERR" '^qemu-img: warning: Limiting NFS debug level to 2$'
    has "$ERR" '^libnfs:2 connection established on fd'
}

@test "timeout and connections" {
    beyond
    truncate -s 1M disk
    img 1 info --image-opts "$(with disk timeout=-1)"
    has "$ERR" 'timeout must be between 0 and 86400$'
    img 1 info --image-opts "$(with disk connections=17)"
    has "$ERR" 'connections must be between 1 and 16$'
    img 0 info --image-opts "$(with disk timeout=0 connections=1)"
}

# ---- faults

@test "a folder is no image" {
    beyond
    mkdir sub
    img 1 info "$(at sub)"
    opened "$(at sub)" 'Could not read image for determining its format: Is a directory'
}

@test "no server" {
    img 1 info nfs://127.0.0.99:1/a/b
    has "$ERR" 'Failed to mount nfs share: '
    img 1 info nfs://no.such.host.invalid/a/b
    has "$ERR" 'Failed to mount nfs share: nfs_mount_async failed\. .*(Can not resolv into IPv4/v6 structure|Failed to start connection)\. ?$'
}

@test "a server that is stopped for a while is waited for, one that stays silent is given up" {
    beyond
    truncate -s 1M disk
    nfs_signal STOP
    img 1 info --image-opts "$(with disk timeout=1)" || { nfs_signal CONT; return 1; }
    has "$ERR" 'Failed to mount nfs share: mount_cb: the server says nothing$' || { nfs_signal CONT; return 1; }
    qemu-img info "$(at disk)" > late 2>&1 3>&- &
    local tool=$!
    nfs_signal CONT
    wait "$tool"
}

# busy WORD...: start the tool, which reads without end
busy() {
    timeout 100 nsenter -t "$(< "$RIG/world")" -n -- "$IMG" bench -c 1000000000 -s 512 --image-opts "$@" > log 2>&1 3>&- &
    TOOL=$!
    wait_until is_reading
}

# (it has the file open, and much of it)
is_reading() {
    in_nfs_world ss -Htni state established 'dport = :12049' | grep -Eq 'bytes_received:[0-9]{5,}'
}

@test "silence in the middle" {
    beyond
    truncate -s 1M disk
    local got=0
    busy "$(with disk timeout=1)"
    nfs_signal STOP
    wait "$TOOL" || got=$?
    nfs_signal CONT
    [ "$got" -eq 1 ]
    has log 'Connection timed out$'
}

@test "a server that is gone in the middle, and does not come back" {
    beyond
    truncate -s 1M disk
    local got=0
    busy "$(with disk timeout=1)"
    nfs_kill
    wait "$TOOL" || got=$?
    nfs_serve
    [ "$got" -eq 1 ]
    has log 'Input/output error$'
}

@test "a server that is started again while a file is read" {
    beyond
    head -c 6M /dev/urandom > disk
    qemu-img convert -r 2M -O raw "$(at disk)" copy 3>&- &
    local tool=$!
    wait_until test -s copy
    nfs_kill
    nfs_serve
    wait "$tool"
    raw_is copy disk
}

# ---- a server that lies

lying() {
    # shellcheck disable=SC2016
    unshare -n bash -c 'ip link set lo up; python3 "$1" ready > server.log 2>&1 3>&- & server=$!
        until [ -e ready ]; do sleep 0.05; kill -0 "$server" || exit 9; done
        . "$2"; "$3"; got=$?; kill "$server"; exit "$got"' bash "$BATS_TEST_DIRNAME/../interop/lib/nfs_server.py" "$PWD/tool" "$@"
}

# tell: the functions that lying runs have this
tell() {
    # shellcheck disable=SC2016
    printf '%s\n' "IMG='$IMG'" 'said() { local want=$1; shift; exec 4> said; "$@" >&4 2>&1 && got=0 || got=$?; exec 4>&-
        [ "$got" -eq "$want" ] || { echo "exit code $got: $*"; cat said; exit 1; }; }' \
        "$(declare -f "$@")" > tool
}

reads_lies() {
    local url=nfs://127.0.0.1/export
    for way in ok short drop; do
        said 0 "$IMG" convert -O raw "$url/$way" "$way"
        cmp "$way" ok || exit 1
    done
    [ "$(md5sum < ok)" = "$(python3 -c 'import random, sys; sys.stdout.buffer.write(random.Random(7).randbytes(1 << 20))' | md5sum)" ] || exit 1
    for way in nothing long count dropall reject; do
        said 1 "$IMG" convert -f raw -O raw "$url/$way" out
        grep -q 'error while reading at byte [0-9]*: Input/output error$' said || { cat said; exit 1; }
    done
    said 1 "$IMG" info "$url/huge"
    grep -q 'The file is too large$' said || exit 1
    said 1 "$IMG" info "$url/nohandle"
    grep -q 'Failed to open file : a file handle of 0 bytes$' said || exit 1
    said 1 "$IMG" convert -f raw -O raw "$url/stale" out
    grep -q 'Stale file handle$' said || exit 1
    said 1 "$IMG" convert --image-opts -O raw \
        driver=raw,file.driver=nfs,file.server.type=inet,file.server.host=127.0.0.1,file.path=/export/silent,file.timeout=1 out
    grep -q 'Connection timed out$' said || exit 1
}

@test "lies about what is read" {
    beyond
    tell reads_lies
    lying reads_lies
}

writes_lies() {
    local url=nfs://127.0.0.1/export
    head -c 3M /dev/urandom > new
    for way in ok short drop; do
        said 0 "$IMG" convert -O raw new "$url/$way"
        said 0 "$IMG" convert -O raw "$url/$way" out
        cmp new out || exit 1
    done
    for way in wnothing wlong; do
        said 1 "$IMG" convert -O raw new "$url/$way"
        grep -q 'error while writing at byte [0-9]*: Input/output error$' said || { cat said; exit 1; }
    done
    said 1 "$IMG" convert -O raw new "$url/full"
    grep -q 'error while writing at byte [0-9]*: No space left on device$' said || { cat said; exit 1; }
    for way in forget restart; do
        said 1 "$IMG" convert -t writeback -O raw new "$url/$way"
        grep -q 'warning: the NFS server was started again, and may have lost what it was sent before$' said || exit 1
        grep -q 'Input/output error$' said || { cat said; exit 1; }
    done
}

@test "lies about what is written, and a server that has forgotten it" {
    beyond
    tell writes_lies
    lying writes_lies
}

@test "the examples of the page" {
    make_world
    fresh_folder
    mkdir images
    chmod 777 images
    cp "$BATS_FILE_TMPDIR/example-files/disk.raw" images/disk.img
    # shellcheck disable=SC2034
    EXAMPLE_IN=(nsenter -t "$(< "$RIG/world")" -n --)
    examples_of docs/drivers/nfs.md "s|//server/srv|//127.0.0.1$PWD|"
    img 0 check images/new.qcow2
    [ "$(stat -c %u images/new.qcow2)" -eq 107 ]
}
