#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""qcow images (version 1) at random: created, written, read, administered, damaged; as the reference tool does it.

environment: see lib/harness.py
"""
import os
import struct
import sys
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from chained import ChainedCase  # noqa: E402
from harness import each, Result  # noqa: E402

Result.may_be_truncated = True

SIZES = ['0', '1', '512', '1M', '100000', '2097153', '129M', '3G']
OPTIONS = ['cluster_size=4k', 'preallocation=off', 'backing_fmt=raw', 'backing_fmt=none', 'nocow=on', 'size=1M',
           'encryption=off', 'encryption=on', 'encrypt.format=aes', 'encrypt.format=luks', 'encrypt.key-secret=x']
LOOKS = [['info'], ['info', '--output=json'], ['map'], ['map', '--output=json'], ['check'], ['measure', '-O', 'qcow']]
HEADER = '>4sIQIIQBBHIQ'


class QcowCase(ChainedCase):
    compressed, checked = True, False


def deflate(data):
    coder = zlib.compressobj(9, zlib.DEFLATED, -12)
    return coder.compress(data) + coder.flush()


def handmade(case):
    """An image with a cluster size and tables that no program of today makes, some with compressed clusters."""
    rng = case.rng
    cluster_bits, l2_bits = rng.randrange(9, 17), rng.randrange(6, 14)
    cluster, per_table = 1 << cluster_bits, 1 << l2_bits
    size = rng.randrange(2, 1 << min(24, cluster_bits + l2_bits + 2))
    entries = -(-size // (cluster * per_table))
    data = bytearray(struct.pack(HEADER, b'QFI\xfb', 1, 0, 0, 0, size, cluster_bits, l2_bits, 0, 0, 48))
    data += bytes(8 * entries)
    for index in range(entries):
        if rng.random() < 0.2:
            continue
        data += bytes(-len(data) % 512)
        table = len(data)
        struct.pack_into('>Q', data, 48 + 8 * index, table)
        data += bytes(8 * per_table)
        for at in rng.sample(range(per_table), min(per_table, 12)):
            plain = bytes([rng.randrange(256)]) * (cluster // 2) + bytes([rng.randrange(256)]) * (cluster // 2)
            if rng.random() < 0.5:
                coded = deflate(plain)
                entry = 1 << 63 | len(coded) << 63 - cluster_bits | len(data)
                data += coded
            else:
                data += bytes(-len(data) % rng.choice([512, cluster]))
                entry = len(data)
                data += plain
            struct.pack_into('>Q', data, table + 8 * at, entry)
    case.write('x', data, f'cluster_bits {cluster_bits}, l2_bits {l2_bits}, size {size}')
    case.views('x')
    if size >= 512:
        case.write_over('x', size // 512 * 512)
    return f'clusters of {cluster}, tables of {per_table}'


def damaged(case):
    rng = case.rng
    base = case.made([])
    data = bytearray(case.read('x'))
    kind = rng.choice(['header', 'header', 'coded', 'table', 'length'])
    l1 = struct.unpack_from('>Q', data, 40)[0]
    tables = [v for v in struct.unpack_from('>8Q', data, l1) if 0 < v < len(data) - 512]
    if kind == 'header':
        at, form = rng.choice([(0, 'I'), (4, 'I'), (8, 'Q'), (16, 'I'), (24, 'Q'), (32, 'B'), (33, 'B'), (36, 'I'),
                               (40, 'Q')])
        value = rng.choice([0, 1, 2, 3, 48, 63, 512, 4096, 1 << 31, 1 << 40, 1 << 63, (1 << 64) - 1])
        value &= (1 << 8 * struct.calcsize(form)) - 1
        if at != 36 or value != 1:
            struct.pack_into('>' + form, data, at, value)
    elif kind == 'length':
        del data[rng.randrange(len(data)):]
    elif tables:
        value = 512 * rng.choice([0, 1, rng.randrange(len(data) // 512), rng.randrange(1 << 20)])
        if kind == 'coded':
            value = rng.getrandbits(64) | 1 << 63
        struct.pack_into('>Q', data, rng.choice(tables) + 8 * rng.randrange(64), value)
    case.write('x', data, 'damaged: ' + kind)
    for words in LOOKS:
        case.same(words[:1] + ['-f', 'qcow'] + words[1:] + ['x'])
    case.same(['info', 'x'])
    return f'damaged {kind} over {base}'


def one(seed, folder):
    return QcowCase('qcow', seed, folder).play(OPTIONS, SIZES, lambda _: [], handmade, damaged)


if __name__ == '__main__':
    each('qcow-random', 12, one)
