#!/bin/sh
# Print the C table of all drivers or applets that the given sources define.
#
# usage: table.sh applets SOURCE...
#        table.sh drivers OFF SOURCE...     OFF: names of folders in drivers/ whose code is left out
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

# The row of a driver as it stands in its source: IMG_ROW(...).
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

is_off() {  # source
    folder=${1#drivers/}
    case " $off " in
    *" ${folder%%/*} "*) return 0 ;;
    esac
    return 1
}

driver_rows() {
    while read -r symbol source; do
        if is_off "$source"; then
            echo "static const struct img_driver $symbol = {"
            row "$symbol" "$source"
            echo "    .traits = IMG_RECOGNISED_ONLY,"
            echo "};"
        else
            echo "extern const struct img_driver $symbol;"
            # Would it stand without the code?
            echo "_Static_assert(sizeof (struct img_driver){"
            row "$symbol" "$source"
            echo "}, \"\");"
        fi
    done
}

echo "/* Written by packaging/table.sh from the sources. */"
case $kind in
drivers)
    off=$1
    shift
    list=$(definitions img_driver img_driver_ "$@")
    echo '#include "libimg/driver.h"'
    echo "$list" | driver_rows
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
