#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Count the SCSI commands with an operation code in a capture (pcap) of the network of an iSCSI target at port 3260.

usage: iscsi_capture.py FILE CODE
"""
import collections
import struct
import sys

PORT = 3260


def packets(data):
    """The frames; the last one may not be there yet as a whole."""
    at = 24
    while at + 16 <= len(data):
        length, = struct.unpack('<I', data[at + 8:at + 12])
        yield data[at + 16:at + 16 + length]
        at += 16 + length


def streams(data):
    """What each client has sent: by its port and first number, a part by its number."""
    found = collections.defaultdict(dict)
    for frame in packets(data):
        if frame[12:14] != b'\x08\x00' or len(frame) < 54 or frame[23] != 6:
            continue
        ip = frame[14:]
        tcp = ip[(ip[0] & 15) * 4:struct.unpack('>H', ip[2:4])[0]]
        source, target, number = struct.unpack('>HHI', tcp[:8])
        payload = tcp[(tcp[12] >> 4) * 4:]
        if target == PORT and payload:
            found[source].setdefault(number, payload)
    return found.values()


def commands(parts):
    sent = bytearray()
    start = min(parts)
    for number in sorted(parts):
        if number - start == len(sent):
            sent += parts[number]
    at = 0
    while at + 48 <= len(sent):
        head = sent[at:at + 48]
        if head[0] & 0x3f == 1:
            yield head[32]
        at += 48 + head[4] * 4 + (int.from_bytes(head[5:8], 'big') + 3 & ~3)


def main():
    with open(sys.argv[1], 'rb') as file:
        data = file.read()
    code = int(sys.argv[2], 16)
    print(sum(list(commands(parts)).count(code) for parts in streams(data)))


main()
