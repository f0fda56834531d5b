#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random sequences of snapshot -c, -a, -d, -l with writes, resizes and odd table entries between, by the tool on
one image and by the reference tool on its twin.

After each step exit code and messages are the same, the reference tool's check is clean on ours and says the same,
and map (host offsets too) and info are equal; at the end so are the contents, and those of each snapshot.

environment: see lib/harness.py
"""
import hashlib
import os
import random
import re
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, Journal, PEER, PEER_IO, each, run  # noqa: E402

KILO, MEGA = 1024, 1024 * 1024
OURS, THEIRS = 'ours', 'peer'
NAMES = ['s1', 's2', '1', '2', '3', 'two words', '', 'Größe', '名前', 'x' * 300, '-', 'a,b=c', '%s', '00', 'tab\t.']


def options(rng):
    cluster = rng.choice([512, 1024, 4096, 4096, 16384, 65536, 65536, 65536, 2 * MEGA])
    words = [f'cluster_size={cluster}']
    if rng.random() < 0.15:
        words.append('compat=0.10')
    else:
        if rng.random() < 0.35:
            words.append(f'refcount_bits={rng.choice([1, 2, 2, 4, 8, 32, 64])}')
        if rng.random() < 0.2:
            words.append('lazy_refcounts=on')
        if cluster >= 16384 and rng.random() < 0.3:
            words.append('extended_l2=on')
        if rng.random() < 0.2:
            words.append('compression_type=zstd')
        if rng.random() < 0.08:
            words.append('data_file=NAME.data')
    if rng.random() < 0.15:
        words.append('preallocation=metadata')
    return words, cluster


class Case:
    def __init__(self, seed, folder):
        self.rng = random.Random(seed)
        self.folder, self.journal, self.problems = folder, Journal(), []
        for side in OURS, THEIRS:
            os.mkdir(os.path.join(self.folder, side))
        self.options, self.cluster = options(self.rng)
        most = min(8 * MEGA, self.cluster * 2000)
        self.size = max(512, self.rng.randrange(1, most) // 512 * 512)
        self.backing = self.rng.random() < 0.2
        self.lengths = True

    def path(self, side):
        return os.path.join(self.folder, side, 'a.qcow2')

    def peer_both(self, arguments, tool=PEER):
        """Preparation: the reference tool on both."""
        for side in OURS, THEIRS:
            self.journal.add(side, tool, arguments)
            run(tool, arguments, os.path.join(self.folder, side))

    def make(self):
        words = ['create', '-q', '-f', 'qcow2', '-o', ','.join(self.options).replace('NAME', 'a')]
        if self.backing:
            self.peer_both(['create', '-q', '-f', 'qcow2', 'b.qcow2', str(self.size)])
            self.peer_both(['-f', 'qcow2', '-c', f'write -P 77 0 {self.size}', 'b.qcow2'], PEER_IO)
            words += ['-b', 'b.qcow2', '-F', 'qcow2']
        self.peer_both(words + ['a.qcow2', str(self.size)])
        return os.path.exists(self.path(OURS)) and os.path.exists(self.path(THEIRS))

    # ---- steps

    def write(self):
        words = ['-f', 'qcow2']
        for _ in range(self.rng.randrange(1, 5)):
            at = self.rng.randrange(0, self.size) // 512 * 512
            length = self.rng.choice([512, self.cluster, 3 * self.cluster, self.size // 3, self.size])
            length = min(max(512, length // 512 * 512), self.size - at)
            what = self.rng.choice(['write -P %d', 'write -P %d', 'write -P %d', 'write -z', 'write -z -u', 'discard',
                                    'write -c -P %d', 'write -b -P %d'])
            if ' -c' in what:
                at, length = at // self.cluster * self.cluster, self.cluster
                if at + length > self.size:
                    continue
            if '%d' in what:
                what = what % self.rng.randrange(256)
            words += ['-c', f'{what} {at} {length}']
        self.peer_both(words + ['a.qcow2'], PEER_IO)

    def resize(self):
        size = max(512, self.rng.randrange(1, 3 * self.size + 512) // 512 * 512)
        self.peer_both(['resize', '-q', '-f', 'qcow2', '--shrink', 'a.qcow2', str(size)])
        self.size = self.disk_size()

    def disk_size(self):
        with open(self.path(OURS), 'rb') as file:
            file.seek(24)
            return int.from_bytes(file.read(8), 'big')

    def table(self):
        """Entries as a machine or another program leaves them: VM state, clocks, ids, more extra data."""
        seed = self.rng.random()
        for side in OURS, THEIRS:
            with open(self.path(side), 'r+b') as file:
                edit(file, random.Random(seed))
        self.journal.lines.append(f'# table entries edited, seed {seed}')

    def act(self):
        letter = self.rng.choice('cccaaaddl')
        words = ['snapshot', '-' + letter]
        if letter != 'l':
            words.append(self.rng.choice(NAMES + ['s1', 's2'] * 3))
        if letter != 'c' and self.rng.random() < 0.1:
            words[1:1] = ['-U']
        if self.rng.random() < 0.1:
            words[1:1] = ['-q']
        if self.rng.random() < 0.1:
            words += ['--image-opts', self.rng.choice(['', 'driver=raw,file.']) + 'driver=qcow2,file.filename=a.qcow2']
            words[-1] = words[-1].replace('file.driver=qcow2,file.', 'file.driver=qcow2,file.file.')
        else:
            words += ['-f', 'qcow2', 'a.qcow2'] if self.rng.random() < 0.5 else ['a.qcow2']
        results = []
        for side, tool in (OURS, IMG), (THEIRS, PEER):
            self.journal.add(side, tool, words)
            results.append(run(tool, words, os.path.join(self.folder, side)))
        for result in results:
            result.out = re.sub(r'20\d\d-\d\d-\d\d \d\d:\d\d:\d\d', 'DATE', result.out)
        if results[0].differs(results[1]):
            self.problems.append(' '.join(words) + ': ' + results[0].differs(results[1]))
        # (a disk that shrinks on the way leaves a file cut at another place)
        self.lengths &= letter != 'a' or results[1].code != 0 or self.disk_size() == self.size
        self.size = self.disk_size()
        # Where the reference tool gives up in the middle it leaks, and goes other ways from there.
        return results[1].code == 0 or 'not found' in results[1].err or 'No such file' in results[1].err

    # ---- comparing

    def state(self, side):
        place = os.path.join(self.folder, side)
        check = run(PEER, ['check', '-f', 'qcow2', 'a.qcow2'], place)
        info = run(PEER, ['info', '--output=json', 'a.qcow2'], place)
        info.out = re.sub(r'"(date-n?sec)": \d+', r'"\1": N', info.out)
        if not self.lengths:
            info.out = re.sub(r'(?<= {16})"virtual-size": \d+', '', info.out)
        return check, run(PEER, ['map', '--output=json', 'a.qcow2'], place), info

    def compare(self, where):
        """False: the reference tool has leaked where we have not, so they go different ways from here."""
        ours, theirs = self.state(OURS), self.state(THEIRS)
        if ours[0].code == 0 and theirs[0].code == 3:
            return False
        for name, a, b in zip(('check', 'map', 'info'), ours, theirs):
            # (where an image looks preallocated, map shows the holes of the storage too)
            if a.differs(b) and (name != 'map' or self.lengths and 'preallocation=metadata' not in self.options):
                self.problems.append(f'{where}: {name}: {a.differs(b)}')
        # (what the reference tool's own resize leaves of a VM state is leaked on both sides)
        if ours[0].code not in (0, 3):
            self.problems.append(f'{where}: check of ours: {ours[0].out[:500]}{ours[0].err[:500]}')
        return True

    def digests(self, side):
        """Of the disk and of each snapshot, as the reference tool reads them."""
        place = os.path.join(self.folder, side)
        with open(self.path(side), 'rb') as file:
            ids = [entry['id'] for entry in read_table(file)[0]]
        found = {}
        for name in [None] + ids:
            words = ['convert', '-f', 'qcow2', '-O', 'raw']
            if name is not None:
                words += ['-l', 'snapshot.id=' + name.decode(errors='replace')]
            out = os.path.join(place, 'out.raw')
            result = run(PEER, words + ['a.qcow2', 'out.raw'], place)
            if result.code == 0:
                with open(out, 'rb') as file:
                    found[name] = hashlib.sha1(file.read()).hexdigest()
                os.unlink(out)
            else:
                found[name] = result.err
        return found

    def run(self):
        if not self.make():
            return
        steps = [self.act] * 6 + [self.write] * 4 + [self.resize] + [self.table]
        for number in range(self.rng.randrange(4, 16)):
            step = self.rng.choice(steps)
            agree = step()
            if step == self.act:
                if not agree:
                    return      # the size, and what leaked, are of neither state there
                if not self.compare(f'step {number}'):
                    return
            if self.problems:
                return
        if self.digests(OURS) != self.digests(THEIRS):
            self.problems.append(f'contents: {self.digests(OURS)} {self.digests(THEIRS)}')


# ---- the table on disk

def read_table(file):
    file.seek(60)
    count, at = struct.unpack('>IQ', file.read(12))
    entries, start = [], at
    for _ in range(count):
        file.seek(at)
        fixed = struct.unpack('>QIHHIIQII', file.read(40))
        extra = file.read(fixed[8])
        entry = dict(fixed=list(fixed), extra=extra, id=file.read(fixed[2]), name=file.read(fixed[3]))
        entries.append(entry)
        at = (at + 40 + fixed[8] + fixed[2] + fixed[3] + 7) // 8 * 8
    return entries, start


def edit(file, rng):
    entries, start = read_table(file)
    if not entries:
        return
    entry = rng.choice(entries)
    kind = rng.randrange(5)
    if kind == 0:       # VM state and clock
        size = rng.randrange(1 << rng.randrange(1, 40))
        entry['fixed'][6:8] = [rng.randrange(1 << 62), min(size, 0xffffffff)]
        entry['extra'] = size.to_bytes(8, 'big') + entry['extra'][8:]
    elif kind == 1:     # icount: none, some
        entry['extra'] = entry['extra'][:16] + rng.choice([b'\xff' * 8, rng.randbytes(8)]) + entry['extra'][24:]
    elif kind == 2 and len(entry['id']) == 1:     # another id of that length
        entry['id'] = rng.choice([b'7', b'x', b'0', b'9'])
    elif kind == 3 and start and len(entries) == 1:     # more extra data than is known
        entry['extra'] = entry['extra'][:24] + rng.randbytes(rng.choice([1, 8, 40]))
    elif kind == 4 and len(entries) == 1:               # less: older programs
        entry['extra'] = entry['extra'][:16]
    entry['fixed'][8] = len(entry['extra'])
    at = start
    for entry in entries:
        file.seek(at)
        file.write(struct.pack('>QIHHIIQII', *entry['fixed']) + entry['extra'] + entry['id'] + entry['name'])
        at = (file.tell() + 7) // 8 * 8


def one(seed, folder):
    case = Case(seed, folder)
    case.run()
    return f"{','.join(case.options)} {case.size}{' backed' if case.backing else ''}", case.problems, case.journal.lines


def main():
    each('snapshot-random', 25, one)


if __name__ == '__main__':
    main()
