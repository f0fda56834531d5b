#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# ssh: a file on a server that runs SFTP.  The server is OpenSSH's.

load ../helper
load ../nbd

setup_file() {
    export RIG=$BATS_FILE_TMPDIR
    cd "$RIG" || return 1
    [ "$(id -u)" -eq 0 ] && command -v sshd ssh-keygen ssh-agent > /dev/null || return 0
    chmod 755 "$RIG"
    mkdir -p /run/sshd home/.ssh
    for type in ed25519 rsa; do ssh-keygen -q -t $type -N '' -f host_$type; done
    ssh-keygen -q -t ed25519 -N '' -f home/.ssh/id_ed25519
    ssh-keygen -q -t ed25519 -N '' -f stranger
    cp home/.ssh/id_ed25519.pub authorized
    export PORT
    PORT=$(free_port)
    printf '%s\n' "Port $PORT" 'ListenAddress 127.0.0.1' "HostKey $RIG/host_ed25519" "HostKey $RIG/host_rsa" \
        "PidFile $RIG/pid" "AuthorizedKeysFile $RIG/authorized" 'PermitRootLogin prohibit-password' \
        'PasswordAuthentication no' 'KbdInteractiveAuthentication no' 'UsePAM no' 'StrictModes no' \
        'Subsystem sftp internal-sftp' 'MaxStartups 100' > config
    "$(command -v sshd)" -D -e -f "$RIG/config" > log 2>&1 3>&- &
    echo $! > server
    for _ in $(seq 600); do
        (exec 3<> "/dev/tcp/127.0.0.1/$PORT") 2> /dev/null && break
        sleep 0.05
    done
}

teardown_file() {
    [ ! -s "$RIG/server" ] || kill "$(< "$RIG/server")"
}

setup() {
    fresh_folder
    need_root
    need sshd ssh-keygen
    unset SSH_AUTH_SOCK
    "$IMG" --help | grep -q '\<ssh\>' || skip 'ssh is not built in'
    chmod 755 "$BATS_TEST_TMPDIR"
}

# The tool with another home: libssh looks it up in the list of users, not in $HOME.
qemu-img() {
    # shellcheck disable=SC2016
    unshare -m sh -c 'mount --bind "$RIG/home" /root && shift 0 && exec "$@"' sh "$IMG" "$@"
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
    echo "[127.0.0.1]:$PORT $(cut -d' ' -f1,2 "$RIG/host_ed25519.pub")" > "$RIG/home/.ssh/known_hosts"
    img 0 info "$url"
    echo "[127.0.0.1]:$PORT $(cut -d' ' -f1,2 "$RIG/stranger.pub")" > "$RIG/home/.ssh/known_hosts"
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
    mv "$RIG/home/.ssh/id_ed25519" "$RIG/key"
    SSH_AUTH_SOCK=$PWD/agent
    export SSH_AUTH_SOCK
    ssh-agent -D -a "$SSH_AUTH_SOCK" > agent.log 2>&1 3>&- &
    local agent=$!
    wait_until is_socket "$SSH_AUTH_SOCK"
    ssh-add "$RIG/key" 2> /dev/null
    img 0 info "$(at disk)" || local failed=1
    kill "$agent"
    mv "$RIG/key" "$RIG/home/.ssh/id_ed25519"
    [ -z "${failed-}" ]
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
    umount m
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
