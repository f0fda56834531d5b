#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Which format a file is taken for, by random: marks of formats, two at a time, cut, moved and with wrong bytes.

What the tool says of a file is also what it says with -f FORMAT for the format that it chose.  The formats
for which that holds with the reference tool and with ours have to meet.

environment: see lib/harness.py
"""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from harness import IMG, PEER, each, run  # noqa: E402

FORMATS = ['raw', 'qcow2', 'qcow', 'qed', 'vdi', 'vmdk', 'vpc', 'vhdx', 'parallels', 'bochs', 'cloop', 'dmg', 'luks']
CLOOP = b'#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n'
MARKS = [[(0, b'QFI\xfb\0\0\0\3')], [(0, b'QFI\xfb\0\0\0\1')], [(0, b'QED\0')], [(64, b'\x7f\x10\xda\xbe')],
         [(0, b'KDMV')], [(0, b'COWD')], [(0, b'conectix')], [(0, b'vhdxfile')], [(0, b'WithoutFreeSpace\2\0\0\0')],
         [(0, b'WithouFreSpacExt\2\0\0\0')], [(0, b'LUKS\xba\xbe\0\1')], [(0, CLOOP)], [(0, b'version=1\n')],
         [(0, b'Bochs Virtual HD Image\0'), (32, b'Redolog\0'), (48, b'Growing\0'), (64, b'\0\0\2\0')],
         [(0, b'# Disk DescriptorFile\nversion=1\nCID=1\n')], [(0, b'#' * 480 + b'\n  \r\nversion=3\r\n')], []]
NAMES = ['x', 'x', 'x', 'x.dmg', '.dmg', 'x.DMG', 'dmg', 'x.vhd', 'd.dmg/x']


def image(rng):
    data = bytearray(rng.choice([0, 0xff, 0x20]) for _ in range(1)) * rng.choice([512, 600, 4096, 70000])
    if rng.random() < 0.7:
        data = bytearray(len(data))
    for mark in rng.sample(MARKS, rng.choice([1, 1, 2, 2, 3])):
        shift = rng.choice([0, 0, 0, 0, 0, 1, 512])
        for at, text in mark:
            data[at + shift:at + shift + len(text)] = text
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        data[rng.randrange(90)] = rng.choice([0, 1, 2, 3, 10, 13, 32, 49, 255])
    if rng.random() < 0.1:
        data += b'koly'.ljust(rng.choice([511, 512, 900, 1100]), b'\0')
    if rng.random() < 0.3:
        data = data[:rng.choice([0, 1, 3, 4, 7, 8, 17, 20, 67, 68, 84, 100, 511, 513])]
    return bytes(data)


def words_of(tool, words, folder):
    result = run(tool, words, folder)
    return result.code, result.out, result.err


def choices(tool, name, folder):
    """The formats that say the same as no format does."""
    said = words_of(tool, ['info', name], folder)
    return said, {form for form in FORMATS if words_of(tool, ['info', '-f', form, name], folder) == said}


def one(seed, folder):
    rng = random.Random(seed)
    name, data = rng.choice(NAMES), image(rng)
    os.makedirs(os.path.join(folder, os.path.dirname(name)), exist_ok=True)
    with open(os.path.join(folder, name), 'wb') as file:
        file.write(data)
    with open(os.path.join(folder, 'copy'), 'wb') as file:
        file.write(data)
    title = f'{name}: {data[:80]!r}, {len(data)} bytes'
    if words_of(IMG, ['info', name], folder) == words_of(PEER, ['info', name], folder):
        return title, []
    ours, peer = choices(IMG, name, folder), choices(PEER, name, folder)
    # A .dmg without a trailer is a raw disk, and for the reference tool (and without the driver) an error.
    if name == 'x.dmg' and 'dmg' in peer[1] and b'koly' not in data[-1023:]:
        return title, [] if ours[1] & (peer[1] | choices(PEER, 'copy', folder)[1]) else [f'ours {ours}']
    # A VMware descriptor is none for it if the version is not as it expects.
    if data.lstrip(b' ').startswith(b'# Disk DescriptorFile') and ours[1] == {'vmdk'}:
        return title, []
    return title, [] if ours[1] & peer[1] else [f'ours {ours}\n  peer {peer}']


if __name__ == '__main__':
    each('probe-random', 120, one)
