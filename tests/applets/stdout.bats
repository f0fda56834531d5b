#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Standard output that is closed, full, or without a reader: the exit code still tells of the image.  Only where the
# output is the work itself its loss is an error.

load ../helper

setup() {
    fresh_folder
    [ -c /dev/full ] || skip 'no /dev/full'
}

full() {
    "$@" > /dev/full
}

closed() {
    "$@" >&-
}

# The reader has gone before the tool starts.
unread() {
    python3 - "$@" <<- 'end'
	import os, subprocess, sys
	read, write = os.pipe()
	os.close(read)
	sys.exit(subprocess.run(sys.argv[1:], stdout=write).returncode)
	end
}

# works ARGUMENT...: exit code 0, and not a word, whatever becomes of its output
works() {
    for how in full closed unread; do
        cmd 0 $how "$IMG" "$@"
        err ''
    done
}

# fails RC ARGUMENT...: that exit code, and one line that says why
fails() {
    cmd "$1" full "$IMG" "${@:2}"
    same_reason 'No space left on device'
    cmd "$1" closed "$IMG" "${@:2}"
    same_reason 'Bad file descriptor'
    cmd "$1" unread "$IMG" "${@:2}"
    same_reason 'Broken pipe'
}

same_reason() {
    err "${IMG##*/}: Could not write to standard output: $1"
}

@test "stdout: who did its work has done it" {
    sample a.raw
    works convert -p -O qcow2 a.raw b.qcow2
    img 0 compare a.raw b.qcow2
    works create -f qcow2 c.qcow2 1M
    works resize b.qcow2 8M
    works snapshot -c first b.qcow2
    works snapshot -a first b.qcow2
    works amend -p -o lazy_refcounts=on b.qcow2
    works create -f qcow2 -b b.qcow2 -F qcow2 top.qcow2
    works commit -p top.qcow2
    works rebase -p -u -b '' top.qcow2
    works dd if=a.raw of=d.raw bs=1M
    cmp a.raw d.raw
}

@test "stdout: no output, no error" {
    truncate -s 1M a.raw
    works compare -q a.raw a.raw
    img 0 create -q -f qcow2 b.qcow2 1M
    works snapshot -l b.qcow2
    works check -q b.qcow2
}

@test "stdout: the output that is the work" {
    beyond
    sample a.raw
    img 0 convert -O qcow2 a.raw b.qcow2
    img 0 snapshot -c first b.qcow2
    for command in info map check 'snapshot -l' 'measure -O raw' 'info --output=json' 'map --output=json' digest \
        'bench -c 1'; do
        # shellcheck disable=SC2086
        fails 1 $command b.qcow2
    done
    fails 1 convert --digest=sha256 b.qcow2 c.raw
    cmp a.raw c.raw
}

@test "stdout: compare never says of equal images that they differ" {
    beyond
    truncate -s 1M a.raw b.raw
    fails 2 compare a.raw b.raw
    fails 2 compare --output=json a.raw b.raw
    pattern b.raw 11 0 512
    fails 1 compare a.raw b.raw
}

@test "stdout: a disk on standard output" {
    beyond
    sample a.raw
    for how in full closed unread; do
        cmd 1 $how "$IMG" convert a.raw -
        has "$ERR" '^[^:]*: error while writing at byte [0-9]+: '
        cmd 1 $how "$IMG" dd if=a.raw
        has "$ERR" '^[^:]*: error while writing to output image file: '
    done
}

@test "stdout: help may be read in part" {
    beyond
    for text in '--help' 'info --help' 'create -f qcow2 -o help'; do
        # shellcheck disable=SC2086
        cmd 0 unread "$IMG" $text
        err ''
        # shellcheck disable=SC2086
        cmd 1 full "$IMG" $text
        same_reason 'No space left on device'
    done
}

@test "stdout: a long map ends when nobody reads on" {
    beyond
    # 65,536 lines, of which a pipe takes few: with its reader gone the first flush tells
    img 0 create -q -f qcow2 -o cluster_size=512 a.qcow2 64M
    crafting - <<- 'end'
	with open("a.raw", "wb") as file:
	    file.write((bytes([1]) * 512 + bytes(512)) * 65536)
	end
    img 0 convert -n -O qcow2 a.raw a.qcow2
    cmd 1 unread "$IMG" map --output=json a.qcow2
    same_reason 'Broken pipe'
}
