# SPDX-License-Identifier: MIT
"""An NBD server whose answers are wrong in one way.  usage: python3 -m fake_nbd SOCKET WORD...

It answers one client for each word, and then ends.  A word NAME-N with a number: the option is refused with error N."""
import os
import socket
import struct
import sys

from sockets import listener_at
from wire import take

REPLY_MAGIC = 0x3E889045565A9
ACK, SERVER, INFO, META = 1, 2, 3, 4
STRUCTURED, EXTENDED, LIST, ABORT, GET_INFO, LIST_META = 8, 11, 3, 2, 6, 9
OPTION_WORDS = {STRUCTURED: "sr", EXTENDED: "ext", LIST: "list", GET_INFO: "info", LIST_META: "meta"}


def reply(option, kind, data=b""):
    return struct.pack(">QIII", REPLY_MAGIC, option, kind, len(data)) + data


def huge(option, kind):
    return struct.pack(">QIII", REPLY_MAGIC, option, kind, 1 << 30)


def error(option, number, text=b"words"):
    return reply(option, 0x80000000 + number, text)


def export(name, text=b""):
    return reply(LIST, SERVER, struct.pack(">I", len(name)) + name + text)


def info(size=1 << 20, flags=1):
    return reply(GET_INFO, INFO, struct.pack(">HQH", 0, size, flags))


def blocks(least, best, most):
    return info() + reply(GET_INFO, INFO, struct.pack(">HIII", 3, least, best, most)) + reply(GET_INFO, ACK)


def context(name):
    return reply(LIST_META, META, b"\0\0\0\1" + name)


USUAL = {
    STRUCTURED: reply(STRUCTURED, ACK),
    EXTENDED: error(EXTENDED, 1),
    LIST: export(b"b") + export(b"a", b"text") + reply(LIST, ACK),
    GET_INFO: info() + reply(GET_INFO, ACK),
    LIST_META: context(b"base:allocation") + reply(LIST_META, ACK),
}

# What a word changes: the option and the bytes that answer it.
ANSWERS = {
    "ext-ok": (EXTENDED, reply(EXTENDED, ACK)),
    "sr-data": (STRUCTURED, reply(STRUCTURED, ACK, b"xx")),
    "sr-info": (STRUCTURED, reply(STRUCTURED, INFO, b"xx")),
    "wrong-option": (EXTENDED, reply(7, ACK)),
    "wrong-magic": (EXTENDED, bytes(20)),
    "list-mute": (LIST, error(LIST, 2, b"")),
    "list-ack": (LIST, reply(LIST, ACK, b"xx")),
    "list-short": (LIST, reply(LIST, SERVER, b"xx")),
    "list-name": (LIST, reply(LIST, SERVER, struct.pack(">I", 100) + b"abc")),
    "list-long": (LIST, export(b"x" * 4097)),
    "list-huge": (LIST, huge(LIST, SERVER)),
    "list-text": (LIST, export(b"x", b"d" * 4097)),
    "list-type": (LIST, reply(LIST, INFO)),
    "list-odd": (LIST, reply(LIST, 99)),
    "list-terminal": (LIST, export(b"\x1b[2J'\n", b"a\x1b]0;x\x07b") + reply(LIST, ACK)),
    "info-none": (GET_INFO, reply(GET_INFO, ACK)),
    "info-short": (GET_INFO, reply(GET_INFO, INFO, b"\0")),
    "info-odd": (GET_INFO, reply(GET_INFO, INFO, b"\0\0abc")),
    "info-long": (GET_INFO, reply(GET_INFO, INFO, struct.pack(">HQH", 0, 1, 1) + b"x")),
    "info-flags": (GET_INFO, info(1024, 0) + reply(GET_INFO, ACK)),
    "all-flags": (GET_INFO, info(1024, 0xFFFF) + reply(GET_INFO, ACK)),
    "info-min": (GET_INFO, blocks(0, 0, 0)),
    "info-min3": (GET_INFO, blocks(3, 4096, 1 << 20)),
    "info-opt3": (GET_INFO, blocks(1, 3, 1 << 20)),
    "info-order": (GET_INFO, blocks(4096, 512, 1 << 20)),
    "info-block": (GET_INFO, reply(GET_INFO, INFO, b"\0\3abc")),
    "info-ack": (GET_INFO, info() + reply(GET_INFO, ACK, b"xx")),
    "info-type": (GET_INFO, reply(GET_INFO, SERVER, b"xx")),
    "info-endless": (GET_INFO, info() * 2000),
    "info-text": (GET_INFO, info() + reply(GET_INFO, INFO, b"\0\2told later") + reply(GET_INFO, ACK)),
    "list-endless": (LIST, export(b"x") * 20000),
    "meta-short": (LIST_META, reply(LIST_META, META, b"\0")),
    "meta-ack": (LIST_META, reply(LIST_META, ACK, b"x")),
    "meta-huge": (LIST_META, huge(LIST_META, META)),
    "meta-empty": (LIST_META, context(b"")),
    "meta-type": (LIST_META, reply(LIST_META, INFO, b"xx")),
    "meta-qemu": (LIST_META, context(b"qemu:x") + reply(LIST_META, ACK)),
}

GREETINGS = {
    "silent": b"",
    "noise": b"x" * 16,
    "short": b"NBDMAGIC",
    "old-magic": b"NBDMAGICXXXXXXXX",
    "old-short": b"NBDMAGIC" + struct.pack(">QQ", 0x420281861253, 4096),
    "old-flags": b"NBDMAGIC" + struct.pack(">QQI", 0x420281861253, 4096, 0x10003) + bytes(124),
    "old": b"NBDMAGIC" + struct.pack(">QQI", 0x420281861253, 4096, 3) + bytes(124),
}


def answer_to(word, option):
    name, _, number = word.rpartition("-")
    if number.isdigit() and OPTION_WORDS.get(option) == name:
        return error(option, int(number))
    if word in ANSWERS and ANSWERS[word][0] == option:
        return ANSWERS[word][1]
    return USUAL.get(option) or error(option, 1)


def serve(client, word):
    if word in GREETINGS:
        client.sendall(GREETINGS[word])
        return
    client.sendall(b"NBDMAGICIHAVEOPT\0\3")
    take(client, 4)
    while True:
        _, option, length = struct.unpack(">QII", take(client, 16))
        take(client, length)
        if option == ABORT:
            return
        client.sendall(answer_to(word, option))


def main():
    listener = listener_at(sys.argv[1])
    for word in sys.argv[2:]:
        client = listener.accept()[0]
        try:
            serve(client, word)
        except (EOFError, OSError):
            pass
        client.close()


main()
