#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# gluster: a file in a Gluster volume.

load ../helper
load ../gluster
load ../servers

setup_file() {
    export RIG=$BATS_FILE_TMPDIR
    gluster_needs || return 0
    gluster_world
    gluster_start
}

teardown_file() {
    gluster_stop
}

setup() {
    fresh_folder
    gluster_needs || skip 'not root, or glusterfs-server, ip, nsenter are missing, or the root is no mount'
    "$IMG" --help | grep -q '\<gluster\>' || skip 'gluster is not built in'
    # (only looked at: what is put there past the volume is not in it)
    BRICK=$RIG/brick
    # (nobody calls its teardown, so the library leaks now and then)
    printf 'leak:%s\n' libglusterfs libgfapi libgfrpc > "$BATS_TEST_TMPDIR/.leaks"
    export LSAN_OPTIONS=suppressions=$BATS_TEST_TMPDIR/.leaks:print_suppressions=0
    NAME=t$BATS_TEST_NUMBER
}

# (a sanitizer wants to see the functions of libtirpc that it watches when it starts, long before the module)
sanitizer() {
    ldd "$IMG" | awk '/lib[at]san/ { print $3 " libtirpc.so.3" }'
}

# The tool where the servers are.
qemu-img() {
    # shellcheck disable=SC2016
    nsenter -t "$(< "$RIG/world")" -n -- bash -c 'export LD_PRELOAD=$0; exec -a qemu-img "$@"' "$(sanitizer)" "$IMG" "$@"
}

# Each test has files of its own: at FILE is its URL, with FILE [OPTION...] the same as options.
at() {
    echo "gluster://127.0.0.1/vol/$NAME-$1"
}

with() {
    local file=$1
    shift
    printf 'driver=raw,file.driver=gluster,file.server.0.type=inet,file.server.0.host=127.0.0.1,file.server.0.port=24007'
    printf ',file.volume=vol,file.path=%s' "$NAME-$file"
    printf ',file.%s' "$@"
}

# brick FILE: where its bytes are
brick() {
    echo "$BRICK/$NAME-$1"
}

opened() {
    err "qemu-img: Could not open '$1': $2"
}

usage='Usage: file=gluster[+transport]://[host[:port]]volume/path[?socket=...][,file.debug=N][,file.logfile=/path/filename.log]'
options_usage='Usage: -drive driver=qcow2,file.driver=gluster,file.volume=testvol,file.path=/path/a.qcow2[,file.debug=9][,file.logfile=/path/filename.log],file.server.0.type=inet,file.server.0.host=1.2.3.4,file.server.0.port=24007,file.server.1.transport=unix,file.server.1.path=/var/run/glusterd.socket ...'

@test "info names the file as it was named, and says what it takes in the volume" {
    img 0 create -q -f raw "$(at disk)" 1000
    img 0 info "$(at disk)"
    sed -i '/disk size/d' "$OUT"
    out "image: $(at disk)" 'file format: raw' 'virtual size: 1 KiB (1024 bytes)' \
        "Child node '/file':" "    filename: $(at disk)" '    protocol type: gluster' '    file length: 1 KiB (1024 bytes)'
    [ ! -s "$ERR" ]
    img 0 create -q -f raw -o preallocation=full "$(at full)" 1M
    img 0 info --output=json "gluster+tcp://127.0.0.1:24007/vol/$NAME-full"
    has "$OUT" '"actual-size": 10[0-9]*'
    grep -q -F "\"filename\": \"gluster+tcp://127.0.0.1:24007/vol/$NAME-full\"" "$OUT"
    img 0 info "json:{\"driver\":\"raw\",\"offset\":512,\"file\":{\"driver\":\"gluster\",\"volume\":\"vol\",\"debug\":4,
        \"path\":\"$NAME-full\",\"logfile\":\"/dev/null\",\"server\":[{\"type\":\"inet\",\"host\":\"127.0.0.1\",\"port\":\"24007\"}]}}"
    has "$OUT" "^image: json:{\"offset\": 512, \"driver\": \"raw\", \"file\": {\"server.0.host\": \"127.0.0.1\", \"driver\": \"gluster\", \"path\": \"$NAME-full\", \"server.0.type\": \"inet\", \"server.0.port\": \"24007\", \"volume\": \"vol\"}}$"
}

@test "converting both ways" {
    sample disk
    img 0 convert -O qcow2 disk "$(at copy.qcow2)"
    img 0 convert -O raw "$(at copy.qcow2)" back
    raw_is back disk
    img 0 convert -O raw disk "$(at copy)"
    raw_is "$(brick copy)" disk
    img 0 convert -W -m 16 -O raw "$(at copy)" "$(at copy2)"
    raw_is "$(brick copy2)" disk
    img 0 convert -t none -T none -O raw "$(at copy)" "$(at copy3)"
    raw_is "$(brick copy3)" disk
    img 0 check "$(at copy.qcow2)"
    [ "$(stat -c %a "$(brick copy)")" = 600 ]
}

@test "writing over an old file, and an image in place" {
    sample disk
    head -c 8M /dev/urandom > old
    img 0 convert -O raw old "$(at old)"
    img 0 convert -n -O raw disk "$(at old)"
    raw_is "$(brick old)" disk
    img 0 create -q -f qcow2 "$(at disk.qcow2)" 1M
    img 0 snapshot -c one "$(at disk.qcow2)"
    img 0 snapshot -l "$(at disk.qcow2)"
    has "$OUT" ' one '
}

@test "files have whole sectors" {
    img 0 create -q -f qcow2 -o cluster_size=512 "$(at disk.qcow2)" 192k
    [ $(($(stat -c %s "$(brick disk.qcow2)") % 512)) -eq 0 ]
    img 0 check "$(at disk.qcow2)"
}

@test "what an old file had is not in the new one" {
    head -c 1M /dev/urandom > old
    truncate -s 2M want
    img 0 convert -O raw old "$(at old)"
    img 0 create -q -f raw "$(at old)" 2M
    raw_is "$(brick old)" want
    head -c 8M /dev/urandom > old2
    img 0 convert -O raw old2 "$(at old2)"
    sample disk
    img 0 convert -O raw disk "$(at old2)"
    raw_is "$(brick old2)" disk
}

@test "data and holes" {
    truncate -s 8M disk
    printf x | dd of=disk bs=1 seek=1M conv=notrunc status=none
    head -c 65536 /dev/urandom | dd of=disk bs=64k seek=64 conv=notrunc status=none
    img 0 convert -O raw disk "$(at disk)"
    img 0 map --output=json disk
    cp "$OUT" want
    img 0 map --output=json "$(at disk)"
    diff "$OUT" want
    img 0 map "$(at disk)"
    has "$OUT" "^0x100000 *0x1000 *0x100000 *$(at disk)$"
    printf abc > odd
    img 0 convert -O raw odd "$(at odd)"
    img 0 map --output=json "$(at odd)"
    out '[{ "start": 0, "length": 512, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0}]'
}

@test "holes where there was data" {
    beyond
    head -c 4M /dev/urandom > disk
    img 0 convert -O raw disk "$(at disk)"
    truncate -s 4M empty
    img 0 convert -n -O raw empty "$(at disk)"
    raw_is "$(brick disk)" empty
    img 0 convert -O raw disk "$(at disk)"
    img 0 convert -n -S 0 -O raw empty "$(at disk)"
    raw_is "$(brick disk)" empty
}

@test "preallocation" {
    local mode blocks
    for mode in falloc full; do
        img 0 create -q -f raw -o "preallocation=$mode" "$(at $mode)" 1M
        blocks=$(stat -c %b "$(brick $mode)")
        [ "$blocks" -ge 2048 ]
        img 0 resize -q -f raw "--preallocation=$mode" "$(at $mode)" 2M
        blocks=$(stat -c %b "$(brick $mode)")
        [ "$blocks" -ge 4096 ]
    done
    img 0 create -q -f raw -o preallocation=off "$(at off)" 1M
    [ "$(stat -c %b "$(brick off)")" -lt 2048 ]
    img 1 create -q -f raw -o preallocation=metadata "$(at metadata)" 1M
    err "qemu-img: $(at metadata): Unsupported preallocation mode: metadata"
    img 1 resize -q -f raw --preallocation=metadata "$(at off)" 2M
    err 'qemu-img: Unsupported preallocation mode: metadata'
    img 0 create -q -f qcow2 -o preallocation=falloc "$(at falloc.qcow2)" 1M
    img 0 check "$(at falloc.qcow2)"
}

@test "growing and shrinking" {
    head -c 1M /dev/urandom > disk
    img 0 convert -O raw disk "$(at disk)"
    img 0 resize -f raw "$(at disk)" 2M
    [ "$(stat -c %s "$(brick disk)")" -eq 2097152 ]
    img 0 resize -f raw --shrink "$(at disk)" 512k
    img 0 resize -f raw "$(at disk)" 1M
    truncate -s 512k disk
    truncate -s 1M disk
    raw_is "$(brick disk)" disk
    img 1 resize -f raw "$(at disk)" 7E
    err 'qemu-img: Could not resize file: File too large'
}

@test "options of create" {
    img 0 create -f raw -o preallocation=off,debug=4,logfile=/dev/null "$(at disk)" 1M
    out "Formatting '$(at disk)', fmt=raw size=1048576 preallocation=off debug=4 logfile=/dev/null"
    img 0 create -f raw -o help "$(at disk)"
    out 'Supported options:' '  debug=<num>            - Gluster log level, valid range is 0-9' \
        '  logfile=<str>          - Logfile path of libgfapi' \
        '  preallocation=<str>    - Preallocation mode (allowed values: off, falloc, full)' \
        '  size=<size>            - Virtual disk size'
}

@test "an overlay of an image in a volume, here and there" {
    sample base
    img 0 convert -O raw base "$(at base)"
    img 0 create -q -f qcow2 -b "$(at base)" -F raw over.qcow2
    img 0 rebase -b '' over.qcow2
    img 0 compare over.qcow2 base
    img 0 create -q -f qcow2 -b "$NAME-base" -F raw "$(at there.qcow2)"
    img 0 compare "$(at there.qcow2)" base
}

@test "names" {
    img 0 create -q -f raw "gluster://127.0.0.1/vol/$NAME%20b" 1M
    [ -e "$BRICK/$NAME b" ]
    for name in "gluster://me@127.0.0.1:0/vol/x/../$NAME%20b#there" "gluster://127.0.0.1//vol//$NAME%20b?"; do
        img 0 info "$name"
        grep -q -x -F "image: $name" "$OUT"
    done
    for name in gluster: gluster:a gluster:// gluster://h gluster://h/ gluster://h/vol gluster://h/vol/ gluster://h:x/vol/a \
        gluster://h:99999/vol/a 'gluster://h/vol/a%' 'gluster://h/vol/a?socket=/x' 'gluster://h/vol/a?foo=1'; do
        img 1 info "$name"
        err "qemu-img: Could not open '$name': invalid URI $name" "$usage"
    done
    img 1 info gluster+rdma://h/vol/a
    opened gluster+rdma://h/vol/a "Unknown protocol 'gluster+rdma'"
}

@test "a socket, and the log, in a name" {
    beyond
    truncate -s 1M disk
    img 0 convert -O raw disk "gluster+unix:///vol/$NAME-disk?socket=$RIG/run/glusterd.socket"
    img 0 info "gluster+unix:///vol/$NAME-disk?socket=$RIG/run/glusterd.socket"
    img 0 info "$(at disk)?debug=9&logfile=$PWD/log"
    [ ! -s "$ERR" ]
    has log '0-vol-client-0'
    for name in gluster+unix:///vol/a 'gluster+unix:///vol/a?socket=' 'gluster+unix://h/vol/a?socket=/x' "$(at a)?debug=10"; do
        img 1 info "$name"
        err "qemu-img: Could not open '$name': invalid URI $name" "$usage"
    done
}

@test "options" {
    truncate -s 1M disk
    img 0 convert -O raw disk "$(at disk)"
    local file="volume=vol,path=$NAME-disk" inet=server.0.type=inet,server.0.host=127.0.0.1 options text
    while IFS='|' read -r options text; do
        img 1 info --image-opts "driver=gluster,$options"
        if [[ $text == *@ ]]; then
            err "qemu-img: Could not open 'driver=gluster,$options': ${text%@}" "hint: check in 'server' array index '0'" "$options_usage"
        else
            err "qemu-img: Could not open 'driver=gluster,$options': $text" "$options_usage"
        fi
    done <<- end
	$file|Parameter 'server' is missing
	$file,server=x|Parameter 'server' is missing
	$file,server.type=inet,server.host=h,server.port=1|Parameter 'server' is missing
	$file,server.1.type=inet,server.1.host=h,server.1.port=1|Parameter 'server' is missing
	path=a,$inet|Parameter 'volume' is missing
	volume=vol,$inet|Parameter 'path' is missing
	$file,server.0.host=h,server.0.port=1|Parameter 'type' is missing@
	$file,server.0.type=rdma|Parameter 'type' may be 'inet' or 'unix'@
	$file,server.0.type=inet,server.0.port=1|Parameter 'host' is missing@
	$file,$inet|Parameter 'port' is missing@
	$file,server.0.type=unix|Parameter 'path' is missing@
	$file,$inet,server.0.port=1,server.0.to=2|Parameter 'to' not supported
	$file,$inet,server.0.port=1,server.0.ipv4=on|Parameters 'ipv4/ipv6' not supported
	end
    img 1 info --image-opts "driver=gluster,$file,$inet,server.0.port=x"
    opened "driver=gluster,$file,$inet,server.0.port=x" "'x' is not a valid port number"
    img 1 info --image-opts "driver=gluster,$file,$inet,server.0.port=24007,debug=x"
    opened "driver=gluster,$file,$inet,server.0.port=24007,debug=x" "Parameter 'debug' expects a number"
    img 1 info --image-opts "driver=gluster,$file,$inet,server.0.port=24007,bogus=1"
    opened "driver=gluster,$file,$inet,server.0.port=24007,bogus=1" "Block protocol 'gluster' doesn't support the option 'bogus'"
    img 1 info --image-opts "driver=gluster,filename=$(at disk),volume=vol"
    opened "driver=gluster,filename=$(at disk),volume=vol" "Block protocol 'gluster' doesn't support the option 'volume'"
    for options in "server.0.type=unix,server.0.path=$RIG/run/glusterd.socket" "server.0.type=unix,server.0.socket=$RIG/run/glusterd.socket" \
        server.0.type=tcp,server.0.transport=tcp,server.0.host=127.0.0.1,server.0.port=24007; do
        img 0 info --image-opts "driver=gluster,$file,$options,debug=4,logfile=-"
    done
}

@test "several servers are tried in turn" {
    truncate -s 1M disk
    img 0 convert -O raw disk "$(at disk)"
    local port
    port=$(free_port)
    img 0 info "json:{\"driver\":\"gluster\",\"volume\":\"vol\",\"path\":\"$NAME-disk\",\"logfile\":\"/dev/null\",\"server\":[
        {\"type\":\"unix\",\"path\":\"$PWD/none\"},{\"type\":\"inet\",\"host\":\"127.0.0.1\",\"port\":\"$port\"},
        {\"type\":\"inet\",\"host\":\"127.0.0.1\",\"port\":\"24007\"}]}"
    img 1 info "json:{\"driver\":\"gluster\",\"volume\":\"vol\",\"path\":\"disk\",\"logfile\":\"/dev/null\",\"server\":[
        {\"type\":\"unix\",\"path\":\"$PWD/none\"},{\"type\":\"inet\",\"host\":\"127.0.0.1\",\"port\":\"$port\"}]}"
    has "$ERR" 'Gluster connection for volume vol, path disk failed to connect$'
    has "$ERR" "^hint: failed on socket $PWD/none hint: failed on host 127.0.0.1 and port $port Please refer to gluster logs for more info$"
}

@test "what is not there" {
    img 1 info "$(at none)"
    opened "$(at none)" "Could not open '$(at none)': No such file or directory"
    img 1 info --image-opts "$(with none debug=4)"
    has "$ERR" ': Could not open image: No such file or directory$'
    img 1 create -q -f raw "$(at no/disk)" 1M
    err "qemu-img: $(at no/disk): Could not create image: No such file or directory"
    img 1 info gluster://127.0.0.1/none/a
    grep -v '^\[' "$ERR" > said || true
    diff said - << end
qemu-img: Could not open 'gluster://127.0.0.1/none/a': Gluster connection for volume none, path a failed to connect
hint: failed on host 127.0.0.1 and port 24007 Please refer to gluster logs for more info
end
}

@test "hints" {
    beyond
    IMGBOX_HINTS=1 img 1 info gluster://127.0.0.1/none/a
    has "$ERR" "^hint: the servers know no volume 'none'$"
    IMGBOX_HINTS=1 img 1 info gluster://127.0.0.1:1/vol/a
    has "$ERR" '^hint: no daemon of Gluster [(]glusterd[)] can be reached at these servers$'
}

# ---- faults

@test "a server that says nothing is given up" {
    beyond
    img 1 info --image-opts "$(with disk timeout=-1)"
    nsenter -t "$(< "$RIG/world")" -n -- python3 - ready << 'end' 3>&- &
import os, socket, sys, time
server = socket.socket()
server.bind(('127.0.0.1', 0))
server.listen(8)
with open(sys.argv[1] + '.new', 'w') as file:
    file.write(str(server.getsockname()[1]))
os.rename(sys.argv[1] + '.new', sys.argv[1])
time.sleep(100)
end
    local server=$!
    wait_until test -s ready
    run qemu-img info --image-opts "driver=gluster,volume=vol,path=a,timeout=1,server.0.type=inet,server.0.host=127.0.0.1,server.0.port=$(< ready)"
    kill "$server"
    [ "$status" -eq 1 ]
    [[ $output == *'failed to connect: the servers say nothing'* ]]
}

# busy KIND: start a copy that takes a while; wait until it is at work
busy() {
    qemu-img bench -c 1000000 -s 65536 "$@" > log 2>&1 3>&- &
    TOOL=$!
    wait_until is_connected
}

# (the brick listens on a port that is not 24007)
is_connected() {
    in_gluster_world ss -Htn state established 'dport != :24007 and sport != :24007' | grep -q .
}

@test "a brick that is silent in the middle" {
    beyond
    truncate -s 8M disk
    img 0 convert -O raw disk "$(at disk)"
    local got=0 way
    for way in '' -w; do
        busy $way --image-opts "$(with disk timeout=2)"
        gluster_signal STOP
        got=0
        wait "$TOOL" || got=$?
        gluster_signal CONT
        [ "$got" -eq 1 ]
        has log 'Transport endpoint is not connected$'
    done
}

@test "a brick that is gone in the middle; what was acknowledged is there" {
    beyond
    head -c 48M /dev/urandom > disk
    img 0 create -q -f raw "$(at disk)" 48M
    qemu-img convert -n -r 3M -O raw disk "$(at disk)" > log 2>&1 3>&- &
    local tool=$! got=0
    wait_until grows
    gluster_signal KILL
    wait "$tool" || got=$?
    gluster_serve
    [ "$got" -eq 1 ]
    has log 'error while writing at byte [0-9]*: Transport endpoint is not connected$'
    img 0 convert -n -O raw disk "$(at disk)"
    raw_is "$(brick disk)" disk
}

grows() {
    [ "$(stat -c %b "$(brick disk)")" -gt 8192 ]
}

@test "a copy that has ended is complete, whoever is killed then" {
    beyond
    head -c 16M /dev/urandom > disk
    for i in 1 2 3; do
        img 0 convert -O qcow2 disk "$(at $i.qcow2)"
        gluster_signal KILL
        "$IMG" compare "$(brick $i.qcow2)" disk
        gluster_serve
    done
}

@test "a replicated volume has nothing to heal after a call" {
    beyond
    mkdir "$RIG/one" "$RIG/two" "$RIG/three"
    gluster_cli volume create replicated replica 3 10.77.0.1:"$RIG"/{one,two,three} force
    gluster_cli volume start replicated
    head -c 4M /dev/urandom > disk
    wait_until qemu-img convert -O raw disk gluster://127.0.0.1/replicated/disk
    for i in 1 2 3 4 5; do
        img 0 create -q -f raw "gluster://127.0.0.1/replicated/raw$i" 10M
        img 0 resize -q -f raw "gluster://127.0.0.1/replicated/raw$i" 20M
        img 0 convert -O qcow2 disk "gluster://127.0.0.1/replicated/qcow$i"
    done
    python3 - "$RIG" << 'end'
import os, sys
for brick in 'one', 'two', 'three':
    folder = os.path.join(sys.argv[1], brick)
    files = [os.path.join(folder, name) for name in os.listdir(folder) if not name.startswith('.')]
    assert len(files) == 11, files
    for file in files:
        for name in os.listxattr(file):
            assert not name.startswith('trusted.afr.') or not any(os.getxattr(file, name)), (file, name)
end
    gluster_cli volume stop replicated force
}

@test "a dispersed volume, which makes no zeroes" {
    beyond
    mkdir "$RIG/a" "$RIG/b" "$RIG/c"
    gluster_cli volume create dispersed disperse 3 redundancy 1 10.77.0.1:"$RIG"/{a,b,c} force
    gluster_cli volume start dispersed
    sample disk
    wait_until qemu-img convert -O raw disk gluster://127.0.0.1/dispersed/disk
    img 0 compare -f raw gluster://127.0.0.1/dispersed/disk disk
    head -c 8M /dev/urandom > old
    img 0 convert -O raw old gluster://127.0.0.1/dispersed/old
    img 0 convert -n -S 0 -O raw disk gluster://127.0.0.1/dispersed/old
    img 0 compare -f raw gluster://127.0.0.1/dispersed/old disk
    truncate -s 3M zeroes
    img 0 create -q -f raw -o preallocation=full gluster://127.0.0.1/dispersed/full 3M
    img 0 compare -f raw gluster://127.0.0.1/dispersed/full zeroes
    gluster_cli volume stop dispersed force
}
