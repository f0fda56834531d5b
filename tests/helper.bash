# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Shared by the bats files.  A test runs the tool with `img`, which separates
# standard output, standard error and exit code, and compares them exactly
# with `out`, `err` and the code given to `img`.  Each test runs in a fresh folder.

ROOT=${ROOT:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}
BUILD=${BUILD:-$ROOT/build}
IMG=${IMG:-$BUILD/bin/qemu-img}
IMGBOX=${IMGBOX:-$BUILD/imgbox}
export LC_ALL=C TZ=UTC
unset IMGBOX_COMPAT
. "$ROOT/tests/peers.bash"
[ -n "${IMG_IS_PEER+set}" ] || find_peers

# A bats file with its own setup calls this first.
fresh_folder() {
    cd "$BATS_TEST_TMPDIR" || return 1
    OUT=$BATS_TEST_TMPDIR/.out
    ERR=$BATS_TEST_TMPDIR/.err
}

setup() {
    fresh_folder
}

# ---- what a test needs

# Skip the test with the real qemu-img, which does not have the feature.
beyond() {
    [ -z "$IMG_IS_PEER" ] || skip 'beyond the real tool'
}

need_peer() {
    [ -n "$PEER$PEER_IO" ] || skip 'no reference tool'
}

# AddressSanitizer reserves more address space than a test may use.
no_asan() {
    case $IMG in
        */asan/*) skip 'not with AddressSanitizer' ;;
    esac
}

# Can strace run the tool?  (LeakSanitizer must be the only tracer.)
need_strace() {
    export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
    strace -qq -f -o /dev/null "$IMG" --version > /dev/null 2>&1 || skip 'no strace'
}

# The program of 7-Zip, which some systems call 7z; p7zip is an old version of it.
seven_zip() {
    local name version
    for name in 7zz 7z; do
        version=$("$name" i 2> /dev/null | sed -n 's/^7-Zip [^0-9]*\([0-9]*\)[.].*/\1/p')
        [ "${version:-0}" -le 20 ] || { echo "$name"; return; }
    done
    return 1
}

need_terminals() {
    python3 -c 'import os; os.openpty()' 2> /dev/null || skip 'no terminals: /dev/pts is not mounted'
}

need_root() {
    [ "$(id -u)" -eq 0 ] || skip 'not root'
}

# ---- running and comparing

# img RC ARGUMENT...: run the tool under the name qemu-img, expect that exit code.
img() {
    cmd "$1" qemu-img "${@:2}"
}

# (an endless loop ends after 30 seconds of processor time)
qemu-img() {
    (ulimit -t 30; exec -a qemu-img "$IMG" "$@")
}

# cmd RC COMMAND...: the same with any command.
cmd() {
    local want=$1 got=0
    shift
    "$@" > "$OUT" 2> "$ERR" || got=$?
    if [ "$got" -ne "$want" ]; then
        echo "exit code $got instead of $want: $*"
        show
        return 1
    fi
}

show() {
    echo '--- standard output'
    head -c 4000 "$OUT"
    echo '--- standard error'
    head -c 4000 "$ERR"
}

# same FILE [LINE...]: FILE holds exactly these lines; without a LINE, the lines of standard input.
same() {
    local file=$1
    shift
    if [ $# -eq 0 ]; then
        cat > "$file.want"
    elif [ $# -eq 1 ] && [ -z "$1" ]; then
        : > "$file.want"
    else
        printf '%s\n' "$@" > "$file.want"
    fi
    diff -u "$file.want" "$file" || { show; return 1; }
}

# out LINE..., err LINE...: all of standard output, of standard error.  `out ''`: silent.
out() {
    same "$OUT" "$@"
}

err() {
    same "$ERR" "$@"
}

# Both are empty.
silent() {
    out '' && err ''
}

has() {  # FILE PATTERN: a line matches the extended regular expression
    grep -q -E -e "$2" "$1" || { echo "no line matches: $2"; show; return 1; }
}

# refused TEXT: info and map of x fail with this message only, in the format that the test file is named after.
refused() {
    local format=${BATS_TEST_FILENAME##*/} command
    for command in info map; do
        img 1 $command -f "${format%.bats}" x
        err "qemu-img: Could not open 'x': $1"
        out ''
    done
}

# Replace disk sizes in standard output, which depend on the machine.
mask() {
    sed -i -E -e 's/^( *disk size:) .*/\1 N/' \
        -e 's/^( *"actual-size":) [0-9]+/\1 N/' "$OUT"
}

# ---- making and looking at files

# pattern FILE BYTE OFFSET LENGTH: write LENGTH times the byte (two hex digits), sizes with k M G.
pattern() {
    head -c "$(bytes "$4")" /dev/zero | LC_ALL=C tr '\0' "\\$(printf '%03o' "0x$2")" |
        dd of="$1" bs=64k seek="$(bytes "$3")" oflag=seek_bytes conv=notrunc iflag=fullblock status=none
}

bytes() {
    case $1 in
        *k) echo $((${1%k} * 1024)) ;;
        *M) echo $((${1%M} * 1048576)) ;;
        *G) echo $((${1%G} * 1073741824)) ;;
        *) echo "$1" ;;
    esac
}

# poke FILE OFFSET HEX: overwrite bytes, given as hex digits
poke() {
    printf '%b' "$(echo "$3" | sed 's/ //g; s/../\\x&/g')" |
        dd of="$1" bs=1 seek="$(($2))" conv=notrunc status=none
}

# peek FILE OFFSET COUNT: that many bytes as hex digits
peek() {
    od -An -v -tx1 -j "$(($2))" -N "$(($3))" "$1" | tr -d ' \n'
}

# be WIDTH NUMBER, le WIDTH NUMBER: a number of WIDTH bytes, as hex digits
be() {
    printf "%0$((2 * $1))x" "$(($2))"
}

le() {
    local hex i
    hex=$(be "$1" "$2")
    for ((i = ${#hex} - 2; i >= 0; i -= 2)); do printf '%s' "${hex:i:2}"; done
}

# letters LETTER...: a sector filled with each
letters() {
    for letter; do
        head -c 512 /dev/zero | tr '\0' "$letter"
    done
}

# crafting ARGUMENT...: python3 with the modules of tests/interop/lib, which make images byte by byte
crafting() {
    PYTHONPATH=$ROOT/tests/interop/lib python3 "$@"
}

# A raw image of 8 MiB: data, holes, written zeroes, and random bytes.
sample() {
    truncate -s 8M "$1"
    pattern "$1" 11 0 64k
    pattern "$1" 22 1M 192k
    pattern "$1" 00 2M 1M
    head -c 300000 /dev/urandom | dd of="$1" bs=4096 seek=1024 conv=notrunc status=none
    pattern "$1" 33 8388096 512
}

# Compare the contents with a raw file.
raw_is() {
    cmp "$1" "$2"
}

# stored FILE: how many of its bytes are not in a hole.  This number is fixed, but the blocks that the file system
# counts for a file may change some time after a write.
stored() {
    python3 - "$1" <<- 'end'
	import os, sys
	with open(sys.argv[1], 'rb') as file:
	    length, at, total = os.fstat(file.fileno()).st_size, 0, 0
	    while at < length:
	        try:
	            start = os.lseek(file.fileno(), at, os.SEEK_DATA)
	        except OSError:     # no more
	            break
	        at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
	        total += at - start
	print(total)
	end
}

sum() {
    sha256sum < "$1" | cut -d ' ' -f 1
}

# ---- waiting for another process

# wait_until COMMAND...: until it succeeds, at most a minute, which is enough on any busy machine
wait_until() {
    for _ in $(seq 1200); do
        ! "$@" || return 0
        sleep 0.05
    done
    echo "not even after 60 s: $*"
    return 1
}

# hold FORMAT FILE [OPTION...]: the real qemu-io keeps it open until `let_go`; at its prompt it holds all locks
hold() {
    mkfifo to from
    "$PEER_IO" "${@:3}" -f "$1" "$2" < to > from 2>&1 3>&- &
    HOLDER=$!
    exec 8> to 9< from
    echo length >&8
    read -r -N 9 _ <&9
}

let_go() {
    exec 8>&- 9<&-
    [ -z "$HOLDER" ] || wait "$HOLDER" || true
    HOLDER=
    rm -f to from
}

# copying FILE ARGUMENT...: our convert of bytes 11 keeps its files open until `stop`.  When FILE, its target, has the
# first bytes, all locks are held.  The rate limit makes it wait longer than any test takes.
copying() {
    "$IMG" convert -r 1k "${@:2}" > /dev/null 2>&1 3>&- &
    HOLDER=$!
    wait_until grep -s -q -a -F $'\x11\x11\x11\x11\x11\x11\x11\x11' "$1"
}

stop() {
    kill -9 "$HOLDER"
    wait "$HOLDER" || true
    HOLDER=
}

# data_bytes FILE: how much of it is data
data_bytes() {
    python3 - "$1" << 'END'
import os, sys
with open(sys.argv[1], "rb") as file:
    end, at, data = os.fstat(file.fileno()).st_size, 0, 0
    while at < end:
        try:
            start = os.lseek(file.fileno(), at, os.SEEK_DATA)
        except OSError:
            break
        at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
        data += at - start
print(data)
END
}

# Unpack an image of tests/images.
fixture() {
    gzip -dc "$ROOT/tests/images/$1.gz" > "$1"
}
