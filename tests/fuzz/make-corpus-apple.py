#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the seed images of fuzz-asif and fuzz-sparsebundle anew, and those of fuzz-dmg that no other program made.

usage: make-corpus-apple.py [DIRECTORY]
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../interop/lib'))
import apple  # noqa: E402
from corpus import save  # noqa: E402
import dmg  # noqa: E402

CHUNK = 32768


def asif(puts=(), partly=(), sets=(), sectors=300, most=1 << 20, **fields):
    image = apple.Asif(sectors, CHUNK, 512, most)
    for number in puts:
        image.put(number, b'a')
    for number, there in partly:
        image.put_partly(number, b'p', there)
    for number, value in sets:
        image.set(number, value)
    return image.image(**fields)


def counted(sectors, chunks):
    """A trailer that counts so many sectors, over chunks (type, sector, sectors, offset, length)."""
    return dmg.image(b'RAW' * 400, [dmg.mish(chunks)], 'xml', sectors)


SEEDS = dict(
    asif=dict(
        empty=asif(), whole=asif([0, 2, 3]), partly=asif([1], [(0, [0, 5, 63])]), far=asif([0], sectors=1 << 19),
        states=asif([0], sets=[(1, 2 << 62 | 1), (2, 5), (3, 3 << 62 | 1), (4, 1 << 62 | 99)]),
        sequences=asif([0], sequences=(9, 3)), large=asif([2], most=1 << 43, sectors=1 << 40)[:1 << 16]),
    sparsebundle=dict(
        plain=apple.info_plist(1 << 20, 65536).encode(), other=apple.info_plist(1, 2, 'x').encode(),
        more=apple.info_plist(1 << 40, 8 << 20, more='<key>a</key><dict><key>size</key><!-- - --><array/></dict>').encode()),
    dmg={
        'sparse': apple.sparseimage(9, 2, [(4, b'd' * 1024), (1, b'a' * 1024)]),
        'sparse-index': apple.sparseimage(9, 1, [(number, b'i') for number in (3, 7, 1, 2, 9, 4)], room=2),
        'count-0': counted(0, [(dmg.RAW, 0, 2, 0, 1024), (dmg.ZERO, 2, 5, 0, 0)]),
        'count-none': counted(0, [])})

if __name__ == '__main__':
    for kind, seeds in SEEDS.items():
        save(kind, seeds)
