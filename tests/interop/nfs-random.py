#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random disks on an NFS server, for two tools.

For each seed: a random image (with its backing files) lies on a server, nfs-ganesha in a network namespace of its own.
Our tool and the reference tool say of it, and make of it and on it, the same.  It needs root, the server, and the
module for NFS of the reference tool (PEERS names a folder with releases of it that have modules).

environment: see lib/harness.py
"""
import hashlib
import os
import random
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, Journal, PEER, guest_of, run  # noqa: E402
import images  # noqa: E402
from rig import on_servers  # noqa: E402

MEGA = 1024 * 1024
RIG = os.environ.get('NFS_RIG', '')


class Case:
    def __init__(self, seed, folder):
        self.rng, self.folder = random.Random(seed), folder
        self.journal, self.problems = Journal(), []
        links = images.chain(self.rng, 'a', self.rng.choice([256 * 1024, 2 * MEGA, 8 * MEGA, 40 * MEGA]), 1)
        self.made = all(images.make(image, folder, self.journal) for image in links)
        self.source = links[-1]
        self.user = self.rng.choice(['', '?uid=0', '?uid=0&gid=0&readahead=4096', '?tcp-syncnt=3&pagecache=8'])

    def url(self, name):
        return 'nfs://127.0.0.1' + os.path.join(self.folder, name)

    def source_words(self):
        """The source, by its name or by options."""
        name, kind = self.source['name'], self.source['format']
        if self.rng.random() < .6:
            return ['-f', kind, self.url(name) + self.user]
        return ['--image-opts', f'driver={kind},file.driver=nfs,file.server.type=inet,file.server.host=127.0.0.1,'
                f'file.path={os.path.join(self.folder, name)},file.user=0']

    def name_backing(self):
        """(a relative name is where the reference tool looks elsewhere)"""
        backing = self.source.get('backing')
        if backing:
            words = ['rebase', '-u', '-b', self.url(backing['name']), '-F', backing['format'], self.source['name']]
            self.journal.add('.', PEER, words)
            run(PEER, words, self.folder)

    def content(self, name):
        data = guest_of(self.folder, name)
        return hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else data

    def compare(self, words, result=None):
        """Run with both tools; the results have other names, since a server may take a new file for an old one."""
        answers, contents = [], []
        for tool, mark in (IMG, 'made-1'), (PEER, 'made-2'):
            given = [word.replace('RESULT', mark) for word in words]
            self.journal.add('.', tool, given)
            answer = run(tool, given, self.folder, timeout=120)
            answer.out, answer.err = answer.out.replace(mark, 'RESULT'), answer.err.replace(mark, 'RESULT')
            answers.append(answer)
            contents.append(self.content(result.replace('RESULT', mark)) if result else None)
        difference = answers[0].differs(answers[1])
        if difference:
            self.problems.append(' '.join(words) + ':\n  ' + difference)
        if contents[0] != contents[1]:
            self.problems.append(' '.join(words) + ': contents differ')

    def all(self):
        rng, source = self.rng, self.source_words()
        self.compare(['info'] + source)
        self.compare(['info', '--output=json'] + source)
        self.compare(['map', '--output=json'] + source)
        self.compare(['check'] + source)
        self.compare(['measure', '-O', 'qcow2'] + source)
        self.compare(['convert', '-O', 'raw'] + source + ['RESULT.raw'], 'RESULT.raw')
        size = rng.choice([512, 65536, 2 * MEGA])
        coded = ['-c'] if rng.random() < .3 else []
        self.compare(['convert', '-O', 'qcow2', '-m', str(rng.randrange(1, 17)), '-o', f'cluster_size={size}'] + coded +
                     source + [self.url('RESULT-to.qcow2') + self.user], 'RESULT-to.qcow2')
        self.compare(['convert', '-O', 'raw', '-t', rng.choice(['none', 'writeback', 'writethrough', 'unsafe']), '-S',
                      rng.choice(['0', '4k', '64k'])] + source + [self.url('RESULT-to.raw')], 'RESULT-to.raw')
        self.compare(['convert', '-n', '-O', 'raw'] + source + [self.url('RESULT-to.raw')], 'RESULT-to.raw')
        self.compare(['resize', '-f', 'raw', '--shrink', self.url('RESULT-to.raw'), str(rng.randrange(1, 4000) * 512)],
                     'RESULT-to.raw')
        self.compare(['create', '-f', 'qcow2', self.url('RESULT-new.qcow2'), f'{rng.randrange(1, 64)}M'],
                     'RESULT-new.qcow2')
        if '--image-opts' not in source:
            self.compare(['dd', 'if=' + source[-1], 'of=' + self.url('RESULT-dd.raw'), 'bs=' +
                          rng.choice(['512', '64k', '100000']), f'skip={rng.randrange(4)}',
                          f'count={rng.randrange(4, 40)}'], 'RESULT-dd.raw')


def one(seed, _):
    folder = tempfile.mkdtemp(prefix='case', dir=RIG)
    try:
        case = Case(seed, folder)
        if not case.made or os.path.getsize(os.path.join(folder, case.source['name'])) > 200 * MEGA:
            return 'refused', []
        case.name_backing()
        case.all()
        return case.source['format'], case.problems, case.journal.lines
    finally:
        shutil.rmtree(folder, ignore_errors=True)


SHELL = r'''
BATS_TEST_DIRNAME=$1/tests/drivers RIG=$2/rig EXPORT=$2/export
. "$1/tests/helper.bash" || exit
. "$1/tests/nfs.bash"
mkdir -p "$RIG" "$EXPORT"
nfs_needs || exit 77
trap nfs_stop EXIT
nfs_world && nfs_start || exit 77
export NFS_RIG=$EXPORT
nsenter -t "$(< "$RIG/world")" -n -- "${@:3}"
'''


on_servers('nfs-random', 4, one, driver='nfs', known_as='NFS', shell=SHELL, started=RIG,
           servers='no NFS server')
