#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the seed images of fuzz-vdi and fuzz-bochs anew.  A block of a VDI is 1 MiB: the files end early inside one.

usage: make-corpus-vdi.py [DIRECTORY]
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../interop/lib'))
import bochs  # noqa: E402
from corpus import save  # noqa: E402
import vdi  # noqa: E402

U, D, BYTES = vdi.UNALLOCATED, vdi.DISCARDED, b'V' * 700
EXTENT = (b'\x55', b'B' * 4096)

SEEDS = dict(
    vdi=dict(
        empty=vdi.image([U, U, U], disk=3 << 20), none=vdi.image([], disk=0), tiny=vdi.image([U], disk=1000),
        mixed=vdi.image([1, U, 0, D], BYTES, disk=4 << 20, allocated=2), full=vdi.image([2, 0, 1], BYTES, allocated=3),
        static=vdi.image([0, 1, 2], BYTES, kind=2, allocated=3), twice=vdi.image([0, 0, 5], BYTES, allocated=1),
        many=vdi.image([U] * 300 + [7], disk=(301 << 20) - 512, data_offset=0x800, allocated=8),
        apart=vdi.image([0, U], BYTES, disk=2 << 20, map_offset=0x400, data_offset=0x1000, allocated=1),
        short=vdi.image([0, 1, 2], allocated=3, length=516), link=vdi.image([U], link=b'\1' * 16),
        parent=vdi.image([U, 0, D], BYTES, kind=4, allocated=1, link=b'\1' * 16, parent=b'\2' * 16)),
    bochs=dict(
        empty=bochs.image([bochs.UNALLOCATED] * 8, []),
        old=bochs.image([1, bochs.UNALLOCATED, 0], [EXTENT] * 2, version=1, disk=3 * 4096),
        new=bochs.image([0, 1], [EXTENT] * 2, disk=2 * 4096, header_size=600), short=bochs.image([0, 9], [], disk=8192),
        large=bochs.image([0], [(b'\xff' * 64, b'L' * 5000)], extent=1 << 20, bitmap=256, disk=1 << 20),
        lies=bochs.image([0x7fffffff, 3], [EXTENT], bitmap=0, disk=8192)))

if __name__ == '__main__':
    for kind, seeds in SEEDS.items():
        save(kind, seeds)
