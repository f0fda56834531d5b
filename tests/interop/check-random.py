#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Damage random qcow2 images; check and repair them with both tools and compare.

Standard output, standard error, exit code, JSON, and what a guest reads from the
repaired image must be the same.  Where the reference tool gives up on its own repair
("Marking image as corrupt"), ours must leave the image no worse than it was.

The environment is that of lib/harness.py; KEEP gets the damaged images of failed cases.
"""
import os
import random
import re
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
import damage  # noqa: E402
from damage import COMPRESSED, COPIED, OFFSET  # noqa: E402
from harness import IMG, KEEP, PEER, PEER_IO, Folder, cases  # noqa: E402

NAME = 'image.qcow2'
# Faults that qemu-img does not find.
FINDS_MORE = (r'is cut off: the file ends|before the end of the L1 table|image is truncated: |'
              r'zero cluster in an image of version 2')


class Image(damage.Image):
    """The bytes of a qcow2 image, and where its tables are; what does not fit stays as it is."""

    def put(self, offset, value):
        if 0 <= offset <= len(self.data) - 8:
            struct.pack_into('>Q', self.data, offset, value & (1 << 64) - 1)

    def l2_tables(self):
        for index in range(self.l1_size):
            offset = self.get(self.l1_offset + 8 * index) & OFFSET
            if offset and offset + self.cluster <= len(self.data):
                yield offset

    def l2_entries(self, used):
        for table in self.l2_tables():
            for index in range(self.cluster // self.entry):
                place = table + index * self.entry
                if bool(self.get(place)) == used:
                    yield place

    def put_count(self, cluster, value):
        block = self.get(self.table_offset + 8 * (cluster // self.per_block)) & OFFSET
        bit = cluster % self.per_block * self.width
        place = block + bit // 8
        if not block or place + 8 > len(self.data):
            return
        if self.width >= 8:
            size = self.width // 8
            self.data[place:place + size] = (value & (1 << self.width) - 1).to_bytes(size, 'big')
        else:
            mask = (1 << self.width) - 1 << bit % 8
            self.data[place] = self.data[place] & ~mask | (value << bit % 8) & mask

    def snapshots(self):
        place = self.snapshots_offset
        for _ in range(self.snapshot_count):
            ident, name = struct.unpack_from('>HH', self.data, place + 12)
            extra = struct.unpack_from('>I', self.data, place + 36)[0]
            yield place
            place = place + 40 + extra + ident + name + 7 & ~7


# ---- damage --------------------------------------------------------------------------

def some_offset(rng, image):
    """An offset that an entry may be made to point to."""
    clusters = len(image.data) // image.cluster
    kind = rng.randrange(8)
    if kind < 4:
        return rng.randrange(clusters) * image.cluster
    if kind == 4:
        return (clusters + rng.randrange(4)) * image.cluster
    if kind == 5:
        return rng.randrange(clusters) * image.cluster + 512 * rng.randrange(max(1, image.cluster // 512))
    if kind == 6:
        return rng.randrange(1 << 22) * image.cluster
    return rng.randrange(1 << 40) & OFFSET


def damage_count(rng, image):
    clusters = len(image.data) // image.cluster + 2
    cluster = rng.randrange(clusters)
    for _ in range(rng.choice((1, 1, 1, 3, 20))):
        image.put_count(cluster, rng.choice((0, 0, 1, 2, 2, 3, 255, (1 << image.width) - 1)))
        cluster = (cluster + 1) % clusters
    return 'count'


def damage_high_count(rng, image):
    clusters = len(image.data) // image.cluster + 2
    for _ in range(rng.choice((1, 2, 5))):
        image.put_count(rng.randrange(clusters), rng.choice((2, 3, (1 << image.width) - 1)))
    return 'high count'


def damage_l2(rng, image):
    entries = list(image.l2_entries(rng.randrange(8) != 0))
    if not entries:
        return 'nothing'
    place = rng.choice(entries)
    for _ in range(rng.choice((1, 1, 1, 2, 6))):
        value = image.get(place)
        kind = rng.randrange(12)
        if kind < 2:
            value ^= COPIED
        elif kind == 2:
            value = 0
        elif kind < 6:
            value = value & ~OFFSET | some_offset(rng, image)
        elif kind == 6:
            value |= 1 << rng.choice((1, 2, 8, 56, 57, 60, 61))
        elif kind == 7:
            value ^= 1
        elif kind == 8:
            value = COMPRESSED | rng.randrange(1 << 62)
        elif kind == 9:
            value = COMPRESSED | rng.randrange(len(image.data)) | rng.randrange(4) << 62 - (image.cluster_bits - 8)
        elif kind == 10:
            value = some_offset(rng, image) | rng.choice((0, 1, COPIED, COPIED | 1))
        else:
            value ^= COMPRESSED
        image.put(place, value)
        place = rng.choice((place, place + image.entry, rng.choice(entries)))
    return 'l2 entry'


def damage_subclusters(rng, image):
    if image.entry == 8:
        return damage_l2(rng, image)
    entries = list(image.l2_entries(rng.randrange(3) != 0))
    if not entries:
        return 'nothing'
    value = rng.choice((0, (1 << 32) - 1, (1 << 32) - 1 << 32, rng.randrange(1 << 64), rng.randrange(1 << 32),
                        rng.randrange(1 << 32) << 32))
    image.put(rng.choice(entries) + 8, value)
    return 'subclusters'


def damage_l1(rng, image):
    place = image.l1_offset + 8 * rng.randrange(max(1, image.l1_size))
    value = image.get(place)
    kind = rng.randrange(7)
    if kind < 2:
        value ^= COPIED
    elif kind == 2:
        value = 0
    elif kind == 3:
        value |= 1 << rng.choice((0, 3, 8, 56, 62))
    elif kind == 4:
        tables = list(image.l2_tables()) or [0]
        value = value & ~OFFSET | rng.choice(tables)
    else:
        value = value & ~OFFSET | some_offset(rng, image)
    image.put(place, value)
    return 'l1 entry'


def damage_refcount_table(rng, image):
    entries = image.table_clusters * image.cluster // 8
    used = [index for index, _ in image.blocks()] or [0]
    index = rng.choice(used + [rng.randrange(min(entries, 40))])
    place = image.table_offset + 8 * index
    value = image.get(place)
    kind = rng.randrange(5)
    if kind == 0:
        value = 0
    elif kind == 1:
        value |= 1 << rng.randrange(9)
    elif kind == 2:
        value = image.get(image.table_offset + 8 * rng.choice(used))
    else:
        value = some_offset(rng, image) & (1 << 32) - 1     # qemu-img makes the file that long
    image.put(place, value)
    return 'refcount table'


def damage_snapshot(rng, image):
    places = list(image.snapshots())
    if not places:
        return damage_l1(rng, image)
    place = rng.choice(places)
    kind = rng.randrange(7)
    if kind == 0:
        image.put(place, some_offset(rng, image))
    elif kind == 1:
        struct.pack_into('>I', image.data, place + 8, rng.choice((0, 1, 2, 5, 1 << 30)))
    elif kind == 2:
        struct.pack_into('>I', image.data, place + 36, rng.choice((0, 8, 15, 16)))
    elif kind == 3:
        struct.pack_into('>I', image.data, 60, rng.choice((0, 1, image.snapshot_count + 1)))
    elif kind == 4:
        struct.pack_into('>I', image.data, place + 36, rng.choice((1025, 4000)))
    else:
        l1 = image.get(place)
        image.put(l1, rng.choice((0, image.get(l1) ^ COPIED, image.get(l1) | 2, some_offset(rng, image))))
    return 'snapshot'


def damage_length(rng, image):
    length = len(image.data)
    kind = rng.randrange(5)
    if kind == 0:
        del image.data[max(image.cluster, length - rng.randrange(1, image.cluster)):]
    elif kind == 1:
        del image.data[max(image.cluster, length - rng.randrange(1, 12) * image.cluster):]
    elif kind == 2:
        image.data.extend(bytes(rng.randrange(1, 4 * image.cluster)))
    else:
        image.data.extend(b'x' * (rng.randrange(1, 4) * image.cluster))
    return 'length'


def damage_features(rng, image):
    if image.version < 3:
        return 'nothing'
    image.put(72, image.incompatible | rng.choice((1, 2, 3)))
    return 'features'


def damage_metadata(rng, image):
    tables = list(image.l2_tables()) + [offset for _, offset in image.blocks()] + [image.l1_offset, image.table_offset]
    place = rng.choice(tables) + 8 * rng.randrange(min(image.cluster // 8, 64))
    image.put(place, rng.choice((rng.randrange(1 << 64), some_offset(rng, image), 0, (1 << 64) - 1)))
    return 'metadata'


DAMAGES = (damage_count, damage_count, damage_high_count, damage_high_count, damage_l2, damage_l2, damage_l2,
           damage_l1, damage_refcount_table, damage_snapshot, damage_snapshot, damage_length, damage_features,
           damage_metadata, damage_subclusters)


# ---- images to damage ------------------------------------------------------------------

def run(*arguments, check=True):
    result = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=900)
    if check and result.returncode:
        raise RuntimeError('%s: %s' % (' '.join(arguments), result.stderr.decode(errors='replace')))
    return result


def make(name, options, size, steps):
    run(PEER, 'create', '-q', '-f', 'qcow2', *(['-o', options] if options else []), name, size)
    for step in steps:
        if step.startswith('snapshot '):
            run(PEER, 'snapshot', '-c', step.split()[1], name)
        elif step.startswith('bitmap '):
            run(PEER, 'bitmap', '--add', '-g', '64k', name, step.split()[1])
        else:
            run(PEER_IO, '-f', 'qcow2', '-c', step, name)
    with open(name, 'rb') as file:
        return file.read()


def make_all():
    writes = ['write -P 1 0 40k', 'write -P 2 100k 30k', 'write -z 160k 16k', 'write -P 3 200k 4k']
    packed = ['write -c -P 4 256k 64k', 'write -c -P 5 320k 64k', 'write -P 6 384k 8k']
    snapshots = ['snapshot one', 'write -P 7 8k 12k', 'snapshot two', 'write -P 8 110k 4k', 'write -z 0 4k']
    plain = []
    for options, steps in (
            ('cluster_size=512', writes), ('cluster_size=512', writes + snapshots),
            ('cluster_size=512,refcount_bits=1', writes), ('cluster_size=1k,refcount_bits=8', writes + snapshots),
            ('cluster_size=4k', writes + snapshots), ('cluster_size=4k,refcount_bits=64', writes + snapshots),
            ('cluster_size=4k,refcount_bits=2', writes), ('cluster_size=64k', writes + packed + snapshots),
            ('cluster_size=64k,compat=0.10', writes + packed + snapshots),
            ('cluster_size=64k,lazy_refcounts=on', writes + packed),
            ('cluster_size=512,compat=0.10', writes), ('cluster_size=512,preallocation=metadata', writes),
            ('cluster_size=16k,extended_l2=on', writes + snapshots),
            ('cluster_size=64k,extended_l2=on,refcount_bits=32', writes + packed + snapshots),
            ('cluster_size=4k', writes + ['bitmap b0', 'bitmap b1'])):
        plain.append((options, make('base.qcow2', options, '512k', steps)))
        os.unlink('base.qcow2')
    external = 'data_file=data.raw,cluster_size=4k'
    plain.append((external, make('base.qcow2', external, '512k', writes)))
    os.unlink('base.qcow2')
    return plain


# ---- comparing ---------------------------------------------------------------------------

def check(tool, data, *arguments):
    """Result of one check of these bytes, and the bytes afterwards."""
    with open(NAME, 'wb') as file:
        file.write(data)
    result = run(tool, 'check', *arguments, NAME, check=False)
    return result.returncode, result.stdout.decode(errors='replace'), result.stderr.decode(errors='replace')


def guest(name):
    result = run(PEER, 'convert', '-U', '-f', 'qcow2', '-O', 'raw', name, 'guest.raw', check=False)
    if result.returncode:
        return None
    with open('guest.raw', 'rb') as file:
        return file.read()


def corruptions(output):
    found = re.search(r'^(\d+) errors were found', output, re.M)
    return int(found.group(1)) if found else 0


def may_be_better(theirs):
    """Whether qemu-img gave up or did harm: then another result is right if it is a better one.

    It writes new tables over what it could not count, among that where references beyond
    the end of the file lead to when the file gets longer.
    """
    status, _, stderr = theirs
    return (status == 1 or 'Marking image as corrupt' in stderr or 'qcow2_free_clusters failed' in stderr or
            'Rebuilding' in stderr and 'exceeding the end of the file' in stderr)


def no_worse(original, theirs, their_check, faults):
    """Our repair, where there is none to compare with: not more corruptions, and the same to read."""
    ours = check_file(PEER)
    best = original.check if theirs[0] == 1 else their_check
    if best[0] in (0, 2, 3):
        if ours[0] not in (0, 2, 3):
            faults.append('repaired image: exit code %d\n%s' % (ours[0], ours[2]))
        if corruptions(ours[1]) > corruptions(best[1]):
            faults.append('%d corruptions after repair, best is %d' % (corruptions(ours[1]), corruptions(best[1])))
    if original.guest is not None and guest(NAME) != original.guest:
        faults.append('guest contents changed')


def check_file(tool):
    result = run(tool, 'check', NAME, check=False)
    return result.returncode, result.stdout.decode(errors='replace'), result.stderr.decode(errors='replace')


class Original:
    """The damaged image and what it is to qemu-img."""

    def __init__(self, data):
        self.data = data
        self.bitmaps = b'b0' in data        # qemu-img moves them whenever it opens an image for writing
        self.check = check(PEER, data)
        self.guest = guest(NAME)


def compare(mode, original, faults):
    label = 'check ' + ' '.join(mode)
    repair = '-r' in mode
    theirs = check(PEER, original.data, *mode)
    their_guest = guest(NAME) if repair else None
    their_check = check_file(PEER) if repair else None
    ours = check(IMG, original.data, *mode)
    if ours[0] not in (0, 1, 2, 3):
        faults.append('%s: exit code %d\n%s' % (label, ours[0], ours[2]))
        return
    found = []
    for what, a, b in zip(('exit code', 'standard output', 'standard error'), theirs, ours):
        if a != b:
            found.append('%s: %s\n--- peer\n%s\n--- ours\n%s' % (label, what, a, b))
    if repair and not original.bitmaps:
        if their_guest is not None and guest(NAME) != their_guest:
            found.append('%s: guest contents' % label)
        our_check = check_file(PEER)
        if our_check != their_check:
            found.append('%s: qemu-img on the repaired image\n--- peer\n%s\n--- ours\n%s' %
                         (label, their_check, our_check))
    finds_more = re.search(FINDS_MORE, ours[2])
    if found and not repair and finds_more:
        found = [] if 'errors were found' in ours[1] or 'corruptions' in ours[1] else found
    if found and finds_more and 'leaks' in mode:
        # (-r leaks mends nothing else where there are such faults)
        same = original.guest is None or guest(NAME) == original.guest
        found = [] if same else ['%s: guest contents changed' % label]
    elif found and repair and (may_be_better(theirs) or finds_more):
        found = []
        no_worse(original, theirs, their_check, found)
    faults.extend(found)


def case(seed, bases):
    rng = random.Random(seed)
    options, base = rng.choice(bases)
    image = Image(base)
    damages = []
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        try:
            damages.append(rng.choice(DAMAGES)(rng, image))
        except (struct.error, IndexError):
            damages.append('out of reach')      # of what an earlier damage left
    faults = []
    original = Original(bytes(image.data))
    for mode in ((), ('--output=json',), ('-r', 'leaks'), ('-r', 'all'), ('-r', 'all', '--output=json')):
        compare(mode, original, faults)
    if faults and KEEP:
        with open(os.path.join(KEEP, '%d.qcow2' % seed), 'wb') as file:
            file.write(original.data)
    return '%s: %s' % (options, ', '.join(damages)), faults


def shortened(fault):
    lines = fault.splitlines()
    return '\n'.join(lines if len(lines) <= 60 else lines[:60] + ['...'])


def main():
    seeds, tap = cases('check-random', 80)
    # Both read the same file by the same name, as the name is part of what they say.
    with Folder('check-random') as folder:
        os.chdir(folder.path)
        bases = make_all()
        for seed in seeds:
            title, faults = case(seed, bases)
            tap.result(f'seed {seed}: {title}', [shortened(fault) for fault in faults])
        os.chdir('/')
    tap.end()


if __name__ == '__main__':
    main()
