#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the seed images of fuzz-qed and fuzz-qcow anew, with the smallest clusters and tables that there are.

usage: make-corpus-qed.py [DIRECTORY]
"""
import os
import struct
import sys
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../interop/lib'))
from corpus import save  # noqa: E402


def qed(name, entries, clusters, size=1 << 20, features=0, tail=b''):
    cluster = 4096
    data = bytearray(clusters * cluster)
    struct.pack_into('<4s3I5Q2I', data, 0, b'QED\0', cluster, 2, 1, features, 0, 0, cluster, size,
                     64 if tail else 0, len(tail))
    data[64:64 + len(tail)] = tail
    if entries:
        struct.pack_into('<Q', data, cluster, 3 * cluster)
        struct.pack_into(f'<{len(entries)}Q', data, 3 * cluster, *(e * cluster if e > 1 else e for e in entries))
    save('qed', {name: data})


def qcow(name, cluster_bits, l2_bits, entries, size=64 << 10, crypt=0, backing=b''):
    l1 = -(-size >> cluster_bits + l2_bits)
    data = bytearray(struct.pack('>4sIQIIQBBHIQ', b'QFI\xfb', 1, 48 if backing else 0, len(backing), 0, size,
                                 cluster_bits, l2_bits, 0, crypt, 64))
    data += backing.ljust(16, b'\0') + bytes(8 * l1)
    data += bytes(-len(data) % 512)
    table = len(data)
    struct.pack_into('>Q', data, 64, table)
    data += bytes(8 << l2_bits)
    for index, kind in enumerate(entries):
        entry = 0
        if kind == 'plain':
            entry = len(data)
            data += bytes([index + 1]) * (1 << cluster_bits)
        elif kind == 'coded':
            coder = zlib.compressobj(9, zlib.DEFLATED, -12)
            coded = coder.compress(bytes([index + 1]) * (1 << cluster_bits)) + coder.flush()
            coded = coded.ljust(len(coded) + -len(coded) % 8, b'\0')
            entry = 1 << 63 | len(coded) << 63 - cluster_bits | len(data)
            data += coded.ljust(512, b'\0')
        struct.pack_into('>Q', data, table + 8 * index, entry)
    save('qcow', {name: data})


qed('data', [5, 6, 1], 7)
qed('unclean', [5], 6, features=3, tail=b'base')
qcow('plain', 9, 6, ['plain', '', 'plain', 'plain'])
qcow('coded', 9, 6, ['coded', 'plain', 'coded'], size=32000)
qcow('backed', 10, 7, ['plain', 'coded'], size=1 << 20, backing=b'base')
qcow('encrypted', 9, 6, [], crypt=1)
