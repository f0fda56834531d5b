#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Read random images from pipes, under all names that a pipe has, while the writer gives random pieces.

For each seed: an image of a random format and layout, made by either tool.  convert, dd, digest and compare read from a
pipe what the reference tool reads from the file.  An image whose tables come first is read where nothing can be saved.

environment: see lib/harness.py
"""
import hashlib
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, can_make, each, guest_bytes  # noqa: E402
from images import some_disk  # noqa: E402
from imagecase import ImageCase  # noqa: E402

MEGA = 1024 * 1024
# Format, options of the conversion, does it come in order?
STREAMS = [('qcow2', ['-O', 'qcow2']), ('qcow2', ['-c', '-O', 'qcow2']), ('qcow2', ['-S', '4k', '-O', 'qcow2'])]
VMDK = ['-O', 'vmdk', '-o', 'subformat=streamOptimized']
ORDERED = ['vdi', 'vpc', 'parallels']
FILES = ['qcow2', 'qcow', 'qed', 'vmdk', 'vdi', 'vpc', 'vhdx', 'parallels']


class Case(ImageCase):
    def __init__(self, seed, folder):
        super().__init__('', seed, folder)
        rng = self.rng
        self.size = 512 * rng.randrange(1, rng.choice([100, 8000, 80000, 160000]))
        self.make_disk()
        kind = rng.random()
        self.forward, self.piped, self.tool = True, True, IMG
        if kind < .35:
            self.format, self.words = rng.choice(STREAMS)
            self.words = self.words + self.qcow2_options('-c' in self.words)
        elif kind < .6:
            self.format, self.words, self.tool = 'vmdk', VMDK, rng.choice([IMG, PEER])
            self.piped = self.tool == IMG and rng.random() < .5
        elif kind < .7:
            self.format, self.words, self.tool, self.piped = 'raw', ['-O', 'raw'], PEER, False
        elif kind < .8:
            self.format = rng.choice([name for name in ORDERED if can_make(name)])
            self.words, self.tool, self.piped = ['-O', self.format], rng.choice([IMG, PEER]), False
            if self.format == 'vpc' and rng.random() < .6:
                self.words += ['-o', 'subformat=fixed']
        else:
            self.format, self.forward, self.piped = rng.choice([name for name in FILES if can_make(name)]), False, False
            self.words, self.tool = ['-O', self.format], rng.choice([IMG, PEER])
            if self.format == 'qcow2':
                self.words += rng.choice([[], ['-c'], ['-W'], ['-c', '-W']])
                self.words += self.qcow2_options('-c' in self.words)
        self.title = f"{'reference ' if self.tool == PEER else ''}{' '.join(self.words)} {self.size}"

    def make_disk(self):
        """Long runs, so that there is more than what is kept of the beginning; noise, so that it stays long."""
        rng, data = self.rng, bytearray(self.size)
        for _ in range(rng.randrange(1, 40)):
            at = rng.randrange(self.size)
            length = min(rng.choice([3000, 70000, 700000, 3000000]), self.size - at)
            data[at:at + length] = rng.randbytes(length) if rng.random() < .6 else some_disk(rng, length, 5000)[:length]
        self.write('disk.raw', bytes(data), f'{self.size} bytes')

    def qcow2_options(self, compressed):
        rng, options = self.rng, []
        if rng.random() < .4:
            options.append('cluster_size=' + rng.choice(['512', '4k', '16k', '256k', '1M', '2M']))
        elif rng.random() < .3:
            options.append('extended_l2=on')
        if compressed and rng.random() < .4:
            options.append('compression_type=zstd')
        return ['-o', ','.join(options)] if options else []

    def make_image(self):
        words = ['convert', '-f', 'raw'] + self.words + ['disk.raw']
        if not self.piped:
            return self.run(self.tool, words + ['a.img']).code == 0
        with open(self.path('a.img'), 'wb') as file:
            done = subprocess.run([self.tool] + words + ['-'], cwd=self.folder, stdout=file, check=False)
        return done.returncode == 0

    # ---- the writer

    def pour(self, write, data, seed):
        import random
        rng, at = random.Random(seed), 0
        most = rng.choice([2000, 70000, 1000000])
        try:
            while at < len(data):
                at += os.write(write, data[at:at + rng.randrange(1, most)])
        except BrokenPipeError:
            pass
        os.close(write)

    def piped_run(self, words, data, saves):
        """Run our tool with `@` in the words as the pipe; code, standard output, standard error."""
        rng = self.rng
        read, write = os.pipe()
        name = rng.choice(['-', '/dev/stdin', '/dev/fd/0', f'/dev/fd/{read}'])
        words = [word.replace('@', name) for word in words]
        environment = dict(os.environ, TMPDIR=self.folder if saves else '/nonexistent')
        self.journal.lines.append(f"cat a.img | (TMPDIR={environment['TMPDIR']} {IMG} {' '.join(words)})")
        process = subprocess.Popen([IMG] + words, cwd=self.folder, stdin=read, pass_fds=[read], env=environment,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.close(read)
        writer = threading.Thread(target=self.pour, args=[write, data, rng.random()])
        writer.start()
        out, err = process.communicate()
        writer.join()
        return process.returncode, out, err.decode(errors='replace')

    # ---- what is compared

    def go(self):
        if not self.make_image():
            return
        data = self.read('a.img')
        want, said = guest_bytes(PEER, ['-f', self.format, 'a.img'], self.folder)
        if want is None:
            self.problems.append(f'the reference tool cannot read it: {said}')
            return
        given = ['-f', self.format] if self.rng.random() < .3 or self.format in ('raw', 'vpc') else []
        self.convert(given, data, want)
        self.convert_to_pipe(given, data, want)
        self.digest(given, data, want)
        self.compare(given, data, want)
        self.dd(given, data, want)
        self.hostile(bytearray(data))

    def hostile(self, data):
        """Damaged, it is read or refused; the content is that of the damaged file."""
        rng = self.rng
        for _ in range(rng.randrange(1, 6)):
            at = rng.choice([rng.randrange(min(len(data), 1 << 16) or 1), rng.randrange(len(data) or 1)])
            data[at:at + 1] = bytes([rng.choice([0, 1, 255, rng.randrange(256)])])
        if rng.random() < .3:
            del data[rng.randrange(len(data)):]
        self.write('damaged.img', bytes(data), 'damaged')
        words = ['digest', '-f', self.format]
        code, out, err = self.piped_run(words + ['@'], bytes(data), True)
        direct = self.run(IMG, words + ['damaged.img'])
        if code not in (0, 1) or (code == 1 and not err):
            self.problems.append(f'damaged: exit {code}: {err}')
        # (a stream of vmdk is read by its markers, a file by its tables)
        if code == direct.code == 0 and self.format != 'vmdk' and out.split()[0].decode() != direct.out.split()[0]:
            self.problems.append('damaged: another content than that of the file')

    def check(self, what, result, code=0):
        if result[0] != code or result[2]:
            self.problems.append(f'{what}: exit {result[0]}: {result[2]}')
        return result[0] == code == 0

    def convert(self, given, data, want):
        rng = self.rng
        target = rng.choice([['-O', 'raw'], ['-O', 'qcow2'], ['-c', '-O', 'qcow2'], ['-O', 'vdi'], ['-W', '-O', 'raw']])
        words = ['convert'] + given + target + rng.choice([[], [], ['-m', str(rng.randrange(1, 17))], ['-S', '0']])
        if self.check(words, self.piped_run(words + ['@', 'b.img'], data, True)):
            got, said = guest_bytes(PEER, ['-f', target[-1], 'b.img'], self.folder)
            if got is None or got[:len(want)] != want or got.strip(b'\0') != want.strip(b'\0'):
                self.problems.append(f'{words}: other bytes: {said}')

    def convert_to_pipe(self, given, data, want):
        words = ['convert'] + given + ['-O', 'raw', '@', '-']
        result = self.piped_run(words, data, not self.forward)
        if self.check(words, result) and result[1] != want:
            self.problems.append(f'{words}: other bytes')

    def digest(self, given, data, want):
        words = ['digest', '-a', 'sha256'] + given + ['@']
        result = self.piped_run(words, data, not self.forward)
        if self.check(words, result) and result[1].split()[0].decode() != hashlib.sha256(want).hexdigest():
            self.problems.append(f'{words}: another digest')

    def compare(self, given, data, want):
        with open(self.path('want.raw'), 'wb') as file:
            file.write(want)
        changed = bytearray(want)
        at = self.rng.randrange(len(want) or 1)
        if want:
            changed[at] ^= 1
        with open(self.path('other.raw'), 'wb') as file:
            file.write(changed)
        words = ['compare'] + given + ['-F', 'raw', '@']
        saves = not self.forward or self.format == 'raw' or 'subformat=fixed' in self.words
        self.check(words, self.piped_run(words + ['want.raw'], data, saves))
        result = self.piped_run(words + ['other.raw'], data, saves)
        sector = at // 512 * 512
        if want and (result[0] != 1 or result[1].decode() != f'Content mismatch at offset {sector}!\n'):
            self.problems.append(f'{words}: {result}')

    def dd(self, given, data, want):
        rng = self.rng
        block = rng.choice([512, 1000, 65536])
        skip, count = rng.randrange(len(want) // block + 1), rng.randrange(1, len(want) // block + 3)
        words = ['dd'] + given + [f'bs={block}', f'skip={skip}', f'count={skip + count}', 'if=@', 'of=-']
        result = self.piped_run(words, data, not self.forward)
        if self.check(words, result) and result[1] != want[skip * block:(skip + count) * block]:
            self.problems.append(f'{words}: other bytes')


def one(seed, folder):
    case = Case(seed, folder)
    case.go()
    return case.title, case.problems, ['commands:'] + case.journal.lines


if __name__ == '__main__':
    each('stdin-random', 20, one)
