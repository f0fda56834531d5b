# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Shared by the bats files of qemu-nbd and img-serve: running them, and waiting for servers.

. "$ROOT/tests/servers.bash"
NBD=${IMG%/*}/qemu-nbd
# shellcheck disable=SC2034
PEER_NBD=${PEER:+${PEER%/*}/qemu-nbd}
# nbdsh runs the python3 of the system, which has its module.
PATH=/usr/bin:$PATH

# nbd RC ARGUMENT...: run the tool under the name qemu-nbd, expect that exit code.
nbd() {
    cmd "$1" qemu-nbd "${@:2}"
}

qemu-nbd() {
    (ulimit -t 30; exec -a qemu-nbd "$NBD" "$@") < /dev/null
}

# Of the static files only the one with the network has TLS.
need_tls() {
    case $IMG in
        */network/static/*) ;;
        */static/*) skip 'no TLS in the static file' ;;
    esac
}

gone() {
    ! kill -0 "$1" 2> /dev/null
}

# serving SOCKET COMMAND...: start a server in the background and wait for its socket; `ended` ends it.
serving() {
    "${@:2}" < /dev/null > server.out 2> server.err 3>&- &
    SERVER=$!
    wait_until listening "$1"
}

# start_nbd ARGUMENT...: the same with the tool, under the name qemu-nbd, on the socket s of the test's folder
start_nbd() {
    exec_nbd -k "$PWD/s" "$@" < /dev/null > server.out 2> server.err 3>&- &
    SERVER=$!
    wait_until listening s
}

exec_nbd() {
    exec -a qemu-nbd "$NBD" "$@"
}

# ended [RC]: the server has ended by itself, with this exit code
ended() {
    local got=0
    wait_until gone "$SERVER"
    wait "$SERVER" || got=$?
    SERVER=
    [ "$got" -eq "${1-0}" ] || { echo "the server: exit code $got"; cat server.err; return 1; }
}

# stop_server [SIGNAL]: it ends when it is told to, with exit code 0
stop_server() {
    kill -s "${1-TERM}" "$SERVER"
    ended 0
}

teardown() {
    if [ -n "${SERVER-}" ]; then
        { kill -9 "$SERVER" && wait "$SERVER"; } 2> /dev/null || true
    fi
}

# freed BYTES COMMAND ARGUMENT...: after the command of nbdsh on its second half, t.raw of 1 MiB stores that many bytes.
# `serve_test` starts the server.
freed() {
    pattern t.raw 55 0 1M
    serve_test -f raw "${@:3}" t.raw
    nbdsh -u "nbd+unix:///?socket=$PWD/s" -c "h.$2(524288, 0)"
    ended
    [ "$(stored t.raw)" -eq "$1" ]
}

# size_of URI: as a client that uses the export.  (nbdinfo only asks about it, since 1.20.)
size_of() {
    nbdsh -u "$1" -c 'print(h.get_size())'
}

# The address of the test's server, for clients.
uri() {
    echo "nbd+unix:///${1-}?socket=$PWD/s"
}

# activated COUNT COMMAND...: run it (exec_activated: in the place of the shell) with that many listening sockets from descriptor 3 on, as systemd does: the files
# act.0, act.1 ...; when all listen, there is a file act.ready.
activated() {
    (exec_activated "$@")
}

exec_activated() {
    exec python3 - "$@" << 'END'
import os, socket, sys
count, command = int(sys.argv[1]), sys.argv[2:]
listening = []
for number in range(count):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"act.{number}")
    listener.listen(5)
    listening.append(os.dup2(listener.fileno(), 50 + number, False))
for number, fd in enumerate(listening):
    os.dup2(fd, 3 + number, True)
open("act.ready", "w").close()
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(count)
os.execv(command[0], command)
END
}

# make_pki: the folder pki with an authority, and certificates of it for a server "localhost" and a client "localhost"
make_pki() {
    local end
    mkdir pki
    certtool --generate-privkey --key-type rsa --bits 2048 --outfile pki/ca-key.pem 2> /dev/null
    printf '%s\n' 'cn = CA' ca cert_signing_key 'expiration_days = 3650' > ca.info
    certtool --generate-self-signed --load-privkey pki/ca-key.pem --template ca.info --outfile pki/ca-cert.pem 2> /dev/null
    for end in server client; do
        certtool --generate-privkey --key-type rsa --bits 2048 --outfile pki/$end-key.pem 2> /dev/null
        printf '%s\n' 'cn = localhost' 'dns_name = localhost' 'ip_address = 127.0.0.1' tls_www_$end encryption_key \
            signing_key 'expiration_days = 3650' > $end.info
        certtool --generate-certificate --load-ca-certificate pki/ca-cert.pem --load-ca-privkey pki/ca-key.pem \
            --load-privkey pki/$end-key.pem --template $end.info --outfile pki/$end-cert.pem 2> /dev/null
    done
}
