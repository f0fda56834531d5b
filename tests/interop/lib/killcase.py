# SPDX-License-Identifier: MIT
"""Kills our tool while it writes to an image: afterwards each sector must be the old or the new one.

The functions are the parts of such a case.  KillCase combines them for similar formats; a program with more choices
combines the parts itself.
"""
import os
import random

from harness import PEER, PEER_IO, killed, must, run

MEGA = 1 << 20


def read(folder, name):
    with open(os.path.join(folder, name), 'rb') as file:
        return file.read()


def scattered_source(path, size, rng):
    """Data in most megabytes, each from a random offset on."""
    with open(path, 'wb') as file:
        for at in range(0, size, MEGA):
            if rng.random() < 0.7:
                file.seek(at + 4096 * rng.randrange(64))
                file.write(rng.randbytes(4096) * rng.randrange(1, 180))
        file.truncate(size)


def mixed_source(path, size):
    """Whole megabytes, half of them compressible, smaller pieces, and gaps; the same for all cases."""
    rng = random.Random(3)
    with open(path, 'wb') as file:
        for at in range(0, size, MEGA):
            kind = rng.random()
            if kind < 0.6:
                file.seek(at)
                file.write(rng.randbytes(MEGA // 2) + bytes([rng.randrange(1, 256)]) * (MEGA // 2))
            elif kind < 0.8:
                file.seek(at + 4096 * rng.randrange(200))
                file.write(rng.randbytes(4096 * rng.randrange(1, 20)))
        file.truncate(size)


def ways_to_copy(rng):
    """Options of convert that choose the order and the time of its writes."""
    return ['-t', rng.choice(['writeback', 'unsafe', 'none', 'writethrough'])] + \
        rng.choice([[], ['-m', '1'], ['-m', '16'], ['-W'], ['-W', '-m', '16']])


def write_some(form, folder, name, size, rng):
    """Write data and zeroes at random places of an image, with the reference tool."""
    steps = []
    for _ in range(rng.randrange(12)):
        kind = rng.choice([f'write -P {rng.randrange(1, 255)}', 'write -P 7', 'write -z'])
        steps += ['-c', f'{kind} {rng.randrange(size - 2 * MEGA) // 512 * 512} {512 * rng.randrange(1, 4000)}']
    if steps:
        must(PEER_IO, ['-f', form] + steps + [name], folder)


def contents(tool, form, folder, name, to='now.raw'):
    """The guest's bytes, also kept in `to`; or the tool's error message."""
    result = run(tool, ['convert', '-f', form, '-O', 'raw', name, to], folder)
    return f'cannot be read: exit {result.code}: {result.err}' if result.code else read(folder, to)


def neither(got, old, new):
    """Problems: `got` is an error, or has a sector that is neither the old nor the new one."""
    for what in got, old:
        if isinstance(what, str):
            return [what]
    if len(got) != len(new):
        return [f'{len(got)} bytes in place of {len(new)}']
    for start in range(0, len(new), 65536):
        part = slice(start, start + 65536)
        if got[part] in (old[part], new[part]):
            continue
        for at in range(start, min(start + 65536, len(new)), 512):
            if got[at:at + 512] not in (old[at:at + 512], new[at:at + 512]):
                return [f'sector {at // 512} is neither the old nor the new one']
    return []


def kill(words, folder, rng, span, prepare):
    """Run our tool and kill it at a random moment; returns the result of prepare(), and the moment as text.

    `span` is the recent duration of such runs, adapted to the machine.  A run that has ended is repeated and
    killed sooner, with only `source` and the files of prepare() in the folder.
    """
    longest = rng.random() * span[0]
    for delay in [longest / 2 ** number for number in range(5)]:
        for name in os.listdir(folder):
            if name != 'source':
                os.unlink(os.path.join(folder, name))
        prepared = prepare()
        running = killed(words, folder, delay)
        span[0] = min(6.0, span[0] * 1.1) if running else max(0.01, span[0] * 0.9)
        if running:
            break
    return prepared, f"killed after {delay:.3f} s{'' if running else ' (too late)'}"


class KillCase:
    """Convert into a new image t.img, or convert or bench over one that holds data.

    A format defines `form`, `size`, `new_options` of convert into a new image, `stride`, the maximum number of
    sectors from one write of bench to the next, and the three functions.
    """
    form, size, new_options, stride = '', 0, [], 4000

    def old_options(self, rng):
        """Options of create for the image to be overwritten."""
        raise NotImplementedError

    def complete(self, path):
        """Is a new image complete enough to be opened?"""
        raise NotImplementedError

    def judge(self, folder, old, new):
        """Problems of the remaining image; `old` and `new` are the contents that a sector may have."""
        raise NotImplementedError

    def bench(self, path, rng):
        """Arguments for many small writes, each followed by a flush; fills `path` with the bytes they write."""
        with open(path, 'wb') as file:
            file.write(b'\xa5' * self.size)
        return ['bench', '-w', '-f', self.form, '-c', '400', '-d', '1', '-s', '20k',
                '-S', str(512 * rng.randrange(300, self.stride)), '-o', str(512 * rng.randrange(2000)),
                '--flush-interval=1', '--pattern=165', 't.img']

    def make_old(self, folder, rng):
        must(PEER, ['create', '-q', '-f', self.form, '-o', self.old_options(rng), 't.img', str(self.size)], folder)
        write_some(self.form, folder, 't.img', self.size, rng)
        return contents(PEER, self.form, folder, 't.img', 'old.raw')

    def one(self, seed, folder, span):
        rng = random.Random(seed)
        is_new = rng.random() < 0.4
        source, path = os.path.join(folder, 'source'), os.path.join(folder, 't.img')
        scattered_source(source, self.size, rng)
        words = ['convert', '-f', 'raw', '-O', self.form] + (self.new_options if is_new else ['-n'])
        words += ways_to_copy(rng) + ['source', 't.img']
        if not is_new and rng.random() < 0.4:
            words = self.bench(source, rng)
        old, moment = kill(words, folder, rng, span, lambda:
                           bytes(self.size) if is_new else self.make_old(folder, random.Random(seed)))
        title = f"{' '.join(words)} {moment}"
        if not os.path.exists(path) or (is_new and not self.complete(path)):
            return title, []
        return title, self.judge(folder, old, read(folder, 'source'))
