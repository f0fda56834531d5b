#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# qemu-nbd: messages and exit codes for command lines, what it lists of other servers, how it ends.

# (each test runs in a process of its own, and so does its server)
# shellcheck disable=SC2030,SC2031

load ../helper
load ../nbd

setup() {
    fresh_folder
    truncate -s 1M a.raw
    qemu-img create -q -f qcow2 q.qcow2 1M
}

# says TEXT ARGUMENT...: it fails with this line
says() {
    nbd 1 "${@:2}"
    err "qemu-nbd: $1"
    out ''
}

# wrong ARGUMENT... : a number of operands that is not one
wrong_count() {
    nbd 1 "$@"
    err 'qemu-nbd: Invalid number of arguments' "Try \`qemu-nbd --help' for more information."
}

# usage TEXT ARGUMENT...: an error of the parser
usage() {
    nbd 1 "${@:2}"
    err "qemu-nbd: $1" "qemu-nbd: Try \`qemu-nbd --help' for more information."
}

@test "qemu-nbd: help and version" {
    for option in -h --help; do
        nbd 0 $option
        err ''
        has "$OUT" '^Usage: .*qemu-nbd \[OPTIONS\] FILE'
        for name in --port --bind --socket --shared --persistent --verbose --export-name --description \
            --handshake-limit --offset --allocation-depth --bitmap --list --object --tls-creds --tls-authz \
            --tls-hostname --trace --fork --pid-file --selinux-label --connect --disconnect --format --read-only \
            --snapshot --load-snapshot --nocache --cache --aio --discard --detect-zeroes --image-opts --version; do
            has "$OUT" "(^| )$name([ =]|\$)"
        done
    done
    for option in -V --version; do
        nbd 0 $option a b
        err ''
        has "$OUT" '^qemu-nbd .*[0-9]+\.[0-9]+\.[0-9]+'
    done
    nbd 0 -hV
    has "$OUT" '^Usage: '
}

@test "qemu-nbd: operands" {
    wrong_count
    wrong_count a b
    wrong_count -- a.raw b
    wrong_count -d
    wrong_count -d a b
    wrong_count -c /dev/nbd0
    wrong_count --tls-authz=x nosuch a
}

@test "qemu-nbd: errors of the parser" {
    usage "unrecognized option '--nosuch'" --nosuch
    usage "invalid option -- 'Z'" -Z
    usage "invalid option -- 'P'" -P 1 a.raw
    usage "option requires an argument -- 'p'" -p
    usage "option '--port' requires an argument" --port
    usage "option requires an argument -- 'c'" -c
    usage "option '--fork' doesn't allow an argument" --por 1 --fork=3 a.raw
    usage "option '--s' is ambiguous; possibilities: '--socket' '--snapshot' '--shared' '--selinux-label'" --s a.raw
    usage "option '--tls' is ambiguous; possibilities: '--tls-creds' '--tls-hostname' '--tls-authz'" --tls x
}

@test "qemu-nbd: numbers" {
    for text in x -1 '' 0x 99999999999 2147483648; do
        says "Invalid shared device number '$text'" -e "$text" a.raw
    done
    says "Invalid shared device number 'x'" --sh x a.raw
    for text in x -1 '' 4294967295 4294967296; do
        says "Invalid handshake limit '$text'" --handshake-limit="$text" a.raw
    done
    for text in x 2M '' 5k 1e3 0x10000000000000000; do
        says "Invalid offset '$text'" -o "$text" a.raw
    done
    says "Invalid offset 'x'" -o x a b
    says "Invalid shared device number 'x'" -e x -p
}

@test "qemu-nbd: an offset that the image does not have" {
    says "Value '-1' is out of range for parameter 'offset'" -k "$PWD/s" -o -1 -f raw a.raw
    says "Value '-1' is out of range for parameter 'offset'" -k "$PWD/s" -o 18446744073709551615 -f raw a.raw
    says "Value '-9223372036854775808' is out of range for parameter 'offset'" \
        -k "$PWD/s" -o 9223372036854775808 -f raw a.raw
    for offset in 1048577 2097152 9223372036854775807; do
        says "Offset ($offset) cannot be greater than size of the containing file (1048576)" \
            -k "$PWD/s" -o "$offset" -f raw a.raw
    done
    says "Failed to blk_new_open 'nosuch': Could not open 'nosuch': No such file or directory" \
        -o 512 -f raw -k "$PWD/s" nosuch
}

@test "qemu-nbd: names and descriptions have a bound" {
    long=$(head -c 4097 /dev/zero | tr '\0' x)
    says "export name '$long' too long" -x "$long" a.raw
    says "export name '$long' too long" -x "$long" --foo
    says "export name '$long' too long" -x "$long" nosuch b
    says "export description '$long' too long" -D "$long" a.raw
}

@test "qemu-nbd: where to listen" {
    says 'socket path must be absolute' -k rel a.raw
    says 'socket path must be absolute' -k '' a.raw
    says 'socket path must be absolute' -f raw -k "$PWD/s" -k rel a.raw
    says 'socket path must be absolute' -L -k rel
    says 'socket path must be absolute' -d -k rel nosuch
    says 'Failed to bind socket to /nosuch/s: No such file or directory' -k /nosuch/s a.raw
    says 'Failed to bind socket to /nosuch/s: No such file or directory' -k /nosuch/s nosuch
    says 'Failed to bind socket to /nosuch/s: No such file or directory' --fork -k /nosuch/s a.raw
    says 'Failed to bind socket to /nosuch/s: No such file or directory' -k /nosuch/s -f raw --image-opts a.raw
    long=$PWD/$(printf '%0120d' 0)
    nbd 1 -k "$long" a.raw
    err "qemu-nbd: UNIX socket path '$long' is too long" 'Path must be less than 108 bytes'
    mkdir folder
    nbd 1 -k "$PWD/folder" -f raw a.raw
}

@test "qemu-nbd: addresses that cannot be looked up" {
    case $IMG in */static/*) skip 'another C library has other words' ;; esac
    for port in x -1 80k; do
        says "address resolution failed for 0.0.0.0:$port: Servname not supported for ai_socktype" -p $port a.raw
    done
    says 'address resolution failed for 127.0.0.1:x: Servname not supported for ai_socktype' \
        -b 127.0.0.1 -p 10 -p x a.raw
    says 'address resolution failed for [::1]:1: Name or service not known' -b '[::1]' -p 1 a.raw
    says "Failed to connect to '127.0.0.1:65536': Connection refused" -L -b 127.0.0.1 -p 65536
    says 'address resolution failed for 127.0.0.1:x: Servname not supported for ai_socktype' -L -b 127.0.0.1 -p x
}

@test "qemu-nbd: a port that is in use" {
    python3 -c '
import signal, socket
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(1)
print(listener.getsockname()[1], flush=True)
signal.pause()' > port 3>&- &
    SERVER=$!
    wait_until test -s port
    says 'Failed to find an available port: Address already in use' -f raw -b 127.0.0.1 -p "$(cat port)" a.raw
    says 'Failed to find an available port: Address already in use' -f raw -p "$(cat port)" a.raw
}

@test "qemu-nbd: modes" {
    for mode in x a.raw ''; do
        says "Invalid cache mode \`$mode'" --cache "$mode" a.raw
    done
    says '-n and --cache can only be specified once' --cache=none --cache=none a.raw
    says '-n and --cache can only be specified once' -n --cache=none a.raw
    says '-n and --cache can only be specified once' --cache=none -n a.raw
    says '-n and --cache can only be specified once' -n -n a.raw
    says "Invalid aio mode 'x'" --aio=x a.raw
    says '--aio can only be specified once' --aio=threads --aio=native a.raw
    says "Invalid discard mode \`x'" --discard=x --foo
    says '--discard can only be specified once' --discard=ignore --discard=unmap a.raw
    says 'Failed to parse detect_zeroes mode: invalid parameter value: x' --detect-zeroes=x a.raw
    unmap='setting detect-zeroes to unmap is not allowed without setting discard operation to unmap'
    says "$unmap" --detect-zeroes=unmap a.raw
    says "$unmap" --detect-zeroes=unmap --discard=unmap a.raw
    says "$unmap" --discard=ignore --detect-zeroes=unmap a.raw
    says "Failed to blk_new_open 'a.raw': aio=native was specified, but it requires cache.direct=on, which was not specified." \
        -k "$PWD/s" --aio=native a.raw
    options=driver=raw,file.filename=a.raw
    says "Failed to blk_new_open '$options': aio=native was specified, but it requires cache.direct=on, which was not specified." \
        -k "$PWD/s" --aio=native --image-opts $options
}

@test "qemu-nbd: images that cannot be opened" {
    fails() {
        says "Failed to blk_new_open '$2': $1" -k "$PWD/s" "${@:3}" "$2"
    }
    fails "Could not open 'nosuch': No such file or directory" nosuch
    fails "Could not open 'nosuch': No such file or directory" nosuch -f raw
    fails "Could not open 'nosuch': No such file or directory" nosuch -f raw -s
    fails "Unknown driver 'nosuch'" a.raw -f nosuch
    fails 'Image is not in qcow2 format' a.raw -f qcow2
    fails "The 'file' block driver requires a file name" ''
    fails "Could not open '.': Is a directory" .
    fails "Cannot find device='a.raw' nor node-name='a.raw'" a.raw --image-opts
    fails "Could not open 'nosuch': No such file or directory" driver=raw,file.filename=nosuch --image-opts
    fails "Unknown driver 'nosuch'" driver=nosuch --image-opts
    fails "Block format 'raw' does not support the option 'foo'" driver=raw,file.filename=a.raw,foo=1 --image-opts
    fails 'Must specify either driver or file' = --image-opts
    fails "Could not open 'nosuch': No such file or directory" \
        'json:{"driver":"raw","file":{"driver":"file","filename":"nosuch"}}'
    fails "Could not open 'nosuch': No such file or directory" nosuch --fork
    says '--image-opts and -f are mutually exclusive' -k "$PWD/s" --image-opts -f raw file=a.raw
    # What failed leaves no server behind
    never pgrep -f "$PWD/s"
}

@test "qemu-nbd: snapshots" {
    says "Failed to load snapshot: Can't find snapshot" -l a -f qcow2 -k "$PWD/s" q.qcow2
    says "Failed to load snapshot: Can't find snapshot" -l snapshot.id=1 -k "$PWD/s" q.qcow2
    says "Failed to load snapshot: Can't find snapshot" -l a -s -f qcow2 -k "$PWD/s" q.qcow2
    says "Failed to load snapshot: Block format 'raw' used by device '' does not support temporarily loading internal snapshots" \
        -l x -f raw -k "$PWD/s" a.raw
    nbd 1 -l snapshot.foo=1 a b
    err "qemu-nbd: Invalid parameter 'snapshot.foo'" "qemu-nbd: Failed in parsing snapshot param \`snapshot.foo=1'"
}

@test "qemu-nbd: bitmaps that are not there" {
    says "Bitmap 'nosuch' is not found" -B nosuch -k "$PWD/s" q.qcow2
    says "Bitmap 'nosuch' is not found" -B nosuch -f raw -k "$PWD/s" a.raw
    says "Bitmap '' is not found" -B '' -k "$PWD/s" q.qcow2
    says "Bitmap 'x' is not found" -A -B x -B x -f qcow2 -k "$PWD/s" q.qcow2
}

@test "qemu-nbd: TLS options" {
    need_tls
    says "Failed to get TLS creds: No TLS credentials with id 'x'" --tls-creds=x a.raw
    says '--tls-authz is not permitted without --tls-creds' --tls-authz=x a.raw
    says '--tls-authz is not permitted without --tls-creds' -d --tls-authz=x nosuch
    says '--tls-authz is not permitted without --tls-creds' -L --tls-authz=x
    says '--tls-hostname is not permitted without --tls-creds' --tls-hostname=x a.raw
    says 'TLS hostname is only supported with export list' --tls-creds=x --tls-hostname=foo -k "$PWD/s" a.raw
    says 'TLS is not supported with a host device' -c /dev/null --tls-creds=x a.raw
    says 'TLS authorization is incompatible with export list' -L --tls-creds=x --tls-authz=y
    says "Failed to get TLS creds: No TLS credentials with id 'x'" -L --tls-creds=x -k "$PWD/nosuch"
    says "Parameter 'qom-type' does not accept value 'foo'" --object foo,id=x a.raw
    says "Failed to get TLS creds: Object with id 'x' is not TLS credentials" \
        --object secret,id=x,data=y --tls-creds=x -k "$PWD/s" a.raw
    says 'Failed to get TLS creds: Expected TLS credentials for a server endpoint' \
        --object tls-creds-anon,id=t,endpoint=client --tls-creds=t -k "$PWD/s" a.raw
    says 'Failed to get TLS creds: Expected TLS credentials for a client endpoint' \
        --object tls-creds-anon,id=t,endpoint=server --tls-creds=t -L -k "$PWD/s"
}

@test "qemu-nbd: files of the process" {
    says "Could not create '/nosuch/x': No such file or directory" --pid-file=/nosuch/x -f raw -k "$PWD/s" a.raw
    says "Could not create '/nosuch/x': No such file or directory" --fork --pid-file=/nosuch/x -f raw -k "$PWD/s" a.raw
    says "Could not create '': No such file or directory" --pid-file= -f raw -k "$PWD/s" a.raw
    says "Could not create '$PWD': Is a directory" --pid-file="$PWD" -f raw -k "$PWD/s" a.raw
    says 'Cannot set SELinux socket create context to x: Invalid argument' --selinux-label=x -k "$PWD/s" a.raw
    nbd 1 --trace events=/nosuch a.raw
    err 'qemu-nbd:/nosuch: No such file or directory'
    says "Invalid parameter 'foo'" --trace foo=1 a.raw
    nbd 0 -T help
    [ -s "$OUT" ]
}

@test "qemu-nbd: what cannot be combined with -L" {
    says 'List mode is incompatible with a file name' -L a.raw
    says 'List mode is incompatible with a file name' -L --fork a.raw
    says 'List mode is incompatible with a file name' -L -x a b
    says 'List mode is incompatible with a file name' -d /dev/nbd0 -L
    for option in '-c /dev/nbd0' '-x foo' '-f raw' '-o 1' '-B x' -A '-D x' -n --cache=none --aio=threads \
        --discard=unmap '-l x' '--fork -f raw' '--image-opts -f raw' '--tls-creds=x -f raw'; do
        # shellcheck disable=SC2086
        says 'List mode is incompatible with per-device settings' -L $option
    done
    says 'List mode is incompatible with per-device settings' -L -x '' -k "$PWD/s"
    says 'List mode is incompatible with forking' -L --fork
    # and what can
    for option in -r '-e 2' -t -s '-o 0' -v --handshake-limit=1 --pid-file=x --detect-zeroes=on --image-opts \
        --selinux-label=x; do
        # shellcheck disable=SC2086
        says "Failed to connect to '$PWD/s': No such file or directory" -L $option -k "$PWD/s"
    done
}

@test "qemu-nbd: servers that cannot be reached" {
    says "Failed to connect to '127.0.0.1:1': Connection refused" -L -b 127.0.0.1 -p 1
    # (a system without /etc/hosts knows no localhost)
    if getent hosts localhost > /dev/null; then
        says "Failed to connect to 'localhost:1': Connection refused" -L -b localhost -p 1
    fi
    long=$PWD/$(printf '%0120d' 0)
    nbd 1 -L -k "$long"
    err "qemu-nbd: UNIX socket path '$long' is too long" 'Path must be less than 108 bytes'
}

@test "qemu-nbd: the kernel's disks, where there are none" {
    [ ! -e /dev/nbd0 ] || skip 'this system has them'
    says 'Cannot open /dev/nbd0: No such file or directory' -d /dev/nbd0
    says 'Cannot open /tmp: Is a directory' -d /tmp
    says 'Cannot open nosuch: No such file or directory' -c /dev/null -d nosuch
    says 'Failed to open /dev/nbd0: No such file or directory' -c /dev/nbd0 -k "$PWD/s" -f raw a.raw
    says 'Failed to open : No such file or directory' -c '' -k "$PWD/s" -f raw a.raw
    says 'Failed to open /tmp: Is a directory' -c /tmp -k "$PWD/s" -f raw a.raw
    says 'Failed to set NBD socket' -c /dev/null -k "$PWD/s" -f raw a.raw
    says "Failed to blk_new_open 'a.raw': Unknown driver 'nosuch'" -c /dev/null -k "$PWD/s" -f nosuch a.raw
    nbd 0 -d /dev/null
    out '/dev/null disconnected'
    err ''
}

@test "qemu-nbd: sockets of a service manager, and options that contradict them" {
    need python3
    passed() {
        rm -f act.*
        cmd 1 activated "$2" "$NBD" "${@:3}"
        err "qemu-nbd: $1"
    }
    passed "Unix socket can't be set when using socket activation" 1 -f raw -k "$PWD/s" -p 1 -b d a.raw
    passed "TCP port number can't be set when using socket activation" 2 -f raw -p 1 --tls-authz=x a.raw
    passed "The interface can't be set when using socket activation" 1 -p 1 -b d --selinux-label=x a.raw
    passed "NBD device can't be set when using socket activation" 1 -b d -c x a.raw
    passed "SELinux label can't be set when using socket activation" 1 --selinux-label=x a.raw
    passed 'List mode is incompatible with socket activation' 2 -L
    passed 'List mode is incompatible with forking' 1 -L --fork
    passed 'qemu-nbd does not support socket activation with LISTEN_FDS > 1' 2 -f raw a.raw
    passed '--tls-authz is not permitted without --tls-creds' 1 --tls-authz=x a.raw
    LISTEN_PID=1 LISTEN_FDS=1 nbd 1 -k /nosuch/s a.raw
    err 'qemu-nbd: Failed to bind socket to /nosuch/s: No such file or directory'
    need nbdsh
    rm -f act.*
    exec_activated 1 "$NBD" -f raw a.raw 2> server.err 3>&- &
    SERVER=$!
    wait_until test -e act.ready
    cmd 0 size_of "nbd+unix:///?socket=act.0"
    out 1048576
    ended
    # it belongs to the manager
    [ -S act.0 ]
}

# ---- Lists

# lists: what it says about the server on s, as standard input has it
lists() {
    nbd 0 -L -k "$PWD/s"
    err ''
    # (nbdkit tells them since 1.40)
    sed -i '/^  min block: 1$/{N;N;/32768\n.*4294967295$/d}' "$OUT"
    out
}

@test "qemu-nbd -L: its own server" {
    qemu-img bitmap --add q.qcow2 b0
    qemu-img bitmap --add q.qcow2 b1
    start_nbd -f qcow2 -t -r -e 3 -A -B b1 -B b0 -x 'a name' -D 'what it is' q.qcow2
    lists << 'END'
exports available: 1
 export: 'a name'
  description: what it is
  size:  1048576
  flags: 0x158f ( readonly flush fua df multi cache block-status-payload )
  min block: 1
  opt block: 4096
  max block: 33554432
  transaction size: 64-bit
  available meta contexts: 4
   base:allocation
   qemu:allocation-depth
   qemu:dirty-bitmap:b0
   qemu:dirty-bitmap:b1
END
    # A list is no client
    kill -0 "$SERVER"
    stop_server
    start_nbd -f raw a.raw
    lists << 'END'
exports available: 1
 export: ''
  size:  1048576
  flags: 0x1ced ( flush fua trim zeroes df cache fast-zero block-status-payload )
  min block: 1
  opt block: 4096
  max block: 33554432
  transaction size: 64-bit
  available meta contexts: 1
   base:allocation
END
    stop_server
}

@test "qemu-nbd -L: the other qemu-nbd" {
    need_peer
    serving s "$PEER_NBD" -k "$PWD/s" -f raw -e 0 -x n -o 512 a.raw
    lists << 'END'
exports available: 1
 export: 'n'
  size:  1048064
  flags: 0x1ded ( flush fua trim zeroes df multi cache fast-zero block-status-payload )
  min block: 1
  opt block: 4096
  max block: 33554432
  transaction size: 64-bit
  available meta contexts: 1
   base:allocation
END
    kill "$SERVER"
}

# kit ARGUMENT...: nbdkit serves on s until the next one
kit() {
    [ -z "${SERVER-}" ] || kill "$SERVER"
    rm -f s
    serving s nbdkit -f -U "$PWD/s" "$@"
}

# refused_by_kit TEXT: the list is refused with this line.  (Newer versions of nbdkit also report why.)
refused_by_kit() {
    nbd 1 -L -k "$PWD/s"
    sed -i '/^server reported: /d' "$ERR"
    err "qemu-nbd: $1"
}

# short FLAGS CONTEXTS...: a list of one nameless disk of 1 MiB
short() {
    printf '%s\n' 'exports available: 1' " export: ''" '  size:  1048576' "  flags: $1" '  transaction size: 32-bit' "${@:2}"
}

@test "qemu-nbd -L: nbdkit, with all and with few options of the protocol" {
    need nbdkit
    base=('  available meta contexts: 1' '   base:allocation')
    kit memory 1M
    lists < <(short '0xded ( flush fua trim zeroes df multi cache fast-zero )' "${base[@]}")
    kit --no-sr memory 1M
    lists < <(short '0xd6d ( flush fua trim zeroes multi cache fast-zero )')
    kit -o memory 1M
    lists < <(short '0xd6d ( flush fua trim zeroes multi cache fast-zero )')
    kit -r memory 1M
    lists < <(short '0x587 ( readonly flush df multi cache )' "${base[@]}")
    kit --mask-handshake=0 memory 1M
    says 'Server does not support export lists' -L -k "$PWD/s"
    kit -r --filter=blocksize-policy memory 1M blocksize-minimum=4096 blocksize-preferred=65536 blocksize-maximum=256k
    lists << 'END'
exports available: 1
 export: ''
  size:  1048576
  flags: 0x587 ( readonly flush df multi cache )
  min block: 4096
  opt block: 65536
  max block: 262144
  transaction size: 32-bit
  available meta contexts: 1
   base:allocation
END
    kit --filter=exportname memory 1M exportname-list=error exportname=x
    refused_by_kit 'Server lacks support for option 3 (list)'
    kit --filter=exportname memory 1M exportname-list=empty exportname=x
    lists <<< 'exports available: 0'
    kit --filter=exportname memory 1M exportname-strict=true exportname=x
    refused_by_kit 'Requested export not available'
    kit --filter=exportname memory 1M exportname=x exportdesc=fixed:hello
    nbd 0 -L -k "$PWD/s"
    has "$OUT" '^  description: hello$'
}

@test "qemu-nbd -L: nbdkit with TLS" {
    need_tls
    need nbdkit psktool
    psktool -u qemu -p keys.psk > /dev/null 2>&1
    kit --tls=require --tls-psk="$PWD/keys.psk" memory 1M
    nbd 1 -L -k "$PWD/s"
    err 'qemu-nbd: TLS negotiation required before option 3 (list)' 'Did you forget a valid tls-creds?'
    creds=tls-creds-psk,id=t,dir=$PWD,username=qemu,endpoint=client
    nbd 0 -L -k "$PWD/s" --object "$creds" --tls-creds=t
    has "$OUT" '^exports available: 1$'
    kit memory 1M
    says 'Denied by server for option 5 (starttls)' -L -k "$PWD/s" --object "$creds" --tls-creds=t
}

# ---- Servers that break the protocol

# fake WORD...: a server that answers one client for each word (tests/interop/lib/fake_nbd.py)
fake() {
    crafting -m fake_nbd f "$@" 3>&- &
    SERVER=$!
    wait_until test -S f
}

# bad WORD LINE...: the list fails with these lines on standard error
bad() {
    nbd 1 -L -k "$PWD/f"
    err "${@:2}"
    out ''
}

@test "qemu-nbd -L: greetings that are none" {
    need python3
    fake silent noise short old-magic old-short old-flags
    bad silent 'qemu-nbd: Failed to read initial magic: Unexpected end-of-file before all data were read'
    bad noise 'qemu-nbd: Bad initial magic received: 0x7878787878787878'
    bad short 'qemu-nbd: Failed to read server magic: Unexpected end-of-file before all data were read'
    bad old-magic 'qemu-nbd: Bad server magic received: 0x5858585858585858'
    bad old-short 'qemu-nbd: Failed to read export flags: Unexpected end-of-file before all data were read'
    bad old-flags 'qemu-nbd: Unexpected export flags 10003x'
}

@test "qemu-nbd -L: servers without TLS, when it is asked for" {
    need_tls
    need python3 psktool
    psktool -u qemu -p keys.psk > /dev/null 2>&1
    fake plain old
    for text in "Server don't support STARTTLS option" 'Server does not support STARTTLS'; do
        says "$text" -L -k "$PWD/f" --object "tls-creds-psk,id=t,dir=$PWD,username=qemu,endpoint=client" --tls-creds=t
    done
}

@test "qemu-nbd -L: answers to LIST" {
    need python3
    fake list-2 list-3 list-4 list-5 list-6 list-7 list-8 list-9 list-mute list-ack list-short list-name list-long \
        list-huge list-text list-type list-odd wrong-option wrong-magic
    reported='server reported: words'
    bad list-2 'qemu-nbd: Denied by server for option 3 (list)' "$reported"
    bad list-3 'qemu-nbd: Invalid parameters for option 3 (list)' "$reported"
    bad list-4 'qemu-nbd: Server lacks support for option 3 (list)' "$reported"
    bad list-5 'qemu-nbd: TLS negotiation required before option 3 (list)' 'Did you forget a valid tls-creds?' "$reported"
    bad list-6 'qemu-nbd: Requested export not available' "$reported"
    bad list-7 'qemu-nbd: Server shutting down before option 3 (list)' "$reported"
    bad list-8 'qemu-nbd: Server requires INFO_BLOCK_SIZE for option 3 (list)' "$reported"
    bad list-9 'qemu-nbd: Unknown error code when asking for option 3 (list)' "$reported"
    bad list-mute 'qemu-nbd: Denied by server for option 3 (list)'
    bad list-ack 'qemu-nbd: length too long for option end'
    bad list-short 'qemu-nbd: incorrect option length 2'
    bad list-name "qemu-nbd: incorrect name length in server's list response"
    bad list-long "qemu-nbd: incorrect name length in server's list response"
    bad list-huge 'qemu-nbd: incorrect option length 1073741824'
    bad list-text "qemu-nbd: incorrect description length in server's list response"
    bad list-type 'qemu-nbd: Unexpected reply type 3 (info), expected 2 (server)'
    bad list-odd 'qemu-nbd: Unexpected reply type 99 (<unknown>), expected 2 (server)'
    bad wrong-option 'qemu-nbd: Unexpected option type 7 (go), expected 11 (extended headers)'
    bad wrong-magic 'qemu-nbd: Unexpected option reply magic'
}

@test "qemu-nbd -L: answers to INFO and LIST_META_CONTEXT" {
    need python3
    fake info-2 info-6 info-none info-short info-odd info-long info-flags info-min info-min3 info-opt3 info-order \
        info-block info-ack info-type meta-short meta-ack meta-huge meta-empty meta-type sr-data sr-info
    bad info-2 'qemu-nbd: Denied by server for option 6 (info)' 'server reported: words'
    bad info-6 'qemu-nbd: Requested export not available' 'server reported: words'
    bad info-none 'qemu-nbd: broken server omitted NBD_INFO_EXPORT'
    bad info-short 'qemu-nbd: NBD_REP_INFO length 1 is too short'
    bad info-odd 'qemu-nbd: remaining export info len 3 is unexpected size'
    bad info-long 'qemu-nbd: remaining export info len 11 is unexpected size'
    bad info-flags 'qemu-nbd: broken server omitted NBD_INFO_EXPORT'
    bad info-min 'qemu-nbd: server minimum block size 0 is not a power of two'
    bad info-min3 'qemu-nbd: server minimum block size 3 is not a power of two'
    bad info-opt3 'qemu-nbd: server preferred block size 3 is not valid'
    bad info-order 'qemu-nbd: server preferred block size 512 is not valid'
    bad info-block 'qemu-nbd: remaining export info len 3 is unexpected size'
    bad info-ack 'qemu-nbd: server sent invalid NBD_REP_ACK'
    bad info-type 'qemu-nbd: unexpected reply type 2 (server), expected 3 (info)'
    bad meta-short 'qemu-nbd: Failed to negotiate meta context, server answered with unexpected length 1'
    bad meta-ack 'qemu-nbd: Unexpected length to ACK response'
    bad meta-huge 'qemu-nbd: Failed to negotiate meta context, server answered with unexpected length 1073741824'
    bad meta-empty 'qemu-nbd: Failed to negotiate meta context, server answered with unexpected length 4'
    bad meta-type 'qemu-nbd: Unexpected reply type 3 (info), expected 4 (meta context)'
    bad sr-data "qemu-nbd: Option 8 ('structured reply') response length is 2 (it should be zero)"
    bad sr-info 'qemu-nbd: Server answered option 8 (structured reply) with unexpected reply 3 (info)'
}

@test "qemu-nbd -L: what a server may leave out" {
    need python3
    fake old plain ext-ok sr-1 list-1 info-1 meta-1 meta-qemu all-flags
    list_of() {
        nbd 0 -L -k "$PWD/f"
        err ''
        out "${@:2}"
    }
    list_of old 'exports available: 1' " export: ''" '  size:  4096' '  flags: 0x3 ( readonly )' \
        '  transaction size: 32-bit'
    size=('  size:  1048576' '  flags: 0x1 ( )')
    contexts=('  available meta contexts: 2' '   base:allocation' '   base:allocation')
    list_of plain 'exports available: 2' " export: 'b'" "${size[@]}" '  transaction size: 32-bit' "${contexts[@]}" \
        " export: 'a'" '  description: text' "${size[@]}" '  transaction size: 32-bit' "${contexts[@]}"
    nbd 0 -L -k "$PWD/f"        # ext-ok
    [ "$(grep -c 'transaction size: 64-bit' "$OUT")" -eq 2 ]
    bare=('exports available: 2' " export: 'b'" "${size[@]}" '  transaction size: 32-bit'
        " export: 'a'" '  description: text' "${size[@]}" '  transaction size: 32-bit')
    list_of sr-1 "${bare[@]}"
    list_of list-1 'exports available: 0'
    list_of info-1 'exports available: 2' " export: 'b'" '  transaction size: 32-bit' \
        " export: 'a'" '  description: text' '  transaction size: 32-bit'
    list_of meta-1 "${bare[@]}"
    nbd 0 -L -k "$PWD/f"        # meta-qemu
    [ "$(grep -c '^   qemu:x$' "$OUT")" -eq 2 ]
    nbd 0 -L -k "$PWD/f"        # all-flags
    has "$OUT" '^  flags: 0xffff \( readonly flush fua rotational trim zeroes df multi resize cache fast-zero block-status-payload \)$'
}

# ---- What is said about clients

# dropped TEXT PYTHON...: a client that does this, with `c` connected, is dropped, and this is said on standard error;
# -: nothing
dropped() {
    local before
    before=$(wc -l < server.err)
    # The next client gets its turn when the first is gone.
    PYTHONPATH="$ROOT/tests/interop/lib" python3 - "${@:2}" << 'END'
import struct, sys
from nbd import *

def request(command, length, magic=0x25609513):
    return struct.pack(">IHHQQI", magic, 0, command, 1, 0, length)

c = Client("s")
for line in sys.argv[1:]:
    exec(line)
c.close()
Client("s").receive(18)
END
    { [ "$1" = - ] || echo "qemu-nbd: $1"; } > expected
    tail -n "+$((before + 1))" server.err | diff expected -
}

@test "qemu-nbd: it says why it dropped a client" {
    start_nbd -f raw -t a.raw
    local failed='option negotiation failed:' due='Disconnect client, due to:'
    local end='Unexpected end-of-file before all data were read'
    dropped - 'c.receive(18)'
    dropped - 'c.receive(18); c.send(bytes(2))'
    dropped - 'c.greet(); c.send(option(2)); c.receive(20)'
    dropped "$failed Unknown client flags 0x4 received" 'c.greet(7); c.receive(1)'
    dropped "$failed Unsupported option 3 (list)" 'c.greet(0); c.send(option(3)); c.receive(1)'
    dropped "$failed Failed to read opts magic: $end" 'c.greet()'
    dropped "$failed Failed to read option: $end" 'c.greet(); c.send(option(3)[:8])'
    dropped "$failed Failed to read option length: $end" 'c.greet(); c.send(option(3)[:12])'
    dropped "$failed $end" 'c.greet(); c.send(option(6, b"", 20))'
    dropped "$failed Failed to read export name: $end" 'c.greet(); c.send(option(1, b"no", 5))'
    dropped "$failed export not found" 'c.greet(); c.send(option(1, b"no")); c.receive(1)'
    dropped "$failed Bad length received" 'c.greet(); c.send(option(1, b"n" * 4097)); c.receive(1)'
    dropped "$failed Extended headers already negotiated" \
        'c.greet(); c.send(option(11)); c.receive(20); c.send(option(1)); c.receive(1)'
    dropped "$failed Bad magic received" 'c.greet(); c.send(struct.pack(">QII", 1, 3, 0)); c.receive(1)'
    dropped "$failed len (33554433) is larger than max len (33554432)" \
        'c.greet(); c.send(option(6, b"", (1 << 25) + 1)); c.receive(1)'
    dropped "$failed Failed to read opts magic: Unable to read from socket: Connection reset by peer" \
        'c.greet(); c.send(option(99)); c.receive(1)'
    dropped - 'c.open(SIMPLE)'
    dropped - 'c.open(SIMPLE); c.request(DISC); c.receive(1)'
    dropped "$due Request handling failed in intermediate state" 'c.open(SIMPLE); c.send(request(0, 512, 5)); c.receive(17)'
    dropped "$due Unexpected end-of-file before all bytes were read" 'c.open(SIMPLE); c.send(request(0, 512)[:5])'
    dropped "$due Failed to read CMD_WRITE data: $end" 'c.open(SIMPLE); c.send(request(1, 512) + b"a")'
    dropped "$due $end" 'c.open(EXTENDED); c.request(FLUSH, 0, 4, PAYLOAD, b"ab")'
    dropped "$due Failed to read CMD_BLOCK_STATUS data: $end" \
        'c.open(EXTENDED, b"base:allocation"); c.request(STATUS, 0, 12, PAYLOAD, b"ab")'
    stop_server
    start_nbd -f raw -t --handshake-limit=1 a.raw
    dropped "$failed Failed to read opts magic: $end" 'c.greet(); c.receive(1)'
    stop_server
}

@test "qemu-nbd --tls-authz: who may connect" {
    need_tls
    need certtool psktool nbdinfo
    local creds="tls-creds-x509,id=t,dir=$PWD/pki,endpoint=server,verify-peer=yes"
    make_pki
    may() {  # RC
        cmd "$1" nbdinfo --size "nbds+unix://localhost/?socket=$PWD/s&tls-certificates=$PWD/pki&tls-hostname=localhost"
    }
    start_nbd -t -f raw --object "$creds" --tls-creds=t --object authz-simple,id=a,identity=CN=localhost --tls-authz=a a.raw
    may 0
    stop_server
    start_nbd -t -f raw --object "$creds" --tls-creds=t --object authz-simple,id=a,identity=CN=other --tls-authz=a a.raw
    may 1
    stop_server
    has server.err '^qemu-nbd: option negotiation failed: TLS x509 authz check for CN=localhost is denied$'
    # a client that has no certificate to look at
    mkdir keys
    psktool -u qemu -p keys/keys.psk > /dev/null 2>&1
    start_nbd -t -f raw --object "tls-creds-psk,id=t,dir=$PWD/keys,endpoint=server" --tls-creds=t \
        --object authz-simple,id=a,identity=CN=other --tls-authz=a a.raw
    cmd 0 nbdinfo --size "nbds+unix://qemu@/?socket=$PWD/s&tls-psk-file=$PWD/keys/keys.psk"
    stop_server
}

@test "qemu-nbd: it says why it dropped a client of TLS" {
    need_tls
    need psktool
    psktool -u qemu -p keys.psk > /dev/null 2>&1
    start_nbd -f raw -t --object "tls-creds-psk,id=t,dir=$PWD,endpoint=server" --tls-creds=t a.raw
    local failed='option negotiation failed:'
    dropped "$failed Option 0x1 not permitted before TLS" 'c.greet(); c.send(option(1)); c.receive(1)'
    dropped "$failed option 'starttls' has unexpected length" 'c.greet(); c.send(option(5, b"a")); c.receive(50000)'
    dropped "$failed TLS handshake failed: An unexpected TLS packet was received." \
        'c.greet(); c.send(option(5)); c.option_replies(); c.send(b"GET / HTTP/1.0" * 20); c.receive(1)'
    dropped "$failed TLS handshake failed: The TLS connection was non-properly terminated." \
        'c.greet(); c.send(option(5)); c.option_replies()'
    stop_server
}

# ---- The life of a server

@test "qemu-nbd: it ends with its last client, or with a signal" {
    need nbdsh
    start_nbd -f raw a.raw
    cmd 0 size_of "$(uri)"
    out 1048576
    ended
    [ ! -e s ]
    for signal in TERM INT HUP; do
        start_nbd -f raw -t -v --pid-file="$PWD/pid" a.raw
        cmd 0 size_of "$(uri)"
        cmd 0 size_of "$(uri)"
        [ "$(cat pid)" = "$SERVER" ]
        [ "$(stat -c %a pid)" = 600 ]
        stop_server $signal
        [ ! -e s ]
        # qemu-nbd leaves it
        [ -e pid ]
    done
}

@test "qemu-nbd: a client that asks for another export does not end it" {
    need nbdsh
    start_nbd -f raw -x foo a.raw
    never size_of "$(uri)"
    cmd 0 size_of "$(uri foo)"
    out 1048576
    ended
}

@test "qemu-nbd: clients at a time" {
    need nbdinfo nbdsh
    start_nbd -f raw -t -e 2 a.raw
    nbdsh -u "$(uri)" -c "
import nbd
other = nbd.NBD()
other.connect_uri('$(uri)')
h.pwrite(b'a' * 512, 0)
print(other.pread(3, 0).decode())" > out
    [ "$(cat out)" = aaa ]
    stop_server
}

@test "qemu-nbd --fork: the parent ends when clients may connect" {
    need nbdsh
    nbd 0 --fork -f raw --pid-file=pid -k "$PWD/s" a.raw
    silent
    SERVER=$(cat pid)
    [ "$SERVER" -gt 1 ]
    [ "$(readlink "/proc/$SERVER/cwd")" = / ]
    [ "$(readlink "/proc/$SERVER/fd/0")" = /dev/null ]
    [ "$(readlink "/proc/$SERVER/fd/2")" = /dev/null ]
    cmd 0 size_of "$(uri)"
    out 1048576
    wait_until gone "$SERVER"
    [ ! -e s ]
    # caller waits for the end of standard error, too
    text=$(qemu-nbd --fork -f raw -t --pid-file=pid -k "$PWD/s" a.raw 2>&1)
    [ -z "$text" ]
    SERVER=$(cat pid)
    nbd 1 -f raw --pid-file=pid -k "$PWD/s2" a.raw
    err 'qemu-nbd: Cannot lock pid file: Resource temporarily unavailable'
    kill "$SERVER"
    wait_until gone "$SERVER"
}

@test "qemu-nbd: what has the name of the socket makes way" {
    need nbdsh
    python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("s")'
    exec_nbd -f raw -k "$PWD/s" a.raw 3>&- &
    SERVER=$!
    wait_until size_of "$(uri)" > /dev/null 2>&1
    ended
    : > s
    start_nbd -f raw -t a.raw
    first=$SERVER
    # a second one takes the name over, and the first one leaves it alone when it ends
    exec_nbd -f raw -t -x second -k "$PWD/s" a.raw 3>&- &
    SERVER=$!
    wait_until size_of "$(uri second)" > /dev/null 2>&1
    kill "$first"
    wait_until gone "$first"
    [ -n "$IMG_IS_PEER" ] || cmd 0 size_of "$(uri second)"
    stop_server
}

@test "qemu-nbd: what was written is in the file when it has ended" {
    need nbdsh
    for format in raw qcow2; do
        qemu-img create -q -f $format x 1M
        start_nbd -f $format x
        nbdsh -u "$(uri)" -c 'h.pwrite(b"abc" * 100, 4000)'
        ended
        qemu-img convert -f $format -O raw x y
        [ "$(dd if=y bs=1 skip=4000 count=6 status=none)" = abcabc ]
    done
}

@test "qemu-nbd -s: writes go elsewhere" {
    need nbdsh
    mkdir tmp
    before=$(sum a.raw)
    export TMPDIR=$PWD/tmp
    for format in raw qcow2; do
        file=$([ $format = raw ] && echo a.raw || echo q.qcow2)
        start_nbd -s -t -f $format "$file"
        nbdsh -u "$(uri)" -c 'h.pwrite(b"abc", 5); assert h.pread(5, 4) == b"\0abc\0"'
        [ -z "$(ls tmp)" ]
        stop_server
    done
    [ "$(sum a.raw)" = "$before" ]
    start_nbd -s a.raw
    [ ! -s server.err ]
    stop_server
    TMPDIR=/nosuch nbd 1 -s -f raw -k "$PWD/s" a.raw
    sed -i 's/vl\.[A-Za-z0-9]*/vl.X/' "$ERR"
    err "qemu-nbd: Failed to blk_new_open 'a.raw': Could not open temporary file '/nosuch/vl.X': No such file or directory"
}

@test "qemu-nbd --discard: what is freed, and what is not" {
    need nbdsh
    serve_test() {
        start_nbd "$@"
    }
    freed 1048576 trim
    freed 524288 trim --discard=unmap
    freed 524288 trim --discard=on
    freed 1048576 trim --discard=ignore
    freed 524288 zero --discard=unmap
}

@test "qemu-nbd: a part of the disk" {
    need nbdsh
    pattern a.raw 61 512 512
    start_nbd -f raw -o 512 a.raw
    nbdsh -u "$(uri)" -c 'assert h.get_size() == 1048064; assert h.pread(2, 511) == b"a\0"; h.pwrite(b"z", 0)'
    ended
    [ "$(peek a.raw 511 3)" = 007a61 ]
}
