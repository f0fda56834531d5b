# SPDX-License-Identifier: MIT
# NFS servers for tests, as root: in a network namespace of their own, since clients ask port 111 where a server is.
#
# RIG: a folder for what they need; EXPORT: the folder that is served, and all in it.

. "${BASH_SOURCE[0]%/*}/servers.bash"

# What it takes.
nfs_needs() {
    [ "$(id -u)" -eq 0 ] && have ganesha.nfsd rpcbind nsenter unshare ip && separate n m
}

# The namespace, with its own /run; and what tells where the NFS server is.
nfs_world() {
    mkdir -p "$RIG/run"
    # shellcheck disable=SC2016
    unshare -n -m sh -c 'ip link set lo up && ip addr add 192.0.2.1/32 dev lo && mount --bind "$1/run" /run &&
        mkdir -p /run/rpcbind /run/ganesha && : > "$1/world.ready" && exec sleep 86400' sh "$RIG" \
        > "$RIG/world.log" 2>&1 3>&- &
    echo $! > "$RIG/world"
    disown
    wait_until test -e "$RIG/world.ready"
}

in_nfs_world() {
    nsenter -r -t "$(< "$RIG/world")" -n -m -- "$@"
}

nfs_listens() {
    # shellcheck disable=SC2016
    in_nfs_world bash -c 'exec 3<> "/dev/tcp/127.0.0.1/$1"' bash "$1" 2> /dev/null
}

# nfs_start: rpcbind, and the server of EXPORT.
nfs_start() {
    printf '%s\n' 'NFS_CORE_PARAM { NFS_Protocols = 3; NFS_Port = 12049; MNT_Port = 12050; Enable_NLM = false;' \
        'allow_set_io_flusher_fail = true;' \
        'Enable_RQUOTA = false; Enable_UDP = False; fsid_device = true; mount_path_pseudo = false;' \
        'Plugins_Dir = "/usr/lib/x86_64-linux-gnu/ganesha"; }' \
        'NFS_KRB5 { Active_krb5 = false; }' "NFSV4 { RecoveryRoot = \"$RIG/run\"; }" \
        "EXPORT { Export_Id = 1; Path = \"$EXPORT\"; Pseudo = /export; Protocols = 3; Transports = TCP;" \
        'Access_Type = RW; Squash = No_Root_Squash; SecType = sys; PrivilegedPort = false; FSAL { Name = VFS; } }' \
        > "$RIG/ganesha.conf"
    nsenter -r -t "$(< "$RIG/world")" -n -m -- rpcbind -f > "$RIG/rpcbind.log" 2>&1 3>&- &
    echo $! > "$RIG/rpcbind"
    disown
    wait_until nfs_listens 111
    nfs_serve
}

# The server alone.  (nsenter becomes what it starts, so these are the processes to end)
nfs_serve() {
    nsenter -r -t "$(< "$RIG/world")" -n -m -- ganesha.nfsd -F -f "$RIG/ganesha.conf" -L "$RIG/ganesha.log" \
        -p "$RIG/ganesha.pid" -N NIV_EVENT > "$RIG/ganesha.out" 2>&1 3>&- &
    echo $! > "$RIG/server"
    disown
    wait_until nfs_listens 12049
}

# nfs_signal NAME: to the server
nfs_signal() {
    kill "-$1" "$(< "$RIG/server")"
}

nfs_is_gone() {
    ! kill -0 "$(< "$RIG/server")" 2> /dev/null
}

nfs_kill() {
    nfs_signal KILL
    wait_until nfs_is_gone
}

nfs_stop() {
    for process in server rpcbind world; do
        [ ! -s "$RIG/$process" ] || kill -KILL "$(< "$RIG/$process")" 2> /dev/null || true
    done
}
