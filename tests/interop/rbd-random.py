#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random disks in a Ceph cluster, for two tools.

For each seed: a random image, and a sequence of commands on images of the cluster: new ones, copies both ways, copies
over old content, lengths, snapshots, clones, encryption.  Our tool and the reference tool do the same, each on images of its
own, and everything that they say of them is the same, and so is the content.  It needs root, the programs of a cluster
(see tests/ceph.bash), and the module for RBD of the reference tool (PEERS names a folder with releases of it that have
modules).

environment: see lib/harness.py; CEPH_CONF: the configuration of a cluster that runs already, with a pool called rbd
"""
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, Journal, PEER, run  # noqa: E402
import images  # noqa: E402
from rig import on_servers  # noqa: E402

MEGA = 1024 * 1024
CONF = os.environ.get('CEPH_CONF', '')
SECRETS = ['--object', 'secret,id=good,data=abc', '--object', 'secret,id=bad,data=xyz']
# What librados itself writes to standard error, with the time.
LOG = re.compile(r'^\d{4}-\d\d-\d\dT.*\n\n?', re.M)
# The keys of an encrypted image are random, and so is the work that it takes to try a passphrase; and time passes.
RANDOM = re.compile(r'(uuid"?: |iters"?: |date-n?sec": )[-"0-9a-f]+')


class Case:
    def __init__(self, seed, folder):
        self.rng, self.folder, self.seed = random.Random(seed), folder, seed
        self.journal, self.problems = Journal(), []
        links = images.chain(self.rng, 'a', self.rng.choice([256 * 1024, 2 * MEGA, 9 * MEGA, 30 * MEGA]), 1)
        self.made = all(images.make(image, folder, self.journal) for image in links)
        self.source = links[-1]
        self.snapshots = []

    # ---- names

    def name(self, image, snapshot=None):
        """TOOL is the letter of the tool, so that each has images of its own."""
        return f'rbd:rbd/TOOL{self.seed}{image}' + (f'@{snapshot}' if snapshot else '') + ':conf=' + CONF + \
            (':id=me' if self.seed % 3 == 0 else '')

    def options(self, image, *more):
        return ','.join(['driver=rbd,pool=rbd', f'image=TOOL{self.seed}{image}', 'conf=' + CONF, *more])

    def words(self, image, snapshot=None):
        """The image by its name or by options."""
        if self.rng.random() < .5:
            return ['-f', 'raw', self.name(image, snapshot)]
        return ['--image-opts', 'driver=raw,' + self.options(image, *[f'snapshot={snapshot}'] if snapshot else [])
                .replace('driver=rbd,', 'file.driver=rbd,').replace(',pool', ',file.pool').replace(',image', ',file.image')
                .replace(',conf', ',file.conf').replace(',snapshot', ',file.snapshot')]

    # ---- both tools

    def answer(self, tool, letter, words):
        given = [word.replace('TOOL', letter) for word in words]
        self.journal.add('.', tool, given)
        answer = run(tool, given, self.folder, timeout=300)
        answer.out = RANDOM.sub(r'\1', answer.out.replace(f'{letter}{self.seed}', 'IMAGE'))
        answer.err = LOG.sub('', answer.err).replace(f'{letter}{self.seed}', 'IMAGE')
        return answer

    def compare(self, words, result=None):
        """Run it with both; `result`: a local file that it makes."""
        answers, contents = [], []
        for tool, letter in (IMG, 'o'), (PEER, 'p'):
            answers.append(self.answer(tool, letter, words))
            contents.append(self.digest(result))
        difference = answers[0].differs(answers[1])
        if difference:
            self.problems.append(' '.join(words) + ':\n  ' + difference)
        if contents[0] != contents[1]:
            self.problems.append(' '.join(words) + ': contents differ')
        return answers[1].code == 0

    def digest(self, result):
        path = os.path.join(self.folder, result or 'none')
        if not os.path.exists(path):
            return None
        with open(path, 'rb') as file:
            data = file.read()
        os.unlink(path)
        return hashlib.sha256(data).hexdigest()

    def look(self, image):
        """All that can be seen of a raw image."""
        self.compare(['info'] + self.words(image))
        self.compare(['info', '--output=json', self.name(image)])
        self.compare(['map', '--output=' + self.rng.choice(['json', 'human'])] + self.words(image))
        self.compare(['snapshot', '-l', self.name(image)])
        self.compare(['measure', '-O', 'qcow2'] + self.words(image))
        self.compare(['convert', '-O', 'raw'] + self.words(image) + ['result'], 'result')

    # ---- steps

    def local(self):
        """The random image, or a part of it with zeroes in it."""
        return ['-f', self.source['format'], self.source['name']]

    def over(self, image):
        rng = self.rng
        self.compare(['convert', '-n', '-O', 'raw', '-m', str(rng.randrange(1, 17)), '-S', rng.choice(['0', '4k', '64k']),
                      '-t', rng.choice(['none', 'writeback', 'unsafe'])] + self.local() + [self.name(image)])

    def dd(self, image):
        """Parts of it, in other images."""
        rng = self.rng
        self.compare(['dd', '-f', 'raw', '-O', 'raw', 'if=' + self.name(image), 'of=result',
                      'bs=' + rng.choice(['512', '64k', '100000']), f'skip={rng.randrange(4)}',
                      f'count={rng.randrange(4, 40)}'], 'result')

    def resize(self, image):
        size = str(self.rng.choice([512 * self.rng.randrange(1, 60000), 4 * MEGA * self.rng.randrange(1, 8)]))
        self.compare(['resize', '-f', 'raw'] + ['--shrink'] * (self.rng.random() < .8) + [self.name(image), size])

    def snapshot(self, image):
        rng = self.rng
        name = rng.choice(['s1', 's2', 'two words', '7', 'x@y', ''])
        known = rng.choice(self.snapshots) if self.snapshots else 'none'
        kind = rng.choice('ccadd')
        if kind == 'c':
            if self.compare(['snapshot', '-c', name, self.name(image)]):
                self.snapshots.append(name)
        elif kind == 'a':
            self.compare(['snapshot', '-a', known, '--image-opts', self.options(image)])
        elif self.compare(['snapshot', '-d', known, '--image-opts', self.options(image)]):
            self.snapshots.remove(known)

    def view(self, image):
        name = self.rng.choice(self.snapshots + ['none'])
        if '@' not in name:
            self.compare(['convert', '-O', 'raw'] + self.words(image, name) + ['result'], 'result')
            self.compare(['map', '--output=json'] + self.words(image, name))
            self.compare(['resize'] + self.words(image, name) + ['1M'])

    def raw(self):
        rng = self.rng
        size = rng.choice([4096, 65536, MEGA, 4 * MEGA, 0])
        self.compare(['create', '-f', 'raw', '-o', f'cluster_size={size}', self.name('r'), f'{rng.randrange(1, 40)}M'])
        self.look('r')
        for _ in range(rng.randrange(2, 7)):
            rng.choice([self.over, self.dd, self.resize, self.snapshot, self.snapshot, self.view])('r')
            self.look('r')

    def copies(self):
        rng = self.rng
        coded = ['-c'] if rng.random() < .3 else []
        cluster = rng.choice([512, 65536, 2 * MEGA])
        self.compare(['convert', '-O', 'qcow2', '-m', str(rng.randrange(1, 17)), '-o', f'cluster_size={cluster}'] + coded +
                     self.local() + [self.name('q')])
        # (how long compressed clusters are is a matter of the encoder)
        if not coded:
            self.compare(['info', self.name('q')])
            self.compare(['check', self.name('q')])
            self.compare(['map', '--output=json', self.name('q')])
        self.compare(['convert', '-O', 'raw', self.name('q'), 'result'], 'result')
        self.compare(['snapshot', '-c', 'one', self.name('q')])
        self.compare(['resize', '-f', 'qcow2', self.name('q'), f'+{rng.randrange(1, 9)}M'])
        if not coded:
            self.compare(['info', '--output=json', self.name('q')])
        kind = rng.choice(['vmdk', 'vdi', 'qed', 'raw'])
        if kind == 'vmdk' and coded:
            kind = 'raw'
        self.compare(['convert', '-O', kind] + self.local() + [self.name('v')])
        self.compare(['convert', '-f', kind, '-O', 'raw', self.name('v'), 'result'], 'result')
        self.compare(['compare', '-f', self.source['format'], '-F', kind, self.source['name'], self.name('v')])

    def clone(self):
        """(of rbd itself; the tools only see it)"""
        for letter in 'op':
            for words in ['snap', 'create', f'rbd/{letter}{self.seed}r@base'], ['snap', 'protect', f'rbd/{letter}{self.seed}r@base'], \
                    ['clone', f'rbd/{letter}{self.seed}r@base', f'rbd/{letter}{self.seed}c']:
                subprocess.run(['timeout', '60', 'rbd', '-c', CONF] + words, capture_output=True, check=False)
        self.look('c')
        self.over('c')
        self.look('c')
        self.compare(['snapshot', '-d', 'base', '--image-opts', self.options('r')])

    def encrypted(self):
        rng = self.rng
        cipher = rng.choice(['', ',encrypt.cipher-alg=aes-128', ',encrypt.cipher-alg=aes-256', ',encrypt.cipher-alg=sm4'])
        self.compare(['create', '-f', 'raw'] + SECRETS +
                     ['-o', 'encrypt.format=luks,encrypt.key-secret=good' + cipher, self.name('e'), '30M'])
        self.compare(['info', self.name('e')])
        enc = self.options('e', 'encrypt.format=luks', 'encrypt.key-secret=' + rng.choice(['good', 'good', 'bad', 'none']))
        source = f"driver={self.source['format']},file.driver=file,file.filename={self.source['name']}"
        self.compare(['info'] + SECRETS + ['--image-opts', enc])
        if not self.source.get('options') and self.compare(
                ['convert', '-n', '-S', '0'] + SECRETS + ['--image-opts', '--target-image-opts', source, enc]):
            self.compare(['dd'] + SECRETS + ['--image-opts', '-O', 'raw', 'if=' + enc, 'of=result', 'bs=64k', 'count=1'],
                         'result')

    def clean(self):
        for letter in 'op':
            for image in 'crqve':
                subprocess.run(['timeout', '60', 'rbd', '-c', CONF, 'snap', 'unprotect', f'rbd/{letter}{self.seed}{image}@base'],
                               capture_output=True, check=False)
                subprocess.run(['timeout', '60', 'rbd', '-c', CONF, 'snap', 'purge', f'rbd/{letter}{self.seed}{image}'],
                               capture_output=True, check=False)
                subprocess.run(['timeout', '60', 'rbd', '-c', CONF, 'rm', f'rbd/{letter}{self.seed}{image}'],
                               capture_output=True, check=False)


def one(seed, _):
    folder = tempfile.mkdtemp(prefix='case')
    try:
        case = Case(seed, folder)
        if not case.made or os.path.getsize(os.path.join(folder, case.source['name'])) > 100 * MEGA:
            return 'refused', []
        try:
            case.raw()
            case.copies()
            if seed % 4 == 0:
                case.clone()
            if seed % 4 == 1:
                case.encrypted()
        finally:
            case.clean()
        return case.source['format'], case.problems, case.journal.lines
    finally:
        shutil.rmtree(folder, ignore_errors=True)


SHELL = r'''
BATS_TEST_DIRNAME=$1/tests/drivers RIG=$2
. "$1/tests/helper.bash" || exit
. "$1/tests/ceph.bash"
ceph_needs || exit 77
trap ceph_stop EXIT
ceph_start || exit 77
CEPH_CONF=$RIG/ceph.conf "${@:3}"
'''


on_servers('rbd-random', 4, one, driver='rbd', known_as='RBD', shell=SHELL, started=CONF,
           servers='no Ceph cluster')
