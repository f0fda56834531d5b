#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""commit on two copies of a random backing chain, by ours and by the reference tool.

The images have many formats, sizes and cluster sizes, some hold snapshots or bitmaps.  The top one is committed
into its backing file or into one further down, with or without being emptied.  Afterwards every image (and
snapshot) reads the same in both copies, the top one as before, the reference tool's check is clean, and what the
top image still holds is the same.

environment: see lib/harness.py
"""
import json
import os
import random
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, Journal, PEER, PEER_IO, each, run, without  # noqa: E402

KILO = 1024
OPTIONS = ['cluster_size=4k', 'cluster_size=512', 'extended_l2=on,cluster_size=16k', 'compat=0.10',
           'compat=0.10,cluster_size=8k', 'lazy_refcounts=on', 'refcount_bits=1', 'data_file=DATA', 'cluster_size=256k',
           'cluster_size=1k,refcount_bits=64', 'compression_type=zstd,cluster_size=32k', 'cluster_size=64k']
KINDS = ['write -P 1', 'write -P 2', 'write -P 3', 'write -P 0', 'write -z', 'write -z -u', 'discard']


class Image:
    def __init__(self, name, fmt, size, options):
        self.name, self.fmt, self.size, self.options = name, fmt, size, options
        self.snapshot = False

    def has(self, word):
        return word in self.options


def steps(rng, image):
    found = []
    for _ in range(rng.randrange(1, 9)):
        unit = rng.choice([512, 4 * KILO, 64 * KILO])
        at = rng.randrange(0, image.size // unit + 1) * unit
        length = min(unit * rng.randrange(1, 12), image.size - at)
        kind = rng.choice(KINDS)
        if image.fmt == 'qcow2' and rng.random() < 0.15 and not image.has('data_file'):
            at, kind = at // (256 * KILO) * 256 * KILO, 'write -c -P 4'
            length = min(256 * KILO, image.size - at)
        if length > 0:
            found += ['-c', f'{kind} {at} {length}']
    return found


def make(rng, folder, image, parent, journal):
    words = ['create', '-q', '-f', image.fmt]
    if image.options:
        words += ['-o', image.options]
    if parent:
        words += ['-b', parent.name, '-F', parent.fmt]
    commands = [(PEER, words + [image.name, str(image.size)])]
    found = steps(rng, image)
    if found:
        commands.append((PEER_IO, ['-f', image.fmt] + found + [image.name]))
    if image.fmt == 'qcow2' and rng.random() < 0.15 and not image.has('data_file') and not image.has('refcount_bits=1'):
        commands.append((PEER, ['snapshot', '-c', 's', image.name]))
        image.snapshot = True
        commands.append((PEER_IO, ['-f', image.fmt] + steps(rng, image) + [image.name]))
    if image.fmt == 'qcow2' and rng.random() < 0.15 and not image.has('compat'):
        commands.append((PEER, ['bitmap', '--add', image.name, 'bit']))
    for tool, arguments in commands:
        journal.add(folder, tool, arguments)
        run(tool, arguments, folder)


def chain(rng, folder, journal):
    sizes = [rng.choice([1, 2, 3]) * KILO * KILO + 512 * rng.randrange(0, 300) for _ in range(2)]
    images = []
    for number in range(rng.randrange(2, 5)):
        raw = number == 0 and rng.random() < 0.4
        options = '' if raw else rng.choice(OPTIONS).replace('DATA', f'i{number}.data')
        image = Image(f'i{number}', 'raw' if raw else 'qcow2', rng.choice(sizes), options)
        make(rng, folder, image, images[-1] if images else None, journal)
        images.append(image)
    return images


def content(folder, image, snapshot=False):
    words = ['convert', '-f', image.fmt, '-O', 'raw'] + (['-l', 's'] if snapshot else [])
    run(PEER, words + [image.name, 'content'], folder)
    try:
        with open(os.path.join(folder, 'content'), 'rb') as file:
            data = file.read()
        os.unlink(os.path.join(folder, 'content'))
    except FileNotFoundError:
        data = None
    return data


def bitmap(folder, image):
    """Its bitmaps with their flags, as text."""
    info = json.loads(run(PEER, ['info', '--output=json', '-f', 'qcow2', image.name], folder).out or '{}')
    return str(info.get('format-specific', {}).get('data', {}).get('bitmaps'))


def own(folder, image):
    result = run(PEER, ['map', '--output=json', '-f', image.fmt, image.name], folder)
    return [(e['start'], e['length']) for e in json.loads(result.out or '[]') if e['depth'] == 0 and e['present']]


def compare(images, ours, theirs, before, problems):
    top = images[-1]
    if content(ours, top) != before:
        problems.append('content of the top image changed')
    for image in images:
        for snapshot in (False, True) if image.snapshot else (False,):
            if content(ours, image, snapshot) != content(theirs, image, snapshot):
                problems.append(f'content of {image.name}{" (snapshot)" * snapshot} differs')
        if image.fmt == 'raw':
            continue
        check, his = [run(PEER, ['check', '-f', 'qcow2', image.name], where) for where in (ours, theirs)]
        if check.code != 0 and check.code != his.code:
            problems.append(f'{image.name}: check: {check.code} {check.out[:400]} {check.err[:400]}')
        info = [without(run(PEER, ['info', '-f', image.fmt, image.name], where).out, r'(file length: ).*',
                        r'(corrupt: ).*') for where in (ours, theirs)]
        if info[0] != info[1]:
            problems.append(f'{image.name}: info: ours {info[0]}\npeer {info[1]}')
        if bitmap(ours, image) != bitmap(theirs, image):
            problems.append(f'{image.name}: bitmaps: ours {bitmap(ours, image)}\npeer {bitmap(theirs, image)}')
    if own(ours, top) != own(theirs, top):
        problems.append(f'the top image holds {own(ours, top)}, qemu-img\'s {own(theirs, top)}')


def one(seed, folder):
    rng = random.Random(seed)
    journal = Journal()
    ours, theirs = os.path.join(folder, 'ours'), os.path.join(folder, 'peer')
    os.makedirs(ours)
    images = chain(rng, ours, journal)
    shutil.copytree(ours, theirs)
    words = ['commit', '-f', 'qcow2']
    if rng.random() < 0.35:
        words += ['-b', rng.choice(['', './']) + rng.choice(images).name]
    words += rng.choice([[], [], ['-d']]) + rng.choice([[], ['-t', 'none'], ['-t', 'unsafe'], ['-q'], ['-r', '1G']])
    words.append(images[-1].name)
    journal.add(ours, 'qemu-img', words)
    before, problems = content(ours, images[-1]), []
    if any('corrupt: true' in run(PEER, ['info', image.name], ours).out for image in images):
        return 'an image that qemu-io made corrupt', [], []
    mine, his = run(IMG, words, ours), run(PEER, words, theirs)
    if mine.differs(his):
        problems.append(mine.differs(his))
    compare(images, ours, theirs, before, problems)
    if his.code == 0 and not problems and rng.random() < 0.3:
        again = ['commit', '-f', 'qcow2', images[-1].name]
        if run(IMG, again, ours).differs(run(PEER, again, theirs)):
            problems.append('the second commit differs')
        compare(images, ours, theirs, before, problems)
    return ' '.join(words), problems, journal.lines


def main():
    each('commit-random', 12, one)


if __name__ == '__main__':
    main()
