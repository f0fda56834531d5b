#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A server that is killed and started again at random, in the middle of copies from it and to it.

With reconnect-delay the copy ends right: what was read is what the server has; what was written and flushed is on the
server, although each time it forgot all that was not flushed.

environment: see lib/harness.py
"""
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import each, IMG, run  # noqa: E402

SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib', 'nbd_server.py')


def disk(rng, size):
    """Runs of zeroes, of one byte, and of random bytes."""
    data = bytearray(size)
    for _ in range(rng.randrange(1, 12)):
        start = rng.randrange(size) // 512 * 512
        length = min(rng.choice([512, 4096, 65536, 300000, 1 << 20]), size - start)
        data[start:start + length] = rng.choice([bytes(length), bytes([rng.randrange(256)]) * length,
                                                 rng.randbytes(length)])
    return bytes(data)


class Server:
    def __init__(self, folder, size, options):
        self.path = os.path.join(folder, 's')
        self.process = subprocess.Popen([sys.executable, SERVER, self.path, str(size), *options], cwd=folder)
        while not os.path.exists(self.path):
            if self.process.poll() is not None:
                raise RuntimeError('no server')
            time.sleep(0.01)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def one(seed, folder):
    rng = random.Random(seed)
    size = rng.choice([1 << 20, 5 << 20, 16 << 20]) + rng.choice([0, 512, 66048])
    data = disk(rng, size)
    target = rng.random() < 0.7
    fill = rng.choice([0, 7])
    options = [f'fill={fill}', 'dump=dump', 'forget=1', 'hangup=' + ','.join(
        str(n) for n in sorted(rng.sample(range(3, 60), rng.randrange(1, 7))))]
    if rng.random() < 0.6:
        options.append('multi=1')
    if rng.random() < 0.2:
        options.append('sr=0')
    options += ['file=source'] if not target else []
    with open(os.path.join(folder, 'source'), 'wb') as file:
        file.write(data)
    words = ['convert', '-m', str(rng.randrange(1, 17))] + (['-W'] if rng.random() < 0.3 else [])
    where = 'driver=%s,file.driver=nbd,file.path=s,file.reconnect-delay=60,file.connections=%d'
    where %= ('qcow2' if target and rng.random() < 0.3 else 'raw', rng.randrange(1, 6))
    inner = 'qcow2' if 'driver=qcow2' in where else 'raw'
    room = size + (4 << 20) if inner == 'qcow2' else size
    server = Server(folder, room, options)
    try:
        if inner == 'qcow2':
            made = run(IMG, ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4k', 'nbd:unix:s', str(size)], folder)
            if made.code != 0:      # create takes no reconnect-delay
                return ' '.join(words + options), []
        if target:
            words += ['-n', '-t', rng.choice(['writeback', 'writethrough']), '-f', 'raw', 'source',
                      '--target-image-opts', where]
        else:
            words += ['-O', 'raw', '--image-opts', where, 'copy']
        result = run(IMG, words, folder)
    finally:
        server.end()
    if result.code != 0:
        return ' '.join(words + options), [f'exit code {result.code}: {result.err}']
    name = 'dump' if target else 'copy'
    if inner == 'qcow2':
        read = run(IMG, ['convert', '-f', 'qcow2', '-O', 'raw', 'dump', 'guest'], folder)
        check = run(IMG, ['check', '-q', '-f', 'qcow2', 'dump'], folder)
        if read.code or check.code not in (0, 3):
            return ' '.join(words + options), [f'unreadable: {read.err} {check.out} {check.err}']
        name = 'guest'
    with open(os.path.join(folder, name), 'rb') as file:
        same = file.read() == data
    return ' '.join(words + options), [] if same else ['the contents differ']


def main():
    there = 'Failed to connect' in run(IMG, ['info', 'nbd:unix:none'], '/').err
    each('nbd-lost-random', 12, one, peer=False, skip='' if there else 'nbd is not built in')


main()
