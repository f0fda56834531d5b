#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random option sets of `create -f qcow2` through both tools; everything has to be the same.

Compared: standard output, standard error, exit code, the bytes of the image and of its data file, and
that the image takes no more room on disk than the reference tool's.  Good and bad options, also several
bad ones at once.

environment: see lib/harness.py
"""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, each, run  # noqa: E402

NAMES = 't.qcow2', 'd.raw'
HINT = 'qemu-img: warning: Failed to set extent size hint: Operation not supported\n'
JSON_BASE = 'json:{"driver":"raw","file":{"driver":"file","filename":"base"}}'


def pick_size(r, cluster, prealloc):
    kind = r.random()
    if prealloc in ('falloc', 'full'):
        return str(r.choice([0, 1, 511, 512, 513, 4096, 70001, r.randrange(1, 3 << 20), r.randrange(1, 24 << 20)]))
    limit = min(cluster * r.choice([3000, 3000, 60000]), 1 << 34) if prealloc == 'metadata' else 1 << 42
    if kind < 0.15:
        return str(r.choice([0, 1, 511, 512, 513, 1000, 4095, 65537]))
    if kind < 0.30:
        return '%d%s' % (r.randrange(1, 64), r.choice('kM'))
    if kind < 0.85 or prealloc == 'metadata':
        return str(r.randrange(1, max(2, int(limit ** r.random()))))
    if kind < 0.97:
        return '%d%s' % (r.randrange(1, 40), r.choice('GT'))
    return r.choice(['3P', '1P', '9223372036854775807', '9223372036854775296', '9223372036854775808', '7E', '1E'])


def maybe(r, chance, options, key, values):
    """At most one of a key: qemu-img looks at each value as it comes, also at one that a later one replaces."""
    if r.random() < chance and not any(o.startswith(key + '=') for o in options):
        options.append('%s=%s' % (key, r.choice(values)))


def case_arguments(r):
    options = []
    cluster = r.choice([512, 512, 1024, 2048, 4096, 8192, 16384, 65536, 65536, 131072, 1 << 20, 2 << 20])
    maybe(r, 0.03, options, 'cluster_size', ['100', '4M', '513', '0', '64k', '0.5M', '-1', 'x'])
    maybe(r, 0.7, options, 'cluster_size', ['%d' % cluster])
    if not options or options[0] != 'cluster_size=%d' % cluster:
        cluster = 65536
    maybe(r, 0.35, options, 'compat', ['0.10', '1.1', 'v2', 'v3', '1.1', 'v3', '1.1'])
    maybe(r, 0.02, options, 'compat', ['foo', '', '3'])
    prealloc = None
    if r.random() < 0.5:
        prealloc = r.choice(['off', 'metadata', 'metadata', 'falloc', 'full'])
        options.append('preallocation=' + prealloc)
    maybe(r, 0.02, options, 'preallocation', ['foo', 'on', ''])
    maybe(r, 0.25, options, 'lazy_refcounts', ['on', 'off', 'on', 'foo'] if r.random() < 0.1 else ['on', 'off'])
    maybe(r, 0.4, options, 'refcount_bits', ['1', '2', '4', '8', '16', '32', '64'])
    maybe(r, 0.03, options, 'refcount_bits', ['0', '3', '128', '-1', '0x10', '08', '16.5'])
    maybe(r, 0.1, options, 'nocow', ['on', 'off'])
    maybe(r, 0.1, options, 'extent_size_hint', ['1M', '0', '64k'])
    maybe(r, 0.25, options, 'compression_type', ['zlib', 'zstd'])
    maybe(r, 0.02, options, 'compression_type', ['foo', ''])
    maybe(r, 0.25, options, 'extended_l2', ['on', 'off'])
    data_file = r.random() < 0.2
    if data_file:
        options.append('data_file=d.raw')
    maybe(r, 0.5 if data_file else 0.03, options, 'data_file_raw', ['on', 'off'])
    arguments = []
    if r.random() < 0.25:
        name = r.choice(['base', 'base', './base', 'missing', JSON_BASE, 'b' * r.randrange(1, 700)])
        form = r.choice(['raw', 'raw', 'raw', 'qcow2', None])
        arguments += ['-b', name]
        if form:
            arguments += ['-F', form]
        if r.random() < 0.6:
            arguments.append('-u')
    elif r.random() < 0.02:
        options.append('backing_fmt=raw')
    if r.random() < 0.1:
        arguments.append('-q')
    r.shuffle(options)
    if options:
        arguments += ['-o', ','.join(options)]
    if 'data_file_raw=on' in options and prealloc in (None, 'off'):
        prealloc = 'metadata'       # that is what it comes to
    size = pick_size(r, cluster, prealloc)
    return arguments + ['t.qcow2'] + ([size] if r.random() < 0.97 else [])


def create(tool, arguments, folder):
    os.mkdir(folder)
    with open(os.path.join(folder, 'base'), 'wb') as base:
        base.truncate(3 << 20)
    return run(tool, ['create', '-f', 'qcow2'] + arguments, folder)


def data_ranges(file, size):
    """Where the file is no hole."""
    at = 0
    while at < size:
        try:
            start = os.lseek(file.fileno(), at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
        yield start, at


def first_difference(a, b):
    """Offset of the first byte that is not the same, holes left out; None: the files are the same."""
    with open(a, 'rb') as left, open(b, 'rb') as right:
        size = os.fstat(left.fileno()).st_size
        if size != os.fstat(right.fileno()).st_size:
            return min(size, os.fstat(right.fileno()).st_size)
        for start, end in sorted([*data_ranges(left, size), *data_ranges(right, size)]):
            for at in range(start, end, 1 << 20):
                length = min(1 << 20, end - at)
                one, two = os.pread(left.fileno(), length, at), os.pread(right.fileno(), length, at)
                if one != two:
                    return at + next(i for i in range(length) if one[i] != two[i])
    return None


def compare_files(ours, peer):
    problems = []
    for name in NAMES:
        a, b = os.path.join(ours, name), os.path.join(peer, name)
        if os.path.exists(a) != os.path.exists(b):
            problems.append(f'{name}: only one of the tools has made it')
        if not os.path.exists(a) or not os.path.exists(b):
            continue
        found = first_difference(a, b)
        if found is not None:
            problems.append(f'{name}: differs at {found:#x}; ours {os.stat(a).st_size} bytes long, '
                            f'peer {os.stat(b).st_size}')
        # Preallocating a data file, the reference tool sets aside less than what was asked for.  How many pieces the
        # file system needs, and how many blocks to list them, is its own affair.
        kept, theirs = (os.stat(path).st_blocks for path in (a, b))
        if name == 't.qcow2' and kept > theirs + theirs // 16 + 128:
            problems.append(f'{name}: {kept} blocks on disk, peer {theirs}')
    return problems


def compare(folder, arguments):
    ours, peer = os.path.join(folder, 'ours'), os.path.join(folder, 'peer')
    theirs = create(PEER, arguments, peer)
    if theirs.code == 'timeout':
        return []
    result = create(IMG, arguments, ours)
    if theirs.code:
        # The reference tool makes the file before it looks at the options; we refuse before.
        theirs.err = theirs.err.replace(HINT, '')
    different = result.differs(theirs)
    return ([different] if different else []) + compare_files(ours, peer)


def one(seed, folder):
    arguments = case_arguments(random.Random(seed))
    shown = ' '.join(arguments)
    return shown if len(shown) < 200 else shown[:200] + '...', compare(folder, arguments)


def main():
    each('create-random', 60, one)


if __name__ == '__main__':
    main()
