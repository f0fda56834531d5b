#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A sheep that ends, or ends its connections, while many clients write to one of its disks.

img-serve has the disk, and several NBD clients write to it at random.  In some cases the sheep is started again, with
what it had; then nobody must notice.  In the others it stays away or falls silent, and the clients get errors.  Either
way what was answered is in the cluster.  With IMG of build/tsan this is also the test of the driver's threads.

environment: see lib/harness.py
"""
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import each, IMG, must, run  # noqa: E402
from nbd_writer import UNIT, Writer  # noqa: E402
from sheepdog_server import load  # noqa: E402

SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib', 'sheepdog_server.py')
VDI = 'sheepdog+unix:///x?socket=s'
WRITERS, UNITS = 4, 300         # 4.7 MiB, so that the regions share objects of 1 MiB


def listens(path):
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
            return True
        except OSError:
            return False


def wait_for(path, process):
    while not listens(path):
        if process.poll() is not None:
            return False
        time.sleep(0.01)
    return True


class Case:
    def __init__(self, seed, folder):
        self.rng, self.folder, self.problems = random.Random(seed), folder, []
        self.process = self.nbd = None
        rng = self.rng
        self.again = rng.random() < .6
        self.options = ['shift=20', 'state=state', 'log=log'] + (['reorder=8'] if rng.random() < .5 else []) + \
            (['locking=1'] if rng.random() < .3 else [])
        self.fate = rng.choice(['stop', 'hangup'] if self.again else ['stop', 'stall'])
        self.prepared = rng.choice(['empty', 'full', 'snapshot'])

    def sheep(self, *more):
        path = os.path.join(self.folder, 's')
        if os.path.exists(path):
            os.unlink(path)
        self.process = subprocess.Popen([sys.executable, SERVER, path] + self.options + list(more), cwd=self.folder)
        if not wait_for(path, self.process):
            raise RuntimeError('no server')

    def end_sheep(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def prepare(self):
        self.sheep()
        full = ['-o', 'preallocation=full'] if self.prepared != 'empty' else []
        must(IMG, ['create', '-q', '-f', 'raw'] + full + [VDI, str(WRITERS * UNITS * UNIT)], self.folder)
        if self.prepared == 'snapshot':
            must(IMG, ['snapshot', '-c', 'one', VDI], self.folder)
        self.end_sheep()

    def end_all(self):
        """(after a fault of ours)"""
        for process in self.process, self.nbd:
            if process and process.poll() is None:
                process.kill()
                process.wait()

    def fates(self):
        """The options of one sheep after the other."""
        rng = self.rng
        if self.fate == 'hangup':
            return [['hangup=' + ','.join(str(n) for n in sorted(rng.sample(range(5, 900), 8)))]]
        return [[f'{self.fate}={rng.randrange(5, 300)}'] for _ in range(rng.randrange(1, 4) if self.again else 1)]

    def serve(self):
        path = os.path.join(self.folder, 'n')
        where = 'driver=raw,file.driver=sheepdog,file.server.type=unix,file.server.path=s,file.vdi=x,' \
            f'file.reconnect-delay={30 if self.again else 0},file.timeout={2 if self.fate == "stall" else 30}'
        with open(os.path.join(self.folder, 'nbd.err'), 'wb') as err:
            self.nbd = subprocess.Popen(['qemu-nbd', '-t', '-e', '9', '-k', path, '--image-opts', where], stderr=err,
                                        executable=os.path.join(os.path.dirname(IMG), 'qemu-nbd'), cwd=self.folder)
        return wait_for(path, self.nbd)

    def end_serve(self):
        self.nbd.send_signal(signal.SIGTERM)
        code = self.nbd.wait()
        with open(os.path.join(self.folder, 'nbd.err'), 'rb') as file:
            said = file.read().decode(errors='backslashreplace')
        if 'Sanitizer' in said or (self.again and code):
            self.problems.append(f'qemu-nbd: exit code {code}: {said[:3000]}')

    def write(self):
        """All clients, while sheep come and go.  Each but the last ends by itself."""
        fates = self.fates()
        self.sheep(*fates[0])
        if not self.serve():
            self.end_sheep()        # it went before the disk was open
            return []
        steps = 100 if self.again else None
        writers = [Writer(os.path.join(self.folder, 'n'), number, self.rng.random(), UNITS, steps, through=True)
                   for number in range(WRITERS)]
        for fate in fates[1:] + ([[]] if self.fate == 'stop' and self.again else []):
            while self.process.poll() is None and any(writer.thread.is_alive() for writer in writers):
                time.sleep(0.02)
            self.end_sheep()
            self.sheep(*fate)
        for writer in writers:
            writer.end()
        self.end_serve()
        self.end_sheep()
        return writers

    def all(self):
        self.prepare()
        try:
            writers = self.write()
        finally:
            self.end_all()
        cluster = load(os.path.join(self.folder, 'state'))
        disk = cluster.content(cluster.find(b'x'))
        for writer in writers:
            if not self.again and writer.trouble and re.search(': error 5$', writer.trouble):
                writer.trouble = None
            self.problems += writer.problems(disk)
        if self.again and self.fate == 'stop' and not sum(writer.durable_units() for writer in writers):
            self.problems.append('nothing was written')


def one(seed, folder):
    case = Case(seed, folder)
    case.all()
    title = f'{case.fate} {"again" if case.again else "once"} {case.prepared} ' + ' '.join(case.options)
    return title, case.problems


def main():
    there = 'Failed to connect' in run(IMG, ['info', 'sheepdog+unix:///x?socket=none'], '/').err
    each('sheepdog-lost-random', 12, one, peer=False, skip='' if there else 'sheepdog is not built in')


main()
