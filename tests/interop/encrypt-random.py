#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random encrypted qcow2 and qcow images, taken through the same steps by both tools.

Each case makes an image with each tool: what is said, what info shows and all bytes but those of the LUKS header are
equal.  Then both go on from the reference tool's image, each in a folder of its own.  With the same key the first step
makes the same bytes.  (Later ones may find another place free, and so may steps without encryption.  The reference tool
also encrypts what lies behind the end of the disk in its last cluster, so the disk ends with a cluster, or files are not
compared.)  A model says what the guest reads, and at the end each tool reads what the other one wrote.

environment: see lib/harness.py
"""
import os
import random
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, PEER_IO, Journal, each, guest_bytes, must, read, run, write  # noqa: E402

VARYING = r'(uuid: |"uuid": "|iters: |iters": )[-\w]+|(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)|("date-(?:sec|nsec)": )\d+'
CIPHERS = ['aes-128', 'aes-256', 'serpent-256', 'twofish-128']
PASSWORDS = ['pass', 'x', 'a password that is longer than a key', 'p\u00e4ssword']


def luks_options(rng):
    words = ['encrypt.iter-time=10']
    if rng.random() < 0.5:
        words.append('encrypt.cipher-alg=' + rng.choice(CIPHERS))
    if rng.random() < 0.4:
        words.append('encrypt.cipher-mode=' + rng.choice(['cbc', 'xts', 'ctr']))
    if rng.random() < 0.4:
        words.append(rng.choice(['encrypt.ivgen-alg=essiv', 'encrypt.ivgen-alg=plain']))
    return words


def qcow2_options(rng, cluster, backed):
    words = [f'cluster_size={cluster}']
    if rng.random() < 0.3 and not backed:
        words.append('preallocation=' + rng.choice(['metadata', 'falloc', 'full']))
    if rng.random() < 0.2:
        return words + ['compat=0.10']
    if rng.random() < 0.3 and cluster >= 16384:
        words.append('extended_l2=on')
    if rng.random() < 0.2:
        words.append('lazy_refcounts=on')
    if rng.random() < 0.2:
        words.append('data_file=data')
        if rng.random() < 0.5 and not backed:
            words.append('data_file_raw=on')
    if rng.random() < 0.2:
        words.append('refcount_bits=' + rng.choice(['8', '32', '64']))
    return words


class Case:
    def __init__(self, seed, folder):
        self.rng, self.folder = random.Random(seed), folder
        self.problems, self.journal = [], Journal()
        self.form, self.method = self.rng.choice([('qcow2', 'luks')] * 3 + [('qcow2', 'aes'), ('qcow', 'aes')])
        self.secrets = []
        for name in 's', 'b', 'n':
            self.secrets += ['--object', f'secret,id={name},data={self.rng.choice(PASSWORDS)}']
        self.cluster = self.rng.choice([512, 4096, 16384, 65536, 65536, 1 << 20]) if self.form == 'qcow2' else 4096
        self.size = self.rng.randrange(1, 6000) * 512
        if self.rng.random() < 0.6:
            self.size = -(-self.size // self.cluster) * self.cluster
        self.backed = self.rng.random() < 0.4
        self.current = bytearray(self.size)
        for name in 'ours', 'theirs':
            os.mkdir(os.path.join(folder, name))

    def node(self):
        base = ',backing.encrypt.key-secret=b' if self.backed == 'encrypted' else ''
        return f'driver={self.form},encrypt.key-secret=s,file.filename=image{base}'

    def run(self, tool, name, words):
        self.journal.add(name, tool, words)
        result = run(tool, words, os.path.join(self.folder, name))
        result.out, result.err = (re.sub(VARYING, r'\1\3N', text) for text in (result.out, result.err))
        return result

    def both(self, words, tool=None):
        """Run our tool in one folder and the reference tool in the other (or `tool` in both); does that succeed?"""
        ours, theirs = self.run(tool or IMG, 'ours', words), self.run(tool or PEER, 'theirs', words)
        difference = ours.differs(theirs)
        if difference:
            self.problems.append(f'{" ".join(words)}: {difference}')
        return theirs.code == 0

    def opened(self, command, *after, tool=None):
        return self.both(command + self.secrets + ['--image-opts', self.node()] + list(after), tool)

    def prepare_backing(self):
        """In both folders; what it has is what the image shows."""
        kind = self.rng.choice(['raw', 'qcow2', 'encrypted'])
        size = min(self.size, self.rng.randrange(1, 6000) * 512)
        data = self.rng.randbytes(size)
        folder = os.path.join(self.folder, 'theirs')
        write(os.path.join(folder, 'base'), data)
        if kind != 'raw':
            os.rename(os.path.join(folder, 'base'), os.path.join(folder, 'raw'))
            options = ['-o', 'encrypt.format=luks,encrypt.key-secret=b,encrypt.iter-time=10'] if kind == 'encrypted' else []
            must(PEER, ['convert', '-f', 'raw', '-O', 'qcow2'] + self.secrets + options + ['raw', 'base'], folder)
            os.unlink(os.path.join(folder, 'raw'))
        shutil.copy(os.path.join(folder, 'base'), os.path.join(self.folder, 'ours', 'base'))
        self.backed = kind
        self.current[:size] = data
        return ['-b', 'base', '-F', 'raw' if kind == 'raw' else 'qcow2'] + (['-u'] if kind == 'encrypted' else [])

    def create(self):
        backing = self.prepare_backing() if self.backed else []
        words = [f'encrypt.format={self.method}', 'encrypt.key-secret=s']
        words += luks_options(self.rng) if self.method == 'luks' else []
        words += qcow2_options(self.rng, self.cluster, self.backed) if self.form == 'qcow2' else []
        self.rng.shuffle(words)
        self.title = f"{self.form} {','.join(words)} {self.backed or ''}"
        self.raw_data = 'data_file_raw=on' in words
        self.preallocated = any(word.startswith('preallocation') for word in words) or self.raw_data
        self.both(['measure', '-O', self.form, '--size', str(self.size)] + self.secrets + ['-o', ','.join(words)])
        return self.both(['create', '-f', self.form] + self.secrets + ['-o', ','.join(words)] + backing +
                         ['image', str(self.size)])

    def masked(self, name):
        """The file without its LUKS header, whose key is random."""
        data = bytearray(read(self.folder, name, 'image'))
        at = data.find(b'\x05\x37\xbe\x77\0\0\0\x10', 0, 65536)
        if self.method == 'luks' and at >= 0:
            start, length = (int.from_bytes(data[at + i:at + i + 8], 'big') for i in (8, 16))
            data[start:start + length] = bytes(length)
        return data

    def same_files(self, when, masked=False):
        for file in 'image', 'data':
            if not os.path.exists(os.path.join(self.folder, 'theirs', file)):
                continue
            ours, theirs = ((self.masked(name) if masked and file == 'image' else read(self.folder, name, file))
                            for name in ('ours', 'theirs'))
            if ours != theirs:
                at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
                self.problems.append(f'{when}: {file} differs at {at} (ours {len(ours)}, theirs {len(theirs)} bytes)')

    def holds(self):
        for name in 'ours', 'theirs':
            for tool in IMG, PEER:
                got, error = guest_bytes(tool, self.secrets + ['--image-opts', self.node()],
                                         os.path.join(self.folder, name))
                if got != self.current:
                    at = next((i for i, (a, b) in enumerate(zip(got or b'', self.current)) if a != b), -1)
                    self.problems.append(f'{tool} reads something else in {name} at {at}: {error}')

    # ---- Steps ----

    def write_raw(self):
        """Convert writes all of the disk: data and holes."""
        data = bytearray(self.size)
        for _ in range(self.rng.randrange(5)):
            start = self.rng.randrange(self.size // 512) * 512
            piece = self.rng.randbytes(min(self.rng.randrange(1, 500) * 512, self.size - start))
            data[start:start + len(piece)] = piece
        for name in 'ours', 'theirs':
            write(os.path.join(self.folder, name, 'new.raw'), data)
        if self.opened_target(['convert', '-n', '-f', 'raw'], ['new.raw']):
            self.current = data

    def opened_target(self, command, sources):
        return self.both(command + self.secrets + ['--target-image-opts'] + sources + [self.node()])

    def write_piece(self):
        """A few bytes or many anywhere, by the reference tool in both folders; dd of ours cannot write into an image."""
        start = self.rng.randrange(self.size)
        length = self.rng.randrange(1, min(self.size - start, 200000) + 1)
        for name in 'ours', 'theirs':
            self.journal.add(name, PEER_IO, ['-c', f'write -P 0x5a {start} {length}'])
            must(PEER_IO, self.secrets + ['-c', f'write -P 0x5a {start} {length}', '--image-opts', self.node()],
                 os.path.join(self.folder, name))
        self.current[start:start + length] = bytes([0x5a]) * length

    def resize(self):
        if self.form == 'qcow' or self.snapshots or self.raw_data:
            return
        size = self.rng.randrange(1, 6000) * 512
        # The reference tool shows old bytes or noise in the rest of a cluster where a disk grows (seen in 10.0), so ours
        # does that in both folders.
        if self.opened(['resize', '--shrink'], str(size), tool=IMG if size > self.size else None):
            self.current = self.current[:size] + bytes(max(0, size - len(self.current)))
            self.size = size

    def snapshot(self):
        if self.raw_data:
            return
        if self.snapshots and self.rng.random() < 0.3:
            name = self.rng.choice(list(self.snapshots))
            if self.opened(['snapshot', '-a', name]):
                self.current = bytearray(self.snapshots[name])
        elif self.snapshots and self.rng.random() < 0.4:
            name = self.rng.choice(list(self.snapshots))
            if self.opened(['snapshot', '-d', name]):
                del self.snapshots[name]
        elif self.opened(['snapshot', '-c', f'n{len(self.snapshots)}']):
            self.snapshots[f'n{len(self.snapshots)}'] = bytes(self.current)

    def amend(self):
        if self.form == 'qcow':
            return
        kind = self.rng.randrange(5)
        if kind == 4:
            # The reference tool makes noise of zero clusters (seen in 10.0), so ours does it in both folders.
            self.opened(['amend', '-o', 'compat=0.10'], tool=IMG)
        elif kind == 0:
            self.opened(['amend', '-o', self.rng.choice(['compat=1.1', 'lazy_refcounts=on'])])
        elif kind == 1:
            self.opened(['amend', '-o', 'encrypt.state=active,encrypt.new-secret=n,encrypt.iter-time=10'])
        elif kind == 2:
            self.opened(['amend', '-o', f'encrypt.state=inactive,encrypt.keyslot={self.rng.randrange(1, 9)}'])
        else:
            self.opened(['amend', '-o', 'encrypt.state=inactive,encrypt.old-secret=b'])

    def views(self):
        for form in [], ['--output=json']:
            if not self.alike:
                continue
            self.opened(['map'] + form)
            if self.backed != 'encrypted':
                self.both(['info'] + form + ['image'])
            self.opened(['info'] + form)
            self.opened(['check'] + form)
        for name in 'ours', 'theirs':
            for tool in IMG, PEER:
                result = self.run(tool, name, ['check'] + self.secrets + ['--image-opts', self.node()])
                if self.form == 'qcow2' and result.code:
                    self.problems.append(f'check: {result.out} {result.err}')
        self.opened(['measure', '-O', self.rng.choice(['raw', 'qcow2'])])
        self.both(['map', 'image'])
        self.both(['convert', '-O', 'raw', '--object', 'secret,id=s,data=wrong', '--image-opts', self.node(), 'x'])
        if self.snapshots:
            name = self.rng.choice(list(self.snapshots))
            for tool in IMG, PEER:
                got, error = guest_bytes(tool, self.secrets + ['-l', name, '--image-opts', self.node()],
                                         os.path.join(self.folder, 'ours'))
                if got != self.snapshots[name]:
                    self.problems.append(f'{tool} reads something else in snapshot {name}: {error}')

    def rebase(self):
        """Without a backing file, the image has all that it shows."""
        if self.form == 'qcow' or not self.backed or self.snapshots:
            return
        if self.opened(['rebase', '-b', '']):
            self.backed = False

    def commit(self):
        """Only in a copy: what the base becomes is what the image shows."""
        if not self.backed or self.snapshots:
            return
        self.opened(['commit', '-d', '-q'])

    def go(self):
        if not self.create():
            return
        self.both(['info', 'image'] if self.backed != 'encrypted' else ['snapshot', '-l', 'image'])
        self.same_files('created', masked=True)
        for file in 'image', 'data':
            if os.path.exists(os.path.join(self.folder, 'theirs', file)):
                shutil.copy(os.path.join(self.folder, 'theirs', file), os.path.join(self.folder, 'ours', file))
        self.snapshots, changes, self.alike = {}, 0, True
        if self.preallocated:
            self.alike = False
            self.write_raw()
        steps = [self.write_raw, self.write_piece, self.write_piece, self.resize, self.snapshot, self.amend,
                 self.rebase, self.commit, self.views]
        for step in self.rng.choices(steps, k=8) + [self.views]:
            before = read(self.folder, 'theirs', 'image')
            step()
            if before != read(self.folder, 'theirs', 'image'):
                changes += 1
                self.alike = self.alike and changes == 1 and step in (self.write_raw, self.write_piece)
                if self.alike and self.size % self.cluster == 0:
                    self.same_files(step.__name__)
            if self.problems:
                break
        self.holds()


def check(seed, folder):
    case = Case(seed, folder)
    case.go()
    return case.title, case.problems, case.journal.lines


each('encrypt-random', 3, check)
