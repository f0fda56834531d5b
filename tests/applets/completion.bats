#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What shells complete (docs/completion.md): the candidates that the program gives, and bash, zsh and fish with them.

load ../helper

COMPLETIONS=$ROOT/packaging/completions

setup() {
    beyond
    fresh_folder
    # the tools by their names, and fish finds them in the path
    export PATH=$BUILD/bin:$BUILD:$PATH
}

# complete WORD...: the answer for the word that ends with ^, which is its cursor; WORDs behind it count, too
complete() {
    local words=() index
    while [ $# -gt 0 ]; do
        case $1 in
            *^) index=${#words[@]}; words+=("${1%^}") ;;
            *) words+=("$1") ;;
        esac
        shift
    done
    cmd 0 "${words[0]}" --complete "$index" "${words[@]}"
    err ''
    head -n 1 "$OUT" > kind
    tail -n +2 "$OUT" | cut -f 1 > words
}

# offers KIND SKIP WORD...: exactly these candidates, in any order
offers() {
    same kind "$1 $2"
    shift 2
    printf '%s\n' "$@" | sort > want
    sort words | diff want - || { cat "$OUT"; return 1; }
}

# nothing: no candidate, and no file either
nothing() {
    grep -q '^words ' kind
    same words ''
}

files() {
    same kind "files $1"
    same words ''
}

make_image() {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 snapshot -c 'before upgrade' a.qcow2
    img 0 snapshot -c two a.qcow2
    img 0 bitmap --add a.qcow2 b1
    img 0 bitmap --add a.qcow2 b2
}

@test "completion: commands and tools" {
    complete qemu-img ^
    mapfile -t tools < <("$IMGBOX" --list | sed -n 's/^img-//p')
    offers words 0 "${tools[@]}"
    complete qemu-img con^
    offers words 0 convert
    complete qemu-img -^
    offers words 0 --help --version --trace
    complete qemu-img -T img_read con^
    offers words 0 convert
    complete imgbox con^
    offers words 0 convert
    complete imgbox -^
    offers words 0 --help --version --list --install
    complete imgbox help qemu^
    offers words 0 qemu-img qemu-nbd
    complete imgbox qemu-img con^
    offers words 0 convert
    complete imgbox --install ^
    files 0
    complete qemu-img nosuch -^
    nothing
}

@test "completion: the options of each tool are those of its table" {
    for tool in $("$IMGBOX" --list | sed -n 's/^img-//p') qemu-nbd; do
        "$IMGBOX" "$tool" --help | grep -E '^  -' | grep -oE -- '--[a-z][a-z-]+' | sort > want
        complete imgbox "$tool" --^
        sort words | diff want -
    done
    complete img-info --out^
    offers words 0 --output
    has "$OUT" '^--output	output format \(human\)$'
    complete img-info -- --out^
    files 0
    complete img-snapshot -^ x
    grep -qx -- --apply words
}

@test "completion: formats, those that can be written where one is made" {
    complete qemu-img convert -O v^
    offers words 0 vdi vhdx vmdk vpc
    complete qemu-img convert -f v^
    offers words 0 vdi vhdx vmdk vpc
    for command in 'create -f' 'convert -O' 'measure -O' 'dd -O' 'convert --target-format' 'convert --output-format'; do
        # shellcheck disable=SC2086
        complete qemu-img $command ^
        while read -r format; do
            img 0 create -q -f "$format" -o help x.img
        done < words
        grep -qx qcow2 words
        ! grep -qxE 'dmg|bochs|cloop' words || return 1
    done
    for command in 'info -f' 'convert -f' 'create -F' 'rebase -F' 'compare -F' 'bitmap -F' 'info --format'; do
        # shellcheck disable=SC2086
        complete qemu-img $command ^
        grep -qx qcow2 words
        grep -qx bochs words
    done
    complete qemu-img convert -Oqc^
    offers words 2 -Oqcow -Oqcow2
    complete qemu-img convert --target-format=qc^
    offers words 16 --target-format=qcow --target-format=qcow2
    complete qemu-nbd -f qc^
    offers words 0 qcow qcow2
}

@test "completion: words that an option takes, and takes indeed" {
    truncate -s 64k a.raw
    complete qemu-img info --output ^
    offers words 0 human json
    complete qemu-img check -r ^
    offers words 0 leaks all
    complete qemu-img convert -t ^
    while read -r mode; do
        img 0 convert -t "$mode" -T "$mode" a.raw b.raw
    done < words
    [ "$(wc -l < words)" -ge 5 ]
    complete qemu-img bench -i ^
    while read -r mode; do
        img 0 bench -t none -c 1 -i "$mode" a.raw
    done < words
    complete qemu-img resize --preallocation ^
    while read -r mode; do
        img 0 create -q -f qcow2 a.qcow2 64k
        img 0 resize -q --preallocation "$mode" a.qcow2 128k
    done < words
    complete qemu-img digest -a ^
    while read -r name; do
        img 0 digest -a "$name" a.raw
    done < words
    complete qemu-img convert --digest ^
    while read -r name; do
        img 0 convert --digest "$name" a.raw b.raw
    done < words
    for face in qemu-nbd img-serve; do
        for option in aio discard detect-zeroes cache; do
            complete "$face" --$option=^
            [ "$(wc -l < words)" -ge 2 ]
            while read -r word; do
                # (the words are good: that there is no such disk is said after they were looked at)
                cmd 1 "$face" --discard=unmap "$word" none
                ! grep -qiE 'invalid|parse' "$ERR" || [ "$option" = discard ] || { show; false; }
            done < words
        done
    done
    complete qemu-img -T img_re^
    grep -qx img_read words
    complete qemu-img convert -m ^
    nothing
}

@test "completion: keys and values of -o for the format and the storage" {
    complete qemu-img create -f qcow2 -o comp^
    offers part 0 compat= compression_type= compression_level= compression_window=
    complete qemu-img create -f qcow2 -o compat=1.1,comp^
    offers part 11 compat=1.1,compression_type= compat=1.1,compression_level= compat=1.1,compression_window=
    complete qemu-img create -f qcow2 -o compat=1.1,lazy_refcounts=^
    offers part 26 compat=1.1,lazy_refcounts=on compat=1.1,lazy_refcounts=off
    complete qemu-img convert -O vmdk -o subformat=mono^
    offers part 10 subformat=monolithicSparse subformat=monolithicFlat
    complete qemu-img convert -o subformat=m^ -O vmdk
    offers part 10 subformat=monolithicSparse subformat=monolithicFlat
    complete qemu-img convert -O qcow2 -o backing_fmt=vh^
    offers part 12 backing_fmt=vhdx
    complete qemu-img convert -O qcow2 -o backing_file=^
    files 13
    complete qemu-img convert -o pre^
    offers part 0 preallocation=
    complete qemu-img create -f vpc -oforce^
    offers part 2 -oforce_size=
    complete qemu-img bench -o ^
    nothing
    # all keys of `-o help`, and no others
    for format in raw qcow2 qcow vmdk vpc vdi vhdx parallels qed luks; do
        IMGBOX_COMPAT=11 cmd 0 "$BUILD/bin/img-create" -f "$format" -o help x
        sed -n 's/^  \([a-z0-9_.-]*\)=.*/\1=/p' "$OUT" | sort > want
        complete qemu-img create -f "$format" -o ^
        sort words | diff want -
    done
    make_image
    complete qemu-img amend -o lazy^ a.qcow2
    offers part 0 lazy_refcounts=
    complete qemu-img amend -o nocow^ a.qcow2
    same words ''
}

@test "completion: the values of -o that are offered are good" {
    while read -r format key others; do
        complete qemu-img create -f "$format" -o "$key=^"
        [ -s words ]
        while read -r value; do
            img 0 create -q -f "$format" -o "${others:+$others,}$value" x.img 64k
        done < words
    done <<- 'end'
	qcow2 compat
	qcow2 compression_type
	qcow2 preallocation
	qcow2 refcount_bits
	qcow2 lazy_refcounts
	raw preallocation
	vmdk subformat
	vmdk adapter_type
	vpc subformat
	vhdx subformat
	vdi static
	end
}

@test "completion: ciphers and hashes that are offered are known" {
    for key in cipher-alg cipher-mode ivgen-alg ivgen-hash-alg hash-alg; do
        complete qemu-img create -f luks -o "$key=^"
        [ -s words ]
        while read -r value; do
            "$IMG" create -q -f luks --object secret,id=s,data=x -o "key-secret=s,iter-time=10,$value" x.img 64k > "$OUT" 2> "$ERR" ||
                grep -qiE 'cipher|hash|IV' "$ERR" || { show; false; }
            ! grep -q "does not accept value" "$ERR" || { show; false; }
        done < words
    done
}

@test "completion: snapshots and bitmaps of the image on the line" {
    make_image
    for words in 'snapshot -a ^ a.qcow2' 'snapshot -d ^ a.qcow2' 'snapshot a.qcow2 -a ^' 'snapshot --apply ^ -- a.qcow2' \
        'convert -l ^ a.qcow2 b.raw' 'measure -l ^ a.qcow2' 'digest -l ^ a.qcow2' 'snapshot -q -f qcow2 -a ^ a.qcow2'; do
        # shellcheck disable=SC2086
        complete qemu-img $words
        offers words 0 'before upgrade' two
        has "$OUT" '^two	snapshot 2$'
    done
    complete qemu-nbd -l ^ a.qcow2
    offers words 0 'before upgrade' two
    complete qemu-img snapshot -c t^ a.qcow2
    nothing
    complete qemu-img bitmap --remove a.qcow2 ^
    offers words 0 b1 b2
    complete qemu-img bitmap --add a.qcow2 ^
    nothing
    complete qemu-img bitmap --merge ^ a.qcow2 b2
    offers words 0 b1 b2
    truncate -s 64k empty.raw
    complete qemu-img bitmap --merge ^ -b a.qcow2 empty.raw b2
    offers words 0 b1 b2
    complete img-serve -B ^ a.qcow2
    offers words 0 b1 b2
    HOME=$PWD complete qemu-img snapshot -a ^ \~/a.qcow2
    offers words 0 'before upgrade' two
    # as bash passes words
    cp a.qcow2 'my disk.qcow2'
    cmd 0 qemu-img --complete bash 3 qemu-img snapshot -a 'before\ ' 'my\ disk.qcow2'
    same "$OUT" 'words 0' 'before upgrade	snapshot 1'
    cmd 0 qemu-img --complete bash 3 qemu-img snapshot -a '"before' "'my disk.qcow2'"
    same "$OUT" 'words 0' 'before upgrade	snapshot 1'
}

@test "completion: only a regular file is opened, without locks and without what it names" {
    make_image
    mkfifo pipe
    for name in pipe /dev/zero . none nbd://127.0.0.1:1/x http://127.0.0.1:1/x 'json:{"driver":"null-co"}'; do
        complete qemu-img snapshot -a ^ "$name"
        nothing
    done
    # a backing file that would never answer
    truncate -s 1M never
    img 0 create -q -f qcow2 -b never -F raw over.qcow2
    img 0 snapshot -c one over.qcow2
    rm never
    mkfifo never
    complete qemu-img snapshot -a ^ over.qcow2
    offers words 0 one
    need_strace
    strace -qq -f -o calls "$IMG" --complete 3 qemu-img snapshot -a '' over.qcow2 > "$OUT"
    same "$OUT" 'words 0' 'one	snapshot 1'
    run grep -E 'F_(OFD_)?SETLK|flock|O_RDWR.*over|"[^"]*never"' calls
    [ "$status" -eq 1 ]
}

@test "completion: names that play tricks on a terminal are left out" {
    make_image
    img 0 snapshot -c $'evil\033[2J' a.qcow2
    img 0 snapshot -c $'two\nlines' a.qcow2
    img 0 snapshot -c $'tab\tbed' a.qcow2
    complete qemu-img snapshot -a ^ a.qcow2
    offers words 0 'before upgrade' two
}

@test "completion: a damaged image gives no candidates, and no message" {
    make_image
    for offset in 8 60 64 72 100 65536 131072 196608; do
        cp a.qcow2 x.qcow2
        printf '\377\377\377\377\377\377\377\377' | dd of=x.qcow2 bs=1 seek=$offset conv=notrunc status=none
        complete qemu-img snapshot -a ^ x.qcow2
        complete qemu-img bitmap --remove x.qcow2 ^
    done
    head -c 100 a.qcow2 > x.qcow2
    complete qemu-img snapshot -a ^ x.qcow2
    nothing
}

@test "completion: operands" {
    complete qemu-img info ^
    files 0
    complete qemu-img create x ^
    nothing
    complete qemu-img resize x ^
    nothing
    complete qemu-img dd c^
    offers part 0 count= conv=
    complete qemu-img dd if=^
    files 3
    complete qemu-img dd conv=notrunc,s^
    offers words 13 conv=notrunc,sparse
    complete qemu-img dd status=^
    offers words 7 status=none status=progress
    complete qemu-img info --image-opts driver=vm^
    offers part 7 driver=vmdk
    complete qemu-img info --image-opts driver=qcow2,file.f^
    offers part 13 driver=qcow2,file.filename=
    complete qemu-img info --image-opts driver=qcow2,l2^
    offers part 13 driver=qcow2,l2-cache-size= driver=qcow2,l2-cache-entry-size=
    complete qemu-img info --object secr^
    offers part 0 secret,id= secret_keyring,id=
    complete qemu-img info --object secret,id=x,f^
    offers part 12 secret,id=x,file= secret,id=x,format=
    complete qemu-img info --object secret,id=x,file=^
    files 17
}

@test "completion: a call that is none gives no answer" {
    for words in '' 1 'bash' 'bash 1' '0 qemu-img x' '2 qemu-img x' 'x qemu-img x' '-1 qemu-img x' '99999999999999999999 qemu-img x'; do
        # shellcheck disable=SC2086
        cmd 1 "$IMG" --complete $words
        silent
    done
    cmd 0 "$IMG" --complete 1 qemu-img ''
    cmd 0 "$IMG" --complete 1 img-convert ''
}

@test "completion: the files of the shells name every tool" {
    "$IMGBOX" --list | sort > want
    echo imgbox >> want
    sort -o want want
    for shell in bash fish; do
        grep -oE '\b(imgbox|qemu-img|qemu-nbd|img-[a-z]+)\b' "$COMPLETIONS/imgbox.$shell" | sort -u | diff want -
    done
    head -n 1 "$COMPLETIONS/_imgbox" > first
    same first '#compdef imgbox qemu-img qemu-nbd -P img-*'
}

# press SHELL LINE...: what the shell makes of these lines
press() {
    need_terminals
    cmd 0 python3 "$ROOT/tests/interop/lib/press_tab.py" "$1" "$COMPLETIONS" "${@:2}"
}

lines=('qemu-img conv' 'imgbox con' 'qemu-img info --outp' 'qemu-img info --output=j' 'img-check -r l' 'qemu-nbd --aio=nat'
    '*qemu-img convert -O v' 'qemu-img create -f qcow2 -o compat=1.1,compression_t'
    'qemu-img create -f qcow2 -o compat=1.1,compression_type=zl' 'qemu-img info a.qc' 'qemu-img dd if=a.qc'
    'qemu-img convert -O qcow2 -o backing_file=a.qc' '*qemu-img bitmap --remove a.qcow2 ' 'qemu-img snapshot -a bef^ a.qcow2')

@test "completion: bash" {
    make_image
    press bash "${lines[@]}" "qemu-img snapshot a.qcow2 -a 'bef" 'qemu-img snapshot -a t^ ./a.qcow2' 'qemu-img resize a.qcow2 x'
    out 'qemu-img convert ' 'imgbox convert ' 'qemu-img info --output ' 'qemu-img info --output=json ' 'img-check -r leaks ' \
        'qemu-nbd --aio=native ' 'qemu-img convert -O vdi vhdx vmdk vpc ' \
        'qemu-img create -f qcow2 -o compat=1.1,compression_type=' \
        'qemu-img create -f qcow2 -o compat=1.1,compression_type=zlib' 'qemu-img info a.qcow2 ' 'qemu-img dd if=a.qcow2 ' \
        'qemu-img convert -O qcow2 -o backing_file=a.qcow2 ' 'qemu-img bitmap --remove a.qcow2 b1 b2 ' \
        'qemu-img snapshot -a before\ upgrade a.qcow2' "qemu-img snapshot a.qcow2 -a 'before upgrade' " \
        'qemu-img snapshot -a two ./a.qcow2' 'qemu-img resize a.qcow2 x'
}

@test "completion: bash with the qemu-img of others completes names of files" {
    need_peer
    make_image
    mkdir other
    ln -s "$PEER" other/qemu-img
    PATH=$PWD/other:$PATH press bash 'qemu-img info a.qc' 'qemu-img conv'
    out 'qemu-img info a.qcow2 ' 'qemu-img conv'
}

@test "completion: zsh" {
    type zsh > /dev/null 2>&1 || skip 'no zsh'
    make_image
    press zsh "${lines[@]}"
    out 'qemu-img convert ' 'imgbox convert ' 'qemu-img info --output ' 'qemu-img info --output=json ' 'img-check -r leaks ' \
        'qemu-nbd --aio=native ' 'qemu-img convert -O vdi vhdx vmdk vpc ' \
        'qemu-img create -f qcow2 -o compat=1.1,compression_type=' \
        'qemu-img create -f qcow2 -o compat=1.1,compression_type=zlib' 'qemu-img info a.qcow2 ' 'qemu-img dd if=a.qcow2 ' \
        'qemu-img convert -O qcow2 -o backing_file=a.qcow2 ' 'qemu-img bitmap --remove a.qcow2 b1 b2 ' \
        'qemu-img snapshot -a before\ upgrade  a.qcow2'
}

# fished LINE: what fish offers for it, without the descriptions
fished() {
    HOME=$PWD cmd 0 fish --no-config -c "source '$COMPLETIONS/imgbox.fish'; complete -C '$1'"
    cut -f 1 "$OUT" > words
}

@test "completion: fish" {
    type fish > /dev/null 2>&1 || skip 'no fish'
    make_image
    fished 'qemu-img conv'
    same words convert
    has "$OUT" '^convert	copy images'
    fished 'qemu-img convert -O v'
    same words vdi vhdx vmdk vpc
    fished 'qemu-img create -f qcow2 -o compat=1.1,compression_type='
    same words compat=1.1,compression_type=zlib compat=1.1,compression_type=zstd
    fished 'qemu-img info --output=j'
    same words --output=json
    fished 'qemu-img bitmap --remove a.qcow2 '
    same words b1 b2
    fished 'qemu-img dd if=a.qc'
    same words if=a.qcow2
    fished 'qemu-img info a.qc'
    same words a.qcow2
    fished 'qemu-img resize a.qcow2 '
    same words ''
}
