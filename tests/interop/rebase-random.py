#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""rebase on two copies of a random tree of images, by ours and by the reference tool.

Images of many formats, sizes and cluster sizes back each other; one of them gets another backing
file: an ancestor, a cousin that shares a tail with it, a stranger, or none.  Afterwards every image reads the
same in both copies (and the rebased one as before, unless -u), the reference tool's check is clean,
`info` tells the same, and so does the allocation map unless it says that ours wrote less.

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
OPTIONS = [[], ['-o', 'cluster_size=4k'], ['-o', 'cluster_size=512'], ['-o', 'extended_l2=on,cluster_size=16k'],
           ['-o', 'compat=0.10'], ['-o', 'compat=0.10,cluster_size=8k'], ['-o', 'lazy_refcounts=on'],
           ['-o', 'refcount_bits=1'], ['-o', 'data_file=DATA'], ['-o', 'cluster_size=256k'],
           ['-o', 'compression_type=zstd,cluster_size=32k']]
KINDS = ['write -P 1', 'write -P 1', 'write -P 2', 'write -P 0', 'write -z', 'write -z -u', 'discard']


class Image:
    def __init__(self, name, fmt, size, parent):
        self.name, self.fmt, self.size, self.parent = name, fmt, size, parent
        self.options = []

    def chain(self):
        image = self
        while image:
            yield image
            image = image.parent


def steps(rng, image):
    """Some writes as qemu-io commands; few patterns, so that images often agree."""
    found = []
    for _ in range(rng.randrange(0, 8)):
        unit = rng.choice([512, 4 * KILO, 64 * KILO])
        at = rng.randrange(0, image.size // unit + 1) * unit
        length = min(unit * rng.randrange(1, 12), image.size - at)
        if length <= 0:
            continue
        kind = rng.choice(KINDS)
        if image.fmt == 'qcow2' and rng.random() < 0.1 and 'data_file' not in str(image.options):
            cluster = 256 * KILO
            at = at // cluster * cluster
            kind, length = 'write -c -P 2', min(cluster, image.size - at)
        found += ['-c', f'{kind} {at} {length}']
    return found


def words_of(image):
    return set(' '.join(image.options).replace('=', ' ').replace(',', ' ').split())


def tree(rng, folder, journal):
    images = []
    sizes = [rng.choice([1, 2, 3]) * KILO * KILO + 512 * rng.randrange(0, 300) for _ in range(3)]

    def do(tool, words):
        journal.add(folder, tool, words)
        result = run(tool, words, folder)
        assert result.code == 0 or words[0] != 'create', (words, result.err)   # not every image can do all
    for number in range(rng.randrange(3, 7)):
        last = number >= 2
        parents = [None] + images
        parent = rng.choice(parents[1:] if images and rng.random() < 0.8 else parents)
        fmt = 'raw' if not last and rng.random() < 0.3 else 'qcow2'
        image = Image(f'i{number}', fmt, rng.choice(sizes), parent if fmt == 'qcow2' else None)
        words = ['create', '-q', '-f', fmt]
        if fmt == 'qcow2':
            image.options = [word.replace('DATA', image.name + '.data') for word in rng.choice(OPTIONS)]
            words += image.options
            if image.parent:
                words += ['-b', image.parent.name, '-F', image.parent.fmt]
        do(PEER, words + [image.name, str(image.size)])
        commands = steps(rng, image)
        if commands:
            do(PEER_IO, ['-f', fmt] + commands + [image.name])
        if fmt == 'qcow2' and rng.random() < 0.1 and not {'data_file', 'refcount_bits'} & words_of(image):
            do(PEER, ['snapshot', '-c', 's', image.name])
        images.append(image)
    return images


def content(folder, image):
    run(PEER, ['convert', '-f', image.fmt, '-O', 'raw', image.name, 'content'], folder)
    with open(os.path.join(folder, 'content'), 'rb') as file:
        data = file.read()
    os.unlink(os.path.join(folder, 'content'))
    return data


def own_data(folder, image):
    """Bytes that the image itself holds or calls zero."""
    result = run(PEER, ['map', '--output=json', '-f', image.fmt, image.name], folder)
    return sum(e['length'] for e in json.loads(result.out or '[]')
               if e['depth'] == 0 and (e['data'] or e.get('present', True)))


def name_of(rng, backing):
    if rng.random() < 0.15:
        return f'json:{{"driver":"{backing.fmt}","file":{{"driver":"file","filename":"{backing.name}"}}}}'
    return rng.choice(['', '', './', 'file:']) + backing.name


def command(rng, images):
    """Arguments, the image that is rebased, and whether it must read as before."""
    overlay = rng.choice([i for i in images if i.fmt == 'qcow2'])
    others = [i for i in images if overlay not in i.chain()]
    backing = rng.choice(others + [None]) if others else None
    words = ['rebase', '-f', 'qcow2']
    unsafe = rng.random() < 0.1
    words += ['-u'] if unsafe else []
    words += ['-b', name_of(rng, backing) if backing else '']
    if backing and rng.random() < 0.95:
        words += ['-F', backing.fmt]
    if rng.random() < 0.25 and 'data_file' not in str(overlay.options):
        words.append('-c')
    words += rng.choice([[], [], ['-t', 'none'], ['-T', 'none'], ['-t', 'unsafe'], ['-U'], ['-q']])
    if rng.random() < 0.05:
        words += ['-F', 'nonsense']
    return words + [overlay.name], overlay, not unsafe


def compare(title, ours, theirs, images, overlay, before, safe, problems):
    after, peers = content(ours, overlay), content(theirs, overlay)
    if safe and after != before:
        problems.append(f'{title}: content of {overlay.name} changed')
    if safe and peers != before:
        problems.append(f'{title}: qemu-img changed the content of {overlay.name}')
    for image in images:
        if content(ours, image) != content(theirs, image):
            problems.append(f'{title}: content of {image.name} differs')
    check = run(PEER, ['check', '-f', 'qcow2', overlay.name], ours)
    if check.code != 0:
        problems.append(f'{title}: check: {check.code} {check.out} {check.err}')
    words = ['info', '-f', 'qcow2', overlay.name]
    info = [without(run(PEER, words, where).out, r'(file length: ).*') for where in (ours, theirs)]
    if info[0] != info[1]:
        problems.append(f'{title}: info: ours {info[0]}\npeer {info[1]}')
    mine, his = own_data(ours, overlay), own_data(theirs, overlay)
    if mine > his:
        problems.append(f'{title}: ours holds {mine} bytes, qemu-img {his}')


def one(seed, folder):
    rng = random.Random(seed)
    journal = Journal()
    ours, theirs = os.path.join(folder, 'w', 'x'), os.path.join(folder, 'peer')
    os.makedirs(ours)
    images = tree(rng, ours, journal)
    shutil.copytree(ours, theirs)
    # both work in a folder of the same name, as the name is a part of what is stored
    problems, title = [], ''
    for _ in range(rng.randrange(1, 4)):
        words, overlay, safe = command(rng, images)
        title = ' '.join(words)
        journal.add(ours, 'qemu-img', words)
        before = content(ours, overlay)
        mine, his = run(IMG, words, ours), run(PEER, words, theirs)
        # qemu-img dies of an assertion (-c where part of a cluster is allocated), or loses zeroes of version 2, which has no
        # way to store them; ours has to do it all the same
        lost = safe and not overlay.parent and '0.10' in words_of(overlay) and content(theirs, overlay) != before
        if his.code == -6 or lost:
            refused = 'backing format must be specified' in mine.err and '-F' not in words
            if (mine.code != 0 and not refused) or content(ours, overlay) != before:
                problems.append(f'{title}: qemu-img failed, ours {mine.code} {mine.err}')
            break
        difference = mine.differs(his)
        if difference:
            problems.append(f'{title}: {difference}')
        compare(title, ours, theirs, images, overlay, before, safe, problems)
        if problems:
            break
        # the links of the tree as they are now
        if his.code == 0:
            name = words[words.index('-b') + 1]
            overlay.parent = next((i for i in images if name and i.name in name.split('"')[-2:] + [
                name.replace('./', '').replace('file:', '')]), None)
            if name.startswith('json:'):
                overlay.parent = next(i for i in images if f'"{i.name}"' in name)
    return title, problems, journal.lines


def main():
    each('rebase-random', 12, one)


if __name__ == '__main__':
    main()
