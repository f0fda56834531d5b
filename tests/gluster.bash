# SPDX-License-Identifier: MIT
# A Gluster volume for tests, as root: in namespaces of its own, since the daemon has fixed ports and folders, and ends
# with all that it starts.
#
# RIG: a folder for what it needs; the brick is RIG/brick.  The volume is called "vol".

. "${BASH_SOURCE[0]%/*}/servers.bash"

# What it takes.
gluster_needs() {
    [ "$(id -u)" -eq 0 ] && have glusterd gluster nsenter unshare ip && separate n m p
}

# The namespace, with its own /run.  (A brick on 127.0.0.1 is refused.  The first process
# waits, or the daemon would take a brick that was killed for alive; when it ends, all do)
gluster_world() {
    mkdir -p "$RIG/run" "$RIG/log" "$RIG/brick"
    # shellcheck disable=SC2016
    unshare -n -m -p -f --mount-proc --kill-child=KILL sh -c 'ip link set lo up && ip addr add 10.77.0.1/32 dev lo &&
        mount --bind "$1/run" /run && mkdir -p /run/gluster /var/lib/glusterd /var/log/glusterfs &&
        mount -t tmpfs none /var/lib/glusterd && mount --bind "$1/log" /var/log/glusterfs &&
        : > "$1/world.ready" && sleep 86400 & wait' sh "$RIG" > "$RIG/world.log" 2>&1 3>&- &
    echo $! > "$RIG/unshare"
    disown
    wait_until test -e "$RIG/world.ready"
    pgrep -P "$(< "$RIG/unshare")" > "$RIG/world"
}

in_gluster_world() {
    nsenter -r -t "$(< "$RIG/world")" -n -m -p -- "$@"
}

gluster_cli() {
    in_gluster_world timeout 60 gluster --mode=script "$@" > "$RIG/cli.log" 2>&1 3>&-
}

gluster_listens() {
    # shellcheck disable=SC2016
    in_gluster_world bash -c 'exec 3<> "/dev/tcp/127.0.0.1/$1"' bash "$1" 2> /dev/null
}

# The daemon, and the volume.
gluster_start() {
    nsenter -r -t "$(< "$RIG/world")" -n -m -p -- glusterd -N --log-level=WARNING > "$RIG/glusterd.log" 2>&1 3>&- &
    disown
    wait_until gluster_listens 24007
    wait_until gluster_cli volume create vol "10.77.0.1:$RIG/brick" force
    gluster_cli volume set vol nfs.disable on
    gluster_cli volume start vol
}

# gluster_signal NAME: to the brick, as it is seen from here
gluster_signal() {
    kill "-$1" "$(gluster_brick)"
}

gluster_brick() {
    pgrep --ns "$(< "$RIG/world")" --nslist pid -f 'glusterfsd .*--volfile-id vol\.'
}

# The brick again.  (The daemon has to notice first that it is gone)
gluster_serve() {
    wait_until gluster_revives
}

gluster_revives() {
    gluster_cli volume start vol force
    sleep 0.2
    [ -n "$(gluster_brick)" ]
}

gluster_stop() {
    [ ! -s "$RIG/world" ] || kill -KILL "$(< "$RIG/world")" 2> /dev/null || true
}
