# SPDX-License-Identifier: MIT
"""A random test of one format: runs the two tools in one folder, and compares their output."""
import filecmp
import os
import random
import subprocess

from harness import IMG, PEER, PEER_IO, SEVEN_ZIP, Journal, must, run, without
from images import fill_raw, pick_range, raw_image

VIEWS = [['info'], ['info', '--output=json'], ['map'], ['map', '--output=json'], ['check'], ['check', '--output=json'],
         ['measure', '-O', 'raw'], ['measure', '-O', 'qcow2', '--output=json']]


class ImageCase:
    """`form` is the format; collects problems, and the commands for repeating them."""

    def __init__(self, form, seed, folder):
        self.form, self.folder = form, folder
        self.rng, self.problems, self.journal = random.Random(seed), [], Journal()

    def path(self, name):
        return os.path.join(self.folder, name)

    def read(self, name):
        with open(self.path(name), 'rb') as file:
            return file.read()

    def write(self, name, data, note=''):
        with open(self.path(name), 'wb') as file:
            file.write(data)
        self.journal.lines.append(f'# {name}: {note}')

    def run(self, tool, words):
        self.journal.add('.', tool, words)
        return run(tool, words, self.folder)

    def expect(self, tool, words, code=0):
        result = self.run(tool, words)
        if result.code != code:
            self.problems.append(f"{' '.join(words)}: exit {result.code}: {result.err}")
        return result.code == code

    def same(self, words, *mask):
        """Both tools must print the same; returns whether they succeed.  `mask`: see without()."""
        ours, peer = self.run(IMG, words), self.run(PEER, words)
        for result in ours, peer:
            result.out, result.err = without(result.out, *mask), without(result.err, *mask)
        self.agree(words, ours, peer)
        return peer.code == 0

    def agree(self, words, ours, peer):
        """Are both results of a command equal?"""
        difference = ours.differs(peer)
        if difference:
            self.problems.append(f"{' '.join(words)}: {difference}")
        return not difference

    def equal(self, a, b):
        if not filecmp.cmp(self.path(a), self.path(b), shallow=False):
            self.problems.append(f'{a} and {b} differ')

    def views(self, name, contents=True):
        """Compare all commands that only read; with `contents`, also the guest data."""
        for words in VIEWS:
            self.same(words[:1] + ['-f', self.form] + words[1:] + [name])
        self.same(['info', name])
        if not contents:
            return
        for tool, to in (IMG, 'ours.raw'), (PEER, 'peer.raw'):
            if tool == IMG and self.run(IMG, ['convert', '-f', self.form, '-O', 'raw', name, to]).says_truncated():
                return
            self.expect(tool, ['convert', '-f', self.form, '-O', 'raw', name, to])
        if os.path.exists(self.path('ours.raw')) and os.path.exists(self.path('peer.raw')):
            self.equal('ours.raw', 'peer.raw')
            self.same(['compare', '-f', self.form, '-F', 'raw', name, 'peer.raw'])

    def raw(self, name, most, size=None):
        """Make a raw image of whole sectors with random contents; returns its size."""
        image = raw_image(self.rng, name, most)
        if size:
            image['size'] = size
            image['steps'] = [step for step in image['steps'] if int(step[2]) < size]
        fill_raw(self.path(name), image)
        self.journal.lines.append(f'# {name}: {image}')
        size = (image['size'] + 511) // 512 * 512
        os.truncate(self.path(name), size)
        return size

    def write_by_io(self, name, size, unit, kinds, most=7):
        """Run fewer than `most` commands of qemu-io, of these kinds, at random places of the disk."""
        words = []
        for _ in range(self.rng.randrange(most)):
            offset, length = pick_range(self.rng, size, unit)
            words += ['-c', f'{self.rng.choice(kinds)} {offset} {length}']
        if words:
            words = ['-f', self.form] + words + [name]
            self.journal.add('.', PEER_IO, words)
            must(PEER_IO, words, self.folder)

    def write_over(self, name, size):
        """Make small writes with our tool at random places of the disk: nothing else may change."""
        must(PEER, ['convert', '-f', self.form, '-O', 'raw', name, 'want'], self.folder)
        for _ in range(self.rng.randrange(1, 5)):
            length = 512 * self.rng.randrange(1, max(2, min(size // 512, self.rng.choice([3, 300, 3000]))))
            if size < length:
                return
            offset = self.rng.randrange(size - length + 1) // 512 * 512
            fill = self.rng.randrange(256)
            self.expect(IMG, ['bench', '-w', '-f', self.form, '-c', '1', '-d', '1', '-s', str(length),
                              '-o', str(offset), f'--pattern={fill}', name])
            with open(self.path('want'), 'r+b') as file:
                file.seek(offset)
                file.write(bytes([fill]) * length)
        self.expect(PEER, ['compare', '-f', self.form, '-F', 'raw', name, 'want'])

    def read_by_7zz(self, name, want, kind):
        """7zz, where the format is called `kind`, must read the bytes of `want`, followed by zeroes."""
        if not SEVEN_ZIP:
            return
        out = subprocess.run([SEVEN_ZIP, 'x', '-so', '-t' + kind, self.path(name)], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        data = self.read(want)
        if out.returncode or not out.stdout.startswith(data) or out.stdout[len(data):].strip(b'\0'):
            self.problems.append(f'7zz reads other contents of {name}: {out.stderr[-300:]!r}')

    def report(self, title):
        return title, self.problems[:4], self.journal.lines
