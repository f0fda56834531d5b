#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random resizes by ours and by the reference tool, on two copies of one image.

Compared after each step: messages, exit code, the length of the file, map, check (which has to be clean)
and the guest's content.  Images: raw and qcow2 of all kinds, with backing files, snapshots, bitmaps, an external data file.

environment: see lib/harness.py
"""
import json
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, Journal, PEER, PEER_IO, each, run  # noqa: E402

KINDS = [['raw', ''], ['raw', 'preallocation=full'], ['qcow2', ''], ['qcow2', ''], ['qcow2', 'cluster_size=512'],
         ['qcow2', 'cluster_size=1k,refcount_bits=64'], ['qcow2', 'cluster_size=4k'], ['qcow2', 'cluster_size=2M'],
         ['qcow2', 'extended_l2=on'], ['qcow2', 'extended_l2=on,cluster_size=16k'], ['qcow2', 'compat=0.10'],
         ['qcow2', 'compat=0.10,cluster_size=1k'], ['qcow2', 'lazy_refcounts=on'], ['qcow2', 'refcount_bits=1'],
         ['qcow2', 'data_file=d.raw'], ['qcow2', 'data_file=d.raw,data_file_raw=on'],
         ['qcow2', 'preallocation=metadata,cluster_size=4k'], ['qcow2', 'preallocation=falloc,cluster_size=512']]
MEGA = 1024 * 1024


def some_size(rng):
    return rng.choice([rng.randrange(1, 32) * 512, rng.randrange(1, 64) * 65536, rng.randrange(1, 12) * MEGA,
                       rng.randrange(1, 20000) * 512])


def prepare(rng, folder, journal):
    """The image t.img; its format, its size and the words that describe it."""
    kind, options = rng.choice(KINDS)
    size = some_size(rng)
    words = ['create', '-q', '-f', kind] + (['-o', options] if options else [])
    backed = kind == 'qcow2' and 'data_file_raw' not in options and 'prealloc' not in options and rng.random() < 0.4

    def do(tool, arguments):
        journal.add('.', tool, arguments)
        return run(tool, arguments, folder)

    if backed:
        base = some_size(rng)
        do(PEER, ['create', '-q', '-f', 'qcow2', 'base.img', str(base)])
        do(PEER_IO, ['-f', 'qcow2', '-c', f'write -P 9 0 {base}', 'base.img'])
        words += ['-b', 'base.img', '-F', 'qcow2']
    do(PEER, words + ['t.img', str(size)])
    steps = []
    for _ in range(rng.randrange(0, 6)):
        at = rng.randrange(0, size // 512) * 512
        length = min(rng.choice([512, 4096, 65536, 300000, 2 * MEGA]) // 512 * 512, size - at)
        steps += ['-c', f"{rng.choice(['write -P 7', 'write -P 8', 'write -z', 'discard'])} {at} {length}"]
    # (the reference tool cannot zero a part of a compressed cluster with subclusters)
    if kind == 'qcow2' and not options.startswith(('data_file', 'extended')) and size >= 65536 and rng.random() < 0.3:
        steps += ['-c', f'write -c -P 5 0 {65536 if "2M" not in options else min(size, 2 * MEGA)}']
    if steps:
        do(PEER_IO, ['-f', kind] + steps + ['t.img'])
    if kind == 'qcow2' and 'data_file' not in options and rng.random() < 0.25:
        do(PEER, ['snapshot', '-c', 's', 't.img'])
        if rng.random() < 0.5:
            do(PEER_IO, ['-f', kind, '-c', f'write -P 3 0 {min(size, 65536)}', 't.img'])
    if kind == 'qcow2' and '0.10' not in options and rng.random() < 0.25:
        do(PEER, ['bitmap', '--add', 't.img', 'b0'])
        do(PEER, ['bitmap', '--add', '--disable', '-g', '512', 't.img', 'b1'])
        if rng.random() < 0.7:
            do(PEER_IO, ['-f', kind, '-c', f'write -P 4 0 {min(size, 100 * 512)}', 't.img'])
    return kind, size, words


def change(rng, size):
    """Arguments of one resize."""
    words = []
    if rng.random() < 0.5:
        words += ['--preallocation', rng.choice(['off', 'metadata', 'falloc', 'full'])]
    if rng.random() < 0.5:
        words += ['--shrink']
    if rng.random() < 0.5:
        to = str(some_size(rng))
    else:
        to = rng.choice('++-') + str(rng.choice([512, 65536, MEGA, 1000, 512 * rng.randrange(1, 4000)]))
    return words, to


def shown(what, folder, kind):
    """Output about t.img without what depends on where clusters lie."""
    result = run(PEER, what + ['--output=json', '-f', kind, 't.img'], folder)
    if what[0] == 'map':
        extents = []
        for extent in json.loads(result.out):
            extent['offset'] = 'offset' in extent
            extent['zero'] &= not extent['data']    # whether storage has a hole there
            if extents and all(extent[key] == extents[-1][key] for key in extent if key not in ('start', 'length')):
                extents[-1]['length'] += extent['length']
            else:
                extents.append(extent)
        result.out = '\n'.join(map(str, extents))
    elif result.out:
        document = json.loads(result.out)
        for key in 'image-end-offset', 'children', 'fragmented-clusters', 'allocated-clusters', \
                'compressed-clusters':
            document.pop(key, None)
        result.out = json.dumps(document, indent=1)
    return result


def compare(kind, placed, low, a, b, problems):
    # `placed`: the first new cluster may have got its place, or not: the content is the same
    for what in [['map']][:0 if placed else 1] + [['info'], ['check']][:1 if kind == 'raw' else 2]:
        left, right = (shown(what, folder, kind) for folder in (a, b))
        text = left.differs(right)
        if text:
            problems.append(f'{what[0]}: {text}')
    if kind != 'raw' and left.code not in (0, right.code):
        problems.append(f'check: exit {left.code} {left.out} {left.err}')
    for name in 't.img', 'd.raw':
        if os.path.exists(f'{a}/{name}'):
            ours, peer = (os.path.getsize(f'{folder}/{name}') for folder in (a, b))
            # first fit starts elsewhere: a few clusters more may be it
            if ours > peer + 512 * 1024 or name == 'd.raw' and ours != peer:
                problems.append(f'length of {name}: ours {ours} peer {peer}')
    for folder in a, b:
        run(PEER, ['convert', '-f', kind, '-O', 'raw', 't.img', 'guest'], folder)
    with open(f'{a}/guest', 'rb') as ours, open(f'{b}/guest', 'rb') as peer:
        ours, peer = ours.read(), peer.read()
    # The reference tool may show what lay behind the old end, or was in clusters before; it has to be zeroes.
    if ours[:low] != peer[:low] or len(ours) != len(peer):
        problems.append('contents differ')
    elif ours != peer and ours[low:].strip(b'\0'):
        problems.append(f'not zero behind {low}')


def one(seed, folder):
    rng = random.Random(seed)
    journal, problems = Journal(), []
    made, a, b = (os.path.join(folder, name) for name in ('made', 'ours', 'peer'))
    os.mkdir(made)
    kind, size, words = prepare(rng, made, journal)
    for copy in a, b:
        subprocess.run(['cp', '-a', '--sparse=always', made, copy], check=True)
    placed, low = False, size
    for step in range(rng.randrange(1, 4)):
        options, to = change(rng, size)
        arguments = ['resize', '-f', kind] + options + ['t.img', to]
        journal.add('.', IMG, arguments)
        ours, peer = run(IMG, arguments, a), run(PEER, arguments, b)
        text = ours.differs(peer)
        if text:
            problems.append(f"{' '.join(arguments)}: {text}")
        text = ' '.join(words)
        placed |= step > 0 and '-b' in words or '--preallocation' in options and kind == 'qcow2'
        placed |= 'raw=on' in text or 'd.raw -b' in text
        low = min(low, json.loads(run(PEER, ['info', '--output=json', '-f', kind, 't.img'], b).out)['virtual-size'])
        compare(kind, placed, low, a, b, problems)
        if problems:
            break
    return ' '.join(words[3:]) + f' {size}', problems, journal.lines


def main():
    each('resize-random', 25, one)


if __name__ == '__main__':
    main()
