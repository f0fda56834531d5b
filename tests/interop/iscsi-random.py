#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random disks on an iSCSI target.

For each seed: a target of tgt with two disks of one geometry (512 or 4096 bytes a block, thin or not), which hold the
same random bytes.  Random images are converted onto the first by our tool and onto the second by the reference tool; what is
then on the disks, and what both tools say of one disk and make of it, has to be the same.

The reference tool needs its driver for iSCSI: PEERS names a folder whose tools have it.  Must be run as root.

environment: see lib/harness.py
"""
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import each, IMG, Journal, MODULES, PEER, run  # noqa: E402
import images  # noqa: E402

MEGA = 1024 * 1024
TARGET = 'iqn.2026-01.example:random'
if MODULES:
    os.environ['QEMU_MODULE_DIR'] = MODULES


def missing():
    """Why nothing can be tested, or ''."""
    if ' iscsi' not in run(IMG, ['--help'], '/').out:
        return 'iscsi is not built in'
    if not os.path.exists(os.path.join(MODULES, 'block-iscsi.so')):
        return 'the reference tool has no iscsi'
    if os.getuid() or not shutil.which('tgtd') or not shutil.which('tgtadm'):
        return 'no tgt, or not root'
    return ''


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Target:
    """A server with disks 1 and 2, whose bytes are in the files disk1 and disk2."""

    def __init__(self, folder, block, thin):
        self.folder, self.block, self.thin, self.port = folder, block, thin, free_port()
        self.environment = dict(os.environ, TGT_IPC_SOCKET=os.path.join(folder, 'socket'))

    def admin(self, operation, mode, *words):
        return subprocess.run(['tgtadm', '--lld', 'iscsi', '--op', operation, '--mode', mode] + list(words),
                              env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              check=False).returncode

    def __enter__(self):
        self.process = subprocess.Popen(['tgtd', '-f', '-C', '0', '--iscsi', f'portal=127.0.0.1:{self.port}'],
                                        env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        while self.admin('show', 'sys'):
            if self.process.poll() is not None:
                raise RuntimeError('no server')
            time.sleep(0.02)
        self.admin('new', 'target', '--tid', '1', '-T', TARGET)
        self.admin('bind', 'target', '--tid', '1', '-I', '127.0.0.1')
        for lun in '1', '2':
            self.admin('new', 'logicalunit', '--tid', '1', '--lun', lun, '-b', os.path.join(self.folder, 'disk' + lun),
                       '--blocksize', str(self.block))
            if self.thin:
                self.admin('update', 'logicalunit', '--tid', '1', '--lun', lun, '--params', 'thin_provisioning=1')
        return self

    def __exit__(self, *_):
        self.admin('delete', 'target', '--force', '--tid', '1')
        self.admin('delete', 'system')
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def name(self, lun):
        return f'iscsi://127.0.0.1:{self.port}/{TARGET}/{lun}'


class Case:
    def __init__(self, seed, folder):
        self.rng, self.folder = random.Random(seed), folder
        self.journal, self.problems = Journal(), []
        self.block, self.thin = self.rng.choice([512, 4096]), self.rng.random() < .6
        self.size = self.rng.choice([MEGA, 3 * MEGA, 16 * MEGA, 40 * MEGA])
        links = images.chain(self.rng, 'a', self.size, self.rng.randrange(1, 3))
        self.made = all(images.make(image, folder, self.journal) for image in links)
        self.source = links[-1]['name']

    def fill(self):
        """The same old bytes and holes on both disks."""
        piece = self.rng.randbytes(65536)
        places = [self.rng.randrange(self.size // 65536) for _ in range(self.rng.randrange(8))]
        for lun in '1', '2':
            with open(os.path.join(self.folder, 'disk' + lun), 'wb') as file:
                file.truncate(self.size)
                for place in places:
                    file.seek(place * 65536)
                    file.write(piece)

    def run(self, tool, words, target, lun):
        words = [word.replace('@', target.name(lun)) for word in words]
        self.journal.add('.', tool, words)
        answer = run(tool, words, self.folder)
        answer.out, answer.err = [text.replace(target.name(lun), '@').replace(f'"lun": "{lun}"', '"lun": "@"')
                                  for text in (answer.out, answer.err)]
        return answer

    def wrong(self, words, text):
        kind = f'{self.block} {"thin" if self.thin else "thick"}'
        self.problems.append(f'{" ".join(words)} on {kind}:\n  {text}')

    def same(self, words, target, luns=('1', '1')):
        """Both tools say the same; whether they succeeded."""
        ours, theirs = self.run(IMG, words, target, luns[0]), self.run(PEER, words, target, luns[1])
        full = all('No space left on device' in answer.err for answer in (ours, theirs))
        difference = ours.differs(theirs)
        if difference and not full:         # (where a full disk is noticed depends on the order of writes)
            self.wrong(words, difference)
        return ours.code == 0

    def bytes(self, name):
        with open(os.path.join(self.folder, name), 'rb') as file:
            return file.read()

    def writing(self):
        rng = self.rng
        some = ['-S', rng.choice(['0', '4k', '64k'])] if rng.random() < .3 else []
        some += ['-m', str(rng.randrange(1, 17))] if rng.random() < .5 else []
        some += ['-W'] if rng.random() < .4 else []
        some += rng.choice([[], [], ['-t', 'none'], ['-t', 'writethrough']])
        old = ['-n'] if rng.random() < .5 else []
        yield 'raw', ['convert', '-O', 'raw'] + old + some + [self.source, '@']
        options = ['-o', 'cluster_size=' + rng.choice(['4k', '64k', '512'])] if rng.random() < .6 else []
        yield 'qcow2', ['convert', '-O', 'qcow2'] + options + (['-c'] if rng.random() < .3 else []) + [self.source, '@']
        yield 'qcow2', ['create', '-f', 'qcow2'] + options + ['@', str(rng.randrange(1, self.size))]
        yield 'raw', ['dd', '-O', 'raw', 'if=' + self.source, 'of=@', 'bs=' + rng.choice(['512', '4k', '1M']),
                      f'count={rng.randrange(4, 40)}']

    def reading(self, form):
        yield ['info', '@']
        yield ['info', '--output=json', '@']
        yield ['map', '--output=json', '-f', form, '@']
        yield ['map', '-f', form, '@']
        yield ['measure', '-O', 'qcow2', '-f', form, '@']
        yield ['check', '@']
        yield ['compare', '-F', form, self.source, '@']

    def look(self, form, target):
        for words in self.reading(form):
            self.same(words, target)
        for result, words in (('out.raw', ['convert', '-f', form, '-O', 'raw', '@', 'out.raw']),
                              ('dd.raw', ['dd', '-f', form, 'if=@', 'of=dd.raw', 'bs=64k',
                                          f'skip={self.rng.randrange(4)}', f'count={self.rng.randrange(4, 30)}'])):
            contents = []
            for tool in IMG, PEER:
                answer = self.run(tool, words, target, '1')
                contents.append((answer.code, answer.err, self.bytes(result) if answer.code == 0 else b''))
            if contents[0] != contents[1]:
                self.wrong(words, f'ours {contents[0][:2]}, peer {contents[1][:2]}, or the contents')

    def guest(self, lun, form, target):
        self.run(PEER, ['convert', '-f', form, '-O', 'raw', '@', 'guest.raw'], target, lun)
        return self.bytes('guest.raw')

    def data(self, lun, target):
        told = self.run(PEER, ['map', '--output=json', '-f', 'raw', '@'], target, lun).out
        return sum(entry['length'] for entry in json.loads(told) if entry['data'])

    def all(self, target):
        for form, words in self.writing():
            self.fill()
            if not self.same(words, target, ('1', '2')):
                continue
            if self.guest('1', form, target) != self.guest('2', form, target):
                self.wrong(words, 'contents differ')
            if form == 'raw' and self.thin:
                data = [self.data(lun, target) for lun in '12']
                if data[0] > data[1]:
                    self.wrong(words, f'bytes that are not holes: ours {data[0]}, peer {data[1]}')
            self.look(form, target)


def one(seed, folder):
    case = Case(seed, folder)
    if not case.made:
        return 'refused', []
    case.fill()
    with Target(folder, case.block, case.thin) as target:
        case.all(target)
    return f'{case.block} {"thin" if case.thin else "thick"}', case.problems, case.journal.lines


def main():
    each('iscsi-random', 8, one, skip=missing())


main()
