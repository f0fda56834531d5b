#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 at a random moment of a server that is written to: the image passes a check, and has all that was durable.

Several connections write units of 4 KiB, each into a region of its own, with FUA or flushes.  A unit that was
acknowledged before a flush was sent, and not written again since, must be there afterwards; every other unit must have
one of the contents that were sent to it.  (The page cache survives: what a power cut does, powercut-serve.py shows.)

environment: see lib/harness.py; SERVE: the server
"""
import os
import random
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, each, installed, must, run  # noqa: E402
from nbd import Server  # noqa: E402
from nbd_writer import UNIT, Writer  # noqa: E402

SERVE = installed('SERVE', os.path.join(os.path.dirname(IMG), 'img-serve'))
CHECK = PEER or IMG
UNITS, WRITERS = 1024, 3
OPTIONS = [None, 'cluster_size=4k', 'cluster_size=2M', 'lazy_refcounts=on', 'extended_l2=on,cluster_size=64k',
           'refcount_bits=64', 'cluster_size=512']


def one(seed, folder):
    rng = random.Random(seed)
    options = rng.choice(OPTIONS)
    must(IMG, ['create', '-q', '-f', 'qcow2'] + (['-o', options] if options else []) +
         ['image', str(WRITERS * UNITS * UNIT)], folder)
    server = Server(SERVE, ['-t', '-e', '0', '-f', 'qcow2'], os.path.join(folder, 'socket'),
                    os.path.join(folder, 'image'))
    try:
        writers = [Writer(server.path, number, f'{seed}-{number}', UNITS) for number in range(WRITERS)]
        writers[0].thread.join(rng.uniform(0.02, 0.6))
    finally:
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    for writer in writers:
        writer.end()
    problems = []
    result = run(CHECK, ['check', '-f', 'qcow2', 'image'], folder)
    # 3: leaks.  An image with lazy refcounts is repaired when it is opened.
    if result.code not in (0, 3) and options != 'lazy_refcounts=on':
        problems.append(f'check: exit {result.code}\n  {result.out[:600]}\n  {result.err[:600]}')
    must(CHECK, ['convert', '-f', 'qcow2', '-O', 'raw', 'image', 'disk'], folder)
    with open(os.path.join(folder, 'disk'), 'rb') as file:
        disk = file.read()
    for writer in writers:
        problems += writer.problems(disk)
    sure = sum(writer.durable_units() for writer in writers)
    return f'{options}, {sure} units were durable', problems


if __name__ == '__main__':
    if not SERVE:
        print('1..0 # SKIP no img-serve')
    else:
        each('kill-serve', 20, one)
