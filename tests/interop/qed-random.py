#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""qed images at random: created, written, read, administered and damaged; all as the reference tool does it.

Its check counts a cluster more for each (cluster size - 1) of them and calls those lost; the images here are smaller.

environment: see lib/harness.py
"""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from chained import ChainedCase  # noqa: E402
from harness import each, Result  # noqa: E402

Result.may_be_truncated = True

SIZES = ['0', '512', '1M', '100000', '3G', '64T', '65T', '16G', '7E', '1']
OPTIONS = ['cluster_size=4k', 'cluster_size=64k', 'cluster_size=1M', 'cluster_size=2k', 'cluster_size=5000',
           'cluster_size=4M', 'table_size=1', 'table_size=2', 'table_size=16', 'table_size=3', 'table_size=32',
           'preallocation=off', 'backing_fmt=raw', 'backing_fmt=none', 'nocow=on', 'size=1M', 'lazy=1']
FINDINGS = [['info'], ['info', '--output=json'], ['map'], ['map', '--output=json'],
            ['check'], ['check', '--output=json']]


def options(rng):
    found = []
    if rng.random() < 0.8:
        found.append('cluster_size=' + rng.choice(['4k', '4k', '8k', '16k', '64k', '128k']))
    if rng.random() < 0.6:
        found.append(f'table_size={rng.choice([2, 4, 8, 16])}')
    return found


def damage(case):
    """One thing wrong in an image: in the header, the L1 table, an L2 table, or the length of the file."""
    rng, data = case.rng, bytearray(case.read('x'))
    cluster, table_size, _ = struct.unpack_from('<III', data, 4)
    l1 = struct.unpack_from('<Q', data, 40)[0]
    tables = [v for v in struct.unpack_from('<64Q', data, l1) if v]
    clusters = len(data) // cluster
    value = rng.choice([1, 2, 512, cluster * rng.randrange(clusters + 3), cluster * rng.randrange(clusters) + 512,
                        cluster * clusters, (1 << 64) - cluster, 1 << 63, rng.getrandbits(64)])
    kind = rng.choice(['header', 'feature', 'l1', 'l2', 'l2', 'length', 'unclean'])
    if kind == 'header':
        at, form = rng.choice([(0, '<I'), (4, '<I'), (8, '<I'), (12, '<I'), (40, '<Q'), (56, '<I'), (60, '<I')])
        value = rng.choice([0, 1, 2, 3, 4, 16, 32, 4096, 8192, value]) & ((1 << 8 * struct.calcsize(form)) - 1)
        struct.pack_into(form, data, at, value)
    elif kind == 'feature':
        struct.pack_into('<Q', data, rng.choice([16, 24, 32]), 1 << rng.choice([0, 1, 2, 3, 4, 40, 63]))
    elif kind == 'length':
        del data[rng.randrange(len(data)):]
    elif kind == 'unclean':
        data[16] |= 2
        data += bytes(rng.randrange(2 * cluster))
    else:
        table = l1 if kind == 'l1' or not tables else rng.choice(tables)
        struct.pack_into('<Q', data, table + 8 * rng.randrange(min(64, table_size * cluster // 8)), value)
    case.write('x', data, f'damaged: {kind} {value:#x}')
    return kind


def damaged(case):
    base = case.made(options(case.rng))
    kind = damage(case)
    for words in FINDINGS:
        # Of a run of clusters it looks at the first one only, and shows those behind the end of the file too.
        if kind == 'length' and words[0] == 'map':
            continue
        case.same(words[:1] + ['-f', 'qed'] + words[1:] + ['x'])
    case.same(['info', 'x'])
    words = case.rng.choice([['check', '-r', 'all'], ['check', '-r', 'leaks'], ['check', '-r', 'all', '--output=json'],
                             ['rebase', '-u', '-b', ''], ['resize']])
    if case.sides(words + ['-f', 'qed', 'x'] + (['+1M'] if words == ['resize'] else []), 'x'):
        case.equal('ours', 'peer')
    case.same(['check', '-f', 'qed', 'x'])
    return f'damaged {kind} over {base}'


def one(seed, folder):
    return ChainedCase('qed', seed, folder).play(OPTIONS, SIZES, options, damaged, damaged)


if __name__ == '__main__':
    each('qed-random', 15, one)
