#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the seed images of fuzz-vmdk anew, with small grains.

usage: make-corpus-vmdk.py [DIRECTORY]
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../interop/lib'))
from corpus import save  # noqa: E402
import vmdk  # noqa: E402

DATA = b'G' * 700
SEEDS = dict(
    sparse=vmdk.hosted([8, 0, 16, 1, 0, 24], DATA),
    zeroed=vmdk.hosted([1, 8, 0, 1], DATA, version=2, flags=5),
    redundant=vmdk.hosted([0, 8], DATA, flags=3, redundant=3),
    short=vmdk.hosted([8, 0, 0], DATA, capacity=19),
    tables=vmdk.hosted([8, 9], DATA, grain=1, entries=2, capacity=40),
    stream=vmdk.stream({0: b'a' * 4096, 2: bytes(range(256)) * 16}, 3),
    headed=vmdk.hosted([0, 0], version=3, flags=0x30001, compression=1),
    wide=vmdk.stream({0: b'w' * 65536}, 2, grain=128),
    cut=vmdk.stream({1: b'b' * 4096}, 2, footer=False),
    cowd=vmdk.cowd([8, 0, 16], DATA, geometry=(1, 16, 63)),
    carried=vmdk.hosted([], capacity=0, text=vmdk.descriptor('vmfs', ['RW 8 ZERO'])),
    flat=vmdk.descriptor('monolithicFlat', ['RW 16 FLAT "f" 0']),
    zero=vmdk.descriptor('vmfs', ['RW 16 ZERO', 'RDONLY 8 ZERO "x"', 'RW 0 FLAT "y" 1']),
    padded=vmdk.long_stream({0: b'p' * 512, 9: b'q' * 512}, 12, 1, 4)[0] + bytes(700),
    unended=vmdk.long_stream({0: b'p' * 512, 9: b'q' * 512}, 12, 1, 4)[0][:-1537],
    torn=vmdk.long_stream({0: b'p' * 512, 11: b'q' * 512}, 12, 1, 4)[0][:-2049],
    device=vmdk.descriptor('partitionedDevice', ['RW 8 ZERO "p" 0 partitionUUID "d" 1-2', 'NOACCESS 8 FLAT "f" 0',
                                                 'RW 8 ZERO'], parent='0'),
    marked=b'\xef\xbb\xbf\n' + vmdk.descriptor('fullDevice', ['RW 8 ZERO']).replace(b'=', b' = '),
    utf16=b'\xff\xfe' + vmdk.descriptor('vmfs', ['RW 8 ZERO']).decode().encode('utf-16-le'),
    big=b'\xfe\xff' + vmdk.descriptor('vmfs', ['RW 8 ZERO']).decode().encode('utf-16-be'),
    encoded=vmdk.descriptor('vmfs', ['RW 8 FLAT "\u8868" 0'], more='encoding="GBK"\nparentFileNameHint="\u8868"\n')
    .decode().encode('gbk'),
    strange=vmdk.descriptor('vmfs', ['rw 8 ZERO']),
    gap=vmdk.descriptor('twoGbMaxExtentFlat', ['RW 1 FLAT "x-f001.vmdk" 0', 'RW 1 FLAT "x-f003.vmdk" 0']),
    part=vmdk.sesparse([0]),
    child=vmdk.descriptor('vmfsSparse', ['RW 8 VMFSSPARSE "d"', 'RW 8 SESPARSE "e"', 'NOACCESS 1 FLAT "f" 0'],
                          parent='1', more='parentFileNameHint="p"\n'))

if __name__ == '__main__':
    save('vmdk', SEEDS)
