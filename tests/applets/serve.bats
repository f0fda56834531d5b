#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-serve: what goes beyond qemu-nbd.

# (each test runs in a process of its own, and so does its server)
# shellcheck disable=SC2030,SC2031

load ../helper
load ../nbd

setup() {
    fresh_folder
    SERVE="$IMGBOX serve"
    truncate -s 1M a.raw
    pattern a.raw 61 0 4k
    img 0 create -q -f qcow2 q.qcow2 3M
}

# start ARGUMENT...: the server on the socket s
start() {
    # shellcheck disable=SC2086
    serving s $SERVE -k "$PWD/s" "$@"
}

# fails TEXT ARGUMENT...
fails() {
    # shellcheck disable=SC2086
    cmd 1 $SERVE "${@:2}"
    err "imgbox: $1"
}

@test "serve: several disks, each with its options" {
    beyond
    need nbdinfo nbdsh
    start -t -x one -f raw a.raw -x two -D 'the second' -r -f qcow2 q.qcow2 -x part -o 1k -f raw -r a.raw
    # shellcheck disable=SC2086
    cmd 0 $SERVE -L -k s
    [ "$(grep '^ export' "$OUT" | tr -d '\n')" = " export: 'one' export: 'two' export: 'part'" ]
    has "$OUT" '^  description: the second$'
    [ "$(nbdinfo --size "$(uri two)")" = 3145728 ]
    [ "$(nbdinfo --size "$(uri part)")" = 1047552 ]
    nbdinfo --is read-only "$(uri two)"
    never nbdinfo --is read-only "$(uri one)"
    never nbdinfo --size "$(uri)"
    nbdsh -u "$(uri part)" -c 'assert h.pread(1, 3071) == b"a"; assert h.pread(1, 3072) == b"\0"'
    stop_server
}

@test "serve: options after the last FILE belong to it; a name only once" {
    beyond
    need nbdinfo
    start -t a.raw -f raw -x late
    [ "$(nbdinfo --size "$(uri late)")" = 1048576 ]
    stop_server
    # shellcheck disable=SC2086
    cmd 1 $SERVE -k s -r -f raw a.raw -r -f raw a.raw
    [ -s "$ERR" ]
    [ ! -e s ]
}

@test "serve: a part of a disk" {
    beyond
    need nbdsh
    start -f raw -o 2k --length 4k a.raw
    nbdsh -u "$(uri)" -c '
assert h.get_size() == 4096
assert h.pread(4096, 0) == b"a" * 2048 + bytes(2048)
h.pwrite(b"z" * 10, 4086)'
    ended
    [ "$(peek a.raw 6134 11)" = 7a7a7a7a7a7a7a7a7a7a00 ]
    fails 'The part of 4096 bytes at offset 1047552 ends after the disk of 1048576 bytes' \
        -k s -f raw -o 1023k --length 4k a.raw
    fails "Invalid length specified: 'x'." --length x a.raw
}

@test "serve: standard input and output" {
    beyond
    need nbdsh
    nbdsh -c "
h.connect_command(['$IMGBOX', 'serve', '--stdio', '-f', 'raw', 'a.raw'])
h.pwrite(b'bc', 1)
h.shutdown()"
    [ "$(peek a.raw 0 4)" = 61626361 ]
    for option in '-k s' '-p 1' '-b x' '-c /dev/null' -L; do
        # shellcheck disable=SC2086
        cmd 1 $SERVE --stdio $option a.raw
    done
    fails 'socket path must be absolute with --fork' --fork -k s a.raw
    fails '--stdio and --fork are mutually exclusive' --stdio --fork a.raw
}

@test "serve: several sockets of a service manager" {
    beyond
    need nbdinfo
    exec_activated 2 "$IMGBOX" serve -f raw -t a.raw 2> server.err 3>&- &
    SERVER=$!
    wait_until test -e act.ready
    for socket in act.0 act.1; do
        [ "$(nbdinfo --size "nbd+unix:///?socket=$socket")" = 1048576 ]
    done
    stop_server
    [ -S act.0 ]
    rm act.*
    cmd 1 activated 1 "$IMGBOX" serve --stdio a.raw
    has "$ERR" 'incompatible with socket activation$'
}

@test "serve: a socket that is in use, a file that is none" {
    beyond
    start -f raw -t a.raw
    fails 'Failed to bind socket to s: Address already in use' -k s -r -f raw a.raw
    # shellcheck disable=SC2086
    cmd 0 $SERVE -L -k s
    stop_server
    echo text > s
    fails 'Failed to bind socket to s: Address already in use' -k s -r -f raw a.raw
    # not even for qemu-nbd does a file with content make way
    nbd 1 -k "$PWD/s" -r -f raw a.raw
    err "qemu-nbd: Failed to bind socket to $PWD/s: Address already in use"
    [ "$(cat s)" = text ]
}

@test "serve: after a failure no socket is left" {
    beyond
    for file in nosuch a.raw; do
        # shellcheck disable=SC2086
        cmd 1 $SERVE -k s -f qcow2 $file
        [ ! -e s ]
    done
}

@test "serve: TCP, IPv4 and IPv6" {
    beyond
    need nbdinfo
    python3 -c '
import socket
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
print(listener.getsockname()[1])' > port
    answers() {
        nbdinfo --size "nbd://$1:$(cat port)" 2> /dev/null
    }
    for address in 127.0.0.1 ::1 ''; do
        [ "$address" != ::1 ] || [ -e /proc/net/if_inet6 ] || continue
        # shellcheck disable=SC2086
        $SERVE -b "$address" -p "$(cat port)" -t -f raw a.raw < /dev/null 2> server.err 3>&- &
        SERVER=$!
        [ "$address" != 127.0.0.1 ] || wait_until answers 127.0.0.1 > /dev/null
        [ "$address" != ::1 ] || wait_until answers '[::1]' > /dev/null
        if [ -z "$address" ]; then
            wait_until answers 127.0.0.1 > /dev/null
            [ ! -e /proc/net/if_inet6 ] || answers '[::1]'
        fi
        stop_server
    done
}

@test "serve: TLS with a file of keys" {
    beyond
    need_tls
    need psktool nbdinfo
    psktool -u someone -p keys.psk > /dev/null 2>&1
    start -t -f raw --tls-psk keys.psk a.raw
    nbds="nbds+unix://someone@/?socket=$PWD/s&tls-psk-file=$PWD/keys.psk"
    [ "$(nbdinfo --size "$nbds")" = 1048576 ]
    never nbdinfo --size "$(uri)"
    stop_server
    fails '--tls-creds, --tls-psk and --tls-certificates are mutually exclusive' \
        --tls-psk keys.psk --tls-certificates . a.raw
    fails '--tls-verify-peer needs --tls-certificates' --tls-psk keys.psk --tls-verify-peer a.raw
    fails '--tls-verify-peer is not permitted without --tls-certificates' --tls-verify-peer a.raw
}

@test "serve: TLS with certificates" {
    beyond
    need_tls
    need certtool nbdinfo
    make_pki
    mkdir bare
    cp pki/ca-cert.pem bare
    answers() {
        nbdinfo --size "nbds+unix://localhost/?socket=$PWD/s&tls-certificates=$PWD/$1&tls-hostname=localhost" 2> /dev/null
    }
    start -t -f raw --tls-certificates pki a.raw
    answers pki
    answers bare
    # shellcheck disable=SC2086
    cmd 0 $SERVE -L -k s --tls-certificates pki --tls-hostname localhost
    has "$OUT" '^exports available: 1$'
    stop_server
    start -t -f raw --tls-certificates pki --tls-verify-peer a.raw
    answers pki
    never answers bare
    stop_server
}

@test "serve: what a client frees is freed, unless told otherwise" {
    beyond
    need nbdsh
    serve_test() {
        start "$@"
    }
    freed 524288 trim
    freed 1048576 trim --discard=ignore
    freed 524288 trim --detect-zeroes=unmap
}

@test "serve: each disk has its own temporary image" {
    beyond
    need nbdsh
    mkdir tmp
    before=$(cat a.raw q.qcow2 | sha256sum)
    TMPDIR=$PWD/tmp start -s -t -x a a.raw -x q q.qcow2
    for name in a q; do
        nbdsh -u "$(uri $name)" -c 'h.pwrite(b"new", 0)'
        nbdsh -u "$(uri $name)" -c 'assert h.pread(3, 0) == b"new"'
    done
    [ -z "$(ls tmp)" ]
    stop_server
    [ "$(cat a.raw q.qcow2 | sha256sum)" = "$before" ]
}

@test "serve: the list of a hostile server ends, and a terminal obeys none of it" {
    beyond
    listed() {
        crafting -m fake_nbd f "$1" 3>&- &
        SERVER=$!
        wait_until test -S f
        # shellcheck disable=SC2086
        cmd "$2" $SERVE -L -k f
        rm -f f
        wait "$SERVER"
        SERVER=
    }
    listed list-endless 1
    err 'imgbox: The server has more than 10000 exports'
    listed info-endless 1
    err 'imgbox: The server does not stop to tell about an export'
    listed list-terminal 0
    has "$OUT" "^ export: '\?\[2J'\?'\$"
    has "$OUT" '^  description: a\?\]0;x\?b$'
    # a description that only INFO tells
    listed info-text 0
    has "$OUT" '^  description: told later$'
}

@test "serve: a kernel's disk" {
    beyond
    no_asan
    need cc
    case $IMG in */static/*) skip 'nothing is preloaded there' ;; esac
    cc -shared -fPIC -o fake.so "$ROOT/tests/applets/fake-kernel.c" -ldl
    cmd 0 env LD_PRELOAD="$PWD/fake.so" "$IMGBOX" serve -v -f raw -c /dev/nbd9 a.raw
    has "$ERR" '^NBD device /dev/nbd9 is now connected to a.raw$'
    same kernel 'block 512' 'blocks 2048' 'read-only 0' 'error 0' 'first byte 97' 'clear 0'
    rm kernel
    cmd 0 env LD_PRELOAD="$PWD/fake.so" "$IMGBOX" serve -f raw -o 4k -r -x name -c /dev/nbd9 a.raw
    same kernel 'block 512' 'blocks 2040' 'read-only 1' 'error 0' 'first byte 0' 'clear 0'
    cmd 0 env LD_PRELOAD="$PWD/fake.so" "$IMGBOX" serve -d /dev/nbd9
    out '/dev/nbd9 disconnected'
}

@test "serve: names, help, version" {
    beyond
    ln -s "$IMGBOX" qemu-nbd
    ln -s "$IMGBOX" img-serve
    cmd 0 ./qemu-nbd --version
    has "$OUT" '^qemu-nbd version 10\.'
    cmd 0 ./img-serve --version
    has "$OUT" '^img-serve \(imgbox '
    cmd 0 "$IMGBOX" qemu-nbd --help
    cmd 1 "$IMGBOX" qemu-nbd nosuch -k "$PWD/s"
    err "qemu-nbd: Failed to blk_new_open 'nosuch': Could not open 'nosuch': No such file or directory"
    cmd 1 ./img-serve nosuch
    err "img-serve: Could not open 'nosuch': Could not open 'nosuch': No such file or directory"
    cmd 1 ./img-serve
    err 'img-serve: Expecting at least one file name' "Try './img-serve --help' for more info"
    cmd 1 ./img-serve -d a b
    err 'img-serve: Expecting one file name' "Try './img-serve --help' for more info"
    cmd 0 "$IMGBOX" --list
    has "$OUT" '^qemu-nbd$'
    [ -x "$BUILD/bin/qemu-nbd" ] || [ ! -d "$BUILD/bin" ]
}

@test "serve: a disk of another NBD server, with the flags of its map" {
    beyond
    need nbdkit nbdinfo
    [ -e "$(dirname "$IMGBOX")/modules/img-nbd.so" ] || skip 'nbd is not built in'
    # shellcheck disable=SC2016
    nbdkit -f -U "$PWD/far" eval get_size='echo 1M' pread='dd if=/dev/zero count=$3 iflag=count_bytes' can_extents='exit 0' \
        extents='echo 0 64k; echo 64k 64k hole; echo 128k 64k zero; echo 192k 64k hole,zero; echo 256k 768k' \
        > /dev/null 2>&1 3>&- &
    FAR=$!
    wait_until listening far
    start -r -f raw 'nbd+unix:///?socket=far'
    nbdinfo --map "$(uri)" | awk '{ print $1, $2, $3 }' > "$OUT"
    kill "$FAR"
    out '0 65536 0' '65536 65536 1' '131072 65536 2' '196608 65536 3' '262144 786432 0'
}

@test "serve -s: a temporary image over a disk of another NBD server" {
    beyond
    need nbdkit nbdcopy
    [ -e "$(dirname "$IMGBOX")/modules/img-nbd.so" ] || skip 'nbd is not built in'
    pattern far.raw 33 0 1M
    cp far.raw old.raw
    nbdkit -f -U "$PWD/far" file far.raw > /dev/null 2>&1 3>&- &
    FAR=$!
    wait_until listening far
    start -s -t 'nbd+unix:///?socket=far'
    nbdcopy "$(uri)" copy.raw
    cmp far.raw copy.raw
    head -c 1M /dev/urandom > new.raw
    nbdcopy new.raw "$(uri)"
    nbdcopy "$(uri)" copy.raw
    cmp new.raw copy.raw
    stop_server
    kill "$FAR"
    cmp far.raw old.raw
}
