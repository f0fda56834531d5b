#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the seeds of fuzz-nbd-list anew: what servers tell about their exports, whole or in the frames of that target.

usage: make-corpus-nbd-list.py [DIRECTORY]
"""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../interop/lib'))
from corpus import save  # noqa: E402
from nbd import ACK, INFO, OPTION_REPLY, text  # noqa: E402

WHOLE, FRAMES = 0, 1
SAME, NEXT, ANY = range(3)
SERVER, META = 2, 4
UNSUP, POLICY, TLS = 0x80000001, 0x80000002, 0x80000005
GREETING = b'NBDMAGICIHAVEOPT\0\3'
LIST, INFO_OPTION, STRUCTURED, CONTEXTS, EXTENDED = 3, 6, 8, 9, 11


def reply(option, kind, data=b''):
    return struct.pack('>QIII', OPTION_REPLY, option, kind, len(data)) + data


def frame(step, kind, data=b''):
    return struct.pack('>BBB', step, kind >> 24 | kind & 0x1f, len(data)) + data


def export(size, flags):
    return struct.pack('>HQH', 0, size, flags)


BLOCKS = struct.pack('>HIII', 3, 1, 4096, 32 << 20)
CONTEXT = b'\0\0\0\1base:allocation'


def about(name, answer):
    """The answers about one export."""
    return answer(INFO_OPTION, INFO, export(1 << 20, 0xded)) + answer(INFO_OPTION, INFO, BLOCKS) + \
        answer(INFO_OPTION, INFO, b'\0\2' + name) + answer(INFO_OPTION, ACK) + answer(CONTEXTS, META, CONTEXT) + \
        answer(CONTEXTS, ACK) + answer(CONTEXTS, META, b'\0\0\0\2qemu:allocation-depth') + answer(CONTEXTS, ACK)


class Frames:
    """The same conversation in frames, which name the step from one option to the next."""
    AFTER = {EXTENDED: STRUCTURED, STRUCTURED: LIST, LIST: INFO_OPTION, INFO_OPTION: CONTEXTS, CONTEXTS: INFO_OPTION}

    def __init__(self):
        self.option = EXTENDED

    def __call__(self, option, kind, data=b''):
        step = SAME if option == self.option else NEXT if option == self.AFTER[self.option] else ANY | option << 2
        self.option = option
        return frame(step, kind, data)


def conversation(answer, names, first=((EXTENDED, UNSUP), (STRUCTURED, ACK))):
    told = b''.join(answer(*words) for words in first)
    told += b''.join(answer(LIST, SERVER, text(name) + more) for name, more in names) + answer(LIST, ACK)
    return told + b''.join(about(name, answer) for name, _ in names)


def whole(*words):
    return bytes([WHOLE]) + GREETING + b''.join(words)


def framed(*words, **named):
    return bytes([FRAMES]) + conversation(Frames(), *words, **named)


save('nbd-list', {
    'old': bytes([WHOLE]) + b'NBDMAGIC' + struct.pack('>QQI', 0x420281861253, 1 << 20, 3) + bytes(124),
    'one': whole(conversation(reply, [(b'', b'')])),
    'two': whole(conversation(reply, [(b'a', b'the first'), (b'b', b'')])),
    'refused': whole(reply(EXTENDED, UNSUP), reply(STRUCTURED, UNSUP), reply(LIST, POLICY, b'nobody may\033')),
    'tls': whole(reply(EXTENDED, TLS), reply(STRUCTURED, TLS, b'start TLS'), reply(LIST, TLS, b'start TLS')),
    'no-info': whole(reply(EXTENDED, UNSUP), reply(STRUCTURED, UNSUP), reply(LIST, SERVER, text(b'x')),
                     reply(LIST, ACK), reply(INFO_OPTION, UNSUP)),
    'no-fixed': bytes([WHOLE]) + b'NBDMAGICIHAVEOPT\0\0',
    'frames': framed([(b'', b'')]),
    'frames-two': framed([(b'a', b'the first'), (b'', b'')]),
    'frames-extended': framed([(b'a', b'')], first=((EXTENDED, ACK),)),
    'frames-simple': framed([(b'a', b'')], first=((EXTENDED, UNSUP), (STRUCTURED, UNSUP))),
})
