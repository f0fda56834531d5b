#!/bin/sh
# Print the C table of all drivers or applets that the given sources define.
#
# usage: table.sh applets SOURCE...
#        table.sh drivers OFF MODULES SOURCE...
#
# OFF, MODULES: folders in drivers/ whose code is left out, or built as a module.
set -eu

kind=$1
shift

# The names behind "const struct TYPE PREFIX...", each with its source.
definitions() {  # type, prefix, source...
    type=$1 prefix=$2
    shift 2
    for source in "$@"; do
        sed -n "s|^const struct $type \(${prefix}[a-z0-9_]*\) = .*|\1 $source|p" "$source"
    done | sort
}

# The row of a driver, copied from its source: IMG_ROW(...).
row() {  # symbol, source
    awk -v start="const struct img_driver $1 = {" '
        inside { print }
        inside && /^    \),$/ { whole = 1; exit }
        $0 == start { here = NR }
        /^    IMG_ROW\($/ && here && here == NR - 1 { inside = 1; print }
        END { exit !whole }' "$2" || {
        echo "table.sh: $2: $1 does not begin with its row, IMG_ROW( in a line of its own to ), in another" >&2
        exit 1
    }
}

folder_of() {  # source
    folder=${1#drivers/}
    echo "${folder%%/*}"
}

contains() {  # list, word
    case " $1 " in
    *" $2 "*) return 0 ;;
    esac
    return 1
}

row_alone() {  # symbol, source, trait, library
    echo "static const struct img_driver $1 = {"
    row "$1" "$2"
    echo "    .traits = $3,"
    [ -z "$4" ] || echo "    .lacks = \"$4\","
    echo "};"
}

# The library in the IMG_NEEDS or IMG_MODULE of a folder.
needs() {  # folder
    sed -n 's/^IMG_\(NEEDS\|MODULE\)("\(..*\)");$/\2/p' "drivers/$1"/*.c
}

driver_rows() {
    while read -r symbol source; do
        folder=$(folder_of "$source")
        if contains "$off" "$folder"; then
            row_alone "$symbol" "$source" IMG_RECOGNISED_ONLY "$(needs "$folder")"
        elif contains "$modules" "$folder"; then
            row_alone "$symbol" "$source" IMG_IN_MODULE ''
        else
            echo "extern const struct img_driver $symbol;"
            # Does the row compile without the code?
            echo "_Static_assert(sizeof (struct img_driver){"
            row "$symbol" "$source"
            echo "}, \"\");"
        fi
    done
}

module_table() {
    echo "struct img_module img_modules[] = {"
    while read -r symbol source; do
        folder=$(folder_of "$source")
        ! contains "$modules" "$folder" ||
            echo "    { .row = &$symbol, .module = \"$folder\", .symbol = \"$symbol\" },"
    done
    echo "    { .row = NULL }"
    echo "};"
}

echo "/* Written by packaging/table.sh from the sources. */"
case $kind in
drivers)
    off=$1 modules=$2
    shift 2
    list=$(definitions img_driver img_driver_ "$@")
    echo '#include "libimg/node/module.h"'
    echo "$list" | driver_rows
    echo "$list" | module_table
    echo "const struct img_driver *const img_drivers[] = {"
    ;;
applets)
    list=$(definitions applet applet_ "$@")
    echo '#include "applets/applet.h"'
    echo "$list" | sed 's/\(.*\) .*/extern const struct applet \1;/'
    echo "const struct applet *const applets[] = {"
    ;;
*)
    echo "table.sh: what is '$kind'?" >&2
    exit 2
    ;;
esac
echo "$list" | sed 's/\(.*\) .*/    \&\1,/'
echo "    NULL"
echo "};"
