#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The power is cut at a random moment of a command: afterwards no image is corrupt, and a guest sees old or new sectors.

What the command does to the files is recorded (tests/powercut/recorder.c) and replayed up to a moment, with what was not
synced by then lost, kept or torn (replay.py tells the model).  Then judge.py looks at what is left.

Each row (a command and a format, rows.py) gets COUNT cuts, a few for each image that is made.  Cut N of a row is
SEED=N COUNT=1 ROW=name alone.

environment: SEED, COUNT, KEEP and the tools as in lib/harness.py
             ROW     rows whose name begins with this; default: all
             EVERY   when set, look at all cuts of a command after a fault
             POWERCUT_FORGET_SYNCS  as in recorder.c: faults have to be found then
"""
import os
import random
import shutil
import subprocess
import sys
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, 'lib'))
sys.path.insert(0, os.path.join(HERE, '../powercut'))
from harness import Folder, IMG, PEER, PEER_IO, Tap, read, write  # noqa: E402
from judge import Judge, read_view  # noqa: E402
from replay import Log, Replay, choose_cuts  # noqa: E402
from rows import ROWS  # noqa: E402

CUTS = 20       # of one command
MOST_PROBLEMS = 5


def build_recorder(folder):
    path = os.path.join(folder, 'recorder.so')
    subprocess.run(os.environ.get('CC', 'cc').split() +
                   ['-std=gnu11', '-D_GNU_SOURCE', '-O2', '-shared', '-fPIC', '-o', path,
                    os.path.join(HERE, '../powercut/recorder.c'), '-ldl', '-pthread'], check=True)
    return path


def files_of(folder):
    return {name: read(folder, name) for name in os.listdir(folder) if name not in ('source', 'log')}


def lay(folder, files):
    """The folder holds these files and no others, but for the source of a copy."""
    for name in os.listdir(folder):
        if name not in files and name != 'source':
            os.unlink(os.path.join(folder, name))
    for name, data in files.items():
        write(os.path.join(folder, name), data)


def record(recorder, words, work, log):
    environment = dict(os.environ, LD_PRELOAD=recorder, POWERCUT_LOG=log, POWERCUT_FOLDER=work, LC_ALL='C')
    return subprocess.run(['qemu-img'] + words, executable=IMG, cwd=work, env=environment, timeout=120,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


class Recording:
    """One command on one set of images, and the cuts in it."""

    def __init__(self, recorder, name, number, folder):
        self.name, self.folder = name, folder
        self.rng = random.Random(f'{name} {number}')
        self.work = os.path.join(folder, 'work')
        os.mkdir(self.work)
        self.case = ROWS[name](self.rng, number, self.work)
        self.title = f'{self.case.title}: {" ".join(self.case.words)}'
        self.problems = []
        log = os.path.join(folder, 'log')
        if self.case.crash:
            self.crash(recorder, log)
        self.before = files_of(self.work)
        old = self.views()
        done = record(recorder, self.case.words, self.work, log)
        if done.returncode not in ((0, 1, 2, 3) if self.case.words[0] == 'check' else (0,)):
            self.problems.append(f'exit {done.returncode}: {done.stdout.decode(errors="replace")[:300]}')
            return
        self.log = Log(log)
        after = files_of(self.work)
        replay = Replay(self.log, self.before)
        if replay.all() != after:
            self.problems.append('what was recorded does not make the files that are there')
        self.judge = Judge(self.work, self.case, old, self.views())
        self.replay = Replay(self.log, self.before)
        self.cuts = choose_cuts(self.log, CUTS, self.rng)

    def crash(self, recorder, log):
        """Leave what a cut of another command leaves."""
        before = files_of(self.work)
        record(recorder, self.case.crash, self.work, log)
        log = Log(log)
        files, _ = Replay(log, before).cut(self.rng.choice(choose_cuts(log, CUTS, self.rng)), self.rng)
        lay(self.work, files)

    def views(self):
        return {title: read_view(self.work, words)[0] for title, words in self.case.views.items()}

    def cut(self, number, seed):
        """Problems of one cut, with a line that names it."""
        rng = random.Random(f'{self.name} {seed}')
        cut = self.cuts[number]
        files, word = self.replay.cut(cut, rng)
        lay(self.work, files)
        problems = self.judge.verdict(cut == len(self.log.events), bool(rng.randrange(2)))
        if problems:
            lay(self.work, files)
        return [f'seed {seed}: {self.title}: cut at {cut} of {len(self.log.events)}, {word}'] + problems \
            if problems else []


def run_row(recorder, name, seed, count):
    """Problems of the cuts seed .. seed + count - 1, and how many cuts had any."""
    problems, bad, at = [], 0, seed
    while at < seed + count:
        number = (at - 1) // CUTS
        end = min(seed + count, (number + 1) * CUTS + 1)
        with Folder(f"powercut-{name.replace(' ', '-')}-{at}") as folder:
            recording = Recording(recorder, name, number, folder.path)
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
        if bad >= MOST_PROBLEMS:
            break
    return problems, bad


def main():
    seed, count = int(os.environ.get('SEED', '1')), int(os.environ.get('COUNT', '20'))
    wanted = [name for name in ROWS if name.startswith(os.environ.get('ROW', ''))]
    tap = Tap('powercut', len(wanted))
    if not PEER or not PEER_IO:
        for name in wanted:
            tap.result(f'{name} # SKIP no reference tool', [])
        tap.end()
    with Folder('powercut-recorder') as folder:
        recorder = build_recorder(folder.path)
        for name in wanted:
            problems, bad = run_row(recorder, name, seed, count)
            tap.result(f'{name}: {count} cuts', problems)
    tap.end()


if __name__ == '__main__':
    main()
