#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random disks on an SSH server, for two tools.

For each seed: a random image (with its backing file) lies on a server, OpenSSH's.  Our tool and the reference tool say
of it, and make of it and on it, the same: text, exit codes and contents.  It needs root, the server, and the module for
SSH of the reference tool (PEERS names a folder with releases of it that have modules).

environment: see lib/harness.py
"""
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, Journal, PEER, run  # noqa: E402
import images  # noqa: E402
from rig import on_servers  # noqa: E402

MEGA = 1024 * 1024
RIG, PORT = os.environ.get('SSH_RIG', ''), os.environ.get('SSH_PORT', '')
# How the server is known; the hash is that of its key.
CHECKS = ['', '?host_key_check=no', '?host_key_check=yes', '?host_key_check=sha256:' + os.environ.get('SSH_HASH', '')]
FORMATS = [('qcow2', 'cluster_size=%s'), ('qcow2', 'compat=0.10,cluster_size=%s'),
           ('qcow2', 'compat=1.1,cluster_size=%s'), ('qcow2', 'preallocation=metadata,cluster_size=%s'),
           ('qcow2', 'extended_l2=on,cluster_size=65536'),
           ('qed', 'cluster_size=65536'), ('vdi', ''), ('vmdk', ''), ('vpc', 'force_size=on'), ('vhdx', ''),
           ('vmdk', 'subformat=streamOptimized'), ('raw', '')]


class Case:
    def __init__(self, seed, folder):
        self.rng, self.folder = random.Random(seed), folder
        self.journal, self.problems = Journal(), []
        links = images.chain(self.rng, 'a', self.rng.choice([256 * 1024, 2 * MEGA, 8 * MEGA, 40 * MEGA]), 1)
        self.made = all(images.make(image, folder, self.journal) for image in links)
        self.source, self.check = links[-1], self.rng.choice(CHECKS)

    # ---- names of files on the server

    def url(self, name, check=None):
        """Any of the ways to write its path."""
        folder = self.rng.choice(['/', '/./', '//', '/x/../', '/%2e/']).join(self.folder.rsplit('/', 1))
        return f'ssh://root@127.0.0.1:{PORT}{folder}/{name}' + (self.check if check is None else check)

    def options(self, name, prefix=''):
        check = self.rng.choice(['none', 'known_hosts'])
        given = {'driver': 'ssh', 'server.host': '127.0.0.1', 'server.port': PORT, 'user': 'root',
                 'path': os.path.join(self.folder, name), 'host-key-check.mode': check}
        return {prefix + key: value for key, value in given.items()}

    def source_words(self):
        """The source, by its name or by options."""
        name, kind = self.source['name'], self.source['format']
        way = self.rng.randrange(4)
        if way == 0:
            return ['--image-opts', ','.join(f'{k}={v}' for k, v in
                                             {'driver': kind, **self.options(name, 'file.')}.items())]
        if way == 1:
            return ['json:' + json.dumps({'driver': kind, **self.options(name, 'file.')})]
        return ['-f', kind, self.url(name)] if way == 2 else [self.url(name)]

    def name_backing(self):
        """(a relative name is where the reference tool looks elsewhere)"""
        backing = self.source.get('backing')
        if backing:
            words = ['rebase', '-u', '-b', self.url(backing['name'], '?host_key_check=no'), '-F', backing['format'],
                     self.source['name']]
            self.journal.add('.', PEER, words)
            run(PEER, words, self.folder)

    # ---- comparing

    def content(self, name):
        """What a guest reads of it: two tools may place the same bytes differently."""
        kind = name.rsplit('.', 1)[1]
        path = os.path.join(self.folder, name)
        if kind != 'raw' and os.path.exists(path):
            path = os.path.join(self.folder, 'guest.raw')
            if run(PEER, ['convert', '-f', kind, '-O', 'raw', name, path], self.folder).code:
                return 'unreadable'
        if not os.path.exists(path):
            return None
        with open(path, 'rb') as file:
            data = file.read()
        return hashlib.sha256(data + bytes(-len(data) % 512)).hexdigest()

    def compare(self, words, result=None):
        """Run with both tools; what each makes has a name of its own."""
        answers, contents = [], []
        for tool, mark in (IMG, 'made-1'), (PEER, 'made-2'):
            given = [word.replace('RESULT', mark) for word in words]
            self.journal.add('.', tool, given)
            answer = run(tool, given, self.folder, timeout=120)
            answer.out, answer.err = answer.out.replace(mark, 'RESULT'), answer.err.replace(mark, 'RESULT')
            answers.append(answer)
            # (of what fails, the reference tool leaves a part, and ours nothing)
            contents.append(self.content(result.replace('RESULT', mark)) if result and answer.code == 0 else None)
        difference = answers[0].differs(answers[1])
        if difference:
            self.problems.append(' '.join(words) + ':\n  ' + difference)
        if contents[0] != contents[1]:
            self.problems.append(' '.join(words) + ': contents differ')
        return answers[1].code == 0

    # ---- what is done

    def look(self, source):
        for words in ['info'], ['info', '--output=json'], ['info', '--backing-chain'], ['map'], \
                ['map', '--output=json'], ['check'], ['measure', '-O', 'qcow2']:
            self.compare(words + source)

    def some_flags(self, here=False):
        """(direct I/O makes a file here longer with the reference tool, up to a whole block)"""
        rng, flags = self.rng, []
        if rng.random() < .5:
            flags += ['-m', str(rng.randrange(1, 17))]
        if rng.random() < .3:
            flags += ['-W']
        if rng.random() < .4:
            flags += ['-S', rng.choice(['0', '4k', '64k', '512', '1M'])]
        if rng.random() < .5:
            flags += ['-t', rng.choice(['writeback', 'writethrough', 'unsafe'] + (
                ['none', 'directsync'] if not here else []))]
        if rng.random() < .4:
            flags += ['-T', rng.choice(['none', 'writeback', 'directsync', 'unsafe'])]
        return flags

    def convert(self, source):
        rng = self.rng
        self.compare(['convert', '-O', 'raw'] + self.some_flags(True) + source + ['RESULT.raw'], 'RESULT.raw')
        kind, options = rng.choice(FORMATS)
        options = options.replace('%s', str(rng.choice([512, 4096, 65536, 2 * MEGA])))
        coded = ['-c'] if kind == 'qcow2' and rng.random() < .3 else []
        self.compare(['convert', '-O', kind] + (['-o', options] if options else []) + coded + self.some_flags() +
                     source + [self.url('RESULT.' + kind)], 'RESULT.' + kind)
        mode = rng.choice(['off', 'falloc', 'full', 'metadata'])
        self.compare(['convert', '-O', 'raw', '-o', 'preallocation=' + mode] + source + [self.url('RESULT-pre.raw')],
                     'RESULT-pre.raw')
        self.compare(['convert', '-O', 'raw'] + self.some_flags() + source + [self.url('RESULT-to.raw')],
                     'RESULT-to.raw')
        self.compare(['convert', '-n', '-O', 'raw'] + self.some_flags() + source + [self.url('RESULT-to.raw')],
                     'RESULT-to.raw')
        target = ','.join(f'{k}={v}' for k, v in {'driver': 'raw', **self.options('RESULT-to.raw', 'file.')}.items())
        self.compare(['convert', '-n', '--target-image-opts'] + source + [target], 'RESULT-to.raw')

    def change(self):
        rng = self.rng
        self.compare(['resize', '-f', 'raw', self.url('RESULT-to.raw'), '+' + rng.choice(['512', '1M', '70000'])],
                     'RESULT-to.raw')
        self.compare(['resize', '-f', 'raw', '--shrink', self.url('RESULT-to.raw'), '512'], 'RESULT-to.raw')
        self.compare(['resize', '-f', 'raw', '--preallocation=' + rng.choice(['falloc', 'full', 'off']),
                      self.url('RESULT-to.raw'), '50M'], 'RESULT-to.raw')
        self.compare(['create', '-f', 'qcow2', self.url('RESULT-new.qcow2'), f'{rng.randrange(1, 64)}M'],
                     'RESULT-new.qcow2')
        self.compare(['resize', self.url('RESULT-new.qcow2'), '70M'], 'RESULT-new.qcow2')
        self.compare(['snapshot', '-c', 'one', self.url('RESULT-new.qcow2')], 'RESULT-new.qcow2')
        self.compare(['create', '-f', 'raw', self.url('RESULT-new.raw'), str(rng.randrange(0, MEGA))], 'RESULT-new.raw')

    def dd(self, source):
        if '--image-opts' not in source:
            self.compare(['dd', 'if=' + source[-1], 'of=' + self.url('RESULT-dd.raw'), 'bs=' +
                          self.rng.choice(['512', '64k', '100000']), f'skip={self.rng.randrange(4)}',
                          f'count={self.rng.randrange(4, 40)}'], 'RESULT-dd.raw')

    def overlays(self):
        """An overlay beside us over a file on the server, and one that lies there too."""
        rng, base = self.rng, self.url('RESULT-to.raw', '?host_key_check=no')
        over = rng.choice(['RESULT-over.qcow2', self.url('RESULT-over.qcow2')])
        if not self.compare(['create', '-f', 'qcow2', '-b', base, '-F', 'raw', over], None):
            return
        self.compare(['convert', '-n', '-O', 'qcow2'] + self.source_words() + [over], 'RESULT-over.qcow2')
        if rng.random() < .5:
            self.compare(['rebase', '-f', 'qcow2', '-b', '', over], 'RESULT-over.qcow2')
        else:
            self.commit(over.replace('RESULT', 'made-1'))

    def commit(self, over):
        """The reference tool cannot do that over SSH, so the base must hold what the overlay showed."""
        words = ['commit', '-f', 'qcow2', '-d', over]
        before = self.content('made-1-over.qcow2')
        self.journal.add('.', IMG, words)
        answer = run(IMG, words, self.folder)
        if answer.code or self.content('made-1-to.raw') != before:
            self.problems.append(' '.join(words) + ': ' + (answer.err or 'contents differ'))

    def all(self):
        source = self.source_words()
        self.look(source)
        self.convert(source)
        self.change()
        self.dd(source)
        self.overlays()


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
RIG=$2
. "$1/tests/ssh.bash"
ssh_needs || exit 77
trap ssh_stop EXIT
ssh_keys && ssh_start || exit 77
mkdir "$RIG/disks" "$RIG/disks/x"
SSH_HASH=$(cut -d' ' -f2 "$RIG/host_ed25519.pub" | base64 -d | sha256sum | cut -c1-64)
export SSH_RIG=$RIG/disks SSH_PORT=$PORT SSH_HASH
unset SSH_AUTH_SOCK
at_home "${@:3}"
'''


on_servers('ssh-random', 2, one, driver='ssh', known_as='SSH', shell=SHELL, started=RIG,
           servers='no SSH server')
