#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random luks images, made by both tools and read and written by both.

Each case takes a cipher, a mode, an IV generator, hashes, a size and sparse content.  The reference tool's image is read
by us, and ours by it; then both write into the middle of both, and all contents are what was written there last.  What
both say is equal: info (but for the salts' sake the uuid and the counts), measure, check, map, and the errors for a
missing and a wrong secret.

environment: see lib/harness.py
"""
import os
import random
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, PEER_IO, each, guest_bytes, must, run  # noqa: E402

CIPHERS = ['aes-128', 'aes-192', 'aes-256', 'cast5-128', 'serpent-128', 'serpent-192', 'serpent-256', 'twofish-128',
           'twofish-192', 'twofish-256']
BITS = {'md5': 128, 'sha1': 160, 'sha224': 224, 'sha256': 256, 'sha384': 384, 'sha512': 512, 'ripemd160': 160, 'sm3': 256}
VARYING = r'(uuid: |"uuid": "|iters: |iters": )[-\w]+'


def options(rng):
    """Of create, and whether the reference tool can do them (it aborts on keys of 192 bits)."""
    cipher, mode = rng.choice(CIPHERS), rng.choice(['xts', 'xts', 'cbc', 'ecb', 'ctr'])
    words = [f'cipher-alg={cipher}', f'cipher-mode={mode}']
    if rng.random() < 0.7:
        words.append('ivgen-alg=' + rng.choice(['plain', 'plain64', 'essiv']))
    if rng.random() < 0.5:
        words.append('ivgen-hash-alg=' + rng.choice(list(BITS)))
    if rng.random() < 0.6:
        words.append('hash-alg=' + rng.choice(list(BITS)))
    return words, mode == 'xts' or not cipher.endswith('-192')


def node(name, secret='s'):
    return f'driver=luks,key-secret={secret},file.driver=file,file.filename={name}'


def content(rng, size):
    data = bytearray(size)
    for _ in range(rng.randrange(6)):
        start = rng.randrange(size)
        length = rng.randrange(1, min(300000, size - start) + 1)
        data[start:start + length] = rng.randbytes(length)
    return data


class Case:
    def __init__(self, rng, folder):
        self.rng, self.folder = rng, folder
        self.password = rng.choice(['pass', 'x', '', 'a longer one, with blanks and a comma,,'.replace(',,', '')])
        self.secret = ['--object', 'secret,id=s,data=' + self.password.replace(',', ',,')]
        self.size = rng.choice([512, 4096, 65536, 700000, 1 << 20, 3 << 20]) + rng.choice([0, 0, 512, 100])
        self.problems = []

    def differ(self, words, tools=(IMG, PEER)):
        """Run both in the folder, and compare what they say."""
        results = [run(tool, words, self.folder) for tool in tools]
        for result in results:
            result.out, result.err = (re.sub(VARYING, r'\1N', text) for text in (result.out, result.err))
            result.out = result.out.replace('theirs', 'ours')
        difference = results[0].differs(results[1])
        if difference:
            self.problems.append(f'{" ".join(words)}: {difference}')
        return results[0]

    def holds(self, name, data):
        for tool in (IMG, PEER):
            got, error = guest_bytes(tool, self.secret + ['--image-opts', node(name)], self.folder)
            if got is None or got[:len(data)] != data:
                self.problems.append(f'{os.path.basename(tool)} reads something else in {name}: {error}')

    def write(self, name, data):
        """Both tools write into the image somewhere."""
        start = self.rng.randrange(self.size)
        length = self.rng.randrange(1, min(100000, self.size - start) + 1)
        data[start:start + length] = bytes([0x5a]) * length
        must(PEER_IO, self.secret + ['-c', f'write -P 0x5a {start} {length}', '--image-opts', node(name)], self.folder)
        if self.size < 8192:
            return
        unit = self.rng.choice([512, 1024, 4096])
        start = self.rng.randrange(self.size // unit)
        piece = self.rng.randbytes(unit * self.rng.randrange(1, min(40, self.size // unit - start) + 1))
        data[start * unit:start * unit + len(piece)] = piece
        with open(os.path.join(self.folder, 'now.raw'), 'wb') as file:
            file.write(data)
        must(IMG, ['convert', '-n', '-f', 'raw'] + self.secret + self.rng.choice([[], ['-W', '-m', '16']]) +
             ['--target-image-opts', 'now.raw', node(name)], self.folder)


def check(seed, folder):
    rng = random.Random(seed)
    case = Case(rng, folder)
    words, both = options(rng)
    made = ['create', '-f', 'luks'] + case.secret + ['-o', ','.join(['key-secret=s', 'iter-time=10'] + words)]
    data = content(rng, case.size)
    with open(os.path.join(folder, 'data.raw'), 'wb') as file:
        file.write(data)
    if not both:
        done = run(IMG, made + ['ours', str(case.size)], folder)
        if done.code and not re.search('No \\w+ cipher with key size', done.err):
            case.problems.append(done.err)
        if done.code == 0:
            must(IMG, ['convert', '-n', '-f', 'raw'] + case.secret + ['--target-image-opts', 'data.raw', node('ours')], folder)
            got, error = guest_bytes(IMG, case.secret + ['--image-opts', node('ours')], folder)
            if got is None or got[:len(data)] != data:
                case.problems.append(f'reads something else: {error}')
        return ' '.join(words), case.problems
    results = [run(tool, made + [name, str(case.size)], folder) for tool, name in ((IMG, 'ours'), (PEER, 'theirs'))]
    results[1].out, results[1].err = (text.replace('theirs', 'ours') for text in (results[1].out, results[1].err))
    if results[0].differs(results[1]):
        case.problems.append(results[0].differs(results[1]))
    case.differ(['measure', '-O', 'luks'] + case.secret + ['-o', ','.join(['key-secret=s'] + words), '--size',
                                                           str(case.size)])
    if results[1].code:
        return ' '.join(words), case.problems
    for name in 'ours', 'theirs':
        current = bytearray(data)
        must(rng.choice([IMG, PEER]), ['convert', '-n', '-f', 'raw'] + case.secret +
             ['--target-image-opts', 'data.raw', node(name)], folder)
        case.holds(name, current)
        case.write(name, current)
        case.holds(name, current)
        for form in [], ['--output=json']:
            case.differ(['info'] + form + [name])
            case.differ(['map'] + form + case.secret + ['--image-opts', node(name)])
        case.differ(['info'] + case.secret + ['--image-opts', node(name)])
        case.differ(['check'] + case.secret + ['--image-opts', node(name)])
        case.differ(['convert', '-O', 'raw', name, 'x'])
        case.differ(['convert', '-O', 'raw', '--object', 'secret,id=s,data=wrong', '--image-opts', node(name), 'x'])
        case.differ(['convert', '-O', 'raw'] + case.secret + ['--image-opts', node(name, 't'), 'x'])
    return ' '.join(words), case.problems


each('luks-random', 3, check)
