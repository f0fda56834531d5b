#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compressed loop images against the reference tool, at random: crafted ones, sound and damaged, and what
create_compressed_fs makes.

environment: see lib/harness.py
"""
import os
import random
import shutil
import subprocess
import sys
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import each, IMG, PEER, read, Result, run, write  # noqa: E402
import cloop  # noqa: E402
from images import some_disk  # noqa: E402

Result.may_be_truncated = True

LARGE = 64 << 20
VIEWS = [['info', 'x'], ['info', '-f', 'cloop', '--output=json', 'x'], ['map', '-f', 'cloop', 'x'],
         ['map', '-f', 'cloop', '--output=json', 'x'], ['check', '-f', 'cloop', 'x'],
         ['measure', '-f', 'cloop', '-O', 'qcow2', 'x'], ['resize', '-f', 'cloop', 'x', '1M'],
         ['convert', '-O', 'cloop', 'x', 'y'], ['snapshot', '-l', '-f', 'cloop', 'x']]


def crafted(rng):
    """The bytes of an image, and what is wrong with it."""
    block_size = rng.choice([512, 512, 1024, 4096, 4608, 65536, 65536, 262144, 1 << 20])
    disk = some_disk(rng, rng.choice([0, 512, block_size, rng.randrange(1, 12 * block_size), 700000]), 200000)
    made = bytearray(cloop.convert(disk, block_size, rng.choice([0, 1, 6, 9]), rng.choice([0, 0, 0, 77])))
    damage = ''
    if rng.random() < 0.25:
        del made[rng.randrange(len(made)):]
        damage += ' cut'
    if rng.random() < 0.15:
        made += rng.randbytes(rng.randrange(1, 1000))
        damage += ' longer'
    for _ in range(rng.choice([0, 0, 1, 3])):
        # (a table of 2^29 entries, which overflows in qemu-img, is left out)
        at = rng.choice([rng.randrange(128, 140), rng.randrange(136, 400), rng.randrange(400, len(made) + 401)])
        if at < len(made) and at != 132:
            made[at] = rng.choice([0, 255, made[at] ^ 1, rng.randrange(256)])
            damage += f' byte {at}'
    return bytes(made), f'blocks of {block_size}{damage}'


def bad_block(rng):
    """One stream is too short, too long, damaged at its end, or followed by something."""
    size = 4096
    plain = some_disk(rng, size, 200000)
    streams = [zlib.compress(plain), zlib.compress(plain[:-512]), zlib.compress(plain + b'x'),
               zlib.compress(plain)[:-rng.randrange(1, 6)], zlib.compress(plain) + b'xx', zlib.compress(plain)[2:-4], b'']
    number = rng.randrange(len(streams))
    return cloop.image([zlib.compress(plain), streams[number], zlib.compress(plain)], size), f'stream of kind {number}'


def by_tool(rng, folder):
    """What create_compressed_fs makes of a raw image; None where it is not there."""
    if not shutil.which('create_compressed_fs'):
        return None
    block = rng.choice([1024, 4096, 65536])
    disk = some_disk(rng, rng.randrange(1, 40) * block, 200000)
    write(os.path.join(folder, 'raw'), disk)
    subprocess.run(['create_compressed_fs', '-q', '-B', str(block), '-L', rng.choice('169'), 'raw', 'x'], cwd=folder,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return disk


def one(seed, folder):
    rng = random.Random(seed)
    want = by_tool(rng, folder) if rng.random() < 0.15 else None
    title, problems = 'made by create_compressed_fs', []
    if want is None:
        made, title = bad_block(rng) if rng.random() < 0.15 else crafted(rng)
        write(os.path.join(folder, 'x'), made)
    sectors = max(1, len(want or b'') // 512)
    views = VIEWS + [['dd', '-f', 'cloop', '-O', 'raw', 'if=x', 'of=part', 'bs=700', f'skip={rng.randrange(sectors)}',
                      'count=5000']]
    results = {}
    for tool in IMG, PEER:
        for words in views:
            result = run(tool, words, folder)
            part = os.path.join(folder, 'part')
            content = read(part) if os.path.exists(part) else None
            if content is not None:
                os.unlink(part)
            results.setdefault(' '.join(words), []).append((result, content))
    for words, ((ours, content), (peers, peers_content)) in results.items():
        if peers.code < 0:
            continue
        difference = ours.differs(peers)
        if difference or (content != peers_content and ours.code == 0):
            problems.append(f'{words}\n  {difference or "contents"}')
    first = results['info -f cloop --output=json x'][0][0]
    if not problems and first.code == 0 and int(first.out.split('"virtual-size": ')[-1].split(',')[0]) <= LARGE:
        problems += converted(rng, folder, want)
    return title, problems


def converted(rng, folder, want):
    more = rng.choice([[], ['-m', '1'], ['-m', '8', '-W'], ['-S', '0'], ['-t', 'none', '-T', 'none']])
    ours = run(IMG, ['convert', '-f', 'cloop', '-O', 'raw'] + more + ['x', 'a'], folder)
    peers = run(PEER, ['convert', '-f', 'cloop', '-O', 'raw', 'x', 'b'], folder)
    if ours.code != peers.code:
        return ['convert\n  ' + ours.differs(peers)]
    if ours.code:
        return [] if 'Input/output error' in ours.err or ours.says_truncated() else [ours.err]
    content = read(os.path.join(folder, 'a'))
    if content != read(os.path.join(folder, 'b')) or (want is not None and content != want):
        return ['contents differ']
    return []


if __name__ == '__main__':
    each('cloop', 40, one)
