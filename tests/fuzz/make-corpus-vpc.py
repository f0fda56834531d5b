#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the seed images of fuzz-vpc anew: tiny disks, most of blocks of 512 bytes to 4 KiB.

usage: make-corpus-vpc.py [DIRECTORY]
"""
import os
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


def fixed(sectors, **fields):
    return b'F' * 512 * sectors + vpc.footer(size=512 * sectors, kind=2, data_offset=(1 << 64) - 1, **fields)


SEEDS = dict(
    empty=dynamic(2, vpc.BLOCK), none=dynamic(0, vpc.BLOCK), small=dynamic(16, 512, [3, 0, 7]),
    bits=dynamic(4, 4096, [2, 1]), geometry=dynamic(68, 1024, [67], creator=b'vpc ', geometry=(1, 4, 17)),
    many=dynamic(1000, 4096, [999]), differencing=dynamic(4, 4096, [1], kind=4), front=dynamic(4, 4096, [1], kind=2),
    fixed=fixed(5), old=fixed(3)[:-1], chs=fixed(2, creator=b'qemu', geometry=(1, 1, 2)), nothing=fixed(0))

if __name__ == '__main__':
    save('vpc', SEEDS)
