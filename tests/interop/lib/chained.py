# SPDX-License-Identifier: MIT
"""Cases of formats with backing files: both tools read, copy, rebase and commit what qemu-io wrote."""
import os
import shutil

from harness import IMG, PEER, PEER_IO, must
from imagecase import ImageCase
from images import pick_range

MEGA = 1024 * 1024


class ChainedCase(ImageCase):
    """`compressed`: the format has compressed clusters; `checked`: it has a check."""
    compressed, checked = False, True

    def sides(self, words, name):
        """Run a command that changes `name` with both tools, on copies; returns both results, and keeps our file."""
        shutil.copyfile(self.path(name), self.path('before'))
        ours = self.run(IMG, words)
        shutil.move(self.path(name), self.path('ours'))
        shutil.copyfile(self.path('before'), self.path(name))
        peer = self.run(PEER, words)
        self.agree(words, ours, peer)
        shutil.move(self.path(name), self.path('peer'))
        shutil.copyfile(self.path('ours'), self.path(name))
        return peer.code == 0

    def same_made(self, words, name):
        """Compare new images byte by byte; returns whether there is one."""
        ours, made = self.run(IMG, words), None
        if ours.code == 0:
            made = self.read(name)
        peer = self.run(PEER, words)
        if self.agree(words, ours, peer) and ours.code == 0 and made != self.read(name):
            self.problems.append(f"{' '.join(words)}: {len(made)} bytes differ from qemu-img's")
        return ours.code == 0 and peer.code == 0

    def base(self, name):
        """Make an image for a backing file; returns its format, or None if there is none."""
        rng, form = self.rng, self.rng.choice([None, None, 'raw', 'qcow2', 'qed', 'qcow'])
        if form == 'raw':
            self.raw(name, 2 * MEGA)
        elif form:
            must(PEER, ['create', '-q', '-f', form, name, str(512 * rng.randrange(1, 4000))], self.folder)
            self.fill(name, form)
        return form

    def steps(self, size, unit, form):
        for _ in range(self.rng.randrange(0, 9)):
            offset, length = pick_range(self.rng, size, unit)
            kind = self.rng.random()
            if kind < 0.6:
                yield f'write -P {self.rng.randrange(256)} {offset} {length}'
            elif kind < 0.75:
                yield f'write -z {offset} {length}'
            elif kind < 0.85:
                yield f'discard {offset} {length}'
            elif form == self.form and self.compressed:
                offset = offset // 4096 * 4096
                if offset + 4096 <= size:
                    yield f'write -c -P {self.rng.randrange(256)} {offset} {self.cluster}'

    def size_of(self, name, form):
        with open(self.path(name), 'rb') as file:
            header = file.read(64)
        if form == 'qed':
            return int.from_bytes(header[48:56], 'little')
        return int.from_bytes(header[24:32], 'big')

    def fill(self, name, form):
        """Write with qemu-io."""
        size, words = self.size_of(name, form), []
        if form == 'qcow':
            self.cluster = 1 << self.read(name)[32]
        for step in self.steps(size, 4096 * self.rng.choice([1, 16]), form) if size else ():
            words += ['-c', step]
        if words:
            words = ['-f', form] + words + [name]
            self.journal.add('.', PEER_IO, words)
            must(PEER_IO, words, self.folder)

    # ---- kinds of cases

    def play(self, new, sizes, options, *special):
        """Run a case: `new` and `sizes` are for create, options(rng) for the rest; `special` kinds get the case."""
        kind = self.rng.choice([self.created, self.read_theirs, self.write_ours, self.write_into_theirs,
                                self.administer, *special])
        if kind == self.created:
            title = kind(self.rng.sample(new, self.rng.randrange(0, 4)), sizes)
        else:
            title = kind(self) if kind in special else kind(options(self.rng))
        return self.report(title)

    def created(self, options, sizes):
        words = ['create', '-f', self.form] + (['-o', ','.join(options)] if options else [])
        if self.same_made(words + ['x', self.rng.choice(sizes)], 'x'):
            good = self.same(['info', '-f', self.form, 'x'])
            self.views('x', contents=good and 0 < self.size_of('x', self.form) < 64 * MEGA)
        return f"create {','.join(options)}"

    def made(self, options):
        """Make an image and write to it with qemu-io, with or without a backing file."""
        base = self.base('b')
        words = ['create', '-q', '-f', self.form] + (['-o', ','.join(options)] if options else [])
        words += ['-b', 'b', '-F', base] if base else []
        words += ['x', str(512 * self.rng.randrange(1, 6000))]
        self.journal.add('.', PEER, words)
        must(PEER, words, self.folder)
        self.fill('x', self.form)
        return base

    def read_theirs(self, options):
        base = self.made(options)
        self.views('x')
        return f"read {','.join(options)} over {base}"

    def write_ours(self, options):
        """Make an image with our tool, then change it."""
        size = self.raw('r', self.rng.choice([MEGA // 4, 4 * MEGA]))
        words = ['convert', '-O', self.form, '-f', 'raw'] + (['-o', ','.join(options)] if options else [])
        words += self.rng.choice([[], ['-S', '0'], ['-W'], ['-m', '1'], ['-t', 'none'], ['-t', 'writeback'],
                                  ['-S', '512']])
        if self.compressed and self.rng.random() < 0.5:
            words += ['-c']
        if self.expect(IMG, words + ['r', 'x']):
            self.expect(PEER, ['compare', '-f', 'raw', '-F', self.form, 'r', 'x'])
            self.views('x')
            self.write_over('x', size)
            if self.checked:
                self.same(['check', '-f', self.form, 'x'])
                self.expect(PEER, ['check', '-f', self.form, 'x'])
        return ' '.join(words)

    def write_into_theirs(self, options):
        base = self.made(options)
        size = self.size_of('x', self.form) // 512 * 512
        if size:
            self.write_over('x', size)
        self.raw('r', size, size)
        words = ['convert', '-n', '-f', 'raw', '-O', self.form]
        words += self.rng.choice([[], ['-S', '0'], ['-W']]) + ['r', 'x']
        if size and self.expect(IMG, words):
            self.expect(PEER, ['compare', '-f', 'raw', '-F', self.form, 'r', 'x'])
            self.views('x')
        return f"-n into {','.join(options)} over {base}"

    def administer(self, options):
        """Change the image as a whole; the contents must be those of qemu-img."""
        base = self.made(options)
        other = self.base('c')
        words = self.rng.choice([
            ['resize', 'x', '+' + self.rng.choice(['1M', '512', '100', '0', '65536'])],
            ['resize', '--shrink', 'x', '512'],
            ['rebase', '-f', self.form, '-b', '', 'x'],
            ['rebase', '-f', self.form, '-u', '-b', '', 'x'],
            ['rebase', '-f', self.form, '-b', 'c', '-F', other or 'raw', 'x'],
            ['rebase', '-f', self.form, '-u', '-b', 'no such name', '-F', self.rng.choice(['raw', 'qcow2']), 'x'],
            ['commit', '-f', self.form, 'x'], ['commit', '-d', '-f', self.form, 'x'],
            ['amend', '-f', self.form, '-o', 'size=1M', 'x'], ['snapshot', '-c', 's', 'x']])
        if words[0] == 'commit':
            self.commit(words, base)
        elif self.sides(words, 'x') and 'no such name' not in words:
            for side in 'ours', 'peer':
                self.expect(IMG, ['convert', '-f', self.form, '-O', 'raw', side, side + '.raw'])
            self.equal('ours.raw', 'peer.raw')
            self.same(['check', '-f', self.form, 'x'])
            self.same(['compare', '-f', self.form, '-F', self.form, 'ours', 'peer'])
        elif 'no such name' in words:
            self.same(['info', 'x'])
        return f"{' '.join(words)}: {','.join(options)} over {base}"

    def commit(self, words, base):
        """A commit changes two files."""
        results = []
        names = [name for name in ('b', 'x') if os.path.exists(self.path(name))]
        before = {name: self.read(name) for name in names}
        for tool, side in (IMG, 'ours'), (PEER, 'peer'):
            for name in names:
                with open(self.path(name), 'wb') as file:
                    file.write(before[name])
            results.append(self.run(tool, words))
            for name, form in ('b', base), ('x', self.form):
                if name in names:
                    must(PEER, ['convert', '-f', form, '-O', 'raw', name, f'{side}.{name}'], self.folder)
        self.agree(words, *results)
        for name in names:
            self.equal('ours.' + name, 'peer.' + name)
