#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random disks in a Gluster volume, for two tools.

For each seed: a random image (with its backing files) lies in a volume and beside it in a folder.  What our tool says of
it, and makes of it and on it, is what the reference tool says and makes of the files in the folder.  For a few
questions the reference tool is asked about the volume itself, with both at the same time: each of its calls takes ten
seconds.  It needs root, the servers, and the Gluster module of the reference tool (PEERS names a folder with releases
of it that have modules).

environment: see lib/harness.py
"""
import concurrent.futures
import hashlib
import os
import random
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, Journal, PEER, Result, guest_of, run  # noqa: E402
import images  # noqa: E402
from rig import on_servers  # noqa: E402

MEGA = 1024 * 1024
RIG = os.environ.get('GLUSTER_RIG', '')
BRICK = os.path.join(RIG, 'brick')
# What libgfapi logs, and what the reference tool says of its own driver.
NOISE = re.compile(r"^(\[20[^\n]*|qemu-img: warning: 'gluster' is deprecated)\n", re.M)


class Case:
    def __init__(self, seed, folder):
        self.rng, self.folder, self.seed = random.Random(seed), folder, seed
        self.journal, self.problems = Journal(), []
        links = images.chain(self.rng, 'a', self.rng.choice([256 * 1024, 2 * MEGA, 8 * MEGA, 40 * MEGA]), 1)
        self.made = all(images.make(image, folder, self.journal) for image in links)
        self.links, self.source = links, links[-1]
        self.base = self.rng.choice(['gluster://127.0.0.1/vol/', 'gluster+tcp://127.0.0.1:24007/vol/'])

    def there(self, name):
        return f'c{self.seed}-{name}'

    def url(self, name):
        return self.base + self.there(name)

    def words(self, name, kind):
        """A file in the volume, by its name or by options."""
        if self.rng.random() < .6:
            return ['-f', kind, self.url(name)]
        return ['--image-opts', f'driver={kind},file.driver=gluster,file.volume=vol,file.path={self.there(name)},'
                'file.server.0.type=inet,file.server.0.host=127.0.0.1,file.server.0.port=24007']

    def upload(self):
        """The files as they are; those in the volume name backing files there."""
        for image in self.links:
            local, backing = os.path.join(self.folder, image['name']), image.get('backing')
            words = ['convert', '-f', 'raw', '-O', 'raw', image['name'], self.url(image['name'])]
            self.journal.add('.', IMG, words)
            answer = run(IMG, words, self.folder)
            with open(local, 'rb') as file, open(os.path.join(BRICK, self.there(image['name'])), 'rb') as copy:
                data = file.read()
                if answer.code or copy.read() != data + bytes(-len(data) % 512):
                    self.problems.append('the copy of ' + image['name'] + ' differs: ' + answer.err)
            if backing:
                words = ['rebase', '-u', '-b', self.url(backing['name']), '-F', backing['format'], self.url(image['name'])]
                self.journal.add('.', IMG, words)
                self.expect(run(IMG, words, self.folder), words)

    def expect(self, answer, words):
        if answer.code:
            self.problems.append(' '.join(words) + ': ' + answer.err)

    def tell(self, words, difference):
        if difference:
            self.problems.append(' '.join(words) + ':\n  ' + difference)

    def content(self, folder, name):
        data = guest_of(folder, name)
        return hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else data

    def both(self, questions):
        """The same words for both tools, on the volume, all at a time."""
        # (libgfapi crashes now and then while it ends, which only the reference tool waits for)
        def ask(tool, words):
            answer = run(tool, words, self.folder, timeout=200)
            if tool == PEER and answer.code != 'timeout' and answer.code < 0:
                answer = run(tool, words, self.folder, timeout=200)
            return Result(answer.code, answer.out, NOISE.sub('', answer.err))
        with concurrent.futures.ThreadPoolExecutor(2 * len(questions)) as pool:
            answers = [[pool.submit(ask, tool, words) for tool in (IMG, PEER)] for words in questions]
            for words, (ours, theirs) in zip(questions, answers):
                self.journal.add('.', IMG, words)
                self.tell(words, ours.result().differs(theirs.result()))

    def like_local(self, words, result=None):
        """Ours in the volume, the reference tool in the folder: FILE@ in a word is a file there."""
        names = re.findall(r'[\w.-]+(?=@)', ' '.join(words))
        ours = [re.sub(r'([\w.-]+)@', lambda found: self.url(found[1]), word) for word in words]
        theirs = [re.sub(r'([\w.-]+)@', r'\1', word) for word in words]
        self.journal.add('.', IMG, ours)
        answers = [run(IMG, ours, self.folder, timeout=200), run(PEER, theirs, self.folder)]
        for name in names:
            answers[0].out = answers[0].out.replace(self.url(name), name)
            answers[0].err = answers[0].err.replace(self.url(name), name)
        self.tell(words, answers[0].differs(answers[1]))
        if result:
            contents = [self.content(BRICK, self.there(result)), self.content(self.folder, result)]
            self.tell(words, '' if contents[0] == contents[1] else 'contents differ')

    def from_volume(self):
        name = self.source['name']
        words = ['convert', '-O', 'raw', '-m', str(self.rng.randrange(1, 17))] + \
            self.words(name, self.source['format']) + ['out.raw']
        self.journal.add('.', IMG, words)
        self.expect(run(IMG, words, self.folder), words)
        run(PEER, ['convert', '-O', 'raw', '-f', self.source['format'], name, 'want.raw'], self.folder)
        self.tell(words, '' if self.content(self.folder, 'out.raw') == self.content(self.folder, 'want.raw')
                  else 'contents differ')

    def to_volume(self):
        rng, kind, name = self.rng, self.source['format'], self.source['name']
        cluster = rng.choice([512, 65536, 2 * MEGA])
        coded = ['-c'] if rng.random() < .3 else []
        self.like_local(['convert', '-O', 'qcow2', '-m', str(rng.randrange(1, 17)), '-o', f'cluster_size={cluster}'] +
                        coded + ['-f', kind, name, 'to.qcow2@'], 'to.qcow2')
        cache = rng.choice(['none', 'writeback', 'writethrough', 'unsafe'])
        self.like_local(['convert', '-O', 'raw', '-t', cache, '-S', rng.choice(['0', '4k', '64k']), '-f', kind, name,
                         'to.raw@'], 'to.raw')
        self.like_local(['convert', '-n', '-O', 'raw', '-f', kind, name, 'to.raw@'], 'to.raw')
        self.like_local(['resize', '-f', 'raw', '--shrink', 'to.raw@', str(rng.randrange(1, 4000) * 512)], 'to.raw')
        mode = rng.choice(['off', 'falloc', 'full'])
        self.like_local(['create', '-q', '-f', 'raw', '-o', 'preallocation=' + mode, 'new.raw@',
                         f'{rng.randrange(1, 9000)}k'], 'new.raw')
        self.like_local(['create', '-q', '-f', 'qcow2', 'new.qcow2@', f'{rng.randrange(1, 64)}M'], 'new.qcow2')
        if kind == 'raw':
            self.like_local(['dd', '-f', 'raw', '-O', 'raw', f'if={name}@', 'of=dd.raw@', 'bs=' +
                             rng.choice(['512', '64k', '100000']), f'skip={rng.randrange(4)}',
                             f'count={rng.randrange(4, 40)}'], 'dd.raw')

    def all(self):
        rng, name, kind = self.rng, self.source['name'], self.source['format']
        self.from_volume()
        self.to_volume()
        wrong = rng.choice([
            ['info', self.base + 'none'], ['info', 'gluster://127.0.0.1/none/a'], ['info', self.base], ['info', self.url(name) + '?a=b'],
            ['create', '-f', 'raw', self.base + 'no/folder', '1M'], ['resize', '-f', 'raw', self.url('to.raw'), '7E'],
            ['info', '--image-opts', 'driver=gluster,volume=vol,path=a,server.0.type=' +
             rng.choice(['inet', 'unix', 'x', 'tcp,server.0.host=h,server.0.port=70000'])],
        ])
        self.both([['info'] + self.words(name, kind), ['info', '--output=json'] + self.words(name, kind),
                   ['map', '--output=json'] + self.words(name, kind), ['map', '--output=json', '-f', 'raw', self.url('to.raw')],
                   ['check', '-f', 'qcow2', self.url('to.qcow2')], wrong])


def one(seed, _):
    folder = tempfile.mkdtemp(prefix='case', dir=RIG)
    try:
        case = Case(seed, folder)
        if not case.made or os.path.getsize(os.path.join(folder, case.source['name'])) > 200 * MEGA:
            return 'refused', []
        case.upload()
        case.all()
        return case.source['format'], case.problems, case.journal.lines
    finally:
        shutil.rmtree(folder, ignore_errors=True)


SHELL = r'''
BATS_TEST_DIRNAME=$1/tests/drivers RIG=$2
. "$1/tests/helper.bash" || exit
. "$1/tests/gluster.bash"
gluster_needs || exit 77
trap gluster_stop EXIT
gluster_world && gluster_start || exit 77
export GLUSTER_RIG=$RIG
nsenter -t "$(< "$RIG/world")" -n -- "${@:3}"
'''


on_servers('gluster-random', 4, one, driver='gluster', known_as='Gluster', shell=SHELL, started=RIG,
           servers='no Gluster servers')
