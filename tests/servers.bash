# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Shared by the bats files that start servers.  A file that remembers processes calls end_servers in its teardown.

# (each test has a shell of its own)
SERVERS=()

# have PROGRAM...: all of them.  (`command -v` is content with one.)
have() {
    local program
    for program; do
        command -v "$program" > /dev/null || return
    done
}

# separate LETTER...: namespaces of these kinds can be had, as unshare calls them.  (Not in a chroot whose root is no mount.)
separate() {
    unshare "${@/#/-}" -f true 2> /dev/null
}

need() {
    for program; do
        have "$program" || skip "no $program"
    done
}

# never COMMAND...: it must fail
never() {
    ! "$@" 2> /dev/null
}

# listening SOCKET: somebody answers at this Unix socket, which its server knows by its whole path.  (The file is there some
# time before that; and to connect would be the one client of some servers.)
listening() {
    [ -S "$1" ] && grep -q -e " 00010000 0001 01 *[0-9]* $(readlink -f "$1")\$" /proc/net/unix
}

listens() {
    (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null
}

# A port of 127.0.0.1 at which nobody listens.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# A process to end after the test.
remember() {
    SERVERS+=("$1")
}

end_servers() {
    for server in "${SERVERS[@]}"; do
        kill "$server" 2> /dev/null || continue
        wait "$server" || true
    done
}
