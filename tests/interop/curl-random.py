#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random disks on a web server that has good and bad days.

For each seed: a random image (with its backing files) lies on a server, which serves it in one of the ways of
lib/web_server.py that end well.  Our tool says of it and makes of it what it says and makes of the file beside it.  Where
the reference tool has its driver for http, both tools are compared on a good server, too.

environment: see lib/harness.py
"""
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import each, guest_of, IMG, Journal, MODULES, PEER, ROOT, run  # noqa: E402
import images  # noqa: E402

MEGA = 1024 * 1024
WAYS = ['ok', 'ok', 'nohead', 'drop', 'gzip', 'expire', 'away']
WHOLE = ['norange', 'chunked', 'cut']       # without ranges: read as a stream
PEER_KNOWS = os.path.exists(os.path.join(MODULES, 'block-curl.so'))
if PEER_KNOWS:
    os.environ['QEMU_MODULE_DIR'] = MODULES


class Server:
    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        port = os.path.join(self.folder, 'port')
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(ROOT, 'tests/interop/lib/web_server.py'), self.folder, port],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not os.path.exists(port):
            if self.process.poll() is not None:
                raise RuntimeError('no server')
            time.sleep(0.01)
        with open(port) as file:
            self.base = 'http://127.0.0.1:%d/' % int(file.read())
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


class Case:
    def __init__(self, seed, folder):
        self.rng, self.folder = random.Random(seed), folder
        self.journal, self.problems = Journal(), []
        links = images.chain(self.rng, 'a', self.rng.choice([256 * 1024, 2 * MEGA, 8 * MEGA, 40 * MEGA]), 1)
        self.made = all(images.make(image, folder, self.journal) for image in links)
        self.source = links[-1]
        self.way = self.rng.choice(WAYS)

    def content(self, name):
        data = guest_of(self.folder, name)
        if data is not None:
            os.unlink(os.path.join(self.folder, name))
        return data

    def compare(self, one, other, words, result):
        """Run with two tools or names, each (tool, name); what they print of the name is made equal."""
        answers, contents = [], []
        for tool, name in one, other:
            given = [word.replace('@', name) for word in words]
            self.journal.add('.', tool, given)
            answer = run(tool, given, self.folder, timeout=20 if tool == PEER else 900)
            answer.out, answer.err = answer.out.replace(name, '@'), answer.err.replace(name, '@')
            answers.append(answer)
            contents.append(self.content(result) if result else None)
        if 'timeout' in (answers[0].code, answers[1].code) and other[0] == PEER:
            return          # the reference tool hangs on http now and then
        difference = answers[0].differs(answers[1])
        if difference:
            self.problems.append(' '.join(words) + ' ' + self.way + ':\n  ' + difference)
        if contents[0] != contents[1]:
            self.problems.append(' '.join(words) + ' ' + self.way + ': contents differ')

    def commands(self):
        rng = self.rng
        yield ['convert', '-O', 'raw', '@', 'out.raw'], 'out.raw'
        options = ['-o', f'cluster_size={rng.choice([512, 65536, 2 * MEGA])}'] if rng.random() < .5 else []
        yield ['convert', '-O', 'qcow2', '-m', str(rng.randrange(1, 17))] + options + \
            (['-c'] if rng.random() < .3 else []) + ['@', 'out.qcow2'], 'out.qcow2'
        yield ['dd', 'if=@', 'of=dd.raw', 'bs=' + rng.choice(['512', '64k', '100000']), f'skip={rng.randrange(4)}',
               f'count={rng.randrange(4, 40)}'], 'dd.raw'

    def all(self, base):
        url = base + self.way + '/' + self.source['name']
        said = [(['map', '--output=json', '@'], None), (['measure', '-O', 'qcow2', '@'], None)]
        whole = base + self.rng.choice(WHOLE) + '/' + self.source['name']
        # (a server does not tell of holes, so maps differ)
        for words, result in self.commands():
            self.compare((IMG, url), (IMG, self.source['name']), words, result)
            self.compare((IMG, whole), (IMG, self.source['name']), words, result)
        if PEER_KNOWS:
            good = base + 'ok/' + self.source['name']
            said += [(['info', '@'], None), (['info', '--output=json', '@'], None), (['check', '@'], None)]
            for words, result in list(self.commands()) + said:
                self.compare((IMG, good), (PEER, good), words, result)


def one(seed, folder):
    case = Case(seed, folder)
    if not case.made or os.path.getsize(os.path.join(folder, case.source['name'])) > 200 * MEGA:
        return 'refused', []
    with Server(folder) as server:
        case.all(server.base)
    return case.way + ' ' + case.source['format'], case.problems, case.journal.lines


def main():
    there = 'https' in run(IMG, ['--help'], '/').out
    each('curl-random', 4, one, skip='' if there else 'http is not built in')


main()
