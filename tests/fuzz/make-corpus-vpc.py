#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the seed images of fuzz-vpc anew: tiny disks, most of blocks of 512 bytes to 4 KiB.

usage: make-corpus-vpc.py [DIRECTORY]
"""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../interop/lib'))
from corpus import save  # noqa: E402
import vpc  # noqa: E402


def dynamic(blocks, block, present=(), **front):
    """A disk of so many blocks, those of `present` one behind the other."""
    footer = vpc.footer(size=blocks * block, **front)
    entries, body = [vpc.UNUSED] * blocks, b''
    for index in present:
        entries[index] = (1536 + len(vpc.table(entries)) + len(body)) // 512
        body += b'\xff' * vpc.bitmap_bytes(block) + bytes([(index + 1) % 256]) * block
    return footer + vpc.header(entries=blocks, block_size=block) + vpc.table(entries) + body + footer


def differencing(blocks, block, present, *names):
    """With names of a parent, each (code, bytes), behind the disk; every other sector is its own."""
    made = bytearray(dynamic(blocks, block, present, kind=4))
    entries, place = made[1536:], len(made) - 512
    for index in present:
        at = int.from_bytes(entries[4 * index:4 * index + 4], 'big') * 512
        made[at:at + vpc.bitmap_bytes(block)] = b'\xaa' * vpc.bitmap_bytes(block)
    footer = bytes(made[place:])
    del made[place:]
    for number, (code, text) in enumerate(names):
        struct.pack_into('>4sIIIQ', made, 512 + 576 + 24 * number, code, 512, len(text), 0, len(made))
        made += text.ljust(512, b'\0')
    made[552:568] = footer[68:84]
    made[576:576 + 20] = 'parent.vhd'.encode('utf-16-be')
    made[512:1536] = vpc.with_checksum(made[512:548] + bytes(4) + made[552:1536], 36)
    return bytes(made) + footer


def fixed(sectors, **fields):
    return b'F' * 512 * sectors + vpc.footer(size=512 * sectors, kind=2, data_offset=(1 << 64) - 1, **fields)


SEEDS = dict(
    empty=dynamic(2, vpc.BLOCK), none=dynamic(0, vpc.BLOCK), small=dynamic(16, 512, [3, 0, 7]),
    bits=dynamic(4, 4096, [2, 1]), geometry=dynamic(68, 1024, [67], creator=b'vpc ', geometry=(1, 4, 17)),
    many=dynamic(1000, 4096, [999]), differencing=dynamic(4, 4096, [1], kind=4),
    parent=differencing(4, 4096, [1, 3], (b'W2ru', '.\\base.vhd'.encode('utf-16-le')), (b'MacX', b'file:///a%20b%2')),
    parents=differencing(2, 64 << 10, [0], (b'Wi2r', b'..\\base.vhd'), (b'Wi2k', b'x' * 600),
                         (b'W2ku', 'C:\\\U0001f4be.vhd'.encode('utf-16-le')), (b'W2ru', b'\0\xd8\0\xd8'),
                         (b'W2ru', b'a')),
    front=dynamic(4, 4096, [1], kind=2),
    fixed=fixed(5), old=fixed(3)[:-1], chs=fixed(2, creator=b'qemu', geometry=(1, 1, 2)), nothing=fixed(0))

if __name__ == '__main__':
    save('vpc', SEEDS)
