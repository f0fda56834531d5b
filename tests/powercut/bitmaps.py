# SPDX-License-Identifier: MIT
"""The persistent bitmaps of a qcow2 image, as far as it may be trusted after a power cut.

A bitmap that is not marked "in use" says of all that it leaves out that nothing has changed there: a backup would rely
on that.  Specification: "Bitmaps extension", "Bitmap directory", "Bitmap table".
"""
import struct

from damage import Image, OFFSET

IN_USE, AUTO = 1, 2


def trusted(data):
    """Name to (granularity, bits as a number, whether it follows writes) of each bitmap that is not in use."""
    image, found = Image(data), {}
    if image.bitmaps is None or image.stale_bitmaps():
        return found
    place = image.get(image.bitmaps + 16)
    for _ in range(image.get(image.bitmaps, '>I')):
        table, entries, flags, _, shift, name_size, extra = struct.unpack_from('>QIIBBHI', image.data, place)
        name = bytes(image.data[place + 24 + extra:place + 24 + extra + name_size]).decode()
        place = place + 24 + extra + name_size + 7 & ~7
        if not flags & IN_USE:
            found[name] = 1 << shift, bits(image, table, entries), bool(flags & AUTO)
    return found


def bits(image, table, entries):
    parts = []
    for index in range(entries):
        entry = image.get(table + 8 * index)
        where = entry & OFFSET
        if where:
            parts.append(bytes(image.data[where:where + image.cluster]).ljust(image.cluster, b'\0'))
        else:
            parts.append((b'\xff' if entry & 1 else b'\0') * image.cluster)
    return int.from_bytes(b''.join(parts), 'little')


def changed(old, new, granularity):
    """The bits of all places where two disks differ, as far as both reach."""
    found = 0
    size = min(len(old), len(new))
    for bit in range(-(-size // granularity)):
        part = slice(bit * granularity, min(size, (bit + 1) * granularity))
        if old[part] != new[part]:
            found |= 1 << bit
    return found


def untrue(now, before, after, old, got):
    """What a bitmap leaves out: a change of the disk, or what it held before the command and holds after it."""
    for name, (granularity, has, follows) in now.items():
        wanted = changed(old, got, granularity) if follows else 0
        if name in before and name in after:
            wanted |= before[name][1] & after[name][1]
        if wanted & ~has:
            lost = wanted & ~has
            first = (lost & -lost).bit_length() - 1
            return f'bitmap {name} leaves out {bin(lost).count("1")} bits, the first is {first}'
    return None
