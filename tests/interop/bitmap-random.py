#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random sequences of bitmap commands by both tools on two copies; lists, flags and bits stay the same.

After each step the bitmaps are read from the images by a parser of our own; after the last one
the reference tool also tells the bits (through its NBD server) and checks both images.  Steps:
bitmap with one or more actions, writes with qemu-io, a writer that dies, resize, convert
--bitmaps, convert -n into the image, and the two images changing places, so that each tool
goes on with what the other one has left.

environment: IMG, PEER, PEER_IO, SEED (1), COUNT, KEEP: see lib/harness.py
"""
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, PEER_IO, Journal, each, run  # noqa: E402
from sockets import listening  # noqa: E402

NBD = os.path.join(os.path.dirname(PEER), 'qemu-nbd') if PEER else ''
NAMES = ['b0', 'b1', 'b2', 'ünï', 'x' * 100]
EXTENSION, OFFSET = 0x23852875, 0x00fffffffffffe00
IN_USE = 1


class Bitmap:
    """What an image says about one of its bitmaps."""

    def __init__(self, name, flags, granularity, bits):
        self.name, self.flags, self.granularity, self.bits = name, flags, granularity, bits

    def __eq__(self, other):
        same = (self.name, self.flags, self.granularity) == (other.name, other.flags, other.granularity)
        return same and (self.flags & IN_USE or self.bits == other.bits)

    def __repr__(self):
        set_bits = [i for i in range(len(self.bits) * 8) if self.bits[i // 8] >> i % 8 & 1]
        return f'{self.name[:8]} flags={self.flags} granularity={self.granularity} bits={set_bits[:40]}'


class Image:
    """The bitmaps of a qcow2 image."""

    def __init__(self, path):
        with open(path, 'rb') as file:
            self.data = file.read()
        self.cluster = 1 << self.u32(20)
        self.size = self.u64(24)
        self.bitmaps = []
        at = self.u32(100)
        while self.u32(at):
            if self.u32(at) == EXTENSION and self.u64(88) & 1:
                self.directory(self.u32(at + 8), self.u64(at + 16), self.u64(at + 24))
            at += 8 + (self.u32(at + 4) + 7) // 8 * 8

    def u32(self, at):
        return struct.unpack_from('>I', self.data, at)[0]

    def u64(self, at):
        return struct.unpack_from('>Q', self.data, at)[0]

    def directory(self, count, size, at):
        end = at + size
        while at < end:
            table, entries, flags, kind, order, length, extra = struct.unpack_from('>QIIBBHI', self.data, at)
            assert kind == 1 and extra == 0
            name = self.data[at + 24:at + 24 + length].decode()
            self.bitmaps.append(Bitmap(name, flags, 1 << order, self.bits(table, entries, order)))
            at += (24 + length + 7) // 8 * 8
        assert at == end and len(self.bitmaps) == count

    def bits(self, table, entries, order):
        bits = b''
        for i in range(entries):
            entry = self.u64(table + 8 * i)
            place = entry & OFFSET
            part = self.data[place:place + self.cluster] if place else (b'\xff' if entry & 1 else b'\0') * self.cluster
            bits += part.ljust(self.cluster, b'\0')
        count = (self.size + (1 << order) - 1) >> order
        assert entries == ((count + 7) // 8 + self.cluster - 1) // self.cluster or not count
        return bits[:(count + 7) // 8]


class Case:
    def __init__(self, seed, folder):
        self.r = random.Random(seed)
        self.folder, self.journal, self.problems = folder, Journal(), []
        self.crashed = False
        r = self.r
        self.cluster = r.choice([512, 512, 1024, 4096, 65536, 65536, 1 << 20])
        self.size = r.choice([1 << 20, 3 << 20, 10 << 20, 10 << 20, 5000 << 10, 40 << 20]) + 512 * r.randrange(0, 3)
        if self.cluster == 512:
            self.size = min(self.size, 12 << 20)
        self.files = ['a', 'b']

    def path(self, side, name=''):
        return os.path.join(self.folder, side, name)

    def both(self, arguments, ours=IMG):
        """The same command by both; what they say must be the same."""
        self.journal.add('{ours,peer}', 'qemu-img', arguments)
        one, two = run(ours, arguments, self.path('ours')), run(PEER, arguments, self.path('peer'))
        for result in one, two:
            result.err = re.sub(r'#block\d+', '#blockN', result.err)
        different = one.differs(two)
        if different:
            self.problems.append(f'{arguments}: {different}')

    def io(self, *commands):
        """The reference tool writes to both."""
        arguments = [word for command in commands[1:] for word in ('-c', command)] + [commands[0]]
        self.journal.add('{ours,peer}', 'qemu-io', ['-f', 'qcow2'] + arguments)
        results = []
        for side in 'ours', 'peer':
            results.append(run(PEER_IO, ['-f', 'qcow2'] + arguments, self.path(side)))
        if results[0].code != results[1].code:
            self.problems.append(f'qemu-io {arguments}: {results[0].code} {results[0].err} '
                                 f'{results[1].code} {results[1].err}')

    # ---- steps

    def granularity(self):
        r = self.r
        if r.random() < 0.03:
            return r.choice(['511', '513', '0', '4G', '3k', 'x'])
        return str(r.choice([512, 1024, 4096, 65536, 1 << 20, 1 << 31]))

    def bitmap(self):
        r, arguments, merge = self.r, [], False
        for _ in range(r.choice([1, 1, 1, 2, 3])):
            what = r.choice(['--add', '--add', '--add', '--remove', '--clear', '--enable', '--enable', '--disable',
                             '--merge'])
            arguments.append(what)
            if what == '--merge':
                merge = True
                arguments.append(r.choice(NAMES))
        if '--add' in arguments and r.random() < 0.7 or r.random() < 0.02:
            arguments += ['-g', self.granularity()]
        image = r.choice(self.files[:1] * 3 + self.files)
        if merge and r.random() < 0.5 or r.random() < 0.02:
            other = r.choice(self.files)
            if other != image:
                arguments += ['-b', other] + r.choice([[], ['-F', 'qcow2']])
        self.both(['bitmap'] + r.choice([[], ['-f', 'qcow2']]) + arguments + [image, r.choice(NAMES)])

    def range(self):
        r = self.r
        offset = r.randrange(0, self.size) // 512 * 512
        length = min(r.choice([512, 4096, 65536, 300 << 10, 5 << 20]), self.size - offset)
        return f'{offset} {length // 512 * 512 or 512}'

    def write(self, name=None):
        r = self.r
        commands = [r.choice(['write', 'write', 'write -z', 'discard']) + ' ' + self.range() for _ in range(3)]
        self.io(name or r.choice(self.files), *commands)

    def crash(self):
        if self.r.random() < 0.3:
            self.crashed = True
            self.io(self.r.choice(self.files), 'write ' + self.range(), 'abort')

    def resize(self):
        r = self.r
        size = r.choice([self.size * 2, self.size // 2, self.size + (1 << 20), self.size - 1024])
        size = max(1 << 18, min(size, 60 << 20)) // 512 * 512
        if size < self.size:            # inside a cluster qemu-img keeps what lay behind, and shows it again
            piece = max(65536, self.cluster)
            size = max(piece, size - size % piece)
        for name in self.files:
            self.both(['resize', '-q', '--shrink', '-f', 'qcow2', name, str(size)])
        self.size = min(size, *self.sizes('a'), *self.sizes('b'))

    def sizes(self, name):
        return [Image(self.path(side, name)).size for side in ('ours', 'peer')]

    def convert(self):
        r = self.r
        name = r.choice(self.files)
        options = r.choice([[], ['-o', f'cluster_size={r.choice([512, 65536])}'], ['-c']])
        skip = r.choice([[], ['--skip-broken-bitmaps']])
        self.both(['convert', '--bitmaps', '-f', 'qcow2', '-O', 'qcow2'] + skip + options + [name, 'c'])
        if all(os.path.exists(self.path(side, 'c')) for side in ('ours', 'peer')):
            self.compare('c')
            if r.random() < 0.3:
                for side in 'ours', 'peer':
                    os.replace(self.path(side, 'c'), self.path(side, name))
        for side in 'ours', 'peer':
            if os.path.exists(self.path(side, 'c')):
                os.unlink(self.path(side, 'c'))

    def convert_into(self):
        """Our own writes into an image with bitmaps, in whole clusters: ours does not cut them."""
        r = self.r
        piece, size = max(65536, self.cluster), self.size
        for side in 'ours', 'peer':
            with open(self.path(side, 'raw'), 'wb') as raw:
                raw.truncate(size)
        for _ in range(4):
            at, length = r.randrange(0, size) // piece * piece, r.choice([1, 2, 10]) * piece
            for side in 'ours', 'peer':
                with open(self.path(side, 'raw'), 'r+b') as raw:
                    raw.seek(at)
                    raw.write(b'\x55' * min(length, size - at))
        zero = r.choice([[], ['--target-is-zero']])
        self.both(['convert', '-n', '-f', 'raw', '-O', 'qcow2'] + zero + ['raw', r.choice(self.files)])

    def swap(self):
        self.journal.add('.', 'swap', [])
        names = [self.path('ours'), self.path('peer'), self.path('other')]
        for old, new in ((0, 2), (1, 0), (2, 1)):
            os.replace(names[old], names[new])

    def check(self):
        for name in self.files:
            self.both(['check', '-q', name], ours=PEER)

    # ---- comparing

    def compare(self, name):
        lists = []
        for side in 'ours', 'peer':
            try:
                lists.append(Image(self.path(side, name)).bitmaps)
            except (AssertionError, struct.error) as error:
                self.problems.append(f'{side}/{name}: not sound: {error!r}')
                return
        if lists[0] != lists[1]:
            self.problems.append(f'{name}: bitmaps differ\n  ours {lists[0]}\n  peer {lists[1]}')

    def dirty(self, side, name, bitmap):
        """The bits as the reference tool sees them."""
        path = os.path.join(self.folder, 's')
        server = subprocess.Popen([NBD, '-r', '-t', '-e', '2', '-k', path, '-f', 'qcow2', '-B', bitmap,
                                   self.path(side, name)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            while server.poll() is None and not listening(path):
                time.sleep(0.01)
            done = run(PEER, ['map', '--output=json', '--image-opts', 'driver=nbd,server.type=unix,'
                              f'server.path={path},x-dirty-bitmap=qemu:dirty-bitmap:{bitmap}'], self.folder)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
            server.stderr.close()
            if os.path.exists(path):
                os.unlink(path)
        if done.code:
            return [done.err]
        return [(part['start'], part['length']) for part in json.loads(done.out) if not part['data']]

    def see_bits(self):
        for name in self.files:
            for bitmap in Image(self.path('ours', name)).bitmaps:
                if bitmap.flags & IN_USE or self.problems:
                    continue
                seen = [self.dirty(side, name, bitmap.name) for side in ('ours', 'peer')]
                if seen[0] != seen[1]:
                    self.problems.append(f'{name} {bitmap.name}: seen as {seen[0][:20]}, peer {seen[1][:20]}')
                return

    def finish(self):
        for name in self.files:
            done = run(PEER, ['check', '-q', self.path('ours', name)], self.folder)
            if done.code and not (done.code == 3 and self.crashed):
                self.problems.append(f'{name}: check says {done.code} {done.out} {done.err}')
            done = run(PEER, ['compare', '-q', self.path('ours', name), self.path('peer', name)], self.folder)
            if done.code:
                self.problems.append(f'{name}: contents differ: {done.out} {done.err}')

    def play(self):
        for side in 'ours', 'peer':
            os.mkdir(self.path(side))
        for name in self.files:
            self.both(['create', '-q', '-f', 'qcow2', '-o', f'cluster_size={self.cluster}', name, str(self.size)])
        self.both(['bitmap', '--add', '-g', self.granularity(), 'a', 'b0'])
        steps = [self.bitmap] * 10 + [self.write] * 4 + [self.crash, self.resize, self.convert, self.convert_into,
                                                         self.swap]
        for _ in range(self.r.randrange(8, 24)):
            self.r.choice(steps)()
            for name in self.files:
                self.compare(name)
            if self.problems:
                return
        self.finish()
        if os.access(NBD, os.X_OK):
            self.see_bits()


def one(seed, folder):
    case = Case(seed, folder)
    case.play()
    if case.problems:
        with open(os.path.join(folder, 'commands'), 'w') as file:
            file.write('\n'.join(case.journal.lines) + '\n')
    return f'{len(case.journal.lines)} commands', case.problems, case.journal.lines


def main():
    each('bitmap-random', 15, one)


if __name__ == '__main__':
    main()
