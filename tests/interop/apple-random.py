#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sparse images of Apple at random: .sparseimage, .sparsebundle, ASIF, with chunks anywhere, whole, in part or missing,
and files that end early.  What is read is compared with what was put in: the reference tool reads none of them.

environment: see lib/harness.py
"""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, each, read, run, write  # noqa: E402
import apple  # noqa: E402
from images import some_disk  # noqa: E402


def pick(rng, count, most):
    """Some of `count` numbers, in any order."""
    numbers = rng.sample(range(count), min(count, rng.randrange(most + 1)))
    return sorted(numbers) if rng.random() < 0.3 else numbers


def lay(disk, at, content):
    """Put bytes into the disk, as far as it reaches."""
    content = content[:max(0, len(disk) - at)]
    disk[at:at + len(content)] = content


def sparseimage(rng, folder):
    band = rng.choice([1, 2, 8, 64, rng.randrange(1, 100)])
    sectors = rng.choice([1, band, rng.randrange(1, 300), rng.randrange(1, 3000 * band)])
    count, disk, bands = -(-sectors // band), bytearray(sectors * 512), []
    for number in pick(rng, count, rng.choice([3, 100, 2500 if band == 1 else 100])):
        content = some_disk(rng, band * 512, 5000)
        lay(disk, number * band * 512, content)
        bands.append((number + 1, content))
    more = {} if rng.random() < 0.6 else {'room': rng.randrange(1, 40)}
    if rng.random() < 0.2:
        more['long_sectors'] = 0
    write(os.path.join(folder, 'x'), apple.sparseimage(sectors, band, bands, **more))
    return f'sparse image of {sectors} sectors, {len(bands)} of {count} bands of {band}, {more}', disk


def sparsebundle(rng, folder):
    band = 512 * rng.choice([1, 8, 128, 2048, rng.randrange(1, 300)])
    size = rng.choice([1, band, rng.randrange(1, 40 * band), 512 * rng.randrange(1, 3000)])
    count, disk, bands = -(-size // band), bytearray(-(-size // 512) * 512), {}
    for number in pick(rng, count, rng.choice([3, 50])):
        length = rng.choice([band, band, 0, rng.randrange(band + 1), band + 100])
        content = some_disk(rng, length, 5000) if length else b''
        lay(disk, number * band, content[:band])
        bands[number] = content
    apple.sparsebundle(os.path.join(folder, 'x'), size, band, bands)
    return f'sparse bundle of {size} bytes, {len(bands)} of {count} bands of {band}', disk


def asif(rng, folder):
    sector = rng.choice([512, 512, 512, 4096])
    chunk = rng.choice([1 << 15, 1 << 16, 1 << 17]) if sector == 512 else rng.choice([1 << 18, 1 << 19])
    sectors = rng.choice([1, rng.randrange(1, 2000), rng.randrange(1, (64 << 20) // sector)])
    image = apple.Asif(sectors, chunk, sector, rng.choice([sectors, sectors, sectors + rng.randrange(1 << 22), 1 << 33]))
    count, disk = -(-sectors * sector // chunk), bytearray(sectors * sector)
    for number in pick(rng, count, rng.choice([2, 20])):
        content = some_disk(rng, chunk, 50000)
        if rng.random() < 0.5:
            image.put(number, content)
            lay(disk, number * chunk, content)
            continue
        run, there = chunk // sector, set()
        for _ in range(rng.randrange(5)):
            first = rng.randrange(run)
            there |= set(range(first, min(run, first + rng.choice([1, 1, 4, 40, run]))))
        image.put_partly(number, content, there)
        for at in there:
            lay(disk, number * chunk + at * sector, content[at * sector:(at + 1) * sector])
    made = image.image(sequences=rng.choice([(1, 2), (2, 1), (9, 3), (5, 0)]))
    write(os.path.join(folder, 'x'), made)
    return f'ASIF of {sectors} sectors of {sector}, {count} chunks of {chunk}, {len(image.chunks)} in the file', disk


def check_map(folder, size):
    """The map covers the disk, in order; where it says so, the file has the bytes."""
    result = run(IMG, ['map', '--output=json', 'x'], folder)
    if result.code or result.err:
        return ['map: ' + result.err]
    extents, at = eval(result.out, {'true': True, 'false': False}), 0       # pylint: disable=eval-used
    for extent in extents:
        if extent['start'] != at or extent['length'] <= 0:
            return [f'map: {extent} behind {at}']
        at += extent['length']
    return [] if at == size else [f'map: ends at {at} of {size}']


def one(seed, folder):
    rng = random.Random(seed)
    title, disk = rng.choice([sparseimage, sparsebundle, asif])(rng, folder)
    problems = check_map(folder, len(disk))
    more = rng.choice([[], ['-m', '1'], ['-m', '8', '-W'], ['-t', 'none', '-T', 'none'], ['-S', '0']])
    result = run(IMG, ['convert', '-O', 'raw'] + more + ['x', 'a'], folder)
    if result.code or result.err or read(os.path.join(folder, 'a')) != disk:
        problems.append(f'convert {more}: ' + (result.err or 'contents'))
    write(os.path.join(folder, 'raw'), disk)
    block = rng.choice([100, 512, 700, 4096, 65536])
    skip = rng.randrange(len(disk) // block + 1)
    for words in (['compare', 'x', 'raw'], ['dd', f'bs={block}', f'skip={skip}', 'if=x', 'of=part'],
                  ['convert', '-O', 'qcow2', 'x', 'b'], ['compare', 'b', 'raw'], ['measure', '-O', 'qcow2', 'x']):
        result = run(IMG, words, folder)
        if result.code or result.err:
            problems.append(' '.join(words) + ': ' + result.out + result.err)
    if not problems and read(os.path.join(folder, 'part'))[:len(disk) - block * skip] != disk[block * skip:]:
        problems.append('dd: contents')
    if title.startswith('ASIF') and run(IMG, ['check', 'x'], folder).code:
        problems.append('check: ' + run(IMG, ['check', 'x'], folder).err)
    return title, problems


if __name__ == '__main__':
    each('apple', 25, one)
