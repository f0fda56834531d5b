#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random parallels images, side by side with the reference tool.

A case makes an empty image with random options (the same bytes from both), converts random content into it with both
tools (the same map; the other tool reads the same content), lets the reference tool write, zero and discard in it, in
the earlier kind of header too, writes over that with ours, and compares what both say of all these files.
Every third case damages the header or the table and compares check and repair.

environment: see lib/harness.py
"""
import os
import shutil
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import each, IMG, PEER, PEER_IO, Result  # noqa: E402
from imagecase import ImageCase  # noqa: E402

Result.may_be_truncated = True

SECTOR = 512
CLUSTERS = ['512', '1k', '1536', '4k', '32256', '64k', '63k', '100000', '252k', '1M', '1025k', '5M']
ODD = ['1536', '32256', '63k', '100000', '252k', '1025k', '5M']
IN_USE, CLOSED = 0x746f6e59, 0x312e3276


class Case(ImageCase):
    def __init__(self, seed, folder):
        super().__init__('parallels', seed, folder)
        self.title, self.old = [], False

    def problem(self, what, text):
        self.problems.append(f'{what}: {text}'[:1500])

    def same(self, words, changes=None):
        """Both tools say the same; `changes`: the file that they work on, and that has to come out the same."""
        before = self.read(changes) if changes else b''
        theirs, after = self.run(PEER, words), self.read(changes) if changes else b''
        if changes:
            self.write(changes, before, 'as before')
        ours = self.run(IMG, words)
        if isinstance(theirs.code, int) and theirs.code < 0:
            # An assertion of theirs ends it; ours has to end well.
            if ours.code not in (0, 1, 2, 3):
                self.problem('where qemu-img crashes', f'{words}: {ours.code} {ours.err}')
            return
        if theirs.code == 1 and 'busy' in theirs.err and ours.code == 2:
            return          # more than one cluster in one place: theirs ends early
        if words[0] == 'check' and theirs.code and self.cluster in ODD:
            return          # it rounds as if every cluster were a power of two, and calls its own images wrong
        difference = ours.differs(theirs)
        if difference:
            self.problem(' '.join(words), difference)
        elif changes and unmarked(self.read(changes)) != unmarked(after):
            self.problem(' '.join(words), f'the file differs at byte {first_difference(self.read(changes), after)}')

    def views(self, name):
        for words in (['info', name], ['info', '--output=json', '-f', 'parallels', name], ['check', name],
                      ['check', '--output=json', name], ['measure', '-O', 'qcow2', name],
                      ['map', '--output=json', '-f', 'parallels', name], ['map', name]):
            self.same(words)

    def content_is(self, name, raw, who=(PEER, IMG)):
        for tool in who:
            result = self.run(tool, ['convert', '-f', 'parallels', '-O', 'raw', name, 'back.raw'])
            if result.code:
                self.problem(f'{tool} reads {name}', result.err)
            elif self.read('back.raw') != raw:
                at = first_difference(self.read('back.raw'), raw)
                self.problem(f'{tool} reads {name}', f'other content at {at}')

    # ---- steps

    def create(self):
        self.cluster = self.rng.choice(CLUSTERS)
        self.size = self.rng.choice([0, 1, 511, 513, 4096, self.rng.randrange(1 << 23), self.rng.randrange(1 << 23),
                                     self.rng.randrange(1 << 16) * SECTOR])
        if self.rng.random() < 0.1 and self.cluster not in ('512', '1k', '1536', '4k'):
            self.size = self.rng.randrange(1 << 36)
        options = [] if self.cluster == '1M' else ['-o', f'cluster_size={self.cluster}']
        self.title.append(f'{self.cluster} {self.size}')
        for tool, name in (PEER, 'p.hdd'), (IMG, 'o.hdd'):
            made = self.run(tool, ['create', '-f', 'parallels'] + options + [name, str(self.size)])
            if made.code:
                self.problem('create', made.err)
        if self.read('p.hdd') != self.read('o.hdd'):
            self.problem('create', f"differs at {first_difference(self.read('o.hdd'), self.read('p.hdd'))}")
        self.views('o.hdd')

    def source(self):
        size = -(-self.size // SECTOR) * SECTOR
        data = bytearray(size)
        for _ in range(self.rng.randrange(12)):
            at = self.rng.randrange(max(1, size // SECTOR)) * SECTOR
            length = min(size - at, self.rng.choice([SECTOR, 4096, 65536, self.rng.randrange(1 << 20)]))
            data[at:at + length] = self.rng.choice([bytes(length), bytes([self.rng.randrange(1, 256)]) * length,
                                                    self.rng.randbytes(length)])
        self.write('s.raw', data, 'random content')
        return bytes(data)

    def convert(self, raw):
        words = ['convert', '-f', 'raw', '-O', 'parallels', '-o', f'cluster_size={self.cluster}']
        words += self.rng.choice([[], ['-S', '0'], ['-S', '64k'], ['-m', '1'], ['-W'], ['-W', '-m', '16']])
        self.title.append(' '.join(words[7:]))
        for tool, name in (PEER, 'p.hdd'), (IMG, 'o.hdd'):
            made = self.run(tool, words + ['s.raw', name])
            if made.code:
                self.problem('convert', made.err)
        if self.off_its_grid('p.hdd'):
            shutil.copy(self.path('o.hdd'), self.path('p.hdd'))
        for name in 'p.hdd', 'o.hdd':
            self.content_is(name, raw)
            self.views(name)
        if '-W' not in words and table(self.read('o.hdd')) != table(self.read('p.hdd')):
            self.problem('convert', f"table {table(self.read('o.hdd'))[:20]}, peer {table(self.read('p.hdd'))[:20]}")

    def off_its_grid(self, name):
        """Where a cluster is no power of two, theirs moves the start of the data, and then misses what it wrote."""
        tracks, data_off = struct.unpack_from('<I16xI', self.read(name), 28)
        return data_off % tracks != 0

    def old_header(self, name):
        """The table in sectors: an image of the earlier kind."""
        data = bytearray(self.read(name))
        tracks, count = struct.unpack_from('<II', data, 28)
        data[:16] = b'WithoutFreeSpace'
        self.old = True
        entries = [entry * tracks for entry in table(data)]
        struct.pack_into(f'<{count}I', data, 64, *entries)
        if self.rng.random() < 0.5:
            struct.pack_into('<I', data, 48, 0 if not any(entries) else struct.unpack_from('<I', data, 48)[0])
        self.write(name, data, 'with an old header')

    def peer_writes(self, name, raw):
        steps, data = [], bytearray(raw)
        for _ in range(self.rng.randrange(1, 8) if raw else 0):
            at = self.rng.randrange(len(raw) // SECTOR) * SECTOR
            length = min(len(raw) - at, SECTOR * self.rng.choice([1, 7, 128, self.rng.randrange(1, 2048)]))
            kind = self.rng.choice(['write', 'write', 'write -z', 'discard'])
            if kind == 'write':
                byte = self.rng.randrange(1, 256)
                steps += ['-c', f'write -P {byte} {at} {length}']
                data[at:at + length] = bytes([byte]) * length
            else:
                steps += ['-c', f'{kind} {at} {length}']
                data[at:at + length] = bytes(length)
        if steps:
            self.run(PEER_IO, ['-f', 'parallels'] + steps + [name])
        result = self.run(PEER, ['convert', '-f', 'parallels', '-O', 'raw', name, 'back.raw'])
        return self.read('back.raw') if result.code == 0 else None

    def ours_writes(self, name):
        data = self.source()
        flags = self.rng.choice([[], ['-S', '0'], ['-W', '-m', '8'], ['-S', '512']])
        result = self.run(IMG, ['convert', '-n', '-f', 'raw', '-O', 'parallels'] + flags + ['s.raw', name])
        if result.code or result.err:
            self.problem('write over it', f'{result.code} {result.err}')
            return
        self.content_is(name, data)
        check = self.run(IMG if self.cluster in ODD else PEER, ['check', '-f', 'parallels', name])
        if check.code not in ([0, 3] if self.old else [0]):
            self.problem('check of what was written over', check.out + check.err)
        self.views(name)

    # ---- damage

    def damage(self, name):
        data = bytearray(self.read(name))
        tracks, count, sectors = struct.unpack_from('<IIQ', data, 28)
        entries = table(data)
        used = [n for n, entry in enumerate(entries) if entry]
        kind = self.rng.choice(['twice', 'outside', 'leak', 'in use', 'data_off', 'header', 'cut', 'noise'])
        if kind == 'twice' and len(used) > 1:
            a, b = self.rng.sample(used, 2)
            struct.pack_into('<I', data, 64 + 4 * a, entries[b])
        elif kind == 'outside' and used:
            struct.pack_into('<I', data, 64 + 4 * self.rng.choice(used), max(entries) + self.rng.randrange(1, 9))
        elif kind == 'leak':
            data += bytes(self.rng.randrange(1, 3 * tracks * SECTOR + 2))
        elif kind == 'in use':
            struct.pack_into('<I', data, 44, self.rng.choice([IN_USE, IN_USE, CLOSED, 1]))
        elif kind == 'data_off':
            struct.pack_into('<I', data, 48, self.rng.choice([0, 1, 0xffffffff]))
        elif kind == 'header':
            at = self.rng.choice([0, 7, 15, 16, 28, 29, 31, 35])
            data[at] ^= 1 << self.rng.randrange(8)
            if at == 28 and not struct.unpack_from('<I', data, 28)[0] % 2:
                kind = 'header, even'
        elif kind == 'cut':
            del data[self.rng.randrange(len(data)):]
        else:
            data[20:28] = self.rng.randbytes(8)
        self.title.append(kind)
        self.write(name, data, 'damaged: ' + kind)
        self.damaged = kind

    def damaged_views(self, name):
        for words in (['info', '-f', 'parallels', name], ['map', '--output=json', '-f', 'parallels', name]):
            self.same(words)
        if self.damaged in ('twice', 'leak', 'in use', 'noise'):
            self.same(['check', '-f', 'parallels', name])
            self.same(['check', '-f', 'parallels', '-r', 'all', name], name)
            self.same(['check', '--output=json', '-f', 'parallels', name])
            return
        for words in (['check'], ['check', '-r', 'all'], ['check']):
            result = self.run(IMG, words + ['-f', 'parallels', name])
            if result.code not in (0, 1, 2, 3):
                self.problem('check of damage', f'{result.code} {result.err}')
        if self.damaged in ('outside', 'data_off') and result.code:
            self.problem('after the repair', f'{result.code} {result.out}')


def unmarked(data):
    """Without the mark of use, which theirs takes off also where nothing was changed."""
    return data[:44] + data[48:]


def table(data):
    count = struct.unpack_from('<I', data, 32)[0]
    return list(struct.unpack_from(f'<{count}I', data, 64))


def first_difference(a, b):
    return next((n for n, (x, y) in enumerate(zip(a, b)) if x != y), f'{len(a)} and {len(b)} bytes long')


def one(seed, folder):
    case = Case(seed, folder)
    case.create()
    if case.size < 1 << 24 and not case.problems:
        raw = case.source()
        case.convert(raw)
        name = case.rng.choice(['p.hdd', 'o.hdd'])
        if case.rng.random() < 0.4:
            case.title.append('old header')
            case.old_header(name)
            case.content_is(name, raw)
        now = case.peer_writes(name, raw)
        if now is not None:
            case.content_is(name, now, (IMG,))
            case.views(name)
        if seed % 3 == 0:
            case.damage(name)
            case.damaged_views(name)
        elif now is not None:
            case.ours_writes(name)
    return case.report(' | '.join(case.title))


if __name__ == '__main__':
    each('parallels-random', 15, one)
