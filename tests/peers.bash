# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Find the reference tools and say whether $IMG is one: sets and exports PEER
# (qemu-img 10.0), PEER_IO (its qemu-io), PEER72 (qemu-img 7.2), each empty
# where it is not installed, and IMG_IS_PEER.

# $1: version, $2: tool; prints a path or nothing
peer_tool() {
    local path
    for path in "${PEERS:-/opt/peers}/$1/usr/bin/$2" "/usr/bin/$2"; do
        case $("$path" --version 2> /dev/null) in
            "$2 version $1."*)
                echo "$path"
                return ;;
        esac
    done
}

find_peers() {
    PEER=${PEER-$(peer_tool 10.0 qemu-img)}
    PEER_IO=${PEER_IO-$(peer_tool 10.0 qemu-io)}
    PEER72=${PEER72-$(peer_tool 7.2 qemu-img)}
    IMG_IS_PEER=
    case $("$IMG" --version 2> /dev/null) in
        *'QEMU Project'*) IMG_IS_PEER=1 ;;
    esac
    export PEER PEER_IO PEER72 IMG_IS_PEER
}
