#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# --object: definitions are parsed the same by every command; secrets are decoded and decrypted at once.
# (What comes out of the decryption is seen by tests/unit/test-secret.c.)

load ../helper

KEY=a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=
IV=AAAAAAAAAAAAAAAAAAAAAA==
HELLO=9AVgiDpwg33v/jPjj++ZYA==

# secret RC OPTIONS...: define them in this order
secret() {
    local rc=$1 words=() options
    for options in "${@:2}"; do
        words+=(--object "secret,$options")
    done
    truncate -s 1M f
    img "$rc" info "${words[@]}" -f raw f
    [ "$rc" -ne 0 ] || err ''
}

refused() {  # MESSAGE OPTIONS...
    secret 1 "${@:2}"
    err "qemu-img: $1"
}

@test "object: an encrypted secret" {
    secret 0 id=m,format=base64,data=$KEY id=s,keyid=m,iv=$IV,format=base64,data=$HELLO
    refused 'IV is required to decrypt secret' id=m,format=base64,data=$KEY id=s,keyid=m,format=base64,data=$HELLO
    refused 'IV should be 16 bytes in length not 3' \
        id=m,format=base64,data=$KEY id=s,keyid=m,iv=AAAA,format=base64,data=$HELLO
    refused 'Base64 data contains invalid characters' \
        id=m,format=base64,data=$KEY id=s,keyid=m,iv=@@@@,format=base64,data=$HELLO
    refused 'Key should be 32 bytes in length' id=m,data=short id=s,keyid=m,iv=$IV,format=base64,data=$HELLO
    refused 'Length 3 must be a multiple of block size 16' \
        id=m,format=base64,data=$KEY id=s,keyid=m,iv=$IV,format=base64,data=AAAA
    refused 'Length 24 must be a multiple of block size 16' \
        id=m,format=base64,data=$KEY id=s,keyid=m,iv=$IV,data=$HELLO
    # Only a decryption that works finds the padding wrong in just this way.
    refused 'Incorrect number of padding bytes (113) found on decrypted data' \
        id=m,format=base64,data=$KEY id=s,keyid=m,iv=$IV,format=base64,data=$IV
    refused "No secret with id 'm'" id=s,keyid=m,iv=$IV,data=$HELLO
}

@test "object: data and files, plain and as base64" {
    for options in data= data=x format=base64,data=aGVsbG8= format=base64,data=aGVsbG8 format=base64,data= iv=@,data=x; do
        secret 0 "id=s,$options"
    done
    printf 'aGVs\nbG8=\n' > text
    secret 0 id=s,format=base64,file=text
    refused "Either 'file' or 'data' must be provided" id=s
    refused "'file' and 'data' are mutually exclusive" id=s,data=x,file=y
    refused 'Unable to read /nonexist: Failed to open file “/nonexist”: No such file or directory' id=s,file=/nonexist
    refused 'Unable to read .: Error reading file “.”: Is a directory' id=s,file=.
    refused "Parameter 'format' does not accept value 'foo'" id=s,format=foo,data=x
    refused 'Base64 data contains invalid characters' 'id=s,format=base64,data=aGVsbG8= '
    refused "Parameter 'bogus' is unexpected" id=s,data=x,bogus=1
}

@test "object: base64 is decoded as by qemu-img" {
    for good in "$KEY" "$KEY=" "${KEY:0:20}\n${KEY:20}\n" "\n$KEY"; do
        # shellcheck disable=SC2059
        printf "$good" > key
        secret 0 id=m,format=base64,file=key id=s,keyid=m,iv=$IV,format=base64,data=$HELLO
    done
    for short in "${KEY%=}" "a=${KEY:1}" "${KEY%s=}="; do
        refused 'Key should be 32 bytes in length' "id=m,format=base64,data=$short" \
            id=s,keyid=m,iv=$IV,format=base64,data=$HELLO
    done
    for bad in "$KEY\r\n" "$KEY "; do
        # shellcheck disable=SC2059
        printf "$bad" > key
        refused 'Base64 data contains invalid characters' id=m,format=base64,file=key
    done
    printf '%s\0' "$KEY" > key
    refused 'Base64 data contains embedded NUL characters' id=m,format=base64,file=key
}

@test "object: a secret file is read whole" {
    # 17 MiB, of which the last block has the padding
    { head -c 17825776 /dev/zero; echo "$HELLO" | base64 -d; } > hello
    secret 0 id=m,format=base64,data=$KEY id=s,keyid=m,iv=$IV,file=hello
    secret 0 id=m,file=hello
}

@test "object: a secret file without an end" {
    beyond
    refused 'Unable to read /dev/zero: Error reading file “/dev/zero”: File too large' id=s,file=/dev/zero
}

@test "object: ids are unique" {
    refused "attempt to add duplicate property 's' to object (type 'container')" id=s,data=x id=s,data=y
    truncate -s 1M f
    img 1 info --object throttle-group,id=t --object "secret,id=s,keyid=t,iv=$IV,format=base64,data=$HELLO" f
    err "qemu-img: Object with id 't' is not a secret"
    img 1 info --object secret,id=t,data=x --object throttle-group,id=t f
    err "qemu-img: attempt to add duplicate property 't' to object (type 'container')"
}

@test "object: the id is checked before the properties" {
    duplicate="attempt to add duplicate property 's' to object (type 'container')"
    refused "$duplicate" id=s,data=x id=s
    refused "$duplicate" id=s,data=x id=s,file=/nonexist
    truncate -s 1M f
    img 1 info --object throttle-group,id=s --object secret,id=s,file=/nonexist f
    err "qemu-img: $duplicate"
    img 1 info --object secret,id=s,data=x --object throttle-group,id=s,x-iops-size=1 f
    err "qemu-img: $duplicate"
    img 1 info --object secret,id=s,data=x --object throttle-group,id=s,limits.iops-size=1 f
    err 'qemu-img: iops size requires an iops value to be set'
}

@test "object: every command refuses a bad one before it does anything" {
    truncate -s 1M f
    bad="secret,id=s,format=base64,data=@"
    for command in 'check f' 'compare f f' 'convert f g' 'create -f raw g 1M' 'dd if=f of=g' 'info f' 'map f' \
        'measure f' 'resize f 2M' 'snapshot -l f' 'commit f' 'rebase -b x f' 'amend -o compat=v3 f' 'bitmap --add f b'; do
        status=1
        case $command in
            compare*) status=2 ;;
        esac
        # shellcheck disable=SC2086
        img $status ${command%% *} --object "$bad" ${command#* }
        err 'qemu-img: Base64 data contains invalid characters'
        [ ! -e g ]
        [ "$(stat -c %s f)" -eq 1048576 ]
    done
}

@test "object: a process with a secret leaves no core dump" {
    beyond
    [ -r /proc/self/limits ] || skip 'no /proc'
    [ "$(ulimit -Hc)" != 0 ] || skip 'no core dumps at all'
    mkfifo fifo
    ulimit -c "$(ulimit -Hc)"
    qemu-img info --object secret,id=s,data=x --object secret,id=t,file=fifo none > out.txt 2>&1 &
    local pid=$! child
    # The second secret waits for the fifo, so the first was defined.
    exec 8> fifo
    child=$(pgrep -P "$pid" || echo "$pid")
    # (AddressSanitizer allows none from the start)
    grep -E '^Max core file size +[01] ' "/proc/$child/limits"
    exec 8>&-
    wait "$pid" || true
}
