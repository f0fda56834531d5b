#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# -p (docs/progress.md): qemu-img's bytes for programs, a line for people, JSON for new programs.  The numbers in the line are
# tested in tests/unit/test-progress.c.

load ../helper

setup() {
    fresh_folder
    truncate -s 8M a.raw
    pattern a.raw 11 0 4M
}

# make_all: an image to amend, and an overlay to commit and to rebase
make_all() {
    img 0 create -q -f qcow2 -b a.raw -F raw over.qcow2
    img 0 create -q -f qcow2 empty.qcow2 8M
    img 0 convert -O qcow2 a.raw full.qcow2
}

# What each command with -p does: PROGRESS stands for its option.
commands() {
    cat <<- 'end'
	convert PROGRESS -O qcow2 a.raw b.qcow2
	compare PROGRESS a.raw full.qcow2
	rebase PROGRESS -b empty.qcow2 -F qcow2 over.qcow2
	commit PROGRESS -d over.qcow2
	amend PROGRESS -o refcount_bits=64 full.qcow2
	end
}

# on_terminal [VARIABLE=VALUE...] COMMAND...: standard output is a terminal; what it got is in $OUT
on_terminal() {
    need_terminals
    python3 "$ROOT/tests/interop/lib/on_terminal.py" both "$OUT" "$@"
}

@test "progress: programs get qemu-img's bytes, byte for byte" {
    img 0 convert -p -O raw a.raw b.raw
    [ "$(tr -cd '\r' < "$OUT" | wc -c)" -ge 3 ]
    tr '\r' '\n' < "$OUT" > lines
    run grep -vxE '    \([0-9]{1,3}\.[0-9]{2}/100%\)|' lines
    [ "$status" -eq 1 ]
    head -c 16 "$OUT" | tr '\r' '\n' > first
    same first '    (0.00/100%)'
    tail -c 19 "$OUT" | tr '\r' '\n' > end
    same end '    (100.00/100%)' ''
}

@test "progress: the same on a terminal if plain output or a version was asked for" {
    beyond
    for variable in IMGBOX_PROGRESS=plain IMGBOX_COMPAT=10.0 IMGBOX_COMPAT=7.2; do
        img 0 convert -p -m 1 -O raw a.raw b.raw
        cp "$OUT" piped
        on_terminal $variable "$IMG" convert -p -m 1 -O raw a.raw b.raw
        cmp piped "$OUT"
    done
}

@test "progress: a line for people on a terminal" {
    beyond
    make_all
    while read -r -a words; do
        on_terminal "$IMG" "${words[@]/PROGRESS/-p}"
        run grep '/100%' "$OUT"
        [ "$status" -eq 1 ]
        # no colours, and nothing else that not every terminal knows
        run grep $'\033' "$OUT"
        [ "$status" -eq 1 ]
        tr '\r' '\n' < "$OUT" | sed 's/ *$//' > lines
        has lines '^  0\.00%$'
        has lines '^100\.00%(  [0-9.]+ [KM]iB of [0-9.]+ [KM]iB(  [0-9.]+ [KMG]?i?B/s)?)?(  [0-9]+:[0-9]{2})?$'
        run grep -vE '^( *[0-9]+\.[0-9]{2}%(  .*)?|Images are identical\.|Image committed\.|)$' lines
        [ "$status" -eq 1 ] || { echo "$output"; false; }
    done < <(commands)
    on_terminal "$IMG" convert -p -O raw a.raw b.raw
    has "$OUT" $'\r100\\.00%  8 MiB of 8 MiB.*  [0-9]+:[0-9]{2} *$'
    WIDTH=20 on_terminal "$IMG" convert -p -O raw a.raw b.raw
    [ "$(tr '\r' '\n' < "$OUT" | awk '{ if (length > most) most = length } END { print most }')" -lt 20 ]
    # what is said meanwhile has a line of its own
    on_terminal "$IMG" compare -p a.raw full.qcow2
    has "$OUT" '^Images are identical\.$'
    on_terminal "$IMG" convert -p -O raw a.raw /nonesuch/x || true
    has "$OUT" "^qemu-img: /nonesuch/x: "
    on_terminal "$IMG" compare -p a.raw none || true
    same "$OUT" "qemu-img: Could not open 'none': Could not open 'none': No such file or directory"
    on_terminal "$IMG" convert -p -q -O raw a.raw b.raw
    same "$OUT" ''
}

# is_progress FILE UNIT: lines of JSON with numbers that grow, and the last at 100%
is_progress() {
    python3 - "$@" <<- 'end'
	import json, sys
	lines = open(sys.argv[1]).read()
	assert lines.endswith('\n')
	told = [json.loads(line) for line in lines.splitlines()]
	assert len(told) >= 2, told
	for one in told:
	    assert list(one) == ['offset', 'total', 'unit', 'percent', 'elapsed'], one
	    assert 0 <= one['offset'] <= one['total'] or one['total'] == 0, one
	    assert one['unit'] == sys.argv[2], one
	assert told[0]['percent'] == 0 and told[-1]['percent'] == 100, told
	assert told[-1]['offset'] == told[-1]['total'] > 0, told
	assert sum(one['percent'] == 100 for one in told) == 1, told
	assert all(a['elapsed'] <= b['elapsed'] for a, b in zip(told, told[1:])), told
	end
}

@test "progress: JSON of each command with -p" {
    beyond
    make_all
    while read -r -a words; do
        img 0 "${words[@]/PROGRESS/--progress=json}"
        grep '^{' "$OUT" > json
        unit=bytes
        [ "${words[0]}" != amend ] || unit=steps
        is_progress json $unit
        run grep -vE '^\{|^Image' "$OUT"
        [ "$status" -eq 1 ]
        err ''
    done < <(commands)
}

@test "progress: JSON to a descriptor, beside what standard output has" {
    beyond
    make_all
    while read -r -a words; do
        img 0 "${words[@]/PROGRESS/--progress=json,fd=7}" 7> json
        unit=bytes
        [ "${words[0]}" != amend ] || unit=steps
        is_progress json $unit
        run grep offset "$OUT"
        [ "$status" -eq 1 ]
    done < <(commands)
    img 0 convert -q --progress=json,fd=7 -O qcow2 a.raw - 7> json
    cp "$OUT" b.qcow2
    img 0 compare a.raw b.qcow2
    is_progress json bytes
    img 0 compare --progress=json,fd=2 --output=json a.raw b.qcow2
    is_progress "$ERR" bytes
    has "$OUT" '"identical": true'
    # abbreviated, too
    img 0 convert --prog=json,fd=2 -O raw a.raw b.raw
    is_progress "$ERR" bytes
}

not_complete() {
    [ "$(grep -c '"percent": 100' "$OUT")" -eq 0 ]
}

@test "progress: JSON of work that fails does not end at 100%" {
    beyond
    img 1 convert --progress=json -O raw a.raw /nonesuch/x
    not_complete
    truncate -s 8M b.raw
    pattern b.raw 22 0 1M
    img 1 compare --progress=json a.raw b.raw
    not_complete
    img 2 compare --progress=json a.raw none
    out ''
}

@test "progress: a descriptor that is not open is never an image" {
    beyond
    for fd in 9 123456; do
        img 1 convert --progress=json,fd=$fd -O raw a.raw b.raw
        err "qemu-img: --progress: descriptor $fd: Bad file descriptor"
        [ ! -e b.raw ]
    done
    img 1 convert --progress=json,fd=0 -O raw a.raw b.raw < /dev/null
    err 'qemu-img: --progress: descriptor 0: Bad file descriptor'
    # who has stopped reading stops nothing
    exec 8> >(true)
    wait $!
    img 0 convert --progress=json,fd=8 -O raw a.raw b.raw
    exec 8>&-
    cmp a.raw b.raw
}

@test "progress: other arguments are refused as by qemu-img, with a hint" {
    beyond
    for word in yaml '' 'json,' json,fd json,fd= json,fd=x json,fd=1x json,fd=-1 json,fd=99999999999 JSON; do
        img 1 convert "--progress=$word" -O raw a.raw b.raw
        err "qemu-img convert: option '--progress' doesn't allow an argument" "Try 'qemu-img convert --help' for more info"
        IMGBOX_HINTS=1 img 1 convert "--progress=$word" -O raw a.raw b.raw
        has "$ERR" "^hint: did you mean '--progress=json\\[,fd=N\\]'\\?$"
    done
    [ ! -e b.raw ]
    img 1 convert --compress=json -O raw a.raw b.raw
    has "$ERR" "option '--compress' doesn't allow an argument"
}
