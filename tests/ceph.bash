# SPDX-License-Identifier: MIT
# A Ceph cluster for tests: one monitor, and one osd that keeps all in memory.  As root, on loopback.
#
# RIG: a folder for what it needs.  The configuration that clients want is then $RIG/ceph.conf.  Every call of a client
# has a limit of time, since clients wait for ever for a cluster that does not answer.

. "${BASH_SOURCE[0]%/*}/servers.bash"

# What it takes.
ceph_needs() {
    [ "$(id -u)" -eq 0 ] && have ceph-mon ceph-osd monmaptool ceph rbd python3
}

# Three ports at which nobody listens.
ceph_ports() {
    python3 -c 'import socket
sockets = [socket.socket() for _ in range(3)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))'
}

# (memory alone: nothing is ever full, nobody asks for a password, and one osd is enough for an object; a client that is
# stopped stays one for the time of a test)
ceph_configure() {
    local v1 v2 first
    read -r v1 v2 first <<< "$(ceph_ports)"
    [ "$first" -lt 65400 ] || first=$((first - 100))
    mkdir -p "$RIG/mon" "$RIG/osd" "$RIG/run" "$RIG/log"
    cat > "$RIG/ceph.conf" << CONF
[global]
fsid = $(< /proc/sys/kernel/random/uuid)
mon_host = [v2:127.0.0.1:$v2,v1:127.0.0.1:$v1]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
ms_bind_port_min = $first
ms_bind_port_max = $((first + 99))
run_dir = $RIG/run
admin_socket =
log_file = $RIG/log/\$name.log
pid_file = $RIG/run/\$name.pid
mon_data = $RIG/mon
osd_data = $RIG/osd
mon_data_avail_crit = 1
mon_data_avail_warn = 2
mgr_initial_modules =
osd_objectstore = memstore
osd_fast_shutdown = false
memstore_device_bytes = 2147483648
osd_memory_target = 939524096
osd_client_watch_timeout = 300
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
CONF
}

in_ceph() {
    timeout "${LIMIT-30}" "$1" -c "$RIG/ceph.conf" "${@:2}"
}

osd_is() {
    in_ceph ceph osd stat 2> /dev/null | grep -q " $1 up"
}

# (its identity must be the one that the monitor was told)
ceph_new_osd() {
    local uuid
    uuid=$(< /proc/sys/kernel/random/uuid)
    in_ceph ceph osd new "$uuid" && in_ceph ceph-osd -i 0 --mkfs --osd-uuid "$uuid" &&
        in_ceph ceph osd crush add osd.0 1.0 root=default host=h
}

osd_start() {
    ceph-osd -c "$RIG/ceph.conf" -f -i 0 > "$RIG/osd.out" 2>&1 3>&- &
    echo $! > "$RIG/osd.process"
    disown
}

# ceph_start: a cluster with the pool rbd
ceph_start() {
    ceph_configure
    {
        monmaptool --create --fsid "$(sed -n 's/^fsid = //p' "$RIG/ceph.conf")" \
            --addv a "$(sed -n 's/^mon_host = //p' "$RIG/ceph.conf")" "$RIG/monmap" &&
            in_ceph ceph-mon --mkfs -i a --monmap "$RIG/monmap" || return
        ceph-mon -c "$RIG/ceph.conf" -f -i a 3>&- &
        echo $! > "$RIG/mon.process"
        disown
        ceph_new_osd || return
        osd_start
        wait_until osd_is 1 || return
        ceph_pool rbd
    } > "$RIG/start.log" 2>&1
}

# ceph_pool NAME: one more pool for images
ceph_pool() {
    in_ceph ceph osd pool create "$1" 8 8 && in_ceph ceph osd pool application enable "$1" rbd &&
        in_ceph rbd pool init "$1"
}

# ceph_signal mon|osd NAME
ceph_signal() {
    kill "-$2" "$(< "$RIG/$1.process")"
}

ceph_stop() {
    for process in osd mon; do
        [ ! -s "$RIG/$process.process" ] || kill -KILL "$(< "$RIG/$process.process")" 2> /dev/null || true
    done
}
