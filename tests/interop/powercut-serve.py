#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The power is cut under a server that is written to: the image passes a check, and has all that was durable.

Several connections write, zero and trim units of 4 KiB, each in a region of its own, with FUA or flushes.  What the
server does to the image is recorded (tests/powercut/recorder.c) and replayed up to a moment, with what was not synced
by then lost, kept or torn (replay.py tells the model).  A sector must have the content of the last request that a flush
or FUA had made durable by then, or of one that was sent later.  Leaks are allowed.

Each case is one conversation, with CUTS cuts.  The last case is a test of the test: when no sync counts, there are
faults.

environment: see lib/harness.py; SERVE: the server
"""
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, 'lib'))
sys.path.insert(0, os.path.join(HERE, '../powercut'))
from harness import IMG, IMG_IS_PEER, PEER, Folder, Tap, guest_bytes, installed, must, read, run, write  # noqa: E402
from judge import SECTOR, SOUND, UNCLEAN  # noqa: E402
from nbd import Server  # noqa: E402
from nbd_writer import UNIT, Writer  # noqa: E402
from record import build_recorder, recorded  # noqa: E402
from replay import Log, Replay, choose_cuts  # noqa: E402

SERVE = installed('SERVE', os.path.join(os.path.dirname(IMG), 'img-serve'))
UNITS, WRITERS, STEPS, CUTS = 64, 3, 60, 12
CASES, BLIND_TRIES = 8, 5
FORMS = [('qcow2', 'cluster_size=4k'), ('raw', None), ('qcow2', 'cluster_size=64k'), ('qcow2', 'cluster_size=512'),
         ('qcow2', 'lazy_refcounts=on,cluster_size=4k'), ('qcow2', 'extended_l2=on,cluster_size=16k'), ('raw', None),
         ('qcow2', 'refcount_bits=64,cluster_size=1k'), ('qcow2', 'preallocation=metadata,cluster_size=16k')]


class PlacedLog(Log):
    """`ends`: where each event ends in the file of the log.  These are the moments of the writers."""

    def __init__(self, path):
        self.ends = []
        super().__init__(path)

    def add(self, file, *numbers):
        super().add(file, *numbers)
        self.ends += [file.tell()] * (len(self.events) - len(self.ends))

    def moment(self, cut):
        return self.ends[cut - 1] if cut else 0


class Conversation:
    """One server, and all that was said to it."""

    def __init__(self, recorder, seed, folder, forget):
        self.rng = random.Random(seed)
        self.form, self.options = FORMS[seed % len(FORMS)]
        self.work, log = os.path.join(folder, 'work'), os.path.join(folder, 'log')
        os.mkdir(self.work)
        must(IMG, ['create', '-q', '-f', self.form] + (['-o', self.options] if self.options else []) +
             ['image', str(WRITERS * UNITS * UNIT)], self.work)
        self.before = {'image': read(self.work, 'image')}
        more = self.rng.choice([[], ['--discard=unmap'], ['--cache=writethrough']])
        words = ['-t', '-e', '0', '-f', self.form] + more
        through = more == ['--cache=writethrough']
        self.title = ' '.join([self.options or 'raw'] + more)
        server = Server(SERVE, words, os.path.join(folder, 'socket'), os.path.join(self.work, 'image'),
                        more=recorded(recorder, self.work, log, forget))
        try:
            self.writers = [Writer(server.path, number, f'{seed}-{number}', UNITS, STEPS, lambda: os.path.getsize(log),
                                   through) for number in range(WRITERS)]
            for writer in self.writers:
                writer.end()
        finally:
            server.end()
        self.log = PlacedLog(log)
        for writer in self.writers:
            writer.server_has_ended(self.log.moment(len(self.log.events)))
        self.after = {'image': read(self.work, 'image')}

    def problems(self):
        found = ['what was recorded does not make the file that is there'] \
            if Replay(self.log, self.before).all() != self.after else []
        replay = Replay(self.log, self.before)
        for cut in choose_cuts(self.log, CUTS, self.rng):
            files, word = replay.cut(cut, self.rng)
            write(os.path.join(self.work, 'image'), files['image'])
            wrong = self.check(files['image']) or self.look(self.log.moment(cut))
            if wrong:
                write(os.path.join(self.work, 'image'), files['image'])
                return found + [f'cut at {cut} of {len(self.log.events)}, {word}'] + wrong
        return found

    def check(self, data):
        """Problems of the tables; an image that says that it was not closed is mended first."""
        if self.form == 'raw':
            return []
        if UNCLEAN[self.form](data):
            run(IMG, ['check', '-q', '-r', 'all', '-f', self.form, 'image'], self.work)
        result = run(PEER or IMG, ['check', '-f', self.form, 'image'], self.work)
        if result.code in SOUND:
            return []
        return [f'check: exit {result.code}\n  {result.out[:400]}\n  {result.err[:400]}']

    def look(self, moment):
        disk, error = guest_bytes(PEER or IMG, ['-f', self.form, 'image'], self.work)
        if disk is None:
            return [f'cannot be read: {error[:300]}']
        # (a raw file has no header that tells its size, but it was never shorter)
        return [problem for writer in self.writers for problem in writer.problems(disk, moment, SECTOR)]


def one(recorder, seed, forget=False):
    with Folder(f'powercut-serve-{seed}') as folder:
        conversation = Conversation(recorder, seed, folder.path, forget)
        problems = conversation.problems()
        if problems and not forget:
            folder.keep()
    return f'seed {seed}: {conversation.title}, {len(conversation.log.syncs())} syncs, {CUTS} cuts', problems


def reason_to_skip(recorder, folder):
    log = os.path.join(folder, 'log')
    if IMG_IS_PEER or not SERVE:
        return 'for our server only'
    run('/usr/bin/env', list(f'{name}={value}' for name, value in recorded(recorder, folder, log).items()) +
        [SERVE, '--version'], folder)
    return '' if os.path.exists(log) else 'a static file does not load the recorder'


def main():
    seed = int(os.environ.get('SEED', '1'))
    count = int(os.environ.get('COUNT', CASES * int(os.environ.get('TIMES', '1'))))
    tap = Tap('powercut-serve', count + 1)
    with Folder('powercut-serve-recorder') as folder:
        recorder = build_recorder(folder.path)
        reason = reason_to_skip(recorder, folder.path)
        for number in range(seed, seed + count):
            tap.result(*(one(recorder, number) if not reason else (f'# SKIP {reason}', [])))
        bad = reason or any(one(recorder, number, forget=True)[1] for number in range(BLIND_TRIES))
        tap.result('without syncs: faults are found' if not reason else f'# SKIP {reason}',
                   [] if bad else ['no fault was found'])
    tap.end()


if __name__ == '__main__':
    main()
