# SPDX-License-Identifier: MIT
"""Shared by the interop programs: the tools, running them side by side, TAP.

environment: IMG    tool to test (build/bin/qemu-img)
             PEER   reference tool of version 10.0, PEER_IO its qemu-io, PEER72 that of 7.2
             SEED   first seed, COUNT number of cases; SEED=N COUNT=1 runs case N only
             TIMES  multiplies the number of cases (1)
             KEEP   folder that keeps the files of failed cases
"""
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), '../../..'))
PEERS = os.environ.get('PEERS', '/opt/peers')


def installed(name, default):
    path = os.environ.get(name, default)
    return path if path and os.access(path, os.X_OK) else ''


IMG = os.environ.get('IMG', os.path.join(os.environ.get('BUILD', ROOT + '/build'), 'bin/qemu-img'))
PEER = installed('PEER', PEERS + '/10.0/usr/bin/qemu-img')
PEER_IO = installed('PEER_IO', os.path.join(os.path.dirname(PEER), 'qemu-io') if PEER else '')
PEER72 = installed('PEER72', PEERS + '/7.2/usr/bin/qemu-img')
# Where the reference tool has its drivers for servers.
MODULES = os.path.join(os.path.dirname(PEER), '../lib/x86_64-linux-gnu/qemu') if PEER else ''


def find_seven_zip():
    """The program of 7-Zip, which some systems call 7z; p7zip is an old version of it.  None: it is not there."""
    for name in '7zz', '7z':
        said = subprocess.run([name, 'i'], stdout=subprocess.PIPE, text=True).stdout if shutil.which(name) else ''
        version = re.search(r'^7-Zip \D*(\d+)\.', said, re.M)
        if version and int(version[1]) > 20:
            return name
    return None


SEVEN_ZIP = find_seven_zip()
IMG_IS_PEER = bool(os.environ.get('IMG_IS_PEER'))
KEEP = os.environ.get('KEEP')
# What ours says of an image whose tables refer to something behind the end of the file.
TRUNCATED = re.compile(r'image is truncated: |is cut off: the file ends|points after EOF|before the end of the L1 table')
TIMEOUT = 900           # seconds of wall-clock time, on a busy machine
# The file system may change the allocated size of a file some time after a write.
FIGURES_OF_THE_MOMENT = r'(disk size: )[\d.e+]+ \w+', r'("actual-size": )\d+'


class Result:
    """Exit code, standard output and standard error of one run."""

    # Set by programs that damage images or craft them: then ours may say that an image is truncated, where the reference
    # tool reads zeroes or has other words.  In all other programs that is a difference.
    may_be_truncated = False

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def says_truncated(self):
        return self.may_be_truncated and TRUNCATED.search(self.err)

    def differs(self, other):
        """The differing parts, as text; empty if there are none."""
        found = []
        if self.says_truncated():
            return ''
        for what in 'code', 'out', 'err':
            a, b = getattr(self, what), getattr(other, what)
            if a != b:
                found.append(f'{what}: ours {a!r}\n  peer {b!r}')
        return '\n  '.join(found)


def run(tool, arguments, cwd, compat=None, stdin=None, timeout=TIMEOUT):
    """Run a tool under the name qemu-img, so that messages are equal; removes figures that vary."""
    environment = dict(os.environ, LC_ALL='C', TZ='UTC')
    environment.pop('IMGBOX_COMPAT', None)
    if compat:
        environment['IMGBOX_COMPAT'] = compat
    try:
        done = subprocess.run(['qemu-img' if 'qemu-img' in tool else os.path.basename(tool)] + arguments,
                              executable=tool, cwd=cwd, env=environment, timeout=timeout,
                              stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except subprocess.TimeoutExpired:
        return Result('timeout', '', '')
    return Result(done.returncode, without(done.stdout.decode(errors='backslashreplace'), *FIGURES_OF_THE_MOMENT),
                  done.stderr.decode(errors='backslashreplace'))


def must(tool, arguments, cwd):
    """Run a command that must succeed before anything is compared."""
    result = run(tool, arguments, cwd)
    if result.code:
        raise RuntimeError('%s: %s' % (' '.join(arguments), result.err))


def guest_bytes(tool, words, folder):
    """What a guest reads, by convert with these words and to raw; None where that fails.  And what the tool says."""
    result = run(tool, ['convert', '-O', 'raw'] + words + ['guest.raw'], folder)
    path = os.path.join(folder, 'guest.raw')
    data = None
    if result.code == 0:
        with open(path, 'rb') as file:
            data = file.read()
    if os.path.exists(path):
        os.unlink(path)
    return data, result.err


def guest_of(folder, name):
    """What a guest reads from a file that a tool made, to the reference tool; None: it was not made."""
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return None
    if name.endswith('.qcow2'):
        if run(PEER, ['convert', '-f', 'qcow2', '-O', 'raw', name, 'guest.tmp'], folder).code:
            return 'unreadable'
        path = os.path.join(folder, 'guest.tmp')
    with open(path, 'rb') as file:
        return file.read()


def can_make(form):
    """Can the tool under test create images of this format?"""
    return run(IMG, ['create', '-f', form, '-o', 'help'], '/').code == 0


def make_qcow2(folder, name, options, size, steps):
    """An image of the reference tool, as bytes; steps: snapshot NAME, bitmap GRANULARITY NAME, or qemu-io's."""
    must(PEER, ['create', '-q', '-f', 'qcow2'] + (['-o', options] if options else []) + [name, str(size)], folder)
    for step in steps:
        words = step.split()
        if words[0] == 'snapshot':
            must(PEER, ['snapshot', '-c', words[1], name], folder)
        elif words[0] == 'bitmap':
            must(PEER, ['bitmap', '--add', '-g', words[1], name, words[2]], folder)
        else:
            must(PEER_IO, ['-f', 'qcow2', '-c', step, name], folder)
    with open(os.path.join(folder, name), 'rb') as file:
        return file.read()


def killed(words, folder, delay):
    """Run our tool and kill it after `delay` seconds; returns whether it was still running."""
    process = subprocess.Popen(['qemu-img'] + words, executable=IMG, cwd=folder,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay)
    running = process.poll() is None
    if running:
        process.send_signal(signal.SIGKILL)
    process.wait()
    return running


class Journal:
    """The commands of a case as a shell script that repeats them."""

    def __init__(self):
        self.lines = []

    def add(self, cwd, tool, arguments, compat=None):
        words = [tool] + arguments
        text = ' '.join(shlex.quote(word) for word in words)
        self.lines.append(f"(cd {cwd} && {'IMGBOX_COMPAT=' + compat + ' ' if compat else ''}{text})")


class Tap:
    """Numbered results on standard output."""

    def __init__(self, name, count):
        self.name, self.count, self.number, self.failed = name, count, 0, 0
        print(f'1..{count}')

    def result(self, title, problems, more=()):
        self.number += 1
        if not problems:
            print(f'ok {self.number} - {self.name} {title}')
        else:
            self.failed += 1
            print(f'not ok {self.number} - {self.name} {title}')
            for line in '\n'.join(problems).split('\n') + list(more):
                print(f'#   {line}')
        sys.stdout.flush()

    def end(self):
        sys.exit(1 if self.failed else 0)


def cases(name, default, peer=True):
    """The seeds to run, and a Tap to report them; exits if there is no reference tool and it is needed."""
    seed = int(os.environ.get('SEED', '1'))
    count = int(os.environ.get('COUNT', default * int(os.environ.get('TIMES', '1'))))
    tap = Tap(name, count)
    if peer and not (PEER and PEER_IO):
        for number in range(1, count + 1):
            print(f'ok {number} - {name} # SKIP no reference tool')
        sys.exit(0)
    return range(seed, seed + count), tap


class Folder:
    """A fresh folder for one case; kept in KEEP when `keep` was called."""

    def __init__(self, title):
        self.title = title

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix='imgbox-')
        return self

    def keep(self):
        if KEEP:
            shutil.rmtree(os.path.join(KEEP, self.title), ignore_errors=True)
            shutil.copytree(self.path, os.path.join(KEEP, self.title), symlinks=True)

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


def skip_all(name, default, why, peer=True):
    """Report all cases as skipped, and exit."""
    seeds, tap = cases(name, default, peer)
    for seed in seeds:
        print(f'ok {seed} - {name} # SKIP {why}')
    tap.end()


def each(name, default, one, *more, peer=True, skip=''):
    """Run all cases, each in a fresh folder: one(seed, folder, *more) returns title, problems and perhaps a journal.

    skip: why they cannot run here.
    """
    if skip:
        skip_all(name, default, skip, peer)
    seeds, tap = cases(name, default, peer)
    for seed in seeds:
        with Folder(f'{name}-{seed}') as folder:
            title, problems, *lines = one(seed, folder.path, *more)
            if problems:
                folder.keep()
            tap.result(f'seed {seed}: {title}', problems, *lines)
    tap.end()


def read(*path):
    with open(os.path.join(*path), 'rb') as file:
        return file.read()


def write(path, content):
    with open(path, 'wb') as file:
        file.write(content)


def without(text, *patterns):
    """Replace the parts of a text that may differ by 0."""
    for pattern in patterns:
        text = re.sub(pattern, lambda match: match.group(1) + '0', text)
    return text
