#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compressed clusters whose distances go beyond 4 KiB are read by whoever decodes a cluster in one go.

The image repeats random bytes 16 KiB apart, so that only such distances make it small.  Readers: both reference
tools; and with the window of 4 KiB that these give to zlib, cluster by cluster: Python's zlib, node's (Chromium's
inflate), and zlib-ng where its Python module is there.  One that streams into small pieces refuses those, and takes
what `compression_window=4k` made.
"""
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
import harness  # noqa: E402

CLUSTER, CLUSTERS, WINDOW_BITS = 65536, 24, -12
NODE = '''
const z = require("zlib"), fs = require("fs");
process.stdout.write(z.inflateRawSync(fs.readFileSync(0), { windowBits: 12, chunkSize: 65536 + 64,
                                                           finishFlush: z.constants.Z_SYNC_FLUSH }));
'''


def make(name):
    rng = random.Random(4)
    with open(name, 'wb') as file:
        for number in range(CLUSTERS):
            block = rng.randbytes(8000 + 500 * (number % 16)).ljust(16384, b'+')
            file.write(block * (CLUSTER // len(block)))


def coded_clusters(name):
    """Guest cluster number and the bytes that its descriptor names (spec: Compressed Clusters Descriptor)."""
    with open(name, 'rb') as file:
        data = file.read()
    bits, = struct.unpack_from('>I', data, 20)
    l1_size, l1_offset = struct.unpack_from('>IQ', data, 36)
    shift = 62 - (bits - 8)
    for l1 in range(l1_size):
        table = struct.unpack_from('>Q', data, l1_offset + 8 * l1)[0] & 0x00FFFFFFFFFFFE00
        if not table:
            continue
        for index in range((1 << bits) // 8):
            entry, = struct.unpack_from('>Q', data, table + 8 * index)
            if entry >> 62 & 1:
                offset = entry & ((1 << shift) - 1)
                sectors = (entry >> shift & ((1 << (62 - shift)) - 1)) + 1
                yield l1 * ((1 << bits) // 8) + index, data[offset:offset // 512 * 512 + sectors * 512]


def whole(module):
    """The module's one call function wants a stream without sector padding behind it."""
    def decode(coded):
        reader = module.decompressobj(wbits=-15)
        reader.decompress(coded)
        return module.decompress(coded[:len(coded) - len(reader.unused_data)], wbits=WINDOW_BITS, bufsize=CLUSTER)
    return decode


def by_node(coded):
    return subprocess.run(['node', '-e', NODE], input=coded, stdout=subprocess.PIPE, check=True).stdout


def streaming(coded):
    reader, out = zlib.decompressobj(wbits=WINDOW_BITS), b''
    while not reader.eof and len(out) <= CLUSTER:
        out += reader.decompress(coded, 64)
        coded = reader.unconsumed_tail
    return out


def readers():
    found = {'zlib': whole(zlib)}
    if shutil.which('node'):
        found['node'] = by_node
    try:
        from zlib_ng import zlib_ng
        found['zlib-ng'] = whole(zlib_ng)
    except ImportError:
        pass
    return found


def wrong(decode, clusters, plain, limit=CLUSTERS):
    """What a reader gets wrong, as text."""
    problems = []
    for number, coded in clusters[:limit]:
        try:
            good = decode(coded) == plain[number * CLUSTER:(number + 1) * CLUSTER]
        except (zlib.error, subprocess.CalledProcessError) as error:
            good = False
            problems.append(f'cluster {number}: {error}')
        if not good:
            problems.append(f'cluster {number} differs')
    return problems


def main():
    folder = tempfile.mkdtemp(prefix='imgbox-')
    make(folder + '/a.raw')
    with open(folder + '/a.raw', 'rb') as file:
        plain = file.read()
    peers = {name: tool for name, tool in (('10.0', harness.PEER), ('7.2', harness.PEER72)) if tool}
    images = (('far', 'compression_level=6'), ('near', 'compression_window=4k'), ('standard', 'cluster_size=64k'))
    decoders = readers()
    tap = harness.Tap('deflate readers:', len(images) * (len(peers) + len(decoders)) + 3)
    sizes, clusters = {}, {}
    for name, options in images:
        image = f'{folder}/{name}.qcow2'
        done = harness.run(harness.IMG, ['convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', options, 'a.raw', image],
                           folder)
        clusters[name] = list(coded_clusters(image)) if done.code == 0 else []
        sizes[name] = sum(len(coded) for _, coded in clusters[name])
        for version, tool in peers.items():
            same = harness.run(tool, ['compare', '-f', 'raw', '-F', 'qcow2', 'a.raw', image], folder)
            tap.result(f'{name}: qemu-img {version}', [] if same.code == 0 else [done.err, same.out + same.err])
        for reader, decode in decoders.items():
            # A process for each cluster takes its time.
            problems = wrong(decode, clusters[name], plain, 4 if reader == 'node' else CLUSTERS)
            tap.result(f'{name}: {reader}', problems)
    tap.result('far distances make it small', [] if 0 < sizes['far'] * 2 < len(plain) else [str(sizes)])
    tap.result('a streaming reader with 4 KiB refuses them',
               [] if len(wrong(streaming, clusters['far'], plain)) >= CLUSTERS else ['some were read'])
    near = wrong(streaming, clusters['near'], plain)
    tap.result('and takes those of compression_window=4k', near)
    shutil.rmtree(folder)
    tap.end()


if __name__ == '__main__':
    if harness.IMG_IS_PEER:
        print('1..0 # SKIP beyond the real tool')
        sys.exit(0)
    main()
