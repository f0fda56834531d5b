#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# nbd: a disk on an NBD server.  The servers are nbdkit, and one of our own that does what a good one never does.

load ../helper
load ../nbd

setup() {
    fresh_folder
    FAKE=$ROOT/tests/interop/lib/nbd_server.py
    # (with the real tool these tests run, too)
    [ -n "$IMG_IS_PEER" ] || "$IMG" info nbd:unix:none 2>&1 | grep -q 'Failed to connect' || skip 'nbd is not built in'
}

teardown() {
    end_servers
}

# kit ARGUMENT...: nbdkit on the socket s
kit() {
    need nbdkit
    rm -f s
    nbdkit -f -U "$PWD/s" "$@" > kit.log 2>&1 3>&- &
    remember $!
    wait_until listening s
}

# fake SIZE OPTION...: our own on the socket s
fake() {
    rm -f s
    python3 "$FAKE" s "$@" > fake.log 2>&1 3>&- &
    remember $!
    wait_until test -S s
}

# The last server ends, and has written its dump.
end_server() {
    local pid=${SERVERS[-1]}
    kill "$pid"
    wait "$pid" || true
    unset 'SERVERS[-1]'
}

URI='nbd+unix:///?socket=s'

@test "nbd: the names of an export" {
    kit --filter=exportname memory 1M exportname-strict=true exportname=a exportname='b c' default-export=a
    local name
    for name in 'nbd+unix:///a?socket=s' nbd:unix:s:exportname=a \
        'json:{"driver":"raw","file":{"driver":"nbd","path":"s","export":"a"}}' \
        'json:{"driver":"raw","file":{"driver":"nbd","server":{"type":"unix","path":"s"},"export":"a"}}'; do
        img 0 info "$name"
        out 'image: nbd+unix:///a?socket=s' 'file format: raw' 'virtual size: 1 MiB (1048576 bytes)' \
            'disk size: unavailable' "Child node '/file':" '    filename: nbd+unix:///a?socket=s' \
            '    protocol type: nbd' '    file length: 1 MiB (1048576 bytes)' '    disk size: unavailable'
    done
    img 0 info 'nbd+unix:///b%20c?socket=s'
    has "$OUT" '^image: nbd\+unix:///b c\?socket=s$'
    img 0 info --image-opts driver=nbd,server.type=unix,server.path=s,export=a
    has "$OUT" '^file format: nbd$'
    img 1 info 'nbd+unix:///x?socket=s'
    err "qemu-img: Could not open 'nbd+unix:///x?socket=s': Requested export not available"
}

@test "nbd: names that make no sense" {
    local name
    for name in nbd:///x nbd://127.0.0.1:abc nbd://127.0.0.1:99999 'nbd://127.0.0.1:1/?q=1' \
        'nbd+unix:///?sock=s' 'nbd+unix://h/?socket=s' 'nbd+unix:///%?socket=s'; do
        img 1 info "$name"
        err "qemu-img: Could not open '$name': No valid URL specified"
    done
    img 1 info nbd:127.0.0.1
    err "qemu-img: Could not open 'nbd:127.0.0.1': error parsing address '127.0.0.1'"
    img 1 info nbd:
    err "qemu-img: Could not open 'nbd:': NBD server address missing"
}

# opens_not OPTIONS TEXT
opens_not() {
    img 1 info --image-opts "driver=nbd,$1"
    err "qemu-img: Could not open 'driver=nbd,$1': $2"
}

@test "nbd: addresses in options" {
    opens_not server.type=unix "Parameter 'path' is missing"
    opens_not server.type=unix,server.path=s,server.abstract=x "Parameter 'abstract' expects 'on' or 'off'"
    opens_not server.type=unix,server.path=s,server.foo=1 "Parameter 'foo' is unexpected"
    opens_not server.type=unix,server.path=none "Failed to connect to 'none': No such file or directory"
    opens_not server.type=unix,server.path=none,server.abstract=on "Failed to connect to 'none': Connection refused"
    opens_not server.host=x "Parameter 'type' is missing"
    opens_not server.type=foo "Parameter 'type' does not accept value 'foo'"
    opens_not server.type=inet,server.host=h "Parameter 'port' is missing"
    opens_not server.type=inet,server.host=127.0.0.1,server.port=1 "Failed to connect to '127.0.0.1:1': Connection refused"
    opens_not server.type=inet,server.host=127.0.0.1,server.port=1,server.to=70000 "Parameter 'to' expects uint16_t"
    opens_not server.type=inet,server.host=127.0.0.1,server.port=1,server.ipv4=off,server.ipv6=off \
        'Cannot disable IPv4 and IPv6 at same time'
    case $IMG in
        */static/*) why='Name does not resolve' ;;      # (the words are the C library's)
        *) why='Address family for hostname not supported' ;;
    esac
    opens_not server.type=inet,server.host=::1,server.port=1,server.ipv4=on "address resolution failed for ::1:1: $why"
    opens_not server.type=vsock,server.cid=2 "Parameter 'port' is missing"
    opens_not server.type=vsock,server.cid=x,server.port=1 "Failed to parse cid 'x'"
    opens_not server.type=fd,server.str=foo 'Unable to parse FD number foo'
    opens_not server.type=fd,server.str=99 "File descriptor '99' is not a socket"
    opens_not path=s,host=h 'path and host may not be used at the same time'
    opens_not path=s,port=1 'port may not be used without host'
    opens_not export=x 'NBD server address missing'
    opens_not path=s,server.type=unix,server.path=s "Cannot use 'server' and path/host/port at the same time"
    opens_not path=s,reconnect-delay=x "Parameter 'reconnect-delay' expects a number"
    opens_not path=s,tls-creds=foo "No TLS credentials with id 'foo'"
}

@test "nbd: an option that is not known, and a context that the server lacks" {
    kit memory 1M
    opens_not path=s,zz=1 "Block protocol 'nbd' doesn't support the option 'zz'"
    opens_not path=s,x-dirty-bitmap=qemu:dirty-bitmap:b 'Could not open image: Invalid argument'
}

@test "nbd: a socket that the tool was started with" {
    kit memory 1M
    python3 - "$IMG" <<- 'end' > "$OUT"
	import os, socket, subprocess, sys
	s = socket.socket(socket.AF_UNIX)
	s.connect('s')
	os.set_inheritable(s.fileno(), True)
	opts = 'driver=raw,file.driver=nbd,file.server.type=fd,file.server.str=%d' % s.fileno()
	subprocess.run([sys.argv[1], 'info', '--image-opts', opts], close_fds=False, check=True)
	end
    has "$OUT" '^virtual size: 1 MiB'
}

@test "nbd: copies both ways, over each kind of server" {
    sample x
    local options before after
    # filters come before the plugin, their parameters after it
    for options in '' '--no-sr' '--filter=noextents' '--filter=nozero' '--filter=fua fuamode=emulate' \
        '--filter=multi-conn multi-conn-mode=disable' \
        '--filter=blocksize-policy blocksize-minimum=4096 blocksize-preferred=65536 blocksize-maximum=1M blocksize-error-policy=error'; do
        read -r before after <<< "$options"
        # shellcheck disable=SC2086
        kit $before file x $after
        img 0 convert -O raw "$URI" y
        cmp x y
        img 0 convert -O qcow2 "$URI" y.qcow2
        img 0 compare -f raw -F qcow2 x y.qcow2
        img 0 compare "$URI" y.qcow2
        end_server
        pattern target 77 0 8M
        # shellcheck disable=SC2086
        kit $before file target $after
        img 0 convert -n -O raw y.qcow2 "$URI"
        img 0 compare -f raw -F raw x "$URI"
        end_server
        cmp x target
    done
}

@test "nbd: what an image format keeps on an export" {
    sample x
    local format
    for format in qcow2 vdi vpc parallels luks; do
        truncate -s 0 store
        truncate -s 24M store
        kit file store
        case $format in
            luks)
                img 0 convert --object secret,id=k,data=abc -f raw -O luks -o key-secret=k,iter-time=10 x "$URI"
                img 0 convert --object secret,id=k,data=abc -O raw \
                    --image-opts driver=luks,key-secret=k,file.driver=nbd,file.path=s y ;;
            *)
                img 0 convert -f raw -O $format x "$URI"
                img 0 convert -f $format -O raw "$URI" y ;;
        esac
        cmp -n 8388608 x y
        end_server
    done
}

@test "nbd: an export is created by use of what is there" {
    truncate -s 1M x
    pattern x 55 0 1M
    kit file x
    img 0 create -f raw nbd:unix:s 1M
    out "Formatting 'nbd:unix:s', fmt=raw size=1048576"
    [ "$(peek x 0 4)" = 00000000 ]
    [ "$(peek x 512 4)" = 55555555 ]
    img 1 create -f raw nbd:unix:s 2M
    err 'qemu-img: nbd:unix:s: Cannot grow NBD nodes'
    img 1 create -f raw -o preallocation=full nbd:unix:s 1M
    err "qemu-img: nbd:unix:s: Unsupported preallocation mode 'full'"
    img 1 resize -f raw nbd:unix:s 2M
    err 'qemu-img: Cannot resize NBD nodes'
    img 0 create -q -f qcow2 nbd:unix:s 512k
    img 0 check -q "$URI"
    img 1 create -f raw nbd:unix:none 1M
    err "qemu-img: nbd:unix:none: Protocol driver 'nbd' does not support creating new images, so an existing image must be selected as the target; however, opening the given target as an existing image failed: Failed to connect to 'none': No such file or directory"
}

@test "nbd: an export that is read-only, and one that is too small" {
    kit -r memory 1M
    truncate -s 1M x
    img 1 convert -n -f raw -O raw x "$URI"
    err "qemu-img: Could not open '$URI': Could not open image: Permission denied"
    end_server
    kit memory 1M
    pattern x 11 0 3M
    img 1 convert -f raw -O raw x "$URI"
    err "qemu-img: $URI: error while converting raw: Cannot grow NBD nodes"
    # a format finds out when it writes
    img 1 convert -f raw -O qcow2 x "$URI"
    has "$ERR" '^qemu-img: error while writing at byte [0-9]+: No space left on device$'
}

@test "nbd: errors of the server" {
    kit --filter=error memory 1M error-pread=EIO error-pread-rate=100%
    # (holes are not read)
    img 0 convert -f raw -O raw "$URI" y
    img 1 convert -O raw "$URI" y
    err "qemu-img: Could not open '$URI': Could not read image for determining its format: Input/output error"
    img 0 bench -q -w -c 4 --pattern=5 -f raw "$URI"
    img 1 convert -f raw -O raw "$URI" y
    err 'qemu-img: error while reading at byte 0: Input/output error'
    end_server
    kit --filter=error memory 1M error-pwrite=ENOSPC error-pwrite-rate=100%
    pattern x 11 0 1M
    img 1 convert -n -f raw -O raw x "$URI"
    err 'qemu-img: error while writing at byte 0: No space left on device'
    end_server
}

@test "nbd: a server that wants TLS is not talked to without" {
    need psktool
    psktool -u qemu -p keys.psk > /dev/null 2>&1
    kit --tls=require --tls-psk=keys.psk memory 1M
    opens_not path=s "TLS negotiation required before option 7 (go)
Did you forget a valid tls-creds?"
}

tls_module() {
    [ -n "$IMG_IS_PEER" ] || [ -e "$(dirname "$IMGBOX")/modules/img-tls.so" ] || skip 'no TLS'
}

@test "nbd: TLS with a key" {
    tls_module
    need psktool
    mkdir keys other
    psktool -u qemu -p keys/keys.psk > /dev/null 2>&1
    psktool -u qemu -p other/keys.psk > /dev/null 2>&1
    sample x
    kit --tls=require --tls-psk=keys/keys.psk file x
    local opts='driver=raw,file.driver=nbd,file.path=s,file.tls-creds=t'
    img 0 convert --object tls-creds-psk,id=t,dir=keys,endpoint=client -O raw --image-opts "$opts" y
    cmp x y
    img 1 info --object tls-creds-psk,id=t,dir=other,endpoint=client --image-opts "$opts"
    has "$ERR" '^qemu-img: Could not open .*: TLS handshake failed: '
    img 1 info --object tls-creds-psk,id=t,dir=keys,endpoint=server --image-opts "$opts"
    err "qemu-img: Could not open '$opts': Expected TLS credentials for a client endpoint"
    end_server
    # a server without TLS is not used
    kit file x
    img 1 info --object tls-creds-psk,id=t,dir=keys,endpoint=client --image-opts "$opts"
    err "qemu-img: Could not open '$opts': Denied by server for option 5 (starttls)"
    end_server
    beyond
    kit --tls=require --tls-psk=keys/keys.psk file x
    img 0 convert -O raw 'nbds+unix:///?socket=s&tls-psk-file=keys/keys.psk' y
    cmp x y
    img 0 convert -n -f raw x --target-image-opts driver=raw,file.driver=nbd,file.path=s,file.tls-psk-file=keys/keys.psk
    img 0 compare -f raw -F raw x 'nbds+unix:///?socket=s&tls-psk-file=keys/keys.psk'
    img 1 info 'nbds+unix:///?socket=s'
    err "qemu-img: Could not open 'nbds+unix:///?socket=s': TLS needs tls-psk-file=FILE, tls-certificates=FOLDER or tls-creds=ID"
}

@test "nbd: TLS with certificates" {
    tls_module
    need certtool
    make_pki
    truncate -s 1M x
    kit --tls=require --tls-certificates=pki --tls-verify-peer file x
    local opts='driver=raw,file.driver=nbd,file.path=s,file.tls-creds=t,file.tls-hostname'
    img 0 info --object tls-creds-x509,id=t,dir=pki,endpoint=client --image-opts "$opts=localhost"
    has "$OUT" '^virtual size: 1 MiB'
    img 1 info --object tls-creds-x509,id=t,dir=pki,endpoint=client --image-opts "$opts=wrong"
    err "qemu-img: Could not open '$opts=wrong': Certificate does not match the hostname wrong"
    beyond
    img 0 info 'nbds+unix:///?socket=s&tls-certificates=pki&tls-hostname=localhost'
    has "$OUT" '^virtual size: 1 MiB'
}

@test "nbd: what a map shows" {
    need nbdkit
    # shellcheck disable=SC2016
    kit eval get_size='echo 1M' pread='dd if=/dev/zero count=$3 iflag=count_bytes' \
        can_extents='exit 0' extents='echo 0 64k; echo 64k 64k hole; echo 128k 64k zero; echo 192k 64k hole,zero; echo 256k 768k'
    img 0 map --output=json "$URI"
    out '[{ "start": 0, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0},' \
        '{ "start": 65536, "length": 65536, "depth": 0, "present": false, "zero": false, "data": false, "compressed": false},' \
        '{ "start": 131072, "length": 65536, "depth": 0, "present": true, "zero": true, "data": true, "compressed": false, "offset": 131072},' \
        '{ "start": 196608, "length": 65536, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 196608},' \
        '{ "start": 262144, "length": 786432, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 262144}]'
    img 0 map "$URI"
    out 'Offset          Length          Mapped to       File' \
        '0               0x10000         0               nbd+unix://?socket=s' \
        '0x40000         0xc0000         0x40000         nbd+unix://?socket=s'
}

@test "nbd: an export whose length is no multiple of a sector" {
    head -c 1000 /dev/urandom > x
    kit file x
    img 0 info "$URI"
    has "$OUT" '^virtual size: 1 KiB \(1024 bytes\)$'
    img 0 convert -O raw "$URI" y
    [ "$(stat -c %s y)" = 1024 ]
    cmp -n 1000 x y
    beyond
    # back again: what would not fit is zero
    cp x old
    img 0 convert -n -f raw -O raw y "$URI"
    cmp x old
}

@test "nbd: several connections, and several requests on each" {
    beyond
    sample x
    kit --filter=log file x logfile=log
    img 0 convert -O raw --image-opts driver=raw,file.driver=nbd,file.path=s y
    cmp x y
    # what waits gets more connections, at most four; never more than the server or the user allows
    local most
    for most in 1 3; do
        : > log
        img 0 convert -O raw --image-opts driver=raw,file.driver=nbd,file.path=s,file.connections=$most y
        cmp x y
        [ "$(grep -c ' Connect ' log)" -le "$most" ]
    done
    end_server
    kit --filter=log --filter=multi-conn file x logfile=log2 multi-conn-mode=disable
    img 0 convert -O raw "$URI" y
    [ "$(grep -c ' Connect ' log2)" -eq 1 ]
    end_server
    # answers come only when four requests are there
    fake 4194304 delay=3 fill=9 log=log3
    img 0 convert -f raw -O raw "$URI" y
    [ "$(grep -c '^read' log3)" -ge 4 ]
    pattern want 09 0 4M
    cmp want y
}

@test "nbd: holes stay holes, and zeroes are not sent" {
    beyond
    truncate -s 4M x
    pattern x 11 1M 64k
    fake 4194304 fill=0 log=log dump=dump
    img 0 convert -n --target-is-zero -f raw -O raw x "$URI"
    [ "$(grep -c '^write' log)" -eq 1 ]
    [ "$(grep -c '^zero' log)" -eq 0 ]
    end_server
    cmp x dump
    fake 4194304 fill=5 log=log dump=dump
    img 0 convert -n -f raw -O raw x "$URI"
    end_server
    cmp x dump
    [ "$(grep -c '^write' log)" -eq 1 ]
    grep -q '^zero' log
}

@test "nbd: a server that is gone is one error, at once" {
    beyond
    fake 8388608 fill=7 hangup=3
    img 1 convert -f raw -O raw "$URI" y
    has "$ERR" '^qemu-img: error while reading (block status at offset|at byte) [0-9]+: Input/output error$'
    [ "$(wc -l < "$ERR")" -eq 1 ]
}

@test "nbd: a server that comes back is read on" {
    beyond
    fake 8388608 fill=7 hangup=2,5,6,11
    img 0 convert -O raw --image-opts driver=raw,file.driver=nbd,file.path=s,file.reconnect-delay=60 y
    pattern want 07 0 8M
    cmp want y
}

@test "nbd: a server that comes back and has forgotten is told again" {
    beyond
    sample x
    fake 8388608 hangup=4,9,15 forget=1 dump=dump log=log
    img 0 convert -n -t writeback -f raw x --target-image-opts driver=raw,file.driver=nbd,file.path=s,file.reconnect-delay=60
    end_server
    cmp x dump
    [ "$(grep -c '^open' log)" -eq 4 ]
}

@test "nbd: the same over several connections, with requests in flight" {
    beyond
    sample x
    fake 8388608 multi=1 hangup=4,9,10,15 forget=1 dump=dump
    img 0 convert -n -t writeback -m 16 -W -f raw x --target-image-opts \
        driver=raw,file.driver=nbd,file.path=s,file.reconnect-delay=60
    end_server
    cmp x dump
}

@test "nbd: a server that comes back with another disk is not believed" {
    beyond
    fake 8388608 fill=7 hangup=3 then=16777216 log=log
    img 1 convert -O raw --image-opts driver=raw,file.driver=nbd,file.path=s,file.reconnect-delay=1 y
    [ "$(grep -c '^open' log)" -ge 2 ]
    has "$ERR" '^qemu-img: error while reading (block status at offset|at byte) [0-9]+: Input/output error$'
}

@test "nbd: open-timeout waits for a server that starts late" {
    "$IMG" info --image-opts driver=nbd,path=s,open-timeout=60 > "$OUT" 2> "$ERR" 3>&- &
    local pid=$!
    sleep 0.3
    kit memory 1M
    wait "$pid"
    has "$OUT" '^virtual size: 1 MiB'
}

@test "nbd: answers that are wrong" {
    beyond
    local wrong
    for wrong in magic cookie short none long type unknown offset count hole huge twice overlap; do
        fake 8388608 fill=7 wrong=$wrong
        img 1 convert -f raw -O raw "$URI" y
        has "$ERR" '^qemu-img: error while reading (block status at offset|at byte) [0-9]+: (Input/output error|Invalid argument|Protocol error)$'
        end_server
    done
}

@test "nbd: a copy that fails elsewhere does not wait for a server that is silent" {
    beyond
    fake 8388608 fill=7 wrong=silence
    # the target has no room for the other answers
    kit_target=$PWD/t
    nbdkit -f -U "$kit_target" --filter=error memory 8M error-pwrite=ENOSPC error-pwrite-rate=100% > /dev/null 2>&1 3>&- &
    remember $!
    wait_until listening t
    img 1 convert -n -f raw -O raw "$URI" 'nbd+unix:///?socket=t'
    has "$ERR" 'No space left on device'
}

@test "nbd: servers that are none" {
    serve_bytes() {  # HEX
        rm -f s
        python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[2]); s.listen(1)
c, _ = s.accept(); c.sendall(bytes.fromhex(sys.argv[1])); c.close()' "$1" "$PWD/s" 3>&- &
        remember $!
        wait_until listening s
    }
    serve_bytes ''
    img 1 info "$URI"
    err "qemu-img: Could not open '$URI': Failed to read initial magic: Unexpected end-of-file before all data were read"
    serve_bytes 4874747020312e310d0a0d0a0d0a0d0a
    img 1 info "$URI"
    err "qemu-img: Could not open '$URI': Bad initial magic received: 0x4874747020312e31"
    serve_bytes 4e42444d414749431111111111111111
    img 1 info "$URI"
    err "qemu-img: Could not open '$URI': Bad server magic received: 0x1111111111111111"
}

@test "nbd: dd, measure, bench, digest, check, snapshots" {
    sample x
    kit file x
    img 0 dd -f raw -O raw if="$URI" of=y bs=64k skip=16 count=20
    dd if=x of=want bs=64k skip=16 count=4 status=none
    cmp want y
    img 0 measure -O raw "$URI"
    has "$OUT" '^required size: [0-9]+$'
    img 0 bench -q -c 16 -f raw "$URI"
    img 63 check "$URI"
    err 'qemu-img: This image format does not support checks'
    img 0 snapshot -l "$URI"
    silent
    beyond
    cmd 0 "${IMGBOX}" digest -f raw "$URI"
    has "$OUT" "^$(sum x)"
}

@test "nbd: a local file loads no library for it" {
    beyond
    case $IMG in
        */static/* | */asan/*) skip 'one file' ;;
    esac
    ldd "$IMGBOX" > "$OUT"
    [ "$(grep -c -E 'libnbd|gnutls' "$OUT")" -eq 0 ]
    need_strace
    truncate -s 1M x
    strace -qq -f -o trace "$IMG" info x
    [ "$(grep -c -E 'libnbd|gnutls|img-nbd' trace)" -eq 0 ]
}
