#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The service tls: no driver that anybody sees, in a module that is loaded for TLS credentials only.

load ../helper

setup() {
    fresh_folder
    beyond
    MODULE=$(dirname "$IMGBOX")/modules/img-tls.so
    img 0 create -q -f qcow2 x 1M
}

# absent PATTERN FILE: no line matches
absent() {
    if grep -e "$1" "$2"; then
        return 1
    fi
}

need_module() {
    [ -e "$MODULE" ] || skip 'TLS is not a module here'
}

@test "tls: it is no format, no protocol and no driver" {
    img 1 info -f tls x
    err "qemu-img: Could not open 'x': Unknown driver 'tls'"
    img 1 info tls:x
    err "qemu-img: Could not open 'tls:x': Unknown protocol 'tls'"
    img 1 info --image-opts driver=tls
    err "qemu-img: Could not open 'driver=tls': Unknown driver 'tls'"
    img 1 create -f tls y 1M
    err "qemu-img: y: Unknown file format 'tls'"
    img 0 --help
    absent '^Supported formats:.* tls\>' "$OUT"
}

@test "tls: the executable is not linked to GnuTLS, and loads it for credentials only" {
    need_module
    ldd "$IMGBOX" > libraries
    absent gnutls libraries
    ldd "$MODULE" | grep -q gnutls
    need_strace
    for words in 'info x' 'info --object secret,id=t,data=x x' 'convert -O raw x y'; do
        # shellcheck disable=SC2086
        strace -qq -f -e trace=openat -o files "$IMG" $words > /dev/null
        absent gnutls files
    done
    strace -qq -f -e trace=openat -o files "$IMG" --help > /dev/null
    absent img-tls files
    strace -qq -f -e trace=openat -o files "$IMG" info --object tls-creds-anon,id=t x > /dev/null
    grep -q "\"$MODULE\"" files
    grep -q gnutls files
}

@test "tls: without the module, credentials are accepted, since the command may not use them" {
    need_module
    mkdir none
    IMGBOX_MODULES=$PWD/none img 0 info --object tls-creds-x509,id=t,dir=none x
    err ''
    IMGBOX_MODULES=$PWD/none img 1 info --object tls-creds-x509,id=t,other=none x
    err "qemu-img: Parameter 'other' is unexpected"
}
