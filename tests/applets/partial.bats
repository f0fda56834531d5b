#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# An image that could not be completed is removed, on errors and on signals; with --atomic it never had its name.
#
# (each test has a shell of its own; functions are called through others)
# shellcheck disable=SC2030,SC2031,SC2317

load ../helper

setup() {
    beyond
    fresh_folder
}

teardown() {
    [ -z "$HOLDER" ] || kill -9 "$HOLDER" 2> /dev/null || true
}

# copying FILE ARGUMENT...: as in helper.bash; but bash lets its background processes ignore SIGINT, and nohup SIGHUP
copying() {
    env --default-signal=INT,HUP,TERM "$IMG" convert -r 1k "${@:2}" > /dev/null 2> "$ERR" 3>&- &
    HOLDER=$!
    wait_until holds_bytes "$1"
}

# (the name may be a pattern)
holds_bytes() {
    # shellcheck disable=SC2086
    grep -s -q -a -F $'\x11\x11\x11\x11\x11\x11\x11\x11' $1
}

# ended SIGNAL: the convert of `copying` dies of that signal
ended() {
    local got=0
    kill -"$1" "$HOLDER"
    wait "$HOLDER" || got=$?
    HOLDER=
    [ "$got" -eq $((128 + $(kill -l "$1"))) ] || { echo "exit code $got"; return 1; }
}

# only FILE...: nothing else is in the folder, hidden files included
only() {
    diff <(printf '%s\n' "$@" | sort) <(find . -mindepth 1 ! -name '.out*' ! -name '.err*' -printf '%P\n' | sort)
}

data() {
    truncate -s 8M a.raw
    pattern a.raw 11 0 8M
}

@test "partial: signals" {
    data
    for signal in INT TERM HUP; do
        for format in raw qcow2 vmdk vdi vhdx vpc parallels qed qcow; do
            copying b -f raw -O $format a.raw b
            ended $signal
            only a.raw
        done
    done
}

@test "partial: all files of a target" {
    data
    copying b-flat.vmdk -f raw -O vmdk -o subformat=monolithicFlat a.raw b.vmdk
    only a.raw b.vmdk b-flat.vmdk
    ended TERM
    only a.raw
    copying b-s001.vmdk -f raw -O vmdk -o subformat=twoGbMaxExtentSparse a.raw b.vmdk
    ended TERM
    only a.raw
    copying data -f raw -O qcow2 -o data_file=data a.raw b
    ended TERM
    only a.raw
}

@test "partial: a file that was there, by its name and by a link" {
    data
    echo old > b
    copying b -f raw -O qcow2 a.raw b
    ended TERM
    only a.raw
    echo old > real
    ln -s real b
    copying real -f raw -O raw a.raw b
    ended TERM
    only a.raw b
}

@test "partial: --keep-partial, -n, and what another has put there" {
    data
    copying b -f raw -O raw --keep-partial a.raw b
    ended TERM
    only a.raw b
    copying b -n -f raw -O raw a.raw b
    ended TERM
    only a.raw b
    # SIGKILL cannot be caught
    copying c -f raw -O raw a.raw c
    ended KILL
    only a.raw b c
    copying c -f raw -O raw a.raw c
    mv c d
    echo another > c
    ended TERM
    only a.raw b c d
    [ "$(cat c)" = another ]
}

@test "partial: a signal that is ignored" {
    data
    (trap '' HUP; exec "$IMG" convert -r 1k -f raw -O raw a.raw b 3>&-) &
    HOLDER=$!
    wait_until grep -s -q -a -F $'\x11\x11\x11\x11' b
    kill -HUP "$HOLDER"
    kill -0 "$HOLDER"
    ended TERM
    only a.raw
}

@test "partial: SIGUSR1 still shows progress" {
    data
    copying b -f raw -O raw a.raw b
    kill -USR1 "$HOLDER"
    ended TERM
    only a.raw
}

@test "partial: errors" {
    data
    short() {
        (ulimit -f 1000; exec -a qemu-img "$IMG" "$@")
    }
    for format in raw qcow2 'vmdk -o subformat=monolithicFlat' 'qcow2 -o preallocation=full' vdi vhdx qed; do
        # shellcheck disable=SC2086
        cmd 1 short convert -f raw -O $format a.raw b
        only a.raw
        # shellcheck disable=SC2086
        cmd 1 short convert --keep-partial -f raw -O ${format%% *} a.raw b
        only a.raw b
        rm b
    done
    cmd 1 short dd -f raw if=a.raw of=b bs=1M
    only a.raw
    cmd 1 short dd --keep-partial -f raw if=a.raw of=b bs=1M
    only a.raw b
    # what dd did not create it does not remove
    cmd 1 short dd -f raw if=a.raw of=b bs=1M seek=1
    only a.raw b
    rm b
    for format in raw qcow2 vdi vpc; do
        cmd 1 short create -q -f $format -o "$(prealloc $format)" b 8M
        only a.raw
    done
}

prealloc() {
    case $1 in
        raw | qcow2) echo preallocation=full ;;
        vdi) echo static=on ;;
        vpc) echo subformat=fixed ;;
    esac
}

@test "partial: a refused target stays" {
    data
    echo old > b
    img 1 convert -f raw -O qcow2 -o nonsense=1 a.raw b
    img 1 convert -f raw -O qcow2 -o cluster_size=3 a.raw b
    img 1 convert -f raw -O vmdk -o subformat=monolithicFlat,compat6=x a.raw b
    img 1 create -q -f qcow2 -o cluster_size=3 b 1M
    img 1 convert -f qcow2 -O qcow2 a.raw b
    same b old
}

@test "partial: dd, also from standard input" {
    mkfifo pipe
    "$IMG" dd of=b bs=1M < pipe > /dev/null 2>&1 3>&- &
    HOLDER=$!
    exec 8> pipe
    head -c 1M /dev/zero | tr '\0' '\21' >&8
    wait_until grep -s -q -a -F $'\x11\x11\x11\x11' b
    ended TERM
    exec 8>&-
    only pipe
}

# ---- --atomic

@test "atomic: formats, names and permissions" {
    data
    mkdir sub
    for format in raw qcow2 vmdk 'vmdk -c -o subformat=streamOptimized' vdi vhdx vpc parallels qed qcow; do
        # shellcheck disable=SC2086
        img 0 convert --atomic -f raw -O $format a.raw sub/b.img
        silent
        img 0 compare -q -f raw -F "${format%% *}" a.raw sub/b.img
        only a.raw sub sub/b.img
        [ "$(stat -c %a sub/b.img)" = 644 ]
    done
    # the name that a vmdk tells is its own
    img 0 convert --atomic -f raw -O vmdk a.raw file:c.vmdk
    grep -a -q '^RW 16384 SPARSE "c.vmdk"$' c.vmdk
    chmod 640 c.vmdk
    ln -s c.vmdk link
    img 0 convert --atomic -f raw -O qcow2 a.raw link
    [ -L link ]
    [ "$(stat -c %a c.vmdk)" = 640 ]
    img 0 compare -q -f raw -F qcow2 a.raw c.vmdk
    (umask 077; "$IMG" convert --atomic -f raw a.raw d)
    [ "$(stat -c %a d)" = 600 ]
    # relative to its folder
    img 0 create -q -f raw sub/base 8M
    img 0 convert --atomic -f raw -O qcow2 -B base -F raw a.raw sub/top
    img 0 compare -q -f raw a.raw sub/top
    img 0 info sub/top
    has "$OUT" '^backing file: base \(actual path: sub/base\)$'
}

@test "atomic: the source itself" {
    data
    img 0 convert --atomic -c -f raw -O qcow2 a.raw b.qcow2
    img 0 convert --atomic -O qcow2 b.qcow2 b.qcow2
    img 0 compare -q -f raw a.raw b.qcow2
    only a.raw b.qcow2
    # but not what a source needs, and not what the new image needs
    img 0 create -q -f qcow2 -b b.qcow2 -F qcow2 top.qcow2
    img 1 convert -U --atomic -O qcow2 top.qcow2 b.qcow2
    has "$ERR" "^qemu-img: b.qcow2: 'b.qcow2' is also read from: it cannot be overwritten"
    ln a.raw base.raw
    img 1 convert --atomic -f raw -O qcow2 -B a.raw -F raw null-co:// base.raw
    has "$ERR" "'base.raw' is also read from, as 'a.raw'"
    cmp a.raw base.raw
}

@test "atomic: signals and errors leave what was there" {
    data
    echo old > b
    for signal in INT TERM HUP; do
        copying '.b.*' --atomic -f raw a.raw b
        [ "$(cat b)" = old ]
        ended $signal
        only a.raw b
        [ "$(cat b)" = old ]
    done
    short() {
        (ulimit -f 1000; exec -a qemu-img "$IMG" "$@")
    }
    cmd 1 short convert --atomic -f raw -O qcow2 a.raw b
    only a.raw b
    [ "$(cat b)" = old ]
}

@test "atomic: what is refused" {
    data
    for arguments in '-n b' '--keep-partial b' '-O vmdk -o subformat=monolithicFlat b' \
        '-O vmdk -o subformat=twoGbMaxExtentSparse b' '-O qcow2 -o data_file=d b' '-' '/dev/null'; do
        # shellcheck disable=SC2086
        img 1 convert --atomic -f raw a.raw $arguments
        has "$ERR" '^qemu-img: .*--atomic'
        only a.raw
    done
    mkdir d
    img 1 convert --atomic -f raw a.raw d
    has "$ERR" '^qemu-img: --atomic needs a target that is a regular file$'
    img 1 convert --atomic -f raw a.raw nowhere/b
    only a.raw d
}

@test "atomic: a file that somebody uses is not replaced" {
    data
    echo old > b
    copying b -f raw -O qcow2 a.raw b
    img 1 convert --atomic -f raw -O qcow2 a.raw b
    err 'qemu-img: b: Failed to get "write" lock' 'Is another process using the image [b]?'
    ended TERM
    only a.raw
}

@test "atomic: on the disk before it has its name" {
    need_strace
    data
    cmd 0 strace -f -qq -e trace=fsync,fdatasync,rename,renameat,renameat2 -o calls "$IMG" convert --atomic \
        -f raw -O qcow2 a.raw b
    sed -n 's/^[0-9 ]*\(fsync\|rename\).*/\1/p' calls | tail -n 3 > order
    [ "$(tr '\n' ' ' < order)" = 'fsync rename fsync ' ]
}
