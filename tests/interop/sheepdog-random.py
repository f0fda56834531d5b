#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random conversions, snapshots and clones in a Sheepdog cluster, against a model of the contents.

For each seed: a server with random habits (out of order, with locks, connections that end) and a dozen commands.  After
them every disk and every snapshot reads as the model says, the objects in the cluster do, too, and the server has seen
nothing that a client must not do.

environment: see lib/harness.py
"""
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from urllib.parse import quote

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import each, IMG, Journal, read, run, write  # noqa: E402
from sheepdog_server import load  # noqa: E402

SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib', 'sheepdog_server.py')
NAMES = ['disk', 'a b', 'x#y', 'p:q', 'vm/1', '%41', 'é', 'z' * 255]
TAGS = ['one', 'two words', 't#1', 'c:d', 'è', 'w' * 255]
UNIT = 512


class Disk:
    """The model of one name: its content, and those of its snapshots."""

    def __init__(self, content):
        self.content, self.tags = content, {}


def content(rng, size):
    """Runs of zeroes, of one byte, and of random bytes."""
    data = bytearray(size)
    for _ in range(rng.randrange(1, 8)):
        start = rng.randrange(size) // UNIT * UNIT
        length = min(rng.choice([512, 4096, 65536, 300000, 1 << 20, 3 << 20]), size - start)
        data[start:start + length] = rng.choice([bytes(length), bytes([rng.randrange(256)]) * length,
                                                 rng.randbytes(length)])
    return bytes(data)


class Failed(Exception):
    pass


class Case:
    def __init__(self, seed, folder):
        self.rng, self.folder, self.journal = random.Random(seed), folder, Journal()
        self.disks, self.problems = {}, []
        self.options = ['shift=20', 'state=state', 'log=log'] + self.habits()

    def habits(self):
        rng, words = self.rng, []
        for word, chance in (f'reorder={rng.randrange(2, 9)}', .5), ('locking=1', .3), ('flush=1', .2), \
                ('no=5', .1), (f'copies={rng.randrange(1, 5)}', .3), (f'busy={rng.randrange(1, 6)}', .2):
            words += [word] if rng.random() < chance else []
        self.loses = rng.random() < .3
        if self.loses:
            words.append('hangup=' + ','.join(str(n) for n in sorted(rng.sample(range(2, 150), rng.randrange(1, 6)))))
        return words

    # ---- the server

    def start(self):
        self.process = subprocess.Popen([sys.executable, SERVER, os.path.join(self.folder, 's')] + self.options,
                                        cwd=self.folder)
        while not os.path.exists(os.path.join(self.folder, 's')):
            if self.process.poll() is not None:
                raise RuntimeError('no server')
            time.sleep(0.01)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    # ---- commands

    def name(self, vdi, tag=None):
        return 'sheepdog+unix:///' + quote(vdi) + '?socket=s' + ('#' + quote(tag) if tag else '')

    def given(self, vdi, tag=None):
        """The words that open it: a name, or options."""
        if self.rng.random() < .6:
            return ['-f', 'raw', self.name(vdi, tag)]
        options = {'driver': 'raw', 'file': {'driver': 'sheepdog', 'vdi': vdi, 'connections': self.rng.randrange(1, 6),
                                             'server': {'type': 'unix', 'path': 's'}}}
        if tag:
            options['file']['tag'] = tag
        return ['json:' + json.dumps(options)]

    def do(self, words, code=0):
        self.journal.add('.', IMG, words)
        answer = run(IMG, words, self.folder)
        if answer.code != code:
            raise Failed(f'{" ".join(words)}: exit code {answer.code}: {answer.err}')
        return answer

    def local(self, data, name='local'):
        """A file with these bytes, in a random format."""
        write(os.path.join(self.folder, name), data)
        if self.rng.random() < .5:
            return ['-f', 'raw', name]
        self.do(['convert', '-f', 'raw', '-O', 'qcow2', '-o', f'cluster_size={self.rng.choice([4096, 65536])}', name,
                 name + '.qcow2'])
        return ['-f', 'qcow2', name + '.qcow2']

    def manner(self):
        rng = self.rng
        words = ['-m', str(rng.randrange(1, 17))]
        words += ['-W'] if rng.random() < .4 else []
        return words + (['-S', rng.choice(['0', '4k', '64k'])] if rng.random() < .3 else [])

    def some(self, condition=lambda disk: True):
        """A name whose disk is so."""
        return self.rng.choice([name for name, disk in self.disks.items() if condition(disk)])

    def free_name(self):
        return self.rng.choice([name for name in NAMES if name not in self.disks])

    # ---- steps

    def step_new(self):
        rng, vdi = self.rng, self.free_name()
        data = content(rng, rng.randrange(1, 12 << 20 >> 9) * UNIT)
        options = rng.choice([[], ['-o', 'preallocation=full'], ['-o', 'redundancy=3'], ['-o', 'object_size=2M'],
                              ['-o', 'redundancy=4:2,object_size=4M']])
        source = self.local(data)
        self.do(['convert'] + self.manner() + options + source[:2] + ['-O', 'raw', source[2], self.name(vdi)])
        self.disks[vdi] = Disk(data)

    def step_over(self):
        vdi = self.some()
        data = content(self.rng, len(self.disks[vdi].content))
        source = self.local(data)
        self.do(['convert', '-n'] + self.manner() + source[:2] + ['-O', 'raw', source[2], self.name(vdi)])
        self.disks[vdi].content = data

    def step_part(self):
        rng, vdi = self.rng, self.some()
        block = rng.choice([512, 4096, 65536, 100 * 512])
        data = content(rng, block * rng.randrange(1, 20))
        blocks = len(self.disks[vdi].content) // block
        if blocks == 0:
            return
        seek = rng.randrange(blocks)
        data = data[:(blocks - seek) * block]
        write(os.path.join(self.folder, 'part'), data)
        self.do(['dd', '-n', '-f', 'raw', '-O', 'raw', f'bs={block}', f'seek={seek}', 'if=part',
                 'of=' + self.name(vdi)])
        self.disks[vdi].content = self.disks[vdi].content[:seek * block] + data + \
            self.disks[vdi].content[seek * block + len(data):]

    def step_snapshot(self):
        vdi = self.some()
        tags = [tag for tag in TAGS if tag not in self.disks[vdi].tags]
        if tags:
            tag = self.rng.choice(tags)
            self.do(['snapshot', '-c', tag] + self.given(vdi))
            self.disks[vdi].tags[tag] = self.disks[vdi].content

    def step_apply(self):
        vdi = self.some(lambda disk: disk.tags)
        tag = self.rng.choice(list(self.disks[vdi].tags))
        self.do(['snapshot', '-a', tag] + self.given(vdi))
        self.disks[vdi].content = self.disks[vdi].tags[tag]

    def step_delete(self):
        vdi = self.some(lambda disk: disk.tags)
        tag = self.rng.choice(list(self.disks[vdi].tags))
        self.do(['snapshot', '-d', tag] + self.given(vdi))
        del self.disks[vdi].tags[tag]

    def step_clone(self):
        vdi, new = self.some(lambda disk: disk.tags), self.free_name()
        tag = self.rng.choice(list(self.disks[vdi].tags))
        data = self.disks[vdi].tags[tag]
        more = self.rng.choice([0, 0, 1 << 20, 3 << 20])
        words = ['create', '-q', '-f', 'raw'] + self.rng.choice([[], [], ['-o', 'preallocation=full']])
        self.do(words + ['-b', self.name(vdi, tag), self.name(new)] + ([str(len(data) + more)] if more else []))
        self.disks[new] = Disk(data + bytes(more))

    def step_resize(self):
        vdi = self.some()
        more = self.rng.randrange(1, 4 << 20 >> 9) * UNIT
        words = self.rng.choice([[], ['--preallocation=full']])
        self.do(['resize', '-q', '-f', 'raw'] + words + [self.name(vdi), f'+{more}'])
        self.disks[vdi].content += bytes(more)

    def step_read(self):
        vdi = self.some()
        tag = self.rng.choice([None] + list(self.disks[vdi].tags))
        data = self.disks[vdi].tags[tag] if tag else self.disks[vdi].content
        self.check(vdi, tag, data)
        self.check_map(vdi, tag, data)

    def step_list(self):
        vdi = self.some()
        found = self.do(['snapshot', '-l'] + self.given(vdi)).out.split('\n')[2:-1]
        tags = sorted(self.disks[vdi].tags)
        listed = sorted(tag for tag in tags if any(re.match(r'\d+ +' + re.escape(tag), line) for line in found))
        if listed != tags or len(found) != len(tags):
            raise Failed(f'the snapshots of {vdi} are {found}')

    # ---- checks

    def check(self, vdi, tag, data):
        how = self.rng.choice(['raw', 'qcow2'])
        self.do(['convert', '-O', how] + self.manner() + self.given(vdi, tag) + ['back'])
        if how == 'qcow2':
            self.do(['convert', '-f', 'qcow2', '-O', 'raw', 'back', 'back.raw'])
        if read(self.folder, 'back.raw' if how == 'qcow2' else 'back') != data:
            raise Failed(f'{vdi} {tag}: the contents differ')

    def check_map(self, vdi, tag, data):
        at = 0
        for extent in json.loads(self.do(['map', '--output=json'] + self.given(vdi, tag)).out):
            if extent['start'] != at or not extent['data'] and any(data[at:at + extent['length']]):
                raise Failed(f'{vdi} {tag}: the map is wrong at {at}')
            at += extent['length']
        if at != len(data):
            raise Failed(f'{vdi} {tag}: the map ends at {at}')

    def check_cluster(self):
        """What the server has, and what it saw."""
        cluster = load(os.path.join(self.folder, 'state'))
        wrong = [line for line in read(self.folder, 'log').decode().split('\n') if line.startswith('WRONG')]
        if wrong and not self.loses:
            self.problems += wrong[:3]
        for vdi, disk in self.disks.items():
            for tag, data in [('', disk.content)] + list(disk.tags.items()):
                found = cluster.find(vdi.encode(), tag.encode())
                if isinstance(found, int) or cluster.content(found) != data:
                    self.problems.append(f'{vdi} {tag}: the objects differ')
        if cluster.locks:
            self.problems.append('a lock is left')

    def steps(self):
        rng = self.rng
        self.step_new()
        for _ in range(rng.randrange(6, 16)):
            steps = [self.step_over, self.step_part, self.step_snapshot, self.step_snapshot, self.step_resize,
                     self.step_read, self.step_read, self.step_list]
            if len(self.disks) < 4:
                steps.append(self.step_new)
            if any(disk.tags for disk in self.disks.values()):
                steps += [self.step_apply, self.step_delete] + ([self.step_clone] * 2 if len(self.disks) < 6 else [])
            rng.choice(steps)()
        for vdi, disk in self.disks.items():
            for tag, data in [(None, disk.content)] + list(disk.tags.items()):
                self.check(vdi, tag, data)

    def all(self):
        self.start()
        try:
            self.steps()
        except Failed as problem:
            self.problems.append(str(problem))
        finally:
            self.end()
        self.check_cluster()


def one(seed, folder):
    case = Case(seed, folder)
    case.all()
    return ' '.join(case.options), case.problems, case.journal.lines


def main():
    there = 'Failed to connect' in run(IMG, ['info', 'sheepdog+unix:///x?socket=none'], '/').err
    each('sheepdog-random', 30, one, peer=False, skip='' if there else 'sheepdog is not built in')


main()
