#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Advice for people: the lines "hint: ..." behind an error (docs/hints.md).  Each comes with IMGBOX_HINTS=1; a program that reads
# standard error gets the error as it always was.

load ../helper

setup() {
    beyond
    fresh_folder
    truncate -s 1M a.raw
    img 0 create -q -f qcow2 a.qcow2 1M
}

# with COUNT RC ARGUMENT...: with advice the command fails with RC; the last COUNT lines are advice, and the lines before are
# those without advice, with a profile, and with advice switched off.
with() {
    local count=$1 rc=$2
    shift 2
    IMGBOX_HINTS=1 img "$rc" "$@"
    head -n -"$count" "$ERR" > told
    tail -n "$count" "$ERR" > advice
    [ "$(grep -c '^hint: ' advice)" -eq "$count" ] || { echo "not $count lines of advice"; show; return 1; }
    img "$rc" "$@"
    cmp told "$ERR"
    IMGBOX_HINTS=0 img "$rc" "$@"
    cmp told "$ERR"
    IMGBOX_COMPAT=10.0 img "$rc" "$@"
    cmp told "$ERR"
    IMGBOX_COMPAT=7.2 img "$rc" "$@"
    ! grep '^hint: ' "$ERR"
}

# hint LINE...: all of the advice
hint() {
    same advice "${@/#/hint: }"
}

# on_terminal [VARIABLE=VALUE...] COMMAND...: standard error is a terminal; what it got is in $ERR
on_terminal() {
    need_terminals
    python3 "$ROOT/tests/interop/lib/on_terminal.py" errors "$ERR" "$@" || true
}

@test "hints: a person at a terminal gets them, a program does not" {
    on_terminal "$IMG" create -f vhd x 1M
    err "qemu-img: x: Unknown file format 'vhd'" "hint: did you mean 'vpc'?"
    on_terminal IMGBOX_HINTS=0 "$IMG" create -f vhd x 1M
    err "qemu-img: x: Unknown file format 'vhd'"
    on_terminal IMGBOX_HINTS= "$IMG" create -f vhd x 1M
    err "qemu-img: x: Unknown file format 'vhd'" "hint: did you mean 'vpc'?"
    on_terminal IMGBOX_COMPAT=10.0 "$IMG" create -f vhd x 1M
    err "qemu-img: x: Unknown file format 'vhd'"
    on_terminal IMGBOX_COMPAT=10.0 IMGBOX_HINTS=1 "$IMG" create -f vhd x 1M
    err "qemu-img: x: Unknown file format 'vhd'" "hint: did you mean 'vpc'?"
    img 1 create -f vhd x 1M
    err "qemu-img: x: Unknown file format 'vhd'"
}

@test "hints: the error itself is that of qemu-img" {
    need_peer
    truncate -s 2M b.raw
    img 0 create -q -f qcow2 -u -b none -F raw over.qcow2 1M
    touch 10:11.raw
    # (the last column is split into words)
    while read -r line; do
        read -r -a words <<< "$line"
        (exec -a qemu-img "$PEER" "${words[@]}") > peer.out 2> peer.err && rc=0 || rc=$?
        IMGBOX_HINTS=1 img "$rc" "${words[@]}" || { echo "$line"; false; }
        cmp peer.out "$OUT"
        grep -v '^hint: ' "$ERR" | cmp peer.err - || { echo "$line"; show; false; }
        img "$rc" "${words[@]}"
        cmp peer.err "$ERR"
    done <<- 'end'
	covert a.raw x
	nosuch
	resize --shrnk a.raw 2M
	create -f vhd x 1M
	create -f qcow2 -o clustersize=64k x 1M
	create -f qcow2 -o size=10GB x
	create -f qcow2 -o compression_type=zst x 1M
	create -f qcow2 -o compat=2 x 1M
	convert -O vmdk -o subformat=streamOptimised a.raw x
	convert -t writebak a.raw x
	info --object secrt,id=s,data=x a.raw
	create -f qcow2 -o cluster_size=64KB x 1M
	create -f qcow2 x
	create -f vpc x 3T
	create -f qcow2 -o cluster_size=512 x 1T
	create -f parallels x 9000000T
	create -f parallels x 8000000T
	create -f raw x 10GB
	create -f qcow2 -b a.qcow2 x
	create -f qcow2 -b none -F raw x
	create -f qcow2 -b a:b -F raw x
	create -f qcow2 -o encrypt.format=luks x 1M
	create -f luks -o key-secret=s x 1M
	create a:b 1M
	convert -O vhd a.raw x
	convert -n -f raw -O raw b.raw a.raw
	convert -O raw 10:11.raw x
	convert -O raw a.raw a:b
	convert -f vmdk a.qcow2 x
	convert -f vhd a.raw x
	convert -O qcow2 -o lazyrefcounts=on a.raw x
	convert -O qcow2 -B a.raw a.raw x
	convert -l none a.qcow2 x
	convert -S 4KB a.raw x
	convert over.qcow2 x
	dd -O vhd if=a.raw of=x
	dd if=10:11.raw of=x
	info -f vhd a.raw
	info -f qcow2 a.raw
	info -f vdi a.qcow2
	info 10:11.raw
	info --image-opts driver=qcow3,file.filename=a.qcow2
	info --image-opts driver=qcow2,file.filename=a.qcow2,lazy-refcount=on
	map over.qcow2
	map over:qcow2
	check -f img a.raw
	check none:x
	compare 10:11.raw a.raw
	compare -f img a.raw a.raw
	measure -O vhd a.raw
	measure -O qcow2 -o clustersize=4k a.raw
	amend -f qcow3 -o help
	amend -o compat=1.1,lazyrefcounts=on a.qcow2
	rebase -b a.raw -F img a.qcow2
	rebase -u -b a.raw a.qcow2
	rebase -b none -F raw a.qcow2
	commit -b none a.qcow2
	commit over.qcow2
	resize -f raw a.raw 512
	resize -f raw a.raw 2MB
	resize a.qcow2 9000000T
	snapshot -a none a.qcow2
	snapshot -d none a.qcow2
	bitmap --remove a.qcow2 none
	bench -f img a.raw
	end
}

@test "hints: a wrong name of a format, whoever takes it" {
    with 1 1 create -f vhd x 1M
    hint "did you mean 'vpc'?"
    with 1 1 convert -O vhd a.raw x
    hint "did you mean 'vpc'?"
    with 1 1 measure -O vhd a.raw
    hint "did you mean 'vpc'?"
    with 1 1 dd -O vhd if=a.raw of=x
    hint "did you mean 'vpc'?"
    with 1 1 amend -f vhd -o help
    hint "did you mean 'vpc'?"
    with 1 1 rebase -b a.raw -F img a.qcow2
    hint "did you mean 'raw'?"
    for tool in info map check 'compare a.raw' digest; do
        # shellcheck disable=SC2086
        with 2 "$([ "$tool" = 'compare a.raw' ] && echo 2 || echo 1)" $tool -f vhd a.raw
        hint "did you mean 'vpc'?" 'if no format is given, it is found by the content of the image'
    done
    img 0 create -q -f qcow2 -u -b a.raw -F raw over.qcow2 1M
    with 1 1 map --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=img
    hint "did you mean 'raw'?"
    with 2 1 info --image-opts driver=vmdk4,file.filename=a.raw
    hint "did you mean 'vmdk'?" 'if no format is given, it is found by the content of the image'
    while read -r wrong right; do
        with 1 1 create -f "$wrong" x 1M
        hint "did you mean '$right'?"
    done <<- 'end'
	img raw
	iso raw
	QCOW2 qcow2
	qcow3 qcow2
	qocw2 qcow2
	vdmk vmdk
	vmdk3 vmdk
	vhdx2 vhdx
	hyperv vhdx
	hdd parallels
	paralels parallels
	virtualbox vdi
	crypto luks
	end
    # nothing near, or two
    for wrong in nosuch x vhdd '' "$(printf '%0100d' 0)"; do
        with 1 1 create -f "$wrong" x 1M
        hint "'qemu-img --help' lists the formats"
    done
    [ ! -e x ]
}

@test "hints: a misspelt option of a format" {
    with 1 1 create -f qcow2 -o clustersize=64k x 1M
    hint "did you mean 'cluster_size'?"
    with 1 1 convert -O qcow2 -o cluster-size=64k a.raw x
    hint "did you mean 'cluster_size'?"
    with 1 1 measure -O qcow2 -o lazy_refcount=on a.raw
    hint "did you mean 'lazy_refcounts'?"
    with 1 1 create -f raw -o preallocaton=full x 1M
    hint "did you mean 'preallocation'?"
    with 1 1 create -f vmdk -o sub-format=monolithicFlat x 1M
    hint "did you mean 'subformat'?"
    with 1 1 create -f raw -o subformat=fixed x 1M
    hint "'-o help' lists the options of the format"
    with 1 1 info --image-opts driver=qcow2,file.filename=a.qcow2,lazy-refcount=on
    hint "did you mean 'lazy-refcounts'?"
    with 1 1 info --image-opts driver=file,filename=a.qcow2,lockng=on
    hint "did you mean 'locking'?"
    with 1 1 info --image-opts driver=qcow2,file.filename=a.qcow2,readonly=on
    hint "did you mean 'read-only'?"
    IMGBOX_HINTS=1 img 1 info --image-opts driver=qcow2,file.filename=a.qcow2,nosuch=on
    err "qemu-img: Could not open 'driver=qcow2,file.filename=a.qcow2,nosuch=on': Block format 'qcow2' does not support the option 'nosuch'"
}

@test "hints: a misspelt word that an option takes" {
    with 1 1 create -f qcow2 -o compression_type=zst x 1M
    hint "did you mean 'zstd'?"
    with 1 1 create -f qcow2 -o preallocation=metdata x 1M
    hint "did you mean 'metadata'?"
    with 1 1 create -f qcow2 -o compat=2 x 1M
    hint "'compat' takes one of: 0.10 1.1 v2 v3"
    with 1 1 create -f vpc -o subformat=fxied x 1M
    hint "did you mean 'fixed'?"
    with 1 1 convert -O vmdk -o subformat=streamOptimised a.raw x
    hint "did you mean 'streamOptimized'?"
    with 1 1 convert -t writebak a.raw x
    hint "did you mean 'writeback'?"
    with 1 1 info -f raw --object secrt,id=s,data=x a.raw
    hint "did you mean 'secret'?"
    # an error about something else
    with 0 1 create -f qcow2 -o compat=0.10,lazy_refcounts=on x 1M
}

@test "hints: a misspelt command, or option of one" {
    with 1 1 covert a.raw x
    hint "did you mean 'convert'?"
    IMGBOX_HINTS=1 img 1 Resize a.raw 2M
    err 'qemu-img: Command not found: Resize' "Try 'qemu-img --help' for more info" "hint: did you mean 'resize'?"
    IMGBOX_HINTS=1 img 1 resize --shrnk a.raw 2M
    err "qemu-img resize: unrecognized option '--shrnk'" "Try 'qemu-img resize --help' for more info" \
        "hint: did you mean '--shrink'?"
    IMGBOX_HINTS=1 img 1 info --ouput=json a.raw
    has "$ERR" "^hint: did you mean '--output'\?$"
    IMGBOX_HINTS=1 img 1 nosuch
    err 'qemu-img: Command not found: nosuch' "Try 'qemu-img --help' for more info"
    IMGBOX_HINTS=1 cmd 1 "$IMGBOX" img-covert
    has "$ERR" "^hint: did you mean 'convert'\?$"
    with 1 1 dd coutn=4 if=a.raw of=x
    hint "did you mean 'count='?"
    # a beginning, if it is the beginning of one
    with 1 1 conv a.raw x
    hint "did you mean 'convert'?"
    with 1 1 create -f para x 1M
    hint "did you mean 'parallels'?"
    with 1 1 create -f qcow2 -o cluster=64k x 1M
    hint "did you mean 'cluster_size'?"
    IMGBOX_HINTS=1 cmd 1 "$IMGBOX" con
    err 'imgbox: Tool not found: con' "Try '$IMGBOX --help' for more info" "hint: did you mean 'convert'?"
    IMGBOX_HINTS=1 cmd 1 "$IMGBOX" --isntall x
    has "$ERR" "^hint: did you mean '--install'\?$"
    IMGBOX_HINTS=1 img 1 help
    has "$ERR" "^hint: did you mean '--help'\?$"
}

@test "hints: sizes that do not fit tell both" {
    truncate -s 2M b.raw
    with 1 1 convert -n -f raw -O raw b.raw a.raw
    hint 'the source has 2097152 bytes (2 MiB), the target 1048576 bytes (1 MiB)'
    with 1 1 dd -n -f raw -O raw if=b.raw of=a.raw
    hint 'the data to write has 2097152 bytes (2 MiB), the output 1048576 bytes (1 MiB)'
    with 1 1 dd -f raw -O raw if=b.raw of=x osize=512
    hint 'the data to write has 2097152 bytes (2 MiB), the output 512 bytes'
    with 2 1 resize -f raw a.raw 1k
    hint 'the disk has 1048576 bytes (1 MiB), the resized one 1024 bytes (1 KiB)' \
        "'+SIZE' makes the disk larger by this amount"
    with 1 1 resize -f raw a.raw -512
    hint 'the disk has 1048576 bytes (1 MiB), the resized one 1048064 bytes (1 MiB)'
}

@test "hints: a disk that a format cannot hold: the limit" {
    with 1 1 create -f vpc x 3T
    hint 'the disk may have at most 2190433320960 bytes (1.99 TiB)'
    img 0 create -q -f vpc x 2190433320960
    truncate -s 2190433321472 big.raw
    with 1 1 convert -f raw -O vpc big.raw y
    hint 'the disk may have at most 2190433320960 bytes (1.99 TiB)'
    with 1 1 create -f qcow2 -o cluster_size=512 x 1T
    hint 'the disk may have at most 137438953472 bytes (128 GiB)'
    img 0 create -q -f qcow2 -o cluster_size=512 x 137438953472
    with 1 1 resize x +512
    hint 'the disk may have at most 137438953472 bytes (128 GiB)'
    with 1 1 create -f parallels -o cluster_size=4k x 16T
    hint 'the disk may have at most 17592186043904 bytes (16 TiB)'
    img 0 create -q -f parallels -o cluster_size=4k x 17592186043904
}

@test "hints: sizes that are not written as sizes" {
    for size in 10GB 10GiB '10 GB' '10 G'; do
        with 1 1 create x "$size"
        hint "did you mean '10G'? (G is a power of 1024)"
    done
    with 1 1 resize -f raw a.raw 20kb
    hint "did you mean '20k'? (k is a power of 1024)"
    with 1 1 create -f qcow2 -o cluster_size=64kB x 1M
    hint "did you mean '64k'? (k is a power of 1024)"
    with 1 1 convert -S 4KB a.raw x
    hint "did you mean '4K'? (K is a power of 1024)"
    for size in x 1,5G 10GX; do
        with 1 1 create x "$size"
        hint 'a size is in bytes, or has one of the suffixes k, M, G, T, P, E for powers of 1024, as in 10G'
    done
    with 1 1 create -f qcow2 x
    hint "the size stands behind the name, as in 'create x 10G'"
}

@test "hints: a file name with a colon" {
    local name=2024-01-01T10:11:12.raw tool
    cp a.raw "$name"
    for tool in info map check measure digest 'dd of=x' bench 'resize +1M'; do
        set -- "$tool"
        case $tool in
            measure) set -- measure -O raw "$name" ;;
            dd*) set -- dd "if=$name" of=x ;;
            bench) set -- bench -c 1 "$name" ;;
            resize*) set -- resize "$name" +1M ;;
            *) set -- "$tool" "$name" ;;
        esac
        with 1 1 "$@"
        hint "to use the file of this name, write './$name'"
    done
    with 1 2 compare a.raw "$name"
    hint "to use the file of this name, write './$name'"
    with 1 1 convert -O qcow2 "$name" x
    hint "to use the file of this name, write './$name'"
    img 0 info "./$name"
    img 0 info "file:$name"
    # a new one
    with 1 1 convert -O raw a.raw new:x.raw
    hint "a file name that contains ':' is written with './' in front"
    with 1 1 create new:x.raw 1M
    hint "a file name that contains ':' is written with './' in front"
    with 2 1 create ndb:x 1M
    hint "did you mean 'nbd:'?" "a file name that contains ':' is written with './' in front"
    IMGBOX_HINTS=1 img 1 info proto://host/x
    err "qemu-img: Could not open 'proto://host/x': Unknown protocol 'proto'"
    # a backing file
    img 0 create -q -f qcow2 -u -b new:y -F raw over.qcow2 1M
    with 1 1 map over.qcow2
    hint "a file name that contains ':' is written with './' in front"
}

@test "hints: what an image is that is not in the format" {
    with 1 1 info -f vmdk a.qcow2
    hint 'by its content it is a qcow2 image'
    img 0 create -q -f vdi a.vdi 1M
    with 1 1 convert -f qcow2 -O raw a.vdi x
    hint 'by its content it is a vdi image'
    # raw is what has no mark: nothing is said of it
    IMGBOX_HINTS=1 img 1 info -f qcow2 a.raw
    err "qemu-img: Could not open 'a.raw': Image is not in qcow2 format"
}

@test "hints: backing files" {
    mkdir sub
    with 1 1 create -q -f qcow2 -b a.qcow2 -F qcow2 sub/over.qcow2
    hint "the name of a backing file is relative to the image, so 'a.qcow2' means 'sub/a.qcow2'"
    with 1 1 convert -O qcow2 -B a.qcow2 -F qcow2 a.raw sub/over.qcow2
    hint "the name of a backing file is relative to the image, so 'a.qcow2' means 'sub/a.qcow2'"
    cp a.qcow2 sub/new.qcow2
    with 1 1 rebase -b a.raw -F raw sub/new.qcow2
    hint "the name of a backing file is relative to the image, so 'a.raw' means 'sub/a.raw'"
    img 0 create -q -f qcow2 -u -b a.qcow2 -F qcow2 sub/over.qcow2 1M
    img 0 create -q -f qcow2 -u -b over.qcow2 -F qcow2 sub/top.qcow2 1M
    with 2 1 convert -O raw sub/top.qcow2 x
    hint "the backing file 'a.qcow2' of 'sub/over.qcow2' is missing: the name is relative to the image, so 'sub/a.qcow2' is meant" \
        "if it was moved: 'rebase -u -b NAME -F FORMAT IMAGE' stores another name"
    img 0 create -q -f qcow2 -u -b "$PWD/none" -F raw over.qcow2 1M
    # an image chooses the name, but not what the terminal does
    img 0 create -q -f qcow2 -u -b "$PWD/"$'no\e[31mne' -F raw evil.qcow2 1M
    IMGBOX_HINTS=1 img 1 map evil.qcow2
    has "$ERR" "^hint: the backing file '.*/no[?]\[31mne' of 'evil.qcow2' is missing$"
    with 2 1 map over.qcow2
    hint "the backing file '$PWD/none' of 'over.qcow2' is missing" \
        "if it was moved: 'rebase -u -b NAME -F FORMAT IMAGE' stores another name"
    with 1 1 create -q -f qcow2 -b a.qcow2 x
    hint "if that is right, add '-F qcow2'"
    with 1 1 rebase -u -b a.raw a.qcow2
    hint "-F names the format of the backing file, and 'info' tells it"
    with 1 1 convert -O qcow2 -B a.raw a.raw x
    hint "-F names the format of the backing file, and 'info' tells it"
    img 0 create -q -f qcow2 -b a.qcow2 -F qcow2 mid.qcow2
    img 0 create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2
    with 1 1 commit -b none top.qcow2
    hint "the backing files of the image: 'mid.qcow2', 'a.qcow2'"
    # the old profile leaves its line open
    IMGBOX_COMPAT=7.2 IMGBOX_HINTS=1 img 1 create -q -f qcow2 -b a.qcow2 x
    tail -n 1 "$ERR" > advice
    hint "if that is right, add '-F qcow2'"
}

@test "hints: names that are not there" {
    with 1 1 snapshot -a none a.qcow2
    hint 'the image has no snapshots'
    img 0 snapshot -c one a.qcow2
    img 0 snapshot -c $'two\e[31m' a.qcow2
    with 1 1 snapshot -a none a.qcow2
    hint "the snapshots of the image: 'one', 'two?[31m'"
    with 1 1 snapshot -d none a.qcow2
    hint "the snapshots of the image: 'one', 'two?[31m'"
    with 1 1 convert -l none -O raw a.qcow2 x
    hint "the snapshots of the image: 'one', 'two?[31m'"
    for number in 3 4 5 6 7 8 9 10 11; do
        img 0 snapshot -c "$number" a.qcow2
    done
    with 1 1 snapshot -a none a.qcow2
    hint "the snapshots of the image: 'one', 'two?[31m', '3', '4', '5', '6', '7', '8' and 3 more"
    with 1 1 bitmap --remove a.qcow2 none
    hint 'the image has no bitmaps'
    img 0 bitmap --add a.qcow2 b
    with 1 1 bitmap --clear a.qcow2 none
    hint "the bitmaps of the image: 'b'"
}

@test "hints: encrypted images" {
    "$IMG" create -q -f luks -o help x > help.txt 2> why.txt || skip "no encryption: $(cat why.txt)"
    with 2 1 create -q -f qcow2 -o encrypt.format=luks x 1M
    hint "'--object secret,id=ID,file=PATH' defines the secret, and 'encrypt.key-secret=ID' refers to it:" \
        'in -o for a new image, else --image-opts driver=FORMAT,file.filename=NAME,encrypt.key-secret=ID'
    with 1 1 create -q -f luks -o key-secret=s x 1M
    hint "'--object secret,id=s,file=PATH' defines it"
    img 0 create -q --object secret,id=s,data=right -f luks -o key-secret=s,iter-time=10 a.luks 1M
    with 2 1 convert -O raw a.luks x
    with 1 1 convert --object secret,id=s,data=wrong --image-opts -O raw driver=luks,file.filename=a.luks,key-secret=s x
    hint "all bytes of a secret's file belong to the password, a newline at its end too"
}

@test "hints: an image that is marked corrupt" {
    poke a.qcow2 79 02
    with 1 1 resize a.qcow2 2M
    hint "'check -r all' repairs it and removes the mark"
    img 0 check -q -r all a.qcow2
    img 0 resize -q a.qcow2 2M
}

@test "hints: no space left" {
    need_root
    mkdir full
    mount -t tmpfs -o size=2M none full 2> why.txt || skip "no tmpfs: $(cat why.txt)"
    head -c 4M /dev/urandom > b.raw
    IMGBOX_HINTS=1 qemu-img create -q -f raw -o preallocation=falloc full/x 10M 2> said.txt || true
    IMGBOX_HINTS=1 qemu-img convert -f raw -O qcow2 b.raw full/y 2> copied.txt || true
    umount full
    has said.txt '^hint: this needs 10485760 bytes \(10 MiB\) more, and the file system has [0-9]+ bytes.* left$'
    has copied.txt "^hint: the file system of 'full/y' has [0-9]+ bytes.* left; 'measure -O qcow2' tells how much an image needs$"
}

@test "hints: who uses a locked image, and how to read it" {
    need_peer
    hold qcow2 a.qcow2
    for tool in info map check measure dd compare convert 'snapshot -l'; do
        case $tool in
            measure) set -- 1 measure -O raw a.qcow2 ;;
            dd) set -- 1 dd if=a.qcow2 of=x ;;
            compare) set -- 2 compare a.qcow2 a.raw ;;
            convert) set -- 1 convert a.qcow2 x ;;
            *) set -- 1 "${tool%% *}" a.qcow2 ;;
        esac
        with 2 "$@"
        hint "process $HOLDER (qemu-io) uses the image" '-U (--force-share) reads it nevertheless, perhaps in the middle of a change'
    done
    # -U does not write
    for tool in 'resize a.qcow2 2M' 'check -r all a.qcow2' 'snapshot -c x a.qcow2' 'commit a.qcow2' \
                'create -q -f qcow2 a.qcow2 1M' 'convert -O qcow2 a.raw a.qcow2'; do
        # shellcheck disable=SC2086
        with 1 1 $tool
        hint "process $HOLDER (qemu-io) uses the image"
    done
    let_go
}

@test "hints: nobody looks for what nobody gets" {
    need_peer
    need_strace
    hold qcow2 a.qcow2
    strace -qq -o plain.txt "$IMG" info a.qcow2 2> said.txt || true
    IMGBOX_HINTS=1 strace -qq -o hinted.txt "$IMG" info a.qcow2 2> said.txt || true
    let_go
    has hinted.txt '"/proc"'
    run grep '"/proc"' plain.txt
    [ "$status" -eq 1 ]
}

# as_nobody ARGUMENT...: the tool as another user, for whom this folder may be closed
as_nobody() {
    IMGBOX_HINTS=1 cmd 1 setpriv --reuid nobody --regid nogroup --clear-groups /dev/fd/8 qemu-img "$@" 8< "$IMG"
}

# open_folder: $OPEN, a folder that all can enter, until the end of the test
open_folder() {
    OPEN=$(mktemp -d /tmp/hints.XXXXXX)
    chmod 755 "$OPEN"
}

teardown() {
    [ -z "${OPEN-}" ] || rm -r "$OPEN"
}

need_nobody() {
    need_root
    setpriv --reuid nobody --regid nogroup --clear-groups true 2> why.txt || skip "cannot become another user: $(cat why.txt)"
}

@test "hints: whom a file lets in" {
    need_nobody
    open_folder
    cp a.raw "$OPEN"
    chmod 640 "$OPEN/a.raw"
    as_nobody info "$OPEN/a.raw"
    has "$ERR" "^hint: the file belongs to user 0 and group $(stat -c %g "$OPEN/a.raw") and has mode 0640; this process is of user $(id -u nobody)$"
    mkdir -m 700 closed
    cp a.raw closed/
    as_nobody info "$PWD/closed/a.raw"
    has "$ERR" "^hint: a folder on the way to it cannot be entered by user $(id -u nobody)$"
    as_nobody create "$OPEN/a.raw" 1M
    has "$ERR" '^hint: the file belongs to user 0 '
    as_nobody create /proc/self/cwd/new.raw 1M
    has "$ERR" "^hint: (its folder cannot be written to|a folder on the way to it cannot be entered) by user $(id -u nobody)$"
}

@test "hints: a user is not shown what others do, and told so" {
    need_peer
    need_nobody
    open_folder
    cp a.qcow2 "$OPEN"
    chmod 666 "$OPEN/a.qcow2"
    hold qcow2 "$OPEN/a.qcow2"
    as_nobody resize "$OPEN/a.qcow2" 2M
    let_go
    has "$ERR" "^hint: none of the processes that can be seen here has it: another user's may, or another machine's$"
}

@test "hints: a command that is in its own way" {
    IMGBOX_HINTS=1 img 1 convert -n -O qcow2 a.qcow2 a.qcow2
    ! grep -q 'Failed to get' "$ERR" || has "$ERR" '^hint: this command itself uses the image already$'
}

# without_locks ERROR RC ARGUMENT...
without_locks() {
    local got=0
    python3 "$ROOT/tests/interop/lib/no_locks.py" "$1" "$IMG" "${@:3}" > "$OUT" 2> "$ERR" || got=$?
    [ "$got" -ne 77 ] || skip 'no filter of system calls here'
    [ "$got" -eq "$2" ] || { show; return 1; }
}

warned() {
    err "qemu-img: warning: The file system of '$1' has no locks ($2): nothing keeps other programs from using the image at the same time"
}

@test "locks: a file system without them: one warning, and on" {
    no_asan
    img 0 create -q -f qcow2 -b a.qcow2 -F qcow2 top.qcow2
    while read -r error text; do
        without_locks "$error" 0 check top.qcow2
        warned top.qcow2 "$text"
        without_locks "$error" 0 convert -O raw top.qcow2 x.raw
        warned top.qcow2 "$text"
        cmp x.raw a.raw
        without_locks "$error" 0 create -q -f qcow2 new.qcow2 1M
        warned new.qcow2 "$text"
        img 0 check -q new.qcow2
    done <<- 'end'
	ENOLCK No locks available
	EOPNOTSUPP Operation not supported
	ENOSYS Function not implemented
	end
    # -U takes none for what it reads
    for tool in info map check; do
        without_locks ENOLCK 0 "$tool" -U top.qcow2
        err ''
    done
    without_locks ENOLCK 0 convert -U -O raw top.qcow2 y.raw
    warned y.raw 'No locks available'
    # nor locking=off
    without_locks ENOLCK 0 check --image-opts driver=qcow2,file.filename=a.qcow2,file.locking=off
    err ''
    # who asks for locks gets an error; with -U, too
    IMGBOX_HINTS=1 without_locks ENOLCK 1 check --image-opts driver=qcow2,file.filename=a.qcow2,file.locking=on
    err "qemu-img: Could not open 'driver=qcow2,file.filename=a.qcow2,file.locking=on': Failed to lock byte 100: No locks available" \
        'hint: the file system has no locks: locking=auto or locking=off does without'
    # any other error stays one
    without_locks EACCES 1 check a.qcow2
    err "qemu-img: Could not open 'a.qcow2': Failed to lock byte 100: Permission denied"
}
