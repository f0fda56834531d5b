#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The power is cut at a random moment of a command: no image is corrupt then, and a guest sees old or new sectors.

What the command does to the files is recorded (tests/powercut/recorder.c) and replayed up to a moment, with what was
not synced by then lost, kept or torn (replay.py tells the model).  Then judge.py looks at what is left.

Each row (a command and a format, rows.py) gets COUNT cuts, a few for each image that is made; without COUNT as many as
the row says.  Cut N of a row is SEED=N COUNT=1 ROW=name alone.

environment: SEED, COUNT, TIMES, KEEP and the tools as in lib/harness.py
             ROW     rows whose name begins with this; default: all, and some "without syncs" that have to fail
             EVERY   when set, look at all cuts of a command after a fault
"""
import os
import random
import subprocess
import sys
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, 'lib'))
sys.path.insert(0, os.path.join(HERE, '../powercut'))
from harness import Folder, IMG, IMG_IS_PEER, PEER, PEER_IO, Tap, guest_bytes, read, run, write  # noqa: E402
from judge import Judge, SOUND  # noqa: E402
from record import build_recorder, recorded  # noqa: E402
from replay import Log, Replay, choose_cuts  # noqa: E402
from rows import CUTS as SHORT, ROWS  # noqa: E402

CUTS = 20       # of one command
LONG = 2000     # of a row, when TIMES is 10
MOST_PROBLEMS = 5
TIMES = int(os.environ.get('TIMES', '1'))

# The test of the test: when no sync counts, these rows have faults, and soon.
MUST_FAIL = ['qcow2 write', 'qcow2 commit', 'qcow2 snapshot -c', 'qcow2 amend', 'qed write', 'vdi write', 'vmdk write',
             'vhdx write', 'parallels write']
BLIND_CUTS = 100


def files_of(folder):
    return {name: read(folder, name) for name in os.listdir(folder) if name not in ('source', 'log')}


def lay(folder, files, changing=None):
    """The folder holds these files and no others, but for the source of a copy.  What is not `changing` is there."""
    for name in os.listdir(folder):
        if name not in files and name != 'source':
            os.unlink(os.path.join(folder, name))
    for name, data in files.items():
        if changing is None or name in changing:
            write(os.path.join(folder, name), data)


def record(recorder, words, work, log, forget=False):
    environment = dict(os.environ, **recorded(recorder, work, log, forget))
    return subprocess.run(['qemu-img'] + words, executable=IMG, cwd=work, env=environment, timeout=120,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def sound(folder, images):
    """The reference tool now and then makes images that are not: compressed clusters with narrow reference counts."""
    return all(run(PEER, ['check', '-f', form, name], folder).code in SOUND for name, form in images)


class Recording:
    """One command on one set of images, and the cuts in it."""

    def __init__(self, recorder, name, number, folder, forget):
        self.name, self.folder, self.forget = name, folder, forget
        self.rng = random.Random(f'{name} {number}')
        self.work = os.path.join(folder, 'work')
        os.mkdir(self.work)
        self.case = ROWS[name](self.rng, number, self.work)
        while not self.case.repair and not sound(self.work, self.case.images):
            lay(self.work, {})
            self.case = ROWS[name](self.rng, number, self.work)
        self.title = f'{self.case.title}: {" ".join(self.case.words)}'
        self.problems = []
        log = os.path.join(folder, 'log')
        if self.case.crash:
            self.crash(recorder, log)
        self.before = files_of(self.work)
        old = self.views()
        done = record(recorder, self.case.words, self.work, log, forget)
        if done.returncode not in ((0, 1, 2, 3) if self.case.words[0] == 'check' else (0,)):
            self.problems.append(f'exit {done.returncode}: {done.stdout.decode(errors="replace")[:300]}')
            return
        self.log = Log(log)
        after = files_of(self.work)
        replay = Replay(self.log, self.before)
        if replay.all() != after:
            self.problems.append('what was recorded does not make the files that are there')
        self.judge = Judge(self.work, self.case, old, self.views(), self.before, after)
        self.replay = Replay(self.log, self.before)
        self.cuts = choose_cuts(self.log, CUTS, self.rng)
        self.changing = set(self.log.names.values())
        self.touched = True         # other files may have been changed, too
        self.seen = set()

    def crash(self, recorder, log):
        """Leave what a cut of another command leaves."""
        before = files_of(self.work)
        record(recorder, self.case.crash, self.work, log)
        log = Log(log)
        files, _ = Replay(log, before).cut(self.rng.choice(choose_cuts(log, CUTS, self.rng)), self.rng)
        lay(self.work, files)

    def views(self):
        return {title: guest_bytes(PEER, words, self.work)[0] for title, words in self.case.views.items()}

    def cut(self, number, seed):
        """Problems of one cut, with a line that names it."""
        rng = random.Random(f'{self.name} {seed}')
        cut = self.cuts[number]
        files, word = self.replay.cut(cut, rng)
        # (that nothing is durable at the end is no wonder where syncs are left out)
        complete = cut == len(self.log.events) and not self.forget
        problems = self.look(files, complete, rng)
        if problems:
            lay(self.work, files)
        return [f'seed {seed}: {self.title}: cut at {cut} of {len(self.log.events)}, {word}'] + problems \
            if problems else []


    def look(self, files, complete, rng):
        """What is wrong with these files; nothing new with those that were looked at before."""
        key = complete, *(hash(bytes(files[name])) for name in sorted(files))
        if key in self.seen:
            return []
        self.seen.add(key)
        lay(self.work, files, None if self.touched else self.changing)
        problems = self.judge.verdict(complete, bool(rng.randrange(2)))
        self.touched = self.judge.mended
        if not problems and rng.randrange(3) == 0:
            self.touched = True
            problems = self.judge.write_on(bool(rng.randrange(2)), rng)
        return problems


def run_row(recorder, name, seed, count, forget=False, most=MOST_PROBLEMS):
    """Problems of the cuts seed .. seed + count - 1, and how many cuts had any."""
    problems, bad, at = [], 0, seed
    while at < seed + count:
        number = (at - 1) // CUTS
        end = min(seed + count, (number + 1) * CUTS + 1)
        with Folder(f"powercut-{name.replace(' ', '-')}-{at}") as folder:
            recording = Recording(recorder, name, number, folder.path, forget)
            found = [recording.title] + recording.problems if recording.problems else []
            while at < end and not found:
                found = recording.cut((at - 1) % CUTS, at)
                at += 1
                if found and 'EVERY' in os.environ:
                    bad += 1
                    problems += found
                    found = []
            if found:
                bad += 1
                problems += found
                folder.keep()
            at = end
        if bad >= most:
            break
    return problems, bad


def reason_to_skip(recorder, folder):
    if not PEER or not PEER_IO:
        return 'no reference tool'
    if IMG_IS_PEER:
        return 'for our tool only'      # (the reference tool does not stand it)
    log = os.path.join(folder, 'log')
    record(recorder, ['--version'], folder, log)
    return '' if os.path.exists(log) else 'a static file does not load the recorder'


def main():
    seed, count = int(os.environ.get('SEED', '1')), int(os.environ.get('COUNT', LONG * (TIMES - 1) // 9))
    row = os.environ.get('ROW', '')
    wanted = [name for name in ROWS if name.startswith(row)]
    blind = [name for name in MUST_FAIL if ('without syncs ' + name).startswith(row)]
    tap = Tap('powercut', len(wanted) + len(blind))
    with Folder('powercut-recorder') as folder:
        recorder = build_recorder(folder.path)
        reason = reason_to_skip(recorder, folder.path)
        if reason:
            for name in wanted + blind:
                tap.result(f'{name} # SKIP {reason}', [])
            tap.end()
        for name in wanted:
            cuts = count or SHORT[name]
            problems, _ = run_row(recorder, name, seed, cuts)
            tap.result(f'{name}: {cuts} cuts', problems)
        for name in blind:
            _, bad = run_row(recorder, name, 1, BLIND_CUTS, forget=True, most=1)
            tap.result(f'without syncs {name}: faults are found', [] if bad else ['no fault was found'])
    tap.end()


if __name__ == '__main__':
    main()
