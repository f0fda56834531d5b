#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Growing Bochs images against the reference tool, at random: crafted ones, sound and damaged, and bximage's own.

environment: see lib/harness.py
"""
import os
import random
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import each, IMG, PEER, read, Result, run  # noqa: E402
import bochs  # noqa: E402

Result.may_be_truncated = True

LARGE = 64 << 20
VIEWS = [['info', 'x'], ['info', '-f', 'bochs', '--output=json', 'x'], ['map', '-f', 'bochs', 'x'],
         ['map', '-f', 'bochs', '--output=json', 'x'], ['check', '-f', 'bochs', 'x'],
         ['measure', '-f', 'bochs', '-O', 'raw', 'x'], ['dd', '-f', 'bochs', 'if=x', 'of=part', 'bs=700', 'count=5000'],
         ['resize', '-f', 'bochs', 'x', '1M'], ['convert', '-O', 'bochs', 'x', 'y']]


def crafted(rng):
    extent = rng.choice([512, 1024, 4096, 8192, 65536, 1 << 20])
    disk = rng.choice([0, 512, 1000, extent * 5 + 512, 3 * extent, rng.randrange(1 << 20)])
    sectors = extent // 512
    entries = max(1, -(-(disk // 512 * 512) // extent)) + rng.choice([0, 0, 1, 10])
    bits = rng.choice([max(1, sectors // 8), 512, 600, 1025])
    catalog, extents = [bochs.UNALLOCATED] * entries, []
    for index in rng.sample(range(entries), entries):
        if rng.random() < 0.6:
            catalog[index] = len(extents)
            bitmap = bytes(rng.choice([0, 255, rng.randrange(256)]) for _ in range(max(1, (sectors + 7) // 8)))
            extents.append((bitmap.ljust(bits, b'\0')[:max(bits, 1)], rng.randbytes(extent)))
        elif rng.random() < 0.05:
            catalog[index] = rng.choice([0, entries + 5, 0xfffffffe, 0x7fffffff, rng.randrange(1 << 32)])
    given = dict(version=rng.choice([1, 2]), header_size=rng.choice([512, 512, 1024, 512 + rng.randrange(600)]),
                 bitmap=0 if rng.random() < 0.05 else bits, extent=extent, disk=disk, timestamp=rng.randrange(1 << 32))
    made = bochs.image(catalog, extents, **given)
    damage = ''
    if rng.random() < 0.2:
        made, damage = made[:rng.randrange(len(made))], 'cut short'
    if rng.random() < 0.2:
        made, damage = bytearray(made), damage + ' changed'
        for _ in range(min(len(made), rng.randrange(1, 4))):
            # (not the length of the header: qemu-img computes the place behind a header of 4 GiB with 32 bits)
            at = rng.randrange(min(len(made), 700))
            made[at] = rng.randrange(256) if at // 4 != 17 else made[at]
    return bytes(made), f'{given} {entries} {damage}'


def by_bximage(rng, folder):
    """What Bochs' own program makes of a raw image (which it pads to whole cylinders); None where it is not there."""
    if not shutil.which('bximage'):
        return None
    with open(os.path.join(folder, 'raw'), 'wb') as file:
        file.truncate(516096 * rng.randrange(1, 8))
        for _ in range(5):
            file.seek(512 * rng.randrange(900))
            file.write(rng.randbytes(512 * rng.randrange(1, 100)))
    subprocess.run(['bximage', '-q', '-func=convert', '-imgmode=growing', 'raw', 'x'], cwd=folder,
                   stdout=subprocess.DEVNULL, check=True)
    with open(os.path.join(folder, 'raw'), 'rb') as file:
        return file.read()


def one(seed, folder):
    rng = random.Random(seed)
    want = by_bximage(rng, folder) if rng.random() < 0.15 else None
    title, problems = 'made by bximage', []
    if not want:
        made, title = crafted(rng)
        with open(os.path.join(folder, 'x'), 'wb') as file:
            file.write(made)
    small = True
    for words in VIEWS:
        ours, peer = run(IMG, words, folder), run(PEER, words, folder)
        if words[0] == 'info' and peer.code == 0 and '"virtual-size"' in peer.out:
            sizes = [int(line.split()[1].strip(',')) for line in peer.out.split('\n') if '"virtual-size"' in line]
            small = sizes[-1] <= LARGE
        difference = ours.differs(peer)
        if difference:
            problems.append(f"{' '.join(words)}: {difference}")
    if small:
        results = []
        for tool, to in (IMG, 'ours'), (PEER, 'peer'):
            results.append(run(tool, ['convert', '-f', 'bochs', '-O', 'raw', 'x', to], folder))
        if results[0].differs(results[1]):
            problems.append(f'convert: {results[0].differs(results[1])}')
        elif results[0].code == 0 and read(folder + '/ours') != read(folder + '/peer'):
            problems.append('the contents differ')
        elif want and read(folder + '/ours') != want:
            problems.append('the contents are not those that bximage was given')
    return title, problems[:3]


if __name__ == '__main__':
    each('bochs-random', 40, one)
