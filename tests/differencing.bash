# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Shared by the bats files of the formats with differencing disks.

# loop_of FORMAT SUFFIX: two disks that name each other as their parent; what would read them ends with an error
loop_of() {
    crafting - "$1" "$2" <<- 'end'
	import random
	import sys
	import differencing
	form, suffix = sys.argv[1:]
	class Numbered(random.Random):
	    def __init__(self, number):
	        super().__init__(number)
	        self.number = number
	    def randbytes(self, length):
	        return bytes([self.number]) * length
	one, two = (dict(path=name + suffix, identity=bytes([number]) * 16, modified=bytes([number]) * 16)
	            for number, name in ((1, 'one'), (2, 'two')))
	for number, disk, parent in (1, one, two), (2, two, one):
	    getattr(differencing, 'make_' + form)(Numbered(number), disk['path'], 1 << 20, [], parent,
	                                          dict(relative=parent['path']))
	end
    for command in "convert -O raw one$2 out" "map one$2" "info --backing-chain one$2"; do
        # shellcheck disable=SC2086
        img 1 $command
        has "$ERR" 'creates an infinite loop|included twice|infinite'
    done
    img 0 info "one$2"
    has "$OUT" "^backing file: two$2$"
}
