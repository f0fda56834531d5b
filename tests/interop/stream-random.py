#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Convert random images to standard output and to named pipes, as images that are written in order.

For each seed: the reference tool finds nothing to repair, reads the contents that it reads in the same conversion to a
file, and sees the same map where both look for zeroes; another number of workers makes the same bytes; the image is not
larger than the reference tool's measure says; what comes out of standard input again is the same.
VMDK with subformat=streamOptimized is read by 7zz too, where that is installed.

environment: see lib/harness.py
"""
import json
import os
import shutil
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, can_make, each  # noqa: E402
import images  # noqa: E402
from imagecase import ImageCase  # noqa: E402

MEGA = 1024 * 1024
SEVEN = shutil.which('7zz')
OTHERS = [name for name in ('qcow', 'qed', 'vdi', 'vmdk', 'vpc', 'vhdx', 'parallels')
          if can_make(name)]


def streamable(options):
    return [word for word in options if not word.startswith(('data_file', 'preallocation'))]


class Case(ImageCase):
    def __init__(self, seed, folder):
        super().__init__('', seed, folder)
        rng = self.rng
        most = rng.choice([256 * 1024, 2 * MEGA, 8 * MEGA])
        several = rng.random() < 0.1
        self.images, self.sources = [], []
        for number in range(rng.randrange(2, 4) if several else 1):
            links = images.chain(rng, 'abc'[number], most, 1 if several else rng.choice([1, 1, 1, 2, 3]))
            self.images += links
            self.sources.append(links[-1])
        self.format = 'vmdk' if 'vmdk' in OTHERS and rng.random() < 0.25 else 'qcow2'
        self.words, self.backed, self.compressed, self.sparse = [], False, False, None
        if self.format == 'qcow2':
            self.pick_qcow2(several)
        else:
            self.words += ['-o', ','.join(['subformat=streamOptimized'] + rng.choice(
                [[], [], ['compat6'], ['adapter_type=lsilogic'], ['hwversion=13'], ['toolsversion=9']]))]
            self.compressed = True
        self.other = rng.choice(OTHERS) if OTHERS and not several and not self.backed and rng.random() < .3 else None
        if not several and not self.other:
            names = [step[1] for step in self.sources[0]['steps'] if step[0] == 'snapshot']
            if names and rng.random() < 0.4:
                self.words += ['-l', rng.choice(names)]
        for words, chance in (['-m', str(rng.randrange(1, 17))], .4), (['-W'], .1), (['-r', '300M'], .1), \
                (['-q'], .1), (['-U'], .05), (['-T', 'none'], .05), (['--salvage'], .05), (['-C'], .03):
            if rng.random() < chance and not (words[0] == '-C' and self.looks()):
                self.words += words
        self.title = f"{self.other or ''} -O {self.format} {' '.join(self.words)}"

    def looks(self):
        """At the bytes: there is nothing that the kernel could copy."""
        return self.compressed or self.sparse or '--salvage' in self.words

    def pick_qcow2(self, several):
        rng, top = self.rng, self.sources[-1]
        self.compressed = rng.random() < 0.4
        if not several and rng.random() < 0.25:
            backing = top['backing']
            if not backing:
                backing = images.chain(rng, 'x', 4 * MEGA, 1)[0]
                self.images.insert(0, backing)
            self.words += ['-B', backing['name'], '-F', backing['format']]
            self.backed = True
        options = streamable(images.creation_options(rng, 't', self.backed, self.compressed)[0])
        if self.compressed:
            self.words.append('-c')
            zstd = 'compression_type=zstd' in options
            if rng.random() < .3:
                options.append(f'compression_level={rng.randrange(1, 9)}')
            if rng.random() < .15 and not zstd:
                options.append('compression_window=' + rng.choice(['512', '4k', '32k']))
        if options:
            self.words += ['-o', ','.join(options)]
        if rng.random() < 0.4:
            self.sparse = rng.choice(['0', '4k', '64k', '1M', '512'])
            self.words += ['-S', self.sparse]

    def problem(self, title, text=''):
        self.problems.append(f'{title}: {text}')

    def convert(self, words):
        return ['convert', '-O', self.format] + words + [image['name'] for image in self.sources]

    def become_other(self):
        """The source as an image of another format; False where the reference tool cannot make one of it."""
        old = self.sources[0]
        self.sources[0] = dict(name='other.img', format=self.other)
        return self.run(PEER, ['convert', '-f', old['format'], '-O', self.other, old['name'], 'other.img']).code == 0

    # ---- the ways out

    def to_output(self, words, name):
        """Into a file, or through a pipe, that is standard output."""
        self.journal.lines.append(f"({' '.join([IMG] + words)} - > {name})")
        piped = self.rng.random() < 0.5
        with open(self.path(name), 'wb') as file:
            done = subprocess.Popen(['qemu-img'] + words + ['-'], executable=IMG, cwd=self.folder,
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if piped else file,
                                    stderr=subprocess.PIPE)
            if piped:
                shutil.copyfileobj(done.stdout, file)
            errors = done.communicate()[1]
        return done.returncode, errors.decode()

    def to_pipe(self, words, name):
        os.mkfifo(self.path('fifo'))
        reader = threading.Thread(target=self.read_pipe, args=[name])
        reader.start()
        result = self.run(IMG, words + ['fifo'])
        if result.code:     # it may not have been opened at all
            os.close(os.open(self.path('fifo'), os.O_RDWR | os.O_NONBLOCK))
        reader.join()
        os.unlink(self.path('fifo'))
        return result.code, result.err

    def read_pipe(self, name):
        with open(self.path('fifo'), 'rb') as pipe, open(self.path(name), 'wb') as file:
            shutil.copyfileobj(pipe, file)

    # ---- what is compared

    def go(self):
        if not all(images.make(image, self.folder, self.journal) for image in self.images):
            return
        if self.other and not self.become_other():
            return
        words = self.convert(self.words)
        way = self.to_pipe if self.rng.random() < 0.2 and '-C' not in words else self.to_output
        code, errors = way(words, 's.img')
        direct = self.run(IMG, words + ['f.img'])
        if code != direct.code:
            self.problem('exit code', f'{code} in order, {direct.code} into a file; {errors} {direct.err}')
        if code or direct.code:
            return
        if errors != direct.err:
            self.problem('standard error', errors)
        self.same_bytes(words)
        self.same_contents()
        if self.format == 'qcow2':
            self.sound()
            self.same_map()
            self.not_too_large()
        elif SEVEN:
            self.read_by_seven()

    def same_bytes(self, words):
        code, errors = self.to_output(words + ['-m', str(self.rng.randrange(1, 17))], 'again.img')
        if code or errors:
            self.problem('again', f'{code} {errors}')
        if self.normal(self.read('s.img')) != self.normal(self.read('again.img')):
            self.problem('bytes', 'another number of workers makes another file')

    def normal(self, data):
        """Without what is drawn by lot, the content id of a VMDK."""
        place = data.find(b'\nCID=', 0, 65536) if self.format == 'vmdk' else -1
        return data if place < 0 else data[:place + 5] + data[place + 13:]

    def same_contents(self):
        for tool in PEER, IMG:
            result = self.run(tool, ['compare', '-U', '-f', self.format, '-F', self.format, 's.img', 'f.img'])
            if result.code:
                self.problem('contents', f'{tool}: {result.out}{result.err}')
        if not self.backed and '-l' not in self.words and len(self.sources) == 1:
            source = self.sources[0]
            result = self.run(PEER, ['compare', '-f', source['format'], '-F', self.format, source['name'], 's.img'])
            if result.code:
                self.problem('contents against the source', result.out + result.err)

    def sound(self):
        for tool in PEER, IMG:
            result = self.run(tool, ['check', '-f', 'qcow2', 's.img'])
            if result.code or 'No errors' not in result.out:
                self.problem('check', f'{tool}: {result.out}{result.err}')

    def same_map(self):
        maps = []
        for name in 's.img', 'f.img':
            result = self.run(PEER, ['map', '-f', 'qcow2', '--output=json', name])
            entries = json.loads(result.out) if result.code == 0 else []
            maps.append([piece for entry in entries for piece in self.told(entry)])
        joined = [self.join(pieces) for pieces in maps]
        if self.compressed or self.sparse:
            if joined[0] != joined[1]:
                self.problem('map', f'in order {joined[0][:6]}, to a file {joined[1][:6]}')
        elif any(own[2] and not ours[2] for own, ours in self.side_by_side(joined[1], joined[0])):
            self.problem('map', f'less than to a file: {joined}')

    def told(self, entry):
        here = entry['depth'] == 0 and entry['present']
        yield entry['start'], entry['length'], here and (entry['data'] or self.backed), here and entry.get('compressed')

    @staticmethod
    def join(pieces):
        found = []
        for start, length, *rest in pieces:
            if found and found[-1][2:] == tuple(rest):
                found[-1] = (found[-1][0], found[-1][1] + length, *rest)
            else:
                found.append((start, length, *rest))
        return found

    @staticmethod
    def side_by_side(one, two):
        marks = sorted({piece[0] for piece in one + two})
        for mark in marks:
            yield [next(piece for piece in pieces if piece[0] <= mark < piece[0] + piece[1]) for pieces in (one, two)]

    def not_too_large(self):
        """The reference tool knows what is needed at most."""
        if len(self.sources) > 1 or '-l' in self.words or self.backed:
            return
        options = [word for at, word in enumerate(self.words) if at and self.words[at - 1] == '-o']
        options = [word for words in options for word in words.split(',') if not word.startswith('compression_')]
        result = self.run(PEER, ['measure', '-O', 'qcow2', '--output=json'] +
                           (['-o', ','.join(options)] if options else []) +
                           ['-f', self.sources[0]['format'], self.sources[0]['name']])
        if result.code:
            return
        most = json.loads(result.out)['fully-allocated' if self.sparse == '0' else 'required']
        size = os.path.getsize(self.path('s.img'))
        if size > most:
            self.problem('size', f'{size} in order, but {most} is required')

    def read_by_seven(self):
        raw = self.run(PEER, ['convert', '-f', 'vmdk', '-O', 'raw', 's.img', 's.raw'])
        with open(self.path('seven.raw'), 'wb') as file:
            done = subprocess.run([SEVEN, 'x', '-tvmdk', '-so', 's.img'], cwd=self.folder, stdout=file,
                                  stderr=subprocess.PIPE, check=False)
        if raw.code or done.returncode or self.read('s.raw') != self.read('seven.raw'):
            self.problem('7zz', done.stderr.decode())


def one(seed, folder):
    case = Case(seed, folder)
    case.go()
    return case.title, case.problems, ['commands:'] + case.journal.lines


if __name__ == '__main__':
    each('stream-random', 40, one)
