#!/bin/sh
# Print the C table of all drivers or applets that the given sources define.
#
# usage: table.sh drivers|applets SOURCE...
set -eu
kind=$1
shift
case $kind in
drivers) header=libimg/driver.h type='struct img_driver' prefix=img_driver_ table='const struct img_driver *const img_drivers[]' ;;
applets) header=applets/applet.h type='struct applet' prefix=applet_ table='const struct applet *const applets[]' ;;
*) echo "table.sh: what is '$kind'?" >&2; exit 2 ;;
esac
names=$(sed -n "s/^const $type \(${prefix}[a-z0-9_]*\) = .*/\1/p" "$@" | sort)
echo "/* Written by packaging/table.sh from the sources. */"
echo "#include \"$header\""
for name in $names; do echo "extern const $type $name;"; done
echo "$table = {"
for name in $names; do echo "    &$name,"; done
echo "    NULL"
echo "};"
