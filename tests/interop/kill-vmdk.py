#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 at a random moment of a convert into a vmdk image.

A new image, once its header and descriptor stand, opens in both tools and the reference tool's check finds nothing; a
stream (streamOptimized) is refused until it has its end, or is still the empty one that was created.  With -n over an image that
holds data the same, and what is read is what was there before or what the source has.

environment: see lib/harness.py
"""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, PEER_IO, each, must, run  # noqa: E402
from killcase import MEGA, contents, kill, mixed_source, neither, read, ways_to_copy, write_some  # noqa: E402

SIZE = 48 * MEGA
SUBFORMATS = ['monolithicSparse', 'monolithicSparse', 'monolithicSparse,zeroed_grain=on', 'twoGbMaxExtentSparse',
              'monolithicFlat', 'twoGbMaxExtentFlat', 'streamOptimized']


def target(folder, rng, subformat):
    """An existing image with data in it, and its contents."""
    words = ['create', '-q', '-f', 'vmdk', '-o', 'subformat=' + subformat]
    if 'Flat' not in subformat and rng.random() < 0.4:
        run(PEER, ['create', '-q', '-f', 'vmdk', 'base.vmdk', str(SIZE)], folder)
        run(PEER_IO, ['-f', 'vmdk', '-c', f'write -P 9 1M {8 * MEGA}', 'base.vmdk'], folder)
        words += ['-b', 'base.vmdk', '-F', 'vmdk']
    must(PEER, words + ['t.vmdk', str(SIZE)], folder)
    write_some('vmdk', folder, 't.vmdk', SIZE, rng)
    return contents(PEER, 'vmdk', folder, 't.vmdk', 'before.raw')


def look(folder, subformat, before, wanted, problems):
    """What stands there after the kill."""
    opened = run(PEER, ['info', '-f', 'vmdk', 't.vmdk'], folder)
    ours = run(IMG, ['info', '-f', 'vmdk', 't.vmdk'], folder)
    if (opened.code == 0) != (ours.code == 0):
        problems.append(f'info: {ours.differs(opened)}')
    if opened.code:
        if before is not None:
            problems.append(f'does not open: {opened.err}')
        return 'refused'
    result = run(PEER, ['check', '-f', 'vmdk', 't.vmdk'], folder)
    if result.code:
        problems.append(f'check: exit {result.code} {result.out[:300]} {result.err[:300]}')
    after = contents(PEER, 'vmdk', folder, 't.vmdk')
    if isinstance(after, str) or 'Flat' not in subformat:
        problems += neither(after, before or bytes(SIZE), wanted)
    return 'opened'


def one(seed, folder, span):
    rng = random.Random(seed)
    mixed_source(os.path.join(folder, 'source'), SIZE)
    subformat = rng.choice(SUBFORMATS)
    new = rng.random() < 0.5 or 'stream' in subformat
    words = ['convert', '-f', 'raw', '-O', 'vmdk']
    words += ['-o', 'subformat=' + subformat] if new else ['-n'] + rng.choice([[], [], ['-S', '0']])
    words += ways_to_copy(rng) + ['source', 't.vmdk']
    before, moment = kill(words, folder, rng, span,
                          lambda: None if new else target(folder, random.Random(seed), subformat))
    problems, state = [], 'no file'
    if os.path.exists(os.path.join(folder, 't.vmdk')):
        state = look(folder, subformat, before, read(folder, 'source'), problems)
    return f"{' '.join(words)} over {subformat} {moment}: {state}", problems


if __name__ == '__main__':
    each('kill-vmdk', 10, one, [0.2])
