# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Shared by the bats files that run the examples of docs/, which tests/examples.py finds.
#
# examples_of PAGE [SED]: run those of docs/PAGE.md, each block in a new folder that `furnish` fills.  SED changes
# them to what is here: another server, another folder.

. "$ROOT/tests/servers.bash"

# What the examples call as if it were there, beside the tools that are tested.
stand_ins() {
    local folder=$BATS_TEST_TMPDIR/stand-ins
    mkdir -p "$folder"
    # A far machine is a folder.
    cat > "$folder/ssh" << 'END'
#!/bin/sh
shift
mkdir -p far
cd far && exec sh -c "$*"
END
    printf '#!/bin/sh\nexec cat > /dev/null\n' > "$folder/upload"
    chmod +x "$folder/ssh" "$folder/upload"
    ln -sf "$IMGBOX" "$folder/imgbox"
    for tool in "${IMG%/*}"/*; do
        ln -sf "$tool" "$folder/${tool##*/}"
    done
}

# Names of places that are not here; and a new key slot need not take its seconds.
HERE='s/-o encrypt\.(format=luks|state=active)/&,encrypt.iter-time=10/
s/-o (key-secret=s|state=active)/&,iter-time=10/
s|host_device:/dev/vg/|file:|g; s|/dev/vg/||g; s|/srv/images/||g; s|/new/place/||g
s#(^|[ =])/run/#\1#g; s|build/bin/||g'

# A command that runs another one where the server is.
EXAMPLE_IN=()

# matches FILE WANT: a line `...` stands for any number of lines
matches() {
    python3 - "$1" "$2" << 'END'
import re, sys
got, want = (open(name).read() for name in sys.argv[1:])
pattern = "".join(r"(.*\n)*" if line == "...\n" else re.escape(line) for line in want.splitlines(True))
sys.exit(0 if re.fullmatch(pattern, got) else 1)
END
}

# run_example SCRIPT SED: in the current folder
run_example() {
    local got=0 mode=-euo options=pipefail
    sed -E "$2"$'\n'"$HERE" "$1" > .script
    # Programs that show what ours can do need not be here.
    for program in psktool nbdcopy nbdsh; do
        if grep -q "\<$program\>" .script && ! command -v $program > /dev/null; then
            echo "# no $program for $1" >&3
            return
        fi
    done
    # (2>&1: what fails is shown with its error)
    PATH=$BATS_TEST_TMPDIR/stand-ins:$PATH IMGBOX_HINTS=1 timeout 100 "${EXAMPLE_IN[@]}" \
        bash "$mode" "$options" .script > .stdout 2> .stderr < /dev/null || got=$?
    if [ -e "$1.fails" ]; then
        [ "$got" -eq 1 ] || { echo "exit code $got of $1"; cat .script .stderr; return 1; }
        cat .stderr >> .stdout
    elif [ "$got" -ne 0 ]; then
        echo "exit code $got of $1:"
        cat .script .stdout .stderr
        return 1
    elif [ -e "$1.want" ]; then
        cat .stderr >> .stdout
    fi
    if [ -e "$1.want" ] && ! matches .stdout "$1.want"; then
        echo "another output of $1:"
        diff -u "$1.want" .stdout
        return 1
    fi
}

examples_of() {  # page, sed
    local scripts=$PWD/scripts script
    rm -rf "$scripts"
    python3 "$ROOT/tests/examples.py" "$ROOT/$1" "$scripts"
    stand_ins
    for script in "$scripts"/*; do
        case $script in
        *.want | *.reason | *.fails | *'*') continue ;;
        esac
        mkdir "run-${script##*/}"
        pushd "run-${script##*/}" > /dev/null || return 1
        furnish "$(basename "$1" .md)" "$script"
        run_example "$script" "${2-}"
        popd > /dev/null || return 1
        rm -rf "run-${script##*/}"
    done
}

# The files that the examples name.
furnish() {  # name of the page, script
    cp -a --sparse=always "$BATS_FILE_TMPDIR/example-files/." .
    ! declare -F "furnish_$1" > /dev/null || "furnish_$1" "$2"
}

# Make them once, in setup_file.
make_world() {
    mkdir "$BATS_FILE_TMPDIR/example-files"
    cd "$BATS_FILE_TMPDIR/example-files" || return 1
    sample disk.raw
    truncate -s 16M disk.raw
    "$IMG" convert -f raw -O qcow2 disk.raw disk.qcow2
    printf 'a password' | tee passphrase password old new pw.txt > /dev/null
}
