#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random disks on random NBD servers, read and written by both tools.

For each seed: a server (nbdkit with some of its filters, or the reference qemu-nbd) shows a random image; info, map,
measure, compare, dd and convert of both tools say the same and make the same contents.  Then both write a random image
to an export with old data, each to its own copy, and leave the same contents with the same words.

environment: see lib/harness.py
"""
import os
import random
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import each, guest_of, IMG, Journal, PEER, run  # noqa: E402
import images  # noqa: E402
from sockets import listening  # noqa: E402

MEGA = 1024 * 1024
KIT = shutil.which('nbdkit')
PEER_NBD = os.path.join(os.path.dirname(PEER), 'qemu-nbd') if PEER else ''
FILTERS = [
    ([], []), (['--no-sr'], []), (['--filter=noextents'], []), (['--filter=nozero'], []),
    (['--filter=nozero'], ['zeromode=notrim']), (['--filter=fua'], ['fuamode=discard']),
    (['--filter=fua'], ['fuamode=emulate']), (['--filter=multi-conn'], ['multi-conn-mode=disable']),
    (['--filter=noparallel'], ['serialize=connections']), (['--filter=nofilter'], []),
    (['--filter=blocksize-policy'], ['blocksize-minimum=512', 'blocksize-preferred=4k', 'blocksize-maximum=64k',
                                     'blocksize-error-policy=error']),
    (['--filter=blocksize-policy'], ['blocksize-minimum=4k', 'blocksize-preferred=64k', 'blocksize-maximum=32M',
                                     'blocksize-error-policy=error']),
]


class Server:
    """A server on the socket s of a folder, until the end of the block."""

    def __init__(self, folder, words, journal):
        self.folder, self.words, self.journal = folder, words, journal
        self.path = os.path.join(folder, 's')

    def __enter__(self):
        self.words = [self.path if word == 's' else word for word in self.words]   # (qemu-nbd wants all of it)
        self.journal.lines.append('# ' + ' '.join(self.words))
        self.process = subprocess.Popen(self.words, cwd=self.folder, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not listening(self.path):
            if self.process.poll() is not None:
                raise RuntimeError('no server: ' + ' '.join(self.words))
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        if os.path.exists(self.path):
            os.unlink(self.path)


def kit(rng, folder, file):
    """(an export of half a block makes the reference tool fail an assertion)"""
    size = os.path.getsize(os.path.join(folder, file))
    rows = [row for row in FILTERS if size % 4096 == 0 or 'blocksize-minimum=4k' not in row[1]]
    rows = [row for row in rows if size % 512 == 0 or 'blocksize-minimum=512' not in row[1]]
    before, after = rng.choice(rows)
    return [KIT, '-f', '-U', 's'] + [f for f in before if 'nofilter' not in f] + ['file', file] + after


def qemu(rng, file, form, extra=()):
    words = [PEER_NBD, '-t', '-e', str(rng.choice([1, 4, 8])), '-k', 's', '-f', form, '--discard=unmap']
    return words + list(extra) + [file]


def name_of(rng):
    return rng.choice([
        ['nbd+unix:///?socket=s'], ['nbd:unix:s'], ['-f', 'raw', 'nbd+unix:///?socket=s'],
        ['--image-opts', 'driver=raw,file.driver=nbd,file.path=s'],
        ['--image-opts', 'driver=raw,file.driver=nbd,file.server.type=unix,file.server.path=s'],
        ['json:{"driver":"raw","file":{"driver":"nbd","server":{"type":"unix","path":"s"}}}'],
    ])


def run_bounded(tool, words, folder):
    """The reference tool hangs now and then, waiting for an answer that it has; then there is nothing to compare."""
    return run(tool, words, folder, timeout=20 if tool == PEER else 900)


class Case:
    def __init__(self, seed, folder):
        self.rng, self.folder = random.Random(seed), folder
        self.journal, self.problems = Journal(), []
        links = images.chain(self.rng, 'a', self.rng.choice([256 * 1024, 2 * MEGA, 8 * MEGA]),
                             self.rng.choice([1, 1, 2]))
        self.made = all(images.make(image, folder, self.journal) for image in links)
        self.source = links[-1]

    def both(self, words, *results):
        """Run both tools; the files that they make have the same name, and are compared."""
        answers, contents = [], []
        for tool in IMG, PEER:
            for name in results:
                if os.path.exists(os.path.join(self.folder, name)):
                    os.unlink(os.path.join(self.folder, name))
            self.journal.add('.', tool, words)
            answers.append(run_bounded(tool, words, self.folder))
            contents.append([self.guest(name) for name in results])
        if answers[1].code == 'timeout':
            return
        difference = answers[0].differs(answers[1])
        if difference:
            self.problems.append(' '.join(words) + ':\n  ' + difference)
        if contents[0] != contents[1]:
            self.problems.append(' '.join(words) + ': contents differ')

    def guest(self, name):
        return guest_of(self.folder, name)

    def read_all(self):
        rng, name = self.rng, name_of(self.rng)
        for words in (['info', '--output=json'], ['info'], ['map', '--output=json'], ['map'],
                      ['measure', '-O', 'qcow2']):
            if rng.random() < 0.7:
                self.both(words + name)
        for words in self.conversions():
            self.both(words[:-1] + name + [words[-1]], words[-1])
        if name[0] not in ('-f', '--image-opts') and rng.random() < 0.5:
            size = rng.choice(['512', '64k', '100000'])
            self.both(['dd', f'if={name[0]}', 'of=dd.raw', f'bs={size}', f'skip={rng.randrange(4)}',
                       f'count={rng.randrange(4, 40)}'], 'dd.raw')

    def conversions(self):
        rng = self.rng
        yield ['convert', '-O', 'raw'] + self.common() + ['out.raw']
        options = ['-o', f'cluster_size={rng.choice([512, 4096, 65536, 2 * MEGA])}'] if rng.random() < .5 else []
        if rng.random() < 0.7:
            yield ['convert', '-O', 'qcow2'] + options + (['-c'] if rng.random() < .3 else []) + self.common() + \
                ['out.qcow2']

    def common(self):
        words = []
        for option, chance in (['-S', self.rng.choice(['0', '4k', '64k'])], .3), \
                (['-m', str(self.rng.randrange(1, 17))], .3), (['-W'], .1), (['-C'], .1), \
                (['-t', self.rng.choice(['none', 'writeback', 'writethrough'])], .2):
            if self.rng.random() < chance and not (option[0] in ('-S', '-C') and '-C' in words + option and words):
                words += option
        return words

    def write_all(self):
        """Each tool writes to its own copy of the same old data."""
        rng = self.rng
        size = self.source['size'] + rng.choice([0, 0, 0, 512, 65536, MEGA, -512])
        size = max(size, 512)
        inner = rng.choice(['raw', 'raw', 'qcow2'])
        words = ['convert', '-f', self.source['format']] + self.common()
        words += rng.choice([['-n'], ['-n'], ['-n', '--target-is-zero'], []])
        words += ['-O', rng.choice(['raw', 'raw', 'raw', 'qcow2']) if '-n' not in words else 'raw']
        words += [self.source['name'], 'nbd+unix:///?socket=s']
        with open(os.path.join(self.folder, 'old'), 'wb') as file:
            if '--target-is-zero' not in words:
                file.write(bytes([rng.randrange(256)]) * (size // 2))
            file.truncate(size)
        seed, answers, contents = rng.randrange(1 << 30), [], []
        for tool, copy in (IMG, 'ours'), (PEER, 'theirs'):
            again = random.Random(seed)
            if inner == 'raw':
                shutil.copyfile(os.path.join(self.folder, 'old'), os.path.join(self.folder, copy))
                server = kit(again, self.folder, copy) if again.random() < .7 else qemu(again, copy, 'raw')
            else:
                run(PEER, ['convert', '-f', 'raw', '-O', 'qcow2', 'old', copy], self.folder)
                server = qemu(again, copy, 'qcow2')
            with Server(self.folder, server, self.journal):
                self.journal.add('.', tool, words)
                answers.append(run_bounded(tool, words, self.folder))
            run(PEER, ['convert', '-f', inner, '-O', 'raw', copy, copy + '.raw'], self.folder)
            contents.append(self.guest(copy + '.raw'))
        if answers[1].code == 'timeout':
            return
        if answers[0].code == answers[1].code == 1 and 'No space' in answers[0].err and \
                ('No space' in answers[1].err or 'Invalid argument' in answers[1].err):
            return      # an export that is too small: who notices first tells where
        if size % 512 and answers[0].code == 0 and 'No space' in answers[1].err:
            return      # the reference tool writes zeroes beyond the end of such an export
        difference = answers[0].differs(answers[1])
        if difference:
            self.problems.append(' '.join(words) + ':\n  ' + difference)
        # a format that is made on the export is another matter: its guest is what counts
        if answers[1].code == 0 and contents[0] != contents[1] and words[words.index('-O') + 1] == 'raw':
            self.problems.append(' '.join(words) + ': contents differ')


def one(seed, folder):
    case = Case(seed, folder)
    if not case.made:
        return 'refused', []
    rng, source = case.rng, case.source
    if source['format'] == 'raw' and rng.random() < 0.7:
        server = kit(rng, folder, source['name'])
    else:
        server = qemu(rng, source['name'], source['format'], rng.choice([[], ['-r'], ['-A']]))
    with Server(folder, server, case.journal):
        case.read_all()
    case.write_all()
    return ' '.join(server[:1] + server[3:]), case.problems, case.journal.lines


def main():
    there = KIT and PEER_NBD and 'Failed to connect' in run(IMG, ['info', 'nbd:unix:none'], '/').err
    each('nbd-random', 12, one, skip='' if there else 'no nbdkit, or nbd is not built in')


main()
