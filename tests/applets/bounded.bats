#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Images that hold next to nothing and claim terabytes, in the way that costs most in their format: tables that are not
# there, or that are there a million times.  What is asked of them is bounded by what they hold; going through the
# entries one by one takes more processor time than `img` lets a command have.

load ../helper

# looked_at FORMAT CODE_OF_CHECK: every command that only looks at x, and a copy of it
looked_at() {
    img 0 info -f "$1" x
    img 0 map -f "$1" --output=json x
    img "$2" check -f "$1" x
    img 0 measure -f "$1" -O qcow2 -o cluster_size=2M x
    img 0 convert -f "$1" -O qcow2 -o cluster_size=2M x copy
    img 0 compare -f "$1" -F qcow2 x copy
}

@test "bounded: vmdk, one table for a million entries of the directory" {
    beyond
    crafting - <<'END'
import struct, vmdk
count = 1 << 20
text = vmdk.descriptor('monolithicSparse', ['RW 16 SPARSE "x"']).ljust(1024, b'\0')
with open('x', 'wb') as file:
    file.write(vmdk.header(count * 512 * 8, 8, flags=1, directory=3) + text)
    file.write(struct.pack('<I', 3 + count // 128) * count)
    file.truncate(file.tell() + 2048)
END
    looked_at vmdk 0
}

@test "bounded: vmdk, a directory in a hole" {
    beyond
    crafting - <<'END'
import vmdk
text = vmdk.descriptor('monolithicSparse', ['RW 16 SPARSE "x"']).ljust(1024, b'\0')
with open('x', 'wb') as file:
    file.write(vmdk.header((1 << 24) * 512 * 128, 128, flags=1, directory=1 << 20) + text)
    file.truncate((1 << 29) + (1 << 26))
END
    looked_at vmdk 0
}

@test "bounded: qcow2, one table in a hole for all entries of the L1 table" {
    beyond
    crafting - <<'END'
import struct
bits, count = 21, 16384
cluster = 1 << bits
table = 4 * cluster
with open('x', 'wb') as file:
    file.write(struct.pack('>4sIQIIQIIQQIIQQQQII', b'QFI\xfb', 3, 0, 0, bits, count * cluster // 8 * cluster, 0, count,
                           3 * cluster, cluster, 1, 0, 0, 0, 0, 0, 4, 104))
    for at, what in (cluster, struct.pack('>Q', 2 * cluster)), (2 * cluster, b'\0\1' * 5), \
            (3 * cluster, struct.pack('>Q', table | 1 << 63) * count):
        file.seek(at)
        file.write(what)
    file.truncate(table + cluster)
END
    looked_at qcow2 2
}

@test "bounded: qed, one table in a hole for all entries of the L1 table" {
    beyond
    crafting - <<'END'
import struct
cluster, tables = 65536, 16
entries = cluster * tables // 8
with open('x', 'wb') as file:
    file.write(struct.pack('<4s3I5Q2I', b'QED\0', cluster, tables, 1, 0, 0, 0, cluster, entries ** 2 * cluster, 0, 0))
    file.seek(cluster)
    file.write(struct.pack('<Q', cluster * (1 + tables)) * 32768)
    file.truncate((1 + 2 * tables) * cluster)
END
    looked_at qed 2
}

@test "bounded: qcow, one table in a hole for all entries of the L1 table" {
    beyond
    crafting - <<'END'
import struct
count = 1 << 17
table = 48 + 8 * count + 4096
with open('x', 'wb') as file:
    file.write(struct.pack('>4sIQIIQBBHIQ', b'QFI\xfb', 1, 0, 0, 0, count << 29, 16, 13, 0, 0, 64).ljust(64, b'\0'))
    file.write(struct.pack('>Q', table) * count)
    file.truncate(table + 65536)
END
    looked_at qcow 63
}

@test "bounded: bochs, the same empty extent a million times" {
    beyond
    crafting - <<'END'
import bochs
with open('x', 'wb') as file:
    file.write(bochs.header(catalog=1 << 20, extent=1 << 23, disk=1 << 43, bitmap=1 << 11))
    file.truncate(512 + (4 << 20) + (1 << 11) + (1 << 23))
END
    looked_at bochs 63
}

@test "bounded: dmg, zeroes of a petabyte" {
    beyond
    crafting - <<'END'
import dmg
count = 1 << 41
with open('x', 'wb') as file:
    file.write(dmg.image(b'', [dmg.mish([(dmg.ZERO, 0, count, 0, 0), (dmg.END, count, 0, 0, 0)])], sectors=count))
END
    looked_at dmg 63
}

@test "bounded: asif, tables in holes, and sectors without data" {
    beyond
    crafting - <<'END'
import struct
chunk, count = 1 << 20, 1 << 18
sectors = count * 63 * 2048 * 2048
table = 1 + 8 * (count + 1) // chunk + 1
with open('x', 'wb') as file:
    file.write(struct.pack('>4sIIIQQ16sQQIHHQ', b'shdw', 1, 512, 0, 512, 1 << 60, b'', sectors, sectors, chunk, 512, 0, 0))
    file.seek(512)
    file.write(struct.pack('>Q', 1) + b''.join(struct.pack('>Q', table + i) for i in range(count)))
    file.truncate((table + count + 1) * chunk)
END
    looked_at asif 3
    crafting - <<'END'
import struct
chunk, most = 1 << 20, 1 << 43
sectors = 126 << 21
with open('x', 'wb') as file:
    file.write(struct.pack('>4sIIIQQ16sQQIHHQ', b'shdw', 1, 512, 0, 512, 1 << 60, b'', sectors, most, chunk, 512, 0, 0))
    file.seek(512)
    file.write(struct.pack('>2Q', 1, 1))
    file.seek(chunk)
    file.write((struct.pack('>Q', 3 << 62 | 3) * 2048 + struct.pack('>Q', 2)) * 63)
    file.truncate(4 * chunk)
END
    looked_at asif 2
}

@test "bounded: sparsebundle, small bands of a disk of nothing" {
    beyond
    crafting - <<'END'
import apple
apple.sparsebundle('x', 1 << 60, 512, {5: b'a' * 512, 1 << 50: b'b' * 512})
END
    looked_at sparsebundle 63
}

@test "bounded: vhdx, parallels: a table of nothing" {
    beyond
    img 0 create -q -f vhdx -o block_size=1M made 64T
    cp --sparse=always made x
    looked_at vhdx 0
    crafting - <<'END'
import struct
count = 0x1fffffff
with open('x', 'wb') as file:
    file.write(struct.pack('<16sIIIIIQIIIQ', b'WithouFreSpacExt', 2, 16, 1, 2048, count, count * 2048, 0,
                           (64 + 4 * count + 511) // 512, 0, 0))
    file.truncate(1 << 20)
END
    looked_at parallels 2
}
