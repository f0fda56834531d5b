#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# ssh: a file on a server that runs SFTP.  The server is OpenSSH's.

load ../helper
load ../examples
load ../nbd
load ../ssh

setup_file() {
    export RIG=$BATS_FILE_TMPDIR PORT
    ssh_needs || return 0
    ssh_keys
    ssh_start
}

teardown_file() {
    ssh_stop
}

setup() {
    fresh_folder
    ssh_needs || skip 'not root, openssh-server is missing, or the root is no mount'
    unset SSH_AUTH_SOCK
    "$IMG" --help | grep -q '\<ssh\>' || skip 'ssh is not built in'
    chmod 755 "$BATS_TEST_TMPDIR"
    ssh_knows host_ed25519
}

teardown() {
    end_servers
}

qemu-img() {
    at_home "$IMG" "$@"
}

# at FILE: its URL, for any host key
at() {
    echo "ssh://root@127.0.0.1:$PORT$PWD/$1?host_key_check=no"
}

opened() {
    err "qemu-img: Could not open '$1': $2"
}

@test "info names the file by its URL" {
    truncate -s 1M disk
    img 0 info "$(at disk)"
    out "image: $(at disk)" 'file format: raw' 'virtual size: 1 MiB (1048576 bytes)' 'disk size: unavailable' \
        "Child node '/file':" "    filename: $(at disk)" '    protocol type: ssh' \
        '    file length: 1 MiB (1048576 bytes)' '    disk size: unavailable'
    img 0 info --image-opts "driver=ssh,server.host=127.0.0.1,server.port=$PORT,path=$PWD/disk,user=root,host-key-check.mode=none"
    has "$OUT" "^image: ssh://root@127.0.0.1:$PORT$PWD/disk$"
}

@test "converting both ways" {
    sample disk
    img 0 convert -O qcow2 disk "$(at copy.qcow2)"
    img 0 convert -O raw "$(at copy.qcow2)" back
    raw_is back disk
    img 0 convert -O raw disk "$(at copy)"
    raw_is copy disk
    img 0 check copy.qcow2
}

@test "writing over an old file, and an image in place" {
    sample disk
    head -c 8M /dev/urandom > old
    img 0 convert -n -O raw disk "$(at old)"
    raw_is old disk
    img 0 create -f qcow2 "$(at disk.qcow2)" 1M
    img 0 snapshot -c one "$(at disk.qcow2)"
    img 0 snapshot -l disk.qcow2
    has "$OUT" ' one '
}

@test "growing, and not shrinking" {
    truncate -s 1M disk
    img 0 resize -f raw "$(at disk)" 2M
    [ "$(stat -c %s disk)" -eq 2097152 ]
    img 1 resize -f raw --shrink "$(at disk)" 1M
    err 'qemu-img: ssh driver does not support shrinking files'
}

@test "a file that is no whole number of sectors" {
    printf abc > disk
    img 0 convert -O raw "$(at disk)" copy
    { printf abc; head -c 509 /dev/zero; } > want
    raw_is copy want
}

@test "an overlay of an image on a server" {
    sample base
    img 0 create -f qcow2 -b "$(at base)" -F raw over.qcow2
    img 0 rebase -b '' over.qcow2
    img 0 compare over.qcow2 base
}

@test "a name with signs" {
    truncate -s 1M 'a b%c'
    img 0 info "ssh://root@127.0.0.1:$PORT$PWD/a%20b%25c?host_key_check=no"
    img 1 info 'ssh:///x'
    opened 'ssh:///x' 'missing hostname in URI'
    img 1 info 'ssh://host'
    opened 'ssh://host' 'missing remote path in URI'
}

@test "what is not there, and what may not be made" {
    img 1 info "$(at none)"
    opened "$(at none)" "failed to open remote file '$PWD/none': SFTP server: No such file (libssh error code: 1, sftp error code: 2)"
    img 1 create -q -f raw "$(at no/new)" 1M
    err "qemu-img: $(at no/new): failed to open remote file '$PWD/no/new': SFTP server: No such file (libssh error code: 1, sftp error code: 2)"
}

@test "options" {
    local server="driver=ssh,server.host=127.0.0.1,server.port=$PORT"
    img 1 info --image-opts driver=ssh,path=x
    opened driver=ssh,path=x "Parameter 'server' is missing"
    img 1 info --image-opts "$server"
    opened "$server" "Parameter 'path' is missing"
    img 1 info --image-opts "$server,path=x,server.type=inet"
    has "$ERR" "Parameter 'server.type' is unexpected"
    img 1 info --image-opts "$server,path=x,host-key-check.mode=bar"
    has "$ERR" "Parameter 'mode' does not accept value 'bar'"
    img 1 info --image-opts "$server,path=x,host-key-check.mode=hash"
    has "$ERR" "Parameter 'host-key-check.type' is missing"
    img 1 info --image-opts "$server,path=x,host_key_check=maybe"
    has "$ERR" 'unknown host_key_check setting \(maybe\)'
}

# ---- who is it?

print_of() {
    awk '{ print $2 }' "$RIG/host_ed25519.pub" | base64 -d | sha256sum | cut -c1-64
}

@test "the hash of the host key" {
    truncate -s 1M disk
    local server="driver=ssh,server.host=127.0.0.1,server.port=$PORT,path=$PWD/disk"
    img 0 info --image-opts "$server,host_key_check=sha256:$(print_of)"
    img 0 info --image-opts "$server,host-key-check.mode=hash,host-key-check.type=sha256,host-key-check.hash=$(print_of | tr a-f A-F)"
    img 0 info --image-opts "$server,host_key_check=sha256:$(print_of | sed 's/../&:/g; s/:$//')"
    img 1 info --image-opts "$server,host_key_check=sha256:00ff"
    has "$ERR" "remote host ssh-ed25519 key fingerprint 'sha256:$(print_of)' does not match host_key_check 'sha256:00ff'$"
    img 1 info --image-opts "$server,host_key_check=sha256:$(print_of)00"
    img 1 info --image-opts "$server,host_key_check=sha256:"
}

@test "known_hosts" {
    truncate -s 1M disk
    local url="ssh://root@127.0.0.1:$PORT$PWD/disk"
    rm -f "$RIG/home/.ssh/known_hosts"
    img 1 info "$url"
    opened "$url" 'no host key was found in known_hosts'
    ssh_knows host_ed25519
    img 0 info "$url"
    ssh_knows stranger
    img 1 info "$url"
    has "$ERR" 'host key \(ssh-ed25519 key with fingerprint SHA256:.*\) does not match the one in known_hosts; this may be a possible attack$'
}

@test "a user that the server does not take" {
    img 1 info "ssh://nobodyhere@127.0.0.1:$PORT/x?host_key_check=no"
    opened "ssh://nobodyhere@127.0.0.1:$PORT/x?host_key_check=no" \
        'failed to authenticate using publickey authentication and the identities held by your ssh-agent'
}

@test "the keys of an agent" {
    need ssh-agent
    truncate -s 1M disk
    # a home without a key
    export USER_HOME=$PWD/home
    mkdir -p home/.ssh
    cp "$RIG/home/.ssh/known_hosts" home/.ssh
    img 1 info "$(at disk)"
    SSH_AUTH_SOCK=$PWD/agent
    export SSH_AUTH_SOCK
    ssh-agent -D -a "$SSH_AUTH_SOCK" > agent.log 2>&1 3>&- &
    remember $!
    wait_until listening "$SSH_AUTH_SOCK"
    ssh-add "$RIG/home/.ssh/id_ed25519" 2> /dev/null
    img 0 info "$(at disk)"
}

# ---- faults

@test "nobody listens" {
    img 1 info 'ssh://root@127.0.0.1:1/x?host_key_check=no'
    opened 'ssh://root@127.0.0.1:1/x?host_key_check=no' "Failed to connect to '127.0.0.1:1': Connection refused"
}

@test "a full disk" {
    mkdir m
    mount -t tmpfs -o size=2m tmpfs m || skip 'no tmpfs'
    head -c 8M /dev/urandom > disk
    img 1 convert -O raw disk "$(at m/copy)" || { umount m; return 1; }
    # (the server may not have noticed yet that we are gone)
    wait_until umount m
    has "$ERR" 'error while writing at byte [0-9]+: Input/output error'
}

# A server of our own that accepts, and then says nothing.
@test "a server that says nothing is given up" {
    python3 -c 'import socket, time
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(); open("port", "w").write(str(s.getsockname()[1]))
c = s.accept(); time.sleep(3600)' 3>&- &
    local server=$!
    wait_until test -s port
    img 1 info --image-opts "driver=ssh,server.host=127.0.0.1,server.port=$(< port),path=/x,timeout=1,host_key_check=no"
    kill "$server"
    has "$ERR" 'failed to establish SSH session'
}

@test "a connection that is cut in the middle is an error" {
    truncate -s 1M disk
    qemu-img bench -c 1000000000 -s 512 "$(at disk)" > log 2>&1 3>&- &
    local tool=$! got=0
    while kill -0 "$tool" 2> /dev/null; do
        pkill -P "$(< "$RIG/server")" || true
        sleep 0.1
    done
    wait "$tool" || got=$?
    [ "$got" -eq 1 ]
}

# ---- what a name means

@test "dots and signs in a name" {
    mkdir sub
    truncate -s 1M disk
    local at="ssh://root@127.0.0.1:$PORT" name
    for name in /./disk /sub/../disk /%2e/disk /sub/%2e%2e/disk /sub%2f../disk; do
        img 0 info "$at$PWD$name"
        has "$OUT" "^image: $at$PWD/disk$"
    done
    img 0 info "$at$PWD//disk"
    has "$OUT" "^image: $at$PWD//disk$"
    img 1 info "$at/~/disk"
    has "$ERR" "failed to open remote file '/~/disk'"
    img 1 info "$at/../disk"
    has "$ERR" "failed to open remote file '/disk'"
}

@test "a query, and what is no URI" {
    truncate -s 1M disk
    local at="ssh://root@127.0.0.1:$PORT$PWD/disk" name
    img 0 info "$at?a=b&host_key_check=n%6f&=c"
    err "qemu-img: warning: Unsupported parameter 'a' in URI" "qemu-img: warning: Unsupported parameter '' in URI"
    has "$OUT" "^image: $at\?host_key_check=no$"
    # what has no value ends the query
    img 0 info "$at?a&host_key_check=no"
    has "$OUT" "^image: $at$"
    img 1 info "$at?host_key_check="
    opened "$at?host_key_check=" 'unknown host_key_check setting ()'
    for name in "$at%zz" "$at%00" "$at?a=%zz" "ssh://127.0.0.1:port/x" ssh://127.0.0.1:65536/x 'ssh://[::1]y/x'; do
        img 1 info "$name"
        opened "$name" "Parameter 'server' is missing"
    done
    img 1 info 'ssh://a;b@127.0.0.1/x'
    has "$ERR" 'Connection refused|failed to set the user in the libssh session'
}

@test "every type of hash" {
    truncate -s 1M disk
    local server="driver=ssh,server.host=127.0.0.1,server.port=$PORT,path=$PWD/disk" type print
    for type in md5 sha1 sha256; do
        print=$(awk '{ print $2 }' "$RIG/host_ed25519.pub" | base64 -d | ${type}sum | cut -d' ' -f1)
        img 0 info --image-opts "$server,host-key-check.mode=hash,host-key-check.type=$type,host-key-check.hash=$print"
        img 1 info --image-opts "$server,host_key_check=$type:${print%?}x"
        has "$ERR" "remote host ssh-ed25519 key fingerprint '$type:$print' does not match host_key_check '$type:${print%?}x'$"
    done
    ssh_knows host_rsa
    img 0 info --image-opts "$server"
}

# ---- servers

# start_another LINE...: a server with these lines in its configuration, until the end of the test
start_another() {
    RIG=$(mktemp -d "$PWD/rig.XXXXXX")
    ssh_keys
    ssh_start "$@"
    remember "$(< "$RIG/server")"
}

# sessions SIGNAL: send it to the processes that serve connections; false: there are none
sessions() {
    local found=() parents
    parents=$(< "$RIG/server")
    while parents=$(pgrep -d, -P "$parents"); do
        for process in ${parents//,/ }; do found+=("$process"); done
    done
    [ "${#found[@]}" -gt 0 ] && kill "-$1" "${found[@]}" 2> /dev/null
}

@test "new keys in the middle" {
    start_another 'RekeyLimit 1M'
    head -c 24M /dev/urandom > disk
    img 0 convert -O raw disk "$(at copy)"
    raw_is copy disk
    img 0 convert -O raw "$(at copy)" back
    raw_is back disk
}

@test "a server that lets nobody write" {
    start_another 'ForceCommand internal-sftp -R'
    truncate -s 1M disk
    img 0 info "$(at disk)"
    img 1 resize -f raw "$(at disk)" 2M
    has "$ERR" "'$PWD/disk': SFTP server: Permission denied \(libssh error code: 1, sftp error code: 3\)$"
    img 1 create -f raw "$(at new)" 1M
    has "$ERR" "failed to open remote file '$PWD/new': SFTP server: Permission denied"
}

# no_sftp TEXT: what is said of a server that is there, but does not talk SFTP.  (It may have ended before it was asked.)
no_sftp() {
    [ "$(wc -l < "$ERR")" -eq 1 ]
    has "$ERR" "^qemu-img: Could not open '[^']*/disk[^']*': failed to initialize sftp handle: ($1|Remote channel is closed \(libssh error code: 1, sftp error code: 1\))\$"
}

@test "a server that knows no SFTP" {
    start_another 'ForceCommand /bin/true'
    img 1 info "$(at disk)"
    no_sftp 'Received EOF while reading sftp packet size \(libssh error code: 2, sftp error code: 1\)'
    start_another 'ForceCommand /bin/echo these are words'
    img 1 info "$(at disk)"
    no_sftp 'Invalid sftp packet size! \(libssh error code: 2, sftp error code: 4\)'
    start_another 'MaxSessions 0'
    img 1 info "$(at disk)"
    has "$ERR" 'failed to create sftp handle: .* \(libssh error code: 1\)$'
}

# options_of FILE[,OPTIONS]: the file by options
options_of() {
    echo "driver=raw,file.driver=ssh,file.server.host=127.0.0.1,file.server.port=$PORT,file.host_key_check=no,file.path=$PWD/$1"
}

# way NAME: start a server of the test, which lies in that way
way() {
    start_another "ForceCommand $(command -v python3) $ROOT/tests/interop/lib/sftp_server.py $1"
}

the_disk() {
    python3 -c 'import random, sys; sys.stdout.buffer.write(random.Random(7).randbytes(1 << 20))'
}

@test "servers that do it in their own way" {
    the_disk > want
    for name in ok order small few; do
        way $name
        img 0 convert -O raw "$(at x)" got
        raw_is got want
        img 0 bench -w -c 40 -d 8 -s 128k -f raw "$(at x)"
    done
    has "$ERR" "warning: ssh server 127.0.0.1:$PORT does not support fsync"
    way full
    img 1 bench -w -c 1 -f raw "$(at x)"
    has "$ERR" 'Input/output error'
}

@test "servers that lie" {
    for name in nothing long id garbage gone; do
        way $name
        img 1 convert -O raw "$(at x)" got
        has "$ERR" 'Input/output error|failed to'
        [ ! -e got ]
    done
    way twice
    img 1 convert -O raw "$(at x)" got
    way short
    img 0 convert -O raw "$(at x)" got
    [ "$(stat -c %s got)" -eq 1048576 ]
    way huge
    img 1 info "$(at x)"
    has "$ERR" 'The file is too large'
    way nosize
    img 1 info "$(at x)"
    has "$ERR" 'The server does not say how long the file is'
    way handle
    img 1 info "$(at x)"
    has "$ERR" "failed to open remote file '.*': the server's answer makes no sense"
    way version
    img 1 info "$(at x)"
    has "$ERR" 'failed to initialize sftp handle'
    way status
    img 1 info "$(at x)"
    has "$ERR" 'SFTP server: \?\[31mred\?\? \(libssh'
}

@test "a server that falls silent" {
    way silent
    img 1 convert -O raw --image-opts "$(options_of x,file.timeout=1)" got
    has "$ERR" 'Input/output error'
}

@test "sessions that stop, and go on" {
    start_another
    head -c 64M /dev/urandom > disk
    (while [ ! -e ended ]; do sessions STOP; sleep 0.2; sessions CONT; sleep 0.1; done) 3>&- &
    local stopper=$!
    for _ in 1 2; do
        img 0 convert -O raw disk "$(at copy)"
        img 0 convert -O raw "$(at copy)" back
    done
    touch ended
    wait "$stopper" || true
    sessions CONT || true
    raw_is copy disk
    raw_is back disk
}

# stop_in_the_middle SIGNAL OPTION...: bench, whose sessions get the signal
stop_in_the_middle() {
    local got=0 tool
    qemu-img bench -c 1000000000 -s 4096 "${@:2}" --image-opts \
        "$(options_of disk,file.timeout=1)" \
        > log 2>&1 3>&- &
    tool=$!
    while kill -0 "$tool" 2> /dev/null; do
        sessions "$1" || true
        sleep 0.2
    done
    wait "$tool" || got=$?
    [ "$got" -eq 1 ]
    sessions CONT || true
}

@test "sessions that stop for too long, or are killed" {
    start_another
    truncate -s 1M disk
    stop_in_the_middle STOP
    stop_in_the_middle STOP -w
    stop_in_the_middle KILL
    stop_in_the_middle KILL -w
}

@test "the examples of the page" {
    make_world
    fresh_folder
    mkdir srv
    cp "$BATS_FILE_TMPDIR/example-files/disk.raw" srv/disk.img
    at_home true
    # shellcheck disable=SC2016,SC2034
    EXAMPLE_IN=(unshare -m sh -c 'mount --bind "$RIG/home/.ssh" "$0/.ssh" && exec "$@"' "$(getent passwd 0 | cut -d: -f6)")
    examples_of docs/drivers/ssh.md "s|user@server(.*disk.img)|root@server\\1?host_key_check=no|
        s|ssh://server|ssh://root@server|; s|@server|@127.0.0.1:$PORT$PWD|; s|06766e53\\.\\.\\.|$(print_of)|"
    img 0 check srv/new.qcow2
}
