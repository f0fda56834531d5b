#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""End a convert or dd by a signal, when a random number of bytes have come from a pipe.

The pipe stays open, so the copy cannot be complete by then, however fast the machine is.  Afterwards there is no target,
or with --atomic the old one, or with --keep-partial perhaps a part; no other file; and the process died by that
signal.

environment: see lib/harness.py
"""
import os
import random
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
import harness  # noqa: E402

SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
FORMATS = [['raw'], ['qcow2'], ['qcow2', '-c'], ['qcow2', '-o', 'data_file=data'], ['qed'],
           ['vmdk'], ['vdi'], ['vpc', '-o', 'subformat=fixed']]


def command(rng, target):
    """The arguments, and which kind of end they have."""
    if rng.random() < .3:
        words = ['dd', 'bs=4k', f'of={target}', '-O', rng.choice(['raw', 'qcow2'])]
        kind = rng.choice(['removed', 'kept'])
        return words + (['--keep-partial'] if kind == 'kept' else []), kind
    fmt = rng.choice(FORMATS)
    kind = rng.choice(['removed', 'removed', 'kept', 'atomic'])
    if kind == 'atomic' and fmt[-1].startswith('data_file'):
        kind = 'removed'
    words = ['convert', '-f', 'raw', '-O'] + fmt + {'removed': [], 'kept': ['--keep-partial'],
                                                    'atomic': ['--atomic']}[kind]
    return words + ['-', target], kind


def feed(process, amount, rng):
    """Give it so many bytes; what a full pipe holds back it reads first."""
    while amount:
        piece = min(amount, rng.randint(1, 200000))
        process.stdin.write(rng.randbytes(piece) if rng.random() < .7 else bytes(piece))
        process.stdin.flush()
        amount -= piece


def ended_by(arguments, folder, number, amount, rng):
    # (a signal that was ignored when this program started would stay ignored)
    process = subprocess.Popen(['qemu-img'] + arguments, executable=harness.IMG, cwd=folder, stdin=subprocess.PIPE,
                               preexec_fn=lambda: signal.signal(number, signal.SIG_DFL), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0)
    feed(process, amount, rng)
    process.send_signal(number)
    # (closing its standard input before it is dead would complete the copy)
    code = process.wait(harness.TIMEOUT)
    process.stdin.close()
    return code, process.stderr.read().decode(errors='backslashreplace')


def one(seed, folder):
    rng = random.Random(seed)
    problems = []
    arguments, kind = command(rng, 'target')
    number = rng.choice(SIGNALS)
    amount = rng.choice([0, rng.randint(1, 100000), rng.randint(1, 4 << 20), rng.randint(1, 16 << 20)])
    before = {}
    if rng.random() < .5:
        before['target'] = rng.randbytes(rng.randint(1, 100000))
        with open(os.path.join(folder, 'target'), 'wb') as file:
            file.write(before['target'])
    code, err = ended_by(arguments, folder, number, amount, rng)
    left = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), 'rb') as file:
            left[name] = file.read()
    # Before the target is touched, it is what it was.
    allowed = [before] if kind == 'atomic' else [{}, before]
    if code != -number:
        problems.append(f'exit code {code}')
    if err:
        problems.append(err)
    if kind != 'kept' and left not in allowed:
        problems.append(f'left: {sorted(left)}')
    if kind == 'kept' and not set(left) <= {'target', 'data'}:
        problems.append(f'left: {sorted(left)}')
    return f'{number.name} after {amount}: {" ".join(arguments)}', problems


def main():
    harness.each('partial-random', 60, one)


if __name__ == '__main__':
    main()
