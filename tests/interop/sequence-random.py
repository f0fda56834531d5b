#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random sequences of commands, ours on one set of images and the reference tool on another.

Each case makes two folders with the same base images and an overlay, then takes steps: writes with
qemu-io, snapshot, resize, rebase, commit, amend, bitmap, check, dd, convert and new overlays.  After
each step exit code, standard output and standard error are equal, and so are the contents of all
images in the eyes of the reference tool, its check, and what it says with info, map and measure of ours
and of its own; at the end of the case our info, map and measure of our images are compared with it as well.

environment: see lib/harness.py; STEPS: number of steps of a case (default 12)
"""
import json
import os
import random
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
import harness  # noqa: E402
from harness import IMG, Journal, PEER, PEER_IO, each, run  # noqa: E402

harness.TIMEOUT = 30        # the reference needs minutes for refcount_bits=1 with clusters of 2M

KILO = 1024
MEGA = KILO * KILO
STEPS = int(os.environ.get('STEPS', '12'))
LAYOUTS = ['cluster_size=64k', 'cluster_size=4k', 'cluster_size=512', 'cluster_size=2M', 'compat=0.10',
           'cluster_size=16k,extended_l2=on', 'refcount_bits=1', 'refcount_bits=64', 'lazy_refcounts=on',
           'compression_type=zstd', 'preallocation=metadata', 'cluster_size=4k,refcount_bits=8']


class Case:
    """One sequence: the two folders, the random numbers, and the names that are in play."""

    def __init__(self, seed, path):
        self.rng = random.Random(seed)
        self.ours, self.theirs = os.path.join(path, 'ours'), os.path.join(path, 'peer')
        os.mkdir(self.ours)
        os.mkdir(self.theirs)
        self.journal = Journal()
        self.chain = []                 # from the bottom up: (name, format)
        self.others = []                # images that stand beside it
        self.bitmaps, self.snapshots = ['b0', 'b1', 'b2'], ['s0', 's1', 's2']
        self.problems = []
        self.crashed = False            # the reference tool went wrong: nothing to compare with any more
        self.size_before = {}
        self.seen = {}                  # name: state of the two files when they were compared

    # ---- Running ------------------------------------------------------------

    def both(self, words, tool=None):
        """The same command in both folders."""
        self.journal.add('DIR', 'qemu-io' if tool else 'qemu-img', words)
        return run(tool or IMG, words, self.ours), run(tool or PEER, words, self.theirs)

    def setup(self, words, tool=PEER):
        for folder in self.ours, self.theirs:
            done = run(tool, words, folder)
            if done.code:
                raise RuntimeError(f'{words}: {done.err}')
        self.journal.add('DIR', 'qemu-io' if tool == PEER_IO else 'qemu-img', words)

    def say(self, what, text):
        self.problems.append(f'{what}: {text}')

    # ---- Making the images ----------------------------------------------------

    def size(self):
        return self.rng.randrange(1, 24 * MEGA) // 512 * 512 + 512

    def pattern(self, name, form, count):
        size = self.virtual_size(name, form)
        steps = []
        for _ in range(count):
            unit = self.rng.choice([512, 4096, 65536])
            length = unit * self.rng.randrange(1, 40)
            if size < length:
                continue
            at = self.rng.randrange(0, size - length + 1) // 512 * 512
            how = self.rng.choice(['write -P %d' % self.rng.randrange(1, 9)] * 5 + ['write -z', 'write -z -u', 'discard'])
            steps += ['-c', f'{how} {at} {length}']
        if steps:
            self.setup(['-f', form] + steps + [name], PEER_IO)

    def virtual_size(self, name, form, folder=None):
        shown = run(PEER, ['info', '-f', form, '--output=json', '-U', name], folder or self.theirs)
        return json.loads(shown.out)['virtual-size'] if shown.code == 0 else 0

    def make(self, name, form, backing=None):
        words = ['create', '-q', '-f', form]
        if form == 'qcow2':
            layout = self.rng.choice(LAYOUTS)
            if backing and 'preallocation' in layout:
                layout = 'cluster_size=64k'
            words += ['-o', layout]
        if backing:
            words += ['-b', backing[0], '-F', backing[1]]
        self.setup(words + [name, str(self.size())])
        self.pattern(name, form, self.rng.randrange(0, 10))

    def start(self):
        form = self.rng.choice(['raw', 'qcow2', 'qcow2'])
        self.make('base', form)
        self.chain = [('base', form)]
        form = self.rng.choice(['raw', 'qcow2'])
        self.make('other', form)
        self.others = [('other', form)]
        for level in range(self.rng.randrange(1, 3)):
            self.overlay(f'top{level}')

    def overlay(self, name):
        self.make(name, 'qcow2', self.chain[-1])
        self.chain.append((name, 'qcow2'))

    # ---- Steps -------------------------------------------------------------------

    def top(self):
        return self.chain[-1][0]

    def image(self):
        """Mostly the active image."""
        return self.chain[-1] if self.rng.random() < 0.9 else self.rng.choice(self.others)

    def step_write(self):
        name, form = self.image()
        self.pattern(name, form, self.rng.randrange(1, 5))

    def step_snapshot(self):
        how = self.rng.choice(['-c', '-c', '-c', '-a', '-a', '-d', '-l'])
        words = ['snapshot', how] + ([self.rng.choice(self.snapshots + ['1'])] if how != '-l' else [])
        return words + [self.image()[0]]

    def step_resize(self):
        name, form = self.image()
        now = self.virtual_size(name, form)
        size = self.rng.choice([str(self.size()), f'+{self.rng.randrange(1, 8 * KILO) // 1}K',
                                f'-{self.rng.randrange(1, 2 * KILO)}K', str(max(512, now // 2)), '+0', '513'])
        words = ['resize', '-f', form] + self.rng.choice([[], ['--shrink'], ['--shrink'], ['-q']])
        if self.rng.random() < 0.25:
            words += ['--preallocation=' + self.rng.choice(['off', 'metadata', 'falloc', 'full'])]
        return words + [name, size]

    def step_rebase(self):
        choice = self.rng.random()
        target = self.rng.choice(self.chain[:-1] + self.others) if self.chain[:-1] else self.others[0]
        words = ['rebase', '-f', 'qcow2'] + self.rng.choice([[], [], [], ['-c'], ['-p']])
        if choice < 0.2:
            words += ['-b', '']
        else:
            words += ['-b', target[0], '-F', target[1]]
        return words + [self.top()]

    def rebased(self, words, code):
        """Keep the picture of the chain true."""
        if code:
            return
        name = words[words.index('-b') + 1]
        top = self.chain[-1]
        below = []
        for index, (other, _) in enumerate(self.chain[:-1]):
            if other == name:
                below = self.chain[:index + 1]
        dropped = [entry for entry in self.chain[:-1] if entry not in below]
        # what an overlay stands on must not be written to: leave those that nobody names
        self.chain = below + [top]
        self.others = [entry for entry in self.others if entry[0] != name] or self.others
        if dropped and not below and dropped[-1][1] == 'raw':
            self.others = [dropped[-1]]
        if not self.others:
            self.make('spare', 'raw')
            self.others = [('spare', 'raw')]

    def step_commit(self):
        words = ['commit', '-f', 'qcow2'] + self.rng.choice([[], [], ['-d'], ['-p'], ['-q']])
        if len(self.chain) > 2 and self.rng.random() < 0.2:
            words += ['-b', self.rng.choice(self.chain[:-1])[0]]
        return words + [self.top()]

    def step_amend(self):
        option = self.rng.choice(['compat=0.10', 'compat=1.1', 'compat=v3', 'lazy_refcounts=on', 'lazy_refcounts=off',
                                  'refcount_bits=1', 'refcount_bits=4', 'refcount_bits=16', 'refcount_bits=64',
                                  f'size={self.size()}', 'cluster_size=4k', 'preallocation=full', 'nonsense=1',
                                  'compat=1.1,refcount_bits=8', 'compat=1.1,lazy_refcounts=on', 'data_file_raw=on'])
        return ['amend', '-f', 'qcow2', '-o', option, self.top()]

    def step_bitmap(self):
        name = self.rng.choice(self.bitmaps)
        action = self.rng.choice([['--add'], ['--add'], ['--add'], ['--add', '-g', '4k'], ['--add', '--disable'],
                                  ['--remove'], ['--clear'], ['--enable'], ['--disable'],
                                  ['--merge', self.rng.choice(self.bitmaps)],
                                  ['--add', '--merge', self.rng.choice(self.bitmaps)]])
        return ['bitmap', '-f', 'qcow2'] + action + [self.top(), name]

    def step_check(self):
        return ['check', '-f', 'qcow2'] + self.rng.choice([[], ['-r', 'leaks'], ['-r', 'all'],
                                                           ['--output=json']]) + [self.top()]

    def step_dd(self):
        self.remove('out')
        words = ['dd', '-f', 'qcow2', '-O', self.rng.choice(['raw', 'qcow2']), f'if={self.top()}', 'of=out',
                 'bs=' + self.rng.choice(['512', '4k', '64k', '1M', '1000'])]
        for key in 'count', 'skip':
            if self.rng.random() < 0.4:
                words.append(f'{key}={self.rng.randrange(0, 200)}')
        return words

    def step_convert(self):
        self.remove('out')
        form = self.rng.choice(['raw', 'qcow2'])
        words = ['convert', '-f', 'qcow2', '-O', form] + self.rng.choice([[], ['-S', '0'], ['-S', '64k']])
        if form == 'qcow2':
            words += self.rng.choice([[], ['-c'], ['--bitmaps'], ['-o', 'cluster_size=4k']])
        if self.rng.random() < 0.2:
            words += ['-l', self.rng.choice(self.snapshots)]
        return words + [self.top(), 'out']

    def step_overlay(self):
        if len(self.chain) < 5:
            self.overlay(f'top{len(self.chain)}x{self.rng.randrange(1000)}')

    def remove(self, name):
        for folder in self.ours, self.theirs:
            if os.path.exists(os.path.join(folder, name)):
                os.unlink(os.path.join(folder, name))

    # ---- What must be equal -----------------------------------------------------------

    def compare_results(self, words, ours, theirs):
        for one in ours, theirs:
            one.out = re.sub(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d', 'DATE', one.out)
            one.err = re.sub(r'#block\d+', '#block', one.err)
            if '-p' in words:
                one.out = re.sub(r' *\(\d+\.\d\d/100%\)\r', '', one.out)
            if words[0] == 'check':     # where things lie, and what leaked, is each tool's own affair
                one.out = re.sub(r'(Image end offset: |"image-end-offset": )\d+', r'\1N', one.out)
                one.out = re.sub(r'\d+/\d+ = [\d.]+% allocated, .*% compressed clusters\n', '', one.out)
                one.out = re.sub(r'("(?:allocated|fragmented)-clusters": \d+,?\s*|"total-clusters": \d+,?\s*|"filename".*)', '', one.out)
        spared = words[0] == 'check' and re.search('leak.*[1-9]|[1-9].* leak', theirs.out) and 'leak' not in ours.out
        if ours.differs(theirs) and not spared:
            self.say(' '.join(words), ours.differs(theirs))

    def formed(self):
        listed = self.chain + self.others
        if os.path.exists(os.path.join(self.theirs, 'out')):
            shown = run(PEER, ['info', '--output=json', 'out'], self.theirs)
            listed = listed + [('out', json.loads(shown.out)['format'])] if shown.code == 0 else listed
        return listed

    def compare_images(self):
        for name, form in self.formed():
            both = [os.path.join(folder, name) for folder in (self.ours, self.theirs)]
            if os.path.exists(both[0]) != os.path.exists(both[1]):
                self.say(name, 'exists on one side only')
                continue
            if not self.changed(name, both):
                continue
            sizes = [self.virtual_size(name, form, folder) for folder in (self.ours, self.theirs)]
            if sizes[0] != sizes[1]:
                self.say(f'size of {name}', str(sizes))
            done = run(PEER, ['compare', '-f', form, '-F', form] + both, self.ours)
            if done.code and self.grown_garbage(name, form, both):
                self.crashed = True
                return
            if done.code:
                self.say(f'contents of {name}', done.out + done.err)
            if form == 'qcow2':
                self.check(name)
                self.info(name, form)

    def grown_garbage(self, name, form, both):
        """The reference shows old bytes in the grown part of an image, which reads as zeroes in ours."""
        before, data = self.size_before.get(name), []
        for path in both:
            run(PEER, ['convert', '-f', form, '-O', 'raw', path, path + '.flat'], self.ours)
            with open(path + '.flat', 'rb') as file:
                data.append(file.read())
            os.unlink(path + '.flat')
        return before is not None and data[0][:before] == data[1][:before] and not any(data[0][before:])

    def changed(self, name, both):
        """Whether an image or what lies below it is another one than at the last look."""
        names = [entry[0] for entry in self.chain]
        below = names[:names.index(name)] if name in names else []
        files = both + [os.path.join(folder, other) for folder in (self.ours, self.theirs) for other in below]
        state = [(status.st_ino, status.st_size, status.st_mtime_ns) for status in map(os.stat, files)]
        if self.seen.get(name) == state:
            return False
        self.seen[name] = state
        return True

    def check(self, name):
        ours, theirs = (run(PEER, ['check', '-f', 'qcow2', name], folder) for folder in (self.ours, self.theirs))
        # qemu-img leaks a cluster where we do not, now and then; never the other way round.
        if ours.code not in (0, theirs.code) or ours.code not in (0, 3):
            self.say(f'check of {name}', f'ours {ours.code} {ours.out[:400]}{ours.err[:400]} peer {theirs.code} '
                                         f'{theirs.out[:200]}')

    def described(self, tool, name, form, folder):
        """Info without what may differ."""
        shown = run(tool, ['info', '-f', form, '--output=json', name], folder)
        if shown.code:
            return shown.err
        info = json.loads(shown.out)
        for entry in [info] + [child.get('info', {}) for child in info.get('children', [])]:
            for key in 'filename', 'full-backing-filename':
                entry.pop(key, None)
            for child in entry.get('children', []):
                child.get('info', {}).pop('virtual-size', None)
            if entry.get('format') == 'file':
                entry.pop('virtual-size', None)
        for snapshot in info.get('snapshots', []):
            for key in 'date-sec', 'date-nsec':
                snapshot.pop(key, None)
        return info

    def info(self, name, form):
        ours, theirs = (self.described(PEER, name, form, folder) for folder in (self.ours, self.theirs))
        if ours != theirs:
            self.say(f'info of {name}', f'ours {json.dumps(ours)}\n  peer {json.dumps(theirs)}')

    def compare_views(self):
        """Our tools against the reference on the same file: all of the text."""
        for name, form in self.formed():
            for words in (['info', '-f', form, name], ['info', '-f', form, '--output=json', '--backing-chain', name],
                          ['map', '-f', form, name], ['map', '-f', form, '--output=json', name],
                          ['measure', '-f', form, '-O', 'qcow2', name], ['measure', '-f', form, '-O', 'raw', name],
                          ['measure', '-f', form, '-O', 'qcow2', '--output=json', '-o', 'cluster_size=4k', name]):
                found = run(IMG, words, self.ours).differs(run(PEER, words, self.ours))
                if found:
                    self.say(f'view {" ".join(words)}', found)

    # ---- The sequence --------------------------------------------------------------------

    def step(self):
        kind = self.rng.choice(['write'] * 4 + ['snapshot'] * 4 + ['resize'] * 2 + ['rebase'] * 2 + ['commit'] * 2
                               + ['amend'] * 2 + ['bitmap'] * 3 + ['check', 'dd', 'convert', 'overlay'])
        words = getattr(self, 'step_' + kind)()
        if not words:
            return
        kept = self.snapshot_count()
        self.size_before = {name: self.virtual_size(name, form) for name, form in self.chain} \
            if kind in ('resize', 'amend') else {}
        ours, theirs = self.both(words)
        if self.is_fault_of_the_reference(words, ours, theirs, kept):
            self.crashed = True
            return
        self.compare_results(words, ours, theirs)
        if kind == 'rebase':
            self.rebased(words, theirs.code)

    def snapshot_count(self):
        shown = run(PEER, ['info', '-f', 'qcow2', '--output=json', self.top()], self.theirs)
        return len(json.loads(shown.out).get('snapshots', [])) if shown.code == 0 else 0

    def is_fault_of_the_reference(self, words, ours, theirs, snapshots):
        """What it does wrong by itself; there is nothing to compare with from then on."""
        # It dies in rebase -c of an image with subclusters.
        if theirs.code == 'timeout' or theirs.code < 0:
            return True
        # Its check -r forgets the snapshots of an image that has a bitmap.
        if words[0] == 'check' and self.snapshot_count() < snapshots:
            return True
        # Compressed clusters are packed by their lengths, which are not the same: other counts, another verdict.
        if 'Cannot decrease refcount entry width' in theirs.err + ours.err:
            return True
        # Its shrink makes an L2 table where there was none; a second reference to it does not fit into one bit.
        return words[:2] == ['snapshot', '-c'] and ours.code == 0 and 'Invalid argument' in theirs.err

    def run(self):
        self.start()
        for _ in range(STEPS):
            self.step()
            if self.crashed:
                return
            self.compare_images()
            if self.problems:
                return
        self.compare_views()


def one(seed, folder):
    case = Case(seed, folder)
    case.run()
    return f'{len(case.journal.lines)} commands', case.problems, case.journal.lines


def main():
    each('sequence-random', 8, one)


if __name__ == '__main__':
    main()
