#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 at a random moment of a server that is written to: the image passes a check, and has all that was durable.

Several connections write units of 4 KiB, each into a region of its own, and with FUA or flushes.  A unit that was
acknowledged before a flush was sent, and not written again since, must be there afterwards; every other unit must have one
of the contents that were sent to it.  (The page cache survives: what a power cut does, powercut-random.py shows.)

environment: see lib/harness.py; SERVE: the server
"""
import os
import random
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, each, installed, must, run  # noqa: E402
from nbd import EXTENDED, FLUSH, FUA, PAYLOAD, SIMPLE, STRUCTURED, WRITE, ZEROES, Client, Server  # noqa: E402

SERVE = installed('SERVE', os.path.join(os.path.dirname(IMG), 'img-serve'))
CHECK = PEER or IMG
UNIT, UNITS, WRITERS = 4096, 1024, 3
OPTIONS = [None, 'cluster_size=4k', 'cluster_size=2M', 'lazy_refcounts=on', 'extended_l2=on,cluster_size=64k',
           'refcount_bits=64', 'cluster_size=512']


class Writer:
    """One connection, in a thread of its own, until the server is gone."""

    def __init__(self, server, number, seed):
        self.rng, self.first = random.Random(seed), number * UNITS
        self.durable = {}       # of a unit: the content that must be there
        self.answered = {}      # acknowledged, not yet flushed
        self.possible = {}      # contents that were sent since the durable one
        self.mode = self.rng.choice([SIMPLE, STRUCTURED, EXTENDED])
        self.client = Client(server.path).open(self.mode)
        self.thread = threading.Thread(target=self.work)
        self.trouble = None

    def content(self, unit):
        """Of a unit that was never written: zeroes."""
        return self.durable.get(unit, bytes(UNIT))

    def work(self):
        try:
            while self.step():
                pass
        except OSError:
            pass
        except Exception as error:      # an answer that makes no sense
            if not self.trouble:
                self.trouble = repr(error)

    def ask(self, *request):
        """False: no answer came any more."""
        self.client.request(*request)
        error = self.client.error()
        if error > 0:
            self.trouble = f'request {request[:4]}: error {error}'
        return error == 0

    def keep(self, units):
        """They are durable now."""
        for unit, content in units.items():
            self.durable[unit] = content
            self.possible[unit] = {content}

    def step(self):
        rng = self.rng
        if rng.random() < 0.1:
            flushed = dict(self.answered)
            if not self.ask(FLUSH):
                return False
            self.keep(flushed)
            self.answered.clear()
            return True
        count = rng.randrange(1, 9)
        unit = rng.randrange(UNITS - count)
        kind = rng.choice([WRITE, WRITE, WRITE, ZEROES])
        fua = FUA if rng.random() < 0.1 else 0
        data = bytes(UNIT) if kind == ZEROES else (b'%16x' % rng.getrandbits(64)) * (UNIT // 16)
        units = {at: data for at in range(unit, unit + count)}
        for at in units:
            self.possible.setdefault(at, {self.content(at)}).add(data)
            self.answered.pop(at, None)
        payload = PAYLOAD if self.mode == EXTENDED and kind == WRITE else 0
        if not self.ask(kind, (self.first + unit) * UNIT, count * UNIT, fua | payload, data * count if kind == WRITE else b''):
            return False
        if fua:
            self.keep(units)
        else:
            self.answered.update(units)
        return True

    def problems(self, disk):
        found = [self.trouble] if self.trouble else []
        for unit, contents in self.possible.items():
            at = (self.first + unit) * UNIT
            if disk[at:at + UNIT] not in contents:
                found.append(f'unit {self.first + unit} has {disk[at:at + 16]!r}, not one of {len(contents)} contents')
        return found[:3]


def one(seed, folder):
    rng = random.Random(seed)
    options = rng.choice(OPTIONS)
    must(IMG, ['create', '-q', '-f', 'qcow2'] + (['-o', options] if options else []) +
         ['image', str(WRITERS * UNITS * UNIT)], folder)
    server = Server(SERVE, ['-t', '-e', '0', '-f', 'qcow2'], os.path.join(folder, 'socket'), os.path.join(folder, 'image'))
    try:
        writers = [Writer(server, number, f'{seed}-{number}') for number in range(WRITERS)]
        for writer in writers:
            writer.thread.start()
        writers[0].thread.join(rng.uniform(0.02, 0.6))
    finally:
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    for writer in writers:
        writer.thread.join()
        writer.client.close()
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
    sure = sum(len(writer.durable) for writer in writers)
    return f'{options}, {sure} units were durable', problems


if __name__ == '__main__':
    if not SERVE:
        print('1..0 # SKIP no img-serve')
    else:
        each('kill-serve', 20, one)
