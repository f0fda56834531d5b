#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the seeds of fuzz-iscsi anew: scripts of a target's answers, and names with settings.

usage: make-corpus-iscsi.py [DIRECTORY]
"""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../interop/lib'))
from corpus import save  # noqa: E402

WELL, LOST, SHORT = b'\0', b'\5', b'\6'


def status(number):
    return bytes([1, number])


def sense(key, code):
    return struct.pack('>BBH', 2, key, code)


def given(data):
    return struct.pack('>BH', 3, len(data)) + data


def changed(*pairs, length=None):
    return bytes([4, len(pairs)]) + b''.join(bytes(pair) for pair in pairs) + \
        (b'\0' if length is None else bytes([1, length]))


# The questions at the start of a session: ready, inquiry, mode, capacity, pages 0, b0, b2.


def opening(**ways):
    return b'\0' + b''.join(ways.get(name, WELL) for name in
                            ('ready', 'inquiry', 'mode', 'capacity', 'pages', 'limits', 'thin'))


def both(after=b'', **ways):
    """The first disk as told, the second as it should be, then what is answered to requests."""
    return b'\1' + opening(**ways) + opening() + after


def name(text, settings=''):
    return b'\0' + (text + '\0' + settings).encode()


def capacity(last, size, flags=0xc0):
    return given(struct.pack('>QIBBB', last, size, 0, 0, flags) + bytes(17))


save('iscsi', {
    'well': both(),
    'small': both(capacity=capacity(15, 512)),
    'large-blocks': both(capacity=capacity(255, 4096)),
    'large': both(capacity=capacity(1 << 33, 512)),
    'too-large': both(capacity=capacity((1 << 64) - 1, 512)),
    'old-capacity': both(capacity=sense(5, 0x2000)),
    'short-capacity': both(capacity=changed(length=12)),
    'no-disk': both(inquiry=changed((0, 12))),
    'read-only': both(mode=changed((2, 0x90))),
    'no-mode': both(mode=sense(5, 0x2000)),
    'attention': both(ready=sense(6, 0x2900) * 3, inquiry=sense(6, 0x2a09)),
    'busy': both(ready=status(8), capacity=status(0x28)),
    'not-ready': both(ready=sense(2, 0x3a00)),
    'limits': both(limits=given(struct.pack('>BBHIIIIIIIQ', 0, 0xb0, 60, 0, 7, 3, 0, 0, 5, 3, 0) + bytes(24))),
    'pages-long': both(pages=changed((2, 0xff), (3, 0xff))),
    'pages-none': both(pages=changed((3, 0))),
    'session-lost': both(LOST * 2),
    'session-refused': both(LOST + b'\xff'),
    # (a read, GET LBA STATUS, and so on)
    'short': both(SHORT),
    'status-empty': both(WELL + given(bytes(8))),
    'status-long': both(WELL + given(struct.pack('>IIQIB3x', 20, 0, 0, 0xffffffff, 1))),
    'status-count': both(WELL + changed((0, 0xff), (1, 0xff)) * 3),
    'status-zero': both(WELL + changed((19, 0))),
    'status-none': both(WELL + sense(5, 0x2400)),
    'conflict': both(status(0x18)),
    'medium': both(sense(3, 0x1100)),
    'space': both(WELL * 30 + sense(7, 0x2707)),
    'unknown': both(WELL * 24 + sense(5, 0x2000) * 9),
    'copy-limits': both(WELL * 35 + changed((16, 1), (37, 40))),
    'copy-names': both(WELL * 36 + changed((1, 0x82), (3, 200), length=60)),
    'copy-failed': both(WELL * 38 + sense(10, 0x0d01)),
    'name': name('h/t/1'),
    'name-full': name('bob%secret@[::1]:3260/iqn.2026-01.example%3Aa/65535'),
    'name-wrong': name('h/t/65536'),
    'settings-all': name('h/t/1', '# all\n[iscsi]\n  user = "bob"\n  password = "secret"\n  timeout = "30"\n'),
    'settings-target': name('h/t/1', '[iscsi]\n user = "x"\n[other "t"]\nwhat\n[iscsi "t"]\n'
                                     ' initiator-name = "iqn.x:y"\n header-digest = "CRC32C-NONE"\n'),
    'settings-secret': name('h/t/1', '[iscsi "t"]\n user = "bob"\n password-secret = "s"\n'),
    'settings-wrong': name('h/t/1', '[iscsi]\n user = bob"\n'),
    'settings-long': name('h/t/1', '[iscsi]\n user = "' + 'x' * 1020 + '"\n'),
})
