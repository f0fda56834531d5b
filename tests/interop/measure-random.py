#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measure random disks and images with both tools: everything that is printed is the same.

Half of the cases are --size with random creation options, good ones and bad ones.  The other half measure a random
image (raw, qcow2, overlays, compressed clusters, bitmaps, snapshots), and then convert it with the same options:
the file must not be larger than the `required size` that was printed.
"""
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
import harness  # noqa: E402

KIB, MIB = 1 << 10, 1 << 20
BAD = ('cluster_size=3k', 'cluster_size=4M', 'cluster_size=x', 'refcount_bits=3', 'refcount_bits=0', 'compat=9',
       'compat=v3', 'preallocation=some', 'foo=1', 'lazy_refcounts=maybe', 'size=-1', 'extended_l2=on,cluster_size=4k',
       'refcount_bits=8,compat=0.10', 'encrypt.format=luks')


def options_of(rng, target):
    """Creation options, and the ones among them that convert can take as well."""
    if target == 'raw':
        return rng.choice(([], [], ['preallocation=full'], ['size=3M']))
    picked = []
    if rng.random() < .7:
        picked.append('cluster_size=%d' % (1 << rng.randint(9, 21)))
    cluster = int(picked[0].split('=')[1]) if picked else 65536
    if cluster >= 16384 and rng.random() < .3:
        picked.append('extended_l2=on')
    elif rng.random() < .15:
        picked.append('compat=0.10')
    if 'compat=0.10' not in picked and rng.random() < .4:
        picked.append('refcount_bits=%d' % (1 << rng.randint(0, 6)))
    if rng.random() < .3:
        picked.append('preallocation=' + rng.choice(('off', 'metadata', 'falloc', 'full')))
    if 'compat=0.10' not in picked and rng.random() < .1:
        picked.append('lazy_refcounts=' + rng.choice(('on', 'off')))
    rng.shuffle(picked)
    return picked


def random_size(rng):
    return max(0, rng.randint(0, 1 << rng.randint(0, 47)) + rng.choice((-1, 0, 0, 1, 511)))


class Image:
    """A random image of at most 8 MiB in `folder`."""

    def __init__(self, rng, folder):
        self.rng, self.folder, self.journal = rng, folder, harness.Journal()
        self.size = rng.choice((0, 512, 64 * KIB, MIB, 3 * MIB + 512, 8 * MIB))
        if rng.random() < .3:
            self.make_raw('image')
            self.format = 'raw'
            return
        self.format = 'qcow2'
        self.make_qcow2('image', rng.random() < .3)

    def peer(self, *arguments, tool=harness.PEER):
        self.journal.add(self.folder, tool, list(arguments))
        result = harness.run(tool, list(arguments), self.folder)
        if result.code:
            raise RuntimeError('%s: %s' % (' '.join(arguments), result.err))

    def write(self, name, fmt, size):
        commands = []
        for _ in range(self.rng.randint(0, 8)):
            start = self.rng.randrange(max(size // 512, 1)) * 512
            length = min(self.rng.choice((512, 4 * KIB, 64 * KIB, 300 * KIB)), size - start)
            if length > 0:
                kind = self.rng.choice(('write -P 5', 'write -P 6', 'write -z', 'write -P 0', 'discard'))
                commands += ['-c', '%s %d %d' % (kind, start, length)]
        if commands:
            self.peer('-f', fmt, *commands, name, tool=harness.PEER_IO)

    def make_raw(self, name):
        with open(os.path.join(self.folder, name), 'wb') as file:
            file.truncate(self.size)
        self.write(name, 'raw', self.size)

    def make_qcow2(self, name, backed):
        compat = self.rng.choice(('1.1', '1.1', '1.1', '0.10'))
        options = 'compat=%s,cluster_size=%d' % (compat, 1 << self.rng.randint(9, 17))
        more = []
        if backed:
            self.make_qcow2('base', False)
            more = ['-b', 'base', '-F', 'qcow2']
        elif self.rng.random() < .2:
            options += ',preallocation=' + self.rng.choice(('metadata', 'falloc'))
        self.peer('create', '-q', '-f', 'qcow2', '-o', options, *more, name, str(self.size))
        self.write(name, 'qcow2', self.size)
        if not backed and self.size and self.rng.random() < .3:
            os.rename(os.path.join(self.folder, name), os.path.join(self.folder, 'plain'))
            self.peer('convert', '-c', '-f', 'qcow2', '-O', 'qcow2', '-o', 'compat=' + compat, 'plain', name)
            self.write(name, 'qcow2', self.size)
        if self.rng.random() < .3:
            self.peer('snapshot', '-c', 'first', name)
            self.write(name, 'qcow2', self.size)
        for number in range(self.rng.choice((0, 0, 1, 3)) if compat == '1.1' and self.size else 0):
            granularity = str(1 << self.rng.randint(9, 20))
            self.peer('bitmap', '--add', '-g', granularity, name, 'b' * self.rng.randint(1, 40) + str(number))


def compare(arguments, folder, problems):
    ours = harness.run(harness.IMG, arguments, folder)
    theirs = harness.run(harness.PEER, arguments, folder)
    difference = ours.differs(theirs)
    if difference:
        problems.append('%s\n  %s' % (' '.join(arguments), difference))
    return ours


def measure_size(rng, folder, problems):
    target = rng.choice(('raw', 'qcow2', 'qcow2', 'qcow2'))
    options = options_of(rng, target)
    if rng.random() < .2:
        options.append(rng.choice(BAD))
    arguments = ['measure', '--size', str(random_size(rng)), '-O', target]
    if options:
        arguments += ['-o', ','.join(options)]
    if rng.random() < .5:
        arguments.append('--output=json')
    compare(arguments, folder, problems)
    return ' '.join(arguments)


def convert_fits(folder, options, image, result, problems):
    """What was promised.  Metadata preallocation makes a long file with holes, and a disk of
    size 0 that is preallocated gets a refcount block more than either tool counts."""
    if 'preallocation=metadata' in options or image.size == 0 or result.code:
        return
    arguments = ['convert', '-O', 'qcow2', 'image', 'target']
    if options:
        arguments[1:1] = ['-o', ','.join(options)]
    done = harness.run(harness.IMG, arguments, folder)
    length = os.path.getsize(os.path.join(folder, 'target')) if not done.code else 0
    required = json.loads(result.out)['required']
    if done.code or done.err:
        problems.append('%s: exit code %s, %s' % (' '.join(arguments), done.code, done.err))
    elif length > required:
        problems.append('%s: %d bytes, %d were promised' % (' '.join(arguments), length, required))


def measure_image(rng, folder, problems):
    image = Image(rng, folder)
    target = rng.choice(('raw', 'qcow2', 'qcow2', 'qcow2'))
    options = options_of(rng, target)
    arguments = ['measure', '--output=json', '-O', target, 'image']
    if options:
        arguments[1:1] = ['-o', ','.join(options)]
    result = compare(arguments, folder, problems)
    compare([word for word in arguments if word != '--output=json'], folder, problems)
    if image.format == 'qcow2':
        compare(arguments[:-1] + ['-l', 'first', 'image'], folder, problems)
        if target == 'qcow2':
            compare(arguments + ['-o', 'backing_file=base,backing_fmt=qcow2'], folder, problems)
    if target == 'qcow2':
        convert_fits(folder, options, image, result, problems)
    return ' '.join(arguments) + ', ' + image.format


def one(seed, folder):
    rng = random.Random(seed)
    problems = []
    title = (measure_size if rng.random() < .5 else measure_image)(rng, folder, problems)
    return title, problems


def main():
    harness.each('measure-random', 60, one)


if __name__ == '__main__':
    main()
