#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every kind of damage to a qcow2 image, alone and in pairs, at random places: checked and repaired by both tools.

For each damaged image, on two copies: check, check --output=json, check -r leaks, check -r all.  Exit code, standard
output and standard error have to be the same, as has afterwards what a guest and every snapshot
reads (to both tools), what the reference tool's check says of our repair, and ours of its.

Where the reference tool gives up, or does harm, another result is accepted if it is better: `better`
lists the reasons, docs/applets/check.md explains them.  The last lines add up how many were equal.

environment: see lib/harness.py; KIND=word takes damages with that word in group or name alone
"""
import collections
import difflib
import os
import random
import re
import resource
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from damage import DAMAGES, Image, Skip  # noqa: E402
from harness import Folder, IMG, PEER, Result, TIMEOUT, cases, make_qcow2  # noqa: E402

Result.may_be_truncated = True

NAME = 'image.qcow2'
KIND = os.environ.get('KIND', '')
SECONDS = 20                # of processor time
LONGEST = 1 << 43           # bytes of a file
CHUNK = 1 << 16

WRITES = ['write -P 1 0 40k', 'write -P 2 100k 30k', 'write -z 160k 16k', 'write -P 3 200k 4k']
PACKED = ['write -c -P 4 256k 64k', 'write -c -P 5 320k 64k', 'write -P 6 384k 8k']
SNAPSHOTS = ['snapshot one', 'write -P 7 8k 12k', 'snapshot two', 'write -P 8 110k 4k', 'write -z 0 4k']
LARGE = ['write -P 1 0 3M', 'write -c -P 2 4M 2M', 'write -P 3 6M 64k']
BITMAPS = ['bitmap 64k b0', 'bitmap 512 b1', 'write -P 9 10k 5k']

# Options, size of the disk, how it is filled.
BASES = [
    ('cluster_size=512', '512k', WRITES), ('cluster_size=512', '512k', WRITES + SNAPSHOTS),
    ('cluster_size=512,refcount_bits=1', '512k', WRITES), ('cluster_size=512,refcount_bits=64', '512k', WRITES),
    ('cluster_size=512,compat=0.10', '512k', WRITES + SNAPSHOTS),
    ('cluster_size=512,preallocation=metadata', '512k', WRITES),
    ('cluster_size=512', '512k', WRITES + BITMAPS),
    ('cluster_size=1k,refcount_bits=8', '512k', WRITES + SNAPSHOTS),
    ('cluster_size=2k,refcount_bits=4', '512k', WRITES + SNAPSHOTS),
    ('cluster_size=4k', '512k', WRITES + SNAPSHOTS), ('cluster_size=4k,refcount_bits=64', '512k', WRITES + SNAPSHOTS),
    ('cluster_size=4k,refcount_bits=2', '512k', WRITES + SNAPSHOTS),
    ('cluster_size=4k', '512k', WRITES + BITMAPS), ('cluster_size=4k,lazy_refcounts=on', '512k', WRITES + BITMAPS),
    ('cluster_size=4k,data_file=data.raw', '512k', WRITES),
    ('cluster_size=16k,extended_l2=on', '512k', WRITES + SNAPSHOTS),
    ('cluster_size=32k,refcount_bits=32', '512k', WRITES + PACKED + SNAPSHOTS),
    ('', '512k', WRITES + PACKED + SNAPSHOTS), ('', '512k', WRITES + PACKED + BITMAPS), ('', '512k', []),
    ('compat=0.10', '512k', WRITES + PACKED + SNAPSHOTS), ('lazy_refcounts=on', '512k', WRITES + PACKED),
    ('extended_l2=on,refcount_bits=32', '512k', WRITES + PACKED + SNAPSHOTS),
    ('compression_type=zstd', '512k', WRITES + PACKED),
    ('cluster_size=256k', '8M', LARGE + ['snapshot one']), ('cluster_size=2M', '8M', LARGE),
    ('cluster_size=2M,refcount_bits=1,extended_l2=on', '8M', LARGE)]


# ---- images ---------------------------------------------------------------------------------

def run(tool, arguments, cwd):
    """As the harness, with a bound on processor time and on the length of files."""
    def limit():
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (LONGEST, LONGEST))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    try:
        done = subprocess.run(['qemu-img' if 'qemu-img' in tool else 'qemu-io'] + arguments, executable=tool, cwd=cwd,
                              env=dict(os.environ, LC_ALL='C', TZ='UTC'), timeout=TIMEOUT, stdin=subprocess.DEVNULL,
                              capture_output=True, check=False,
                              preexec_fn=limit)
    except subprocess.TimeoutExpired:
        return Result('timeout', '', '')
    if done.returncode == -signal.SIGXCPU:
        return Result('timeout', '', '')
    return Result(done.returncode, done.stdout.decode(errors='backslashreplace'),
                  done.stderr.decode(errors='backslashreplace'))


def make(base, folder):
    """The bytes of a sound image, and those of its data file or None."""
    options = base[0]
    image, data = make_qcow2(folder, NAME, *base), None
    if 'data_file' in options:
        with open(os.path.join(folder, 'data.raw'), 'rb') as file:
            data = file.read()
    os.unlink(os.path.join(folder, NAME))
    return image, data


def store(folder, name, data):
    """With holes where there are zeroes."""
    path = os.path.join(folder, name)
    if os.path.exists(path):
        os.unlink(path)
    with open(path, 'wb') as file:
        file.truncate(len(data))
        for at in range(0, len(data), CHUNK):
            chunk = data[at:at + CHUNK]
            if chunk.count(0) != len(chunk):
                file.seek(at)
                file.write(chunk)


# Ours says that what the tables refer to is not in the file; the reference tool reads zeroes there.
MISSING = 'missing'


def read_guest(tool, folder):
    """What a guest reads, and each snapshot; None where reading fails."""
    contents = []
    for snapshot in None, 'one', 'two':
        words = ['convert', '-q', '-U', '-f', 'qcow2', '-O', 'raw']
        words += ['-l', 'snapshot.name=' + snapshot] if snapshot else []
        result = run(tool, words + [NAME, 'guest.raw'], folder)
        path = os.path.join(folder, 'guest.raw')
        if result.code == 0:
            with open(path, 'rb') as file:
                contents.append(file.read())
        else:
            contents.append(MISSING if result.says_truncated() else None)
        if os.path.exists(path):
            os.unlink(path)
    return contents


# ---- comparing ---------------------------------------------------------------------------------

class Outcome:
    """One tool's run over the image, and what became of the image."""

    def __init__(self, tool, folder, image, words):
        store(folder, NAME, image)
        model = Image(image)
        self.bitmaps = bitmaps = model.bitmaps is not None
        # With an autoclear bit that it does not know, qemu-img writes a header without snapshots.
        self.cleared = model.version >= 3 and model.snapshot_count and model.get(88) & ~3 or model.stale_bitmaps()
        self.result = settled(run(tool, ['check'] + words + [NAME], folder), False)
        self.length = os.path.getsize(os.path.join(folder, NAME))
        if '-r' in words:
            self.peer_check = settled(run(PEER, ['check', NAME], folder), bitmaps)
            self.our_check = settled(run(IMG, ['check', NAME], folder), bitmaps)
            self.guest = read_guest(PEER, folder)
            self.our_guest = read_guest(IMG, folder)


def settled(result, bitmaps):
    """Without what differs on purpose (docs/applets/check.md): where stored bitmaps lie."""
    out = re.sub(r'((Image end offset|"image-end-offset"): )\d+', r'\1N', result.out) if bitmaps else result.out
    return Result(result.code, out, result.err)


def lines_of(result):
    return ['exit code %s' % result.code] + ['> ' + line for line in result.out.splitlines()] + result.err.splitlines()


def compared(ours, theirs):
    """Lines that only one of two results has; empty when they are equal."""
    if not ours.differs(theirs):
        return ''
    lines = list(difflib.unified_diff(lines_of(theirs), lines_of(ours), 'peer', 'ours', lineterm='', n=0))[2:]
    return '\n  '.join(line[:200] for line in lines[:12] if not line.startswith('@@')) or 'line ends'


def differences(words, theirs, ours):
    label = 'check ' + ' '.join(words) + ': '
    found = [label + '\n  ' + text for text in [compared(ours.result, theirs.result)] if text]
    if '-r' not in words:
        return found
    for what, a, b in (("qemu-img's check after it", ours.peer_check, theirs.peer_check),
                       ('our check after it', ours.our_check, theirs.our_check),
                       ("our check of qemu-img's repair and its own", theirs.our_check, theirs.peer_check)):
        if compared(a, b):
            found.append(label + what + '\n  ' + compared(a, b))
    for what, a, b in (('contents', ours.guest, theirs.guest),
                       ('contents to our reader', ours.our_guest, theirs.guest)):
        found += ['%s%s of %s' % (label, what, name)
                  for name, x, y in zip(('the disk', 'one', 'two'), a, b) if x not in (y, MISSING)]
    return found


def count(result, what):
    match = re.search(r'^(\d+) %s' % what, result.out, re.M)
    return int(match.group(1)) if match else 0


def no_worse(original, theirs, ours):
    """Whether all that could be read can still be read, and as little is wrong as with the better of both."""
    if ours.result.code not in (0, 1, 2, 3) or any(x is not None and x != y
                                                   for x, y in zip(original.guest, ours.guest)):
        return False
    if ours.peer_check.code not in (0, 2, 3):
        return theirs.peer_check.code == ours.peer_check.code
    failed = (ours.bitmaps or ours.cleared or lost(original.guest, theirs.guest) or
              'Marking image as corrupt' in theirs.result.err)
    rivals = [original.result] + ([] if failed else [theirs.peer_check])
    best = [count(r, 'errors') for r in rivals if r.code in (0, 2, 3)]
    return not best or count(ours.peer_check, 'errors') <= min(best)


def better(original, theirs, ours):
    """The reason why another result than qemu-img's is accepted, or None."""
    said = theirs.result.err
    if theirs.result.code == 1 and not compared(ours.result, theirs.result) and not lost(original.guest, ours.guest):
        return 'both give up in the same words, what was mended until then is kept'
    for found, reason in (
            (theirs.result.code == 'timeout', 'it does not end'),
            ('Marking image as corrupt' in said, 'it marks the image corrupt and gives up'),
            ('qcow2_free_clusters failed' in said, 'it frees clusters that are not its own'),
            (theirs.result.code == 1 and ours.result.code != 1, 'it gives up'),
            (ours.cleared or lost(original.guest, theirs.guest), 'it loses snapshots or data'),
            ('exceeding the end of the file' in said and 'Rebuilding' in said, 'it builds over what is named'),
            (ours.bitmaps, 'bitmaps are stored anew, or mended')):
        if found:
            return reason if no_worse(original, theirs, ours) else None
    return None


def lost(before, after):
    return any(x is not None and x != y for x, y in zip(before, after))


def compare(folder, image, words, original):
    theirs = Outcome(PEER, os.path.join(folder, 'peer'), image, words)
    ours = Outcome(IMG, os.path.join(folder, 'ours'), image, words)
    found = differences(words, theirs, ours)
    reason = better(original, theirs, ours) if found and '-r' in words else None
    return ([], reason) if reason else (found, None)


def damaged(rng, bases, number):
    """A random image with one or two damages, every kind in its turn, and what was done to it."""
    kinds = [d for d in DAMAGES if KIND in d[0] or KIND in d[1]]
    while True:
        base = rng.choice(BASES)
        image = Image(bases(base)[0])
        names = []
        try:
            for index in range(1 + rng.randrange(2)):
                _, name, function = kinds[number % len(kinds)] if index == 0 else rng.choice(DAMAGES)
                function(rng, image)
                names.append(name)
        except Skip:
            continue
        return base, bytes(image.data), names


def case(seed, folder, bases):
    rng = random.Random(seed)
    base, image, names = damaged(rng, bases, seed)
    for side in 'peer', 'ours':
        if bases(base)[1] is not None:
            store(os.path.join(folder, side), 'data.raw', bases(base)[1])
    original = Outcome(PEER, os.path.join(folder, 'peer'), image, [])
    original.guest = read_guest(PEER, os.path.join(folder, 'peer'))
    found, reasons = [], []
    for words in [], ['--output=json'], ['-r', 'leaks'], ['-r', 'all'], ['-r', 'all', '--output=json']:
        problems, reason = compare(folder, image, words, original)
        found += problems
        reasons += [reason] if reason else []
    return 'seed %d, %s: %s' % (seed, base[0] or 'defaults', ', '.join(names)), image, found, reasons


def main():
    seeds, tap = cases('damage-random', 18)
    made = {}
    figures = collections.Counter()
    with Folder('damage') as folder:
        for side in 'peer', 'ours':
            os.mkdir(os.path.join(folder.path, side))

        def bases(base):
            key = base[0], len(base[2])
            if key not in made:
                made[key] = make(base, folder.path)
            return made[key]

        for seed in seeds:
            title, image, found, reasons = case(seed, folder.path, bases)
            if found:
                store(folder.path, '%d.qcow2' % seed, image)
            tap.result(title + ''.join(' (better: %s)' % reason for reason in sorted(set(reasons))), found)
            figures['different' if found else 'better' if reasons else 'equal'] += 1
            figures.update('better: ' + reason for reason in set(reasons))
        if tap.failed:
            folder.keep()
    for what, number in sorted(figures.items()):
        print('# %d %s' % (number, what))
    tap.end()


if __name__ == '__main__':
    main()
