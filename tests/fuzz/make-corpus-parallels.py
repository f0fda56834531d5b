#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Seeds for fuzz-parallels: small images of both kinds, a damaged one, one with the format extension, a descriptor.

usage: make-corpus-parallels.py [DIRECTORY]
"""
import hashlib
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../interop/lib'))
from corpus import save  # noqa: E402

SECTOR = 512


def image(entries, tracks=1, wide=True, in_use=0, data_off=1, flags=0, ext_off=0, clusters=4, sectors=None):
    magic = b'WithouFreSpacExt' if wide else b'WithoutFreeSpace'
    head = struct.pack('<16sIIIIIQIIIQ', magic, 2, 16, 1, tracks, len(entries),
                       len(entries) * tracks if sectors is None else sectors, in_use, data_off, flags, ext_off)
    data = bytearray((clusters + data_off) * tracks * SECTOR)
    body = head + struct.pack(f'<{len(entries)}I', *entries)
    data[:len(body)] = body
    for number in range(1, clusters):
        data[number * tracks * SECTOR + 100] = number
    return data


def extended():
    data = image([1, 0, 0, 0], in_use=0x312e3276, ext_off=2)
    bitmap = struct.pack('<Q16sIIQ', 4, bytes(range(16)), 1, 1, 1)
    rest = struct.pack('<QQII', 0x20385fae252cb34a, 0, len(bitmap), 0) + bitmap
    rest += bytes(SECTOR - 24 - len(rest))
    data[2 * SECTOR:3 * SECTOR] = struct.pack('<Q', 0xab234cef23dcea87) + hashlib.md5(rest).digest() + rest
    return data


DESCRIPTOR = b"""<?xml version='1.0' encoding='UTF-8'?>
<Parallels_disk_image Version="1.0"><Disk_Parameters><Disk_size>256</Disk_size><Padding>0</Padding></Disk_Parameters>
<StorageData><Storage><Start>0</Start><End>256</End><Blocksize>128</Blocksize><Image><GUID>{1}</GUID>
<Type>Compressed</Type><File>a&amp;b.hds</File></Image></Storage></StorageData><!-- x --><Snapshots/>
</Parallels_disk_image>
"""

SEEDS = {
    'wide': image([1, 3, 0, 2, 0, 0, 0, 0]),
    'wide-odd': image([1, 0, 3], tracks=3, data_off=3, clusters=3),
    'sectors': image([1, 3, 0, 2], wide=False, data_off=0),
    'sectors-beside': image([2, 0, 7, 9], tracks=3, wide=False, clusters=4),
    'damaged': image([1, 1, 9, 3, 0xffffffff, 0, 0], in_use=0x746f6e59, data_off=1),
    'empty': image([0] * 400, tracks=1, data_off=4, flags=1, clusters=0),
    'long': image([1, 2], sectors=1 << 40),
    'large-disk': image([0] * 1200, tracks=256, data_off=10, clusters=0)[:8192],
    'extension': extended(),
    'descriptor': DESCRIPTOR,
}


if __name__ == '__main__':
    save('parallels', SEEDS)
