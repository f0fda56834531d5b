# SPDX-License-Identifier: MIT
# An SSH server for tests, as root: OpenSSH's, with keys of its own.
#
# RIG: a folder for what it needs.

. "${BASH_SOURCE[0]%/*}/servers.bash"

ssh_needs() {
    [ "$(id -u)" -eq 0 ] && have sshd ssh-keygen unshare python3 && separate m
}

# Keys: two of the host, one of a user, one that nobody knows.
ssh_keys() {
    chmod 755 "$RIG"
    mkdir -p /run/sshd "$RIG/home/.ssh"
    for type in ed25519 rsa; do
        ssh-keygen -q -t $type -N '' -f "$RIG/host_$type"
    done
    ssh-keygen -q -t ed25519 -N '' -f "$RIG/home/.ssh/id_ed25519"
    ssh-keygen -q -t ed25519 -N '' -f "$RIG/stranger"
    cp "$RIG/home/.ssh/id_ed25519.pub" "$RIG/authorized"
}

# ssh_start [LINE...]: the server, with these lines in its configuration; sets PORT.
ssh_start() {
    PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    printf '%s\n' "Port $PORT" 'ListenAddress 127.0.0.1' "HostKey $RIG/host_ed25519" "HostKey $RIG/host_rsa" \
        "PidFile $RIG/pid" "AuthorizedKeysFile $RIG/authorized" 'PermitRootLogin prohibit-password' \
        'PasswordAuthentication no' 'KbdInteractiveAuthentication no' 'UsePAM no' 'StrictModes no' \
        'Subsystem sftp internal-sftp' 'MaxStartups 100' "$@" > "$RIG/config"
    ssh_knows host_ed25519
    "$(command -v sshd)" -D -e -f "$RIG/config" > "$RIG/log" 2>&1 3>&- &
    echo $! > "$RIG/server"
    disown
    for _ in $(seq 600); do
        (exec 3<> "/dev/tcp/127.0.0.1/$PORT") 2> /dev/null && return
        sleep 0.05
    done
    return 1
}

# ssh_knows KEY: the user's known_hosts has this key of the server
ssh_knows() {
    echo "[127.0.0.1]:$PORT $(cut -d' ' -f1,2 "$RIG/$1.pub")" > "$RIG/home/.ssh/known_hosts"
}

ssh_stop() {
    [ ! -s "$RIG/server" ] || kill "$(< "$RIG/server")" 2> /dev/null || true
}

# at_home COMMAND...: with the ~/.ssh of the rig, or of the folder USER_HOME.  (libssh looks in the home that the list of users has, not in $HOME.)
at_home() {
    local home
    home=$(getent passwd 0 | cut -d: -f6)
    [ -d "$home/.ssh" ] || mkdir -m 700 "$home/.ssh"
    # shellcheck disable=SC2016
    unshare -m sh -c 'mount --bind "$1" "$2" && shift 2 && exec "$@"' sh "${USER_HOME-$RIG/home}/.ssh" "$home/.ssh" "$@"
}
