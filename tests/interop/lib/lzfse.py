# SPDX-License-Identifier: MIT
"""Encodes LZFSE and LZVN streams with all kinds of blocks; simple and slow, for tests.

Written from the description of the format at https://keramics.github.io (lzfse, lzvn).
"""
import struct

L_EXTRA = [0] * 16 + [2, 3, 5, 8]
L_BASE = list(range(16)) + [16, 20, 28, 60]
M_EXTRA = [0] * 16 + [3, 5, 8, 11]
M_BASE = list(range(16)) + [16, 24, 56, 312]
D_EXTRA = [i // 4 for i in range(64)]
D_BASE = [sum(1 << (j // 4) for j in range(i)) for i in range(64)]
STATES = dict(l=64, m=64, d=256, u=1024)
MOST_L, MOST_M, MOST_D = 315, 2359, 262139


def matches(data, start, window, longest, shortest=4):
    """Greedy triples (literals, match length, distance) for data[start:], the last with length 0."""
    seen, at, literals = {}, start, start
    for position in range(max(0, start - window), start):
        seen[data[position:position + shortest]] = position
    while at < len(data):
        key = data[at:at + shortest]
        found = seen.get(key) if len(key) == shortest else None
        seen[key] = at
        if found is None or at - found > window:
            at += 1
            continue
        length = shortest
        while at + length < len(data) and length < longest and data[found + length] == data[at + length]:
            length += 1
        yield data[literals:at], length, at - found
        for position in range(at + 1, min(at + length, len(data) - shortest)):
            seen[data[position:position + shortest]] = position
        at += length
        literals = at
    if literals < len(data):
        yield data[literals:], 0, 1


# ---- Finite state entropy ------------------------------------------------------------------

class Bits:
    """Bits that are read in reverse order, from the last one pushed."""

    def __init__(self):
        self.value = self.count = 0

    def push(self, value, count):
        self.value |= value << self.count
        self.count += count

    def finish(self):
        length = (self.count + 7) // 8
        return self.value.to_bytes(length, 'little'), self.count - 8 * length


def normalise(counts, states):
    """Scale frequencies to add up to `states`; a symbol that occurs keeps at least 1."""
    total = sum(counts) or 1
    result = [max(1, count * states // total) if count else 0 for count in counts]
    while sum(result) != states:
        most = max(range(len(result)), key=lambda i: result[i])
        result[most] += max(states - sum(result), 1 - result[most]) if sum(result) > states else states - sum(result)
    return result


class Coder:
    """The states of one table, for encoding backwards."""

    def __init__(self, frequencies, states):
        self.state, self.into, at = 0, {}, 0
        for symbol, frequency in enumerate(frequencies):
            if not frequency:
                continue
            k = states.bit_length() - frequency.bit_length()
            if (frequency << k) < states:
                k += 1
            steps = self.into[symbol] = []
            first = (2 * states >> k) - frequency
            for j in range(frequency):
                bits, base = (k, ((frequency + j) << k) - states) if j < first else (k - 1, (j - first) << (k - 1))
                steps.append((base, base + (1 << bits), at, bits))
                at += 1

    def push(self, bits, symbol, extra=0, extra_bits=0):
        for low, high, state, count in self.into[symbol]:
            if low <= self.state < high:
                bits.push((self.state - low) << extra_bits | extra, count + extra_bits)
                self.state = state
                return
        raise ValueError('a table without that state')


def symbol_of(value, base):
    return max(i for i in range(len(base)) if base[i] <= value)


def pack_frequencies(tables):
    bits = Bits()
    codes = {0: (0, 2), 1: (2, 2), 2: (1, 3), 3: (5, 3), 4: (3, 5), 5: (11, 5), 6: (19, 5), 7: (27, 5)}
    for table in tables:
        for frequency in table:
            if frequency < 8:
                bits.push(*codes[frequency])
            elif frequency < 24:
                bits.push(7 | (frequency - 8) << 4, 8)
            else:
                bits.push(15 | (frequency - 24) << 4, 14)
    return bits.finish()[0]


def fse_block(triples, raw, version):
    """One bvx1 or bvx2 block of these triples, which decode to `raw` bytes."""
    literals = b''.join(triple[0] for triple in triples)
    literals += literals[:1] * (-len(literals) % 4)
    coded, previous = [], None
    for run, length, distance in triples:
        coded.append((len(run), length, 0 if distance == previous else distance))
        previous = distance
    columns = [(0, L_BASE, L_EXTRA, 'l'), (1, M_BASE, M_EXTRA, 'm'), (2, D_BASE, D_EXTRA, 'd')]
    tables = []
    for column, base, _, name in columns:
        counts = [0] * len(base)
        for triple in coded:
            counts[symbol_of(triple[column], base)] += 1
        tables.append(normalise(counts, STATES[name]))
    counts = [literals.count(bytes([byte])) for byte in range(256)]
    tables.append(normalise(counts, STATES['u']) if literals else [0] * 256)

    coders = [Coder(tables[3], STATES['u']) for _ in range(4)]
    stream = Bits()
    for at in range(len(literals) - 1, -1, -1):
        coders[at % 4].push(stream, literals[at])
    literal_bytes, literal_bits = stream.finish()
    lmd = [Coder(tables[column], STATES[name]) for column, _, _, name in columns]
    stream = Bits()
    for triple in reversed(coded):
        for column, base, extra, _ in reversed(columns):
            symbol = symbol_of(triple[column], base)
            lmd[column].push(stream, symbol, triple[column] - base[symbol], extra[symbol])
    lmd_bytes, lmd_bits = stream.finish()

    if version == 1:
        head = struct.pack('<4s6Ii4HiHHH', b'bvx1', raw, len(literal_bytes) + len(lmd_bytes), len(literals),
                           len(coded), len(literal_bytes), len(lmd_bytes), literal_bits,
                           *[coder.state for coder in coders], lmd_bits, *[coder.state for coder in lmd])
        head += b''.join(struct.pack('<%dH' % len(table), *table) for table in tables) + b'\0\0'
    else:
        packed = pack_frequencies(tables)
        fields = [len(literals) | len(literal_bytes) << 20 | len(coded) << 40 | (literal_bits + 7) << 60,
                  coders[0].state | coders[1].state << 10 | coders[2].state << 20 | coders[3].state << 30 |
                  len(lmd_bytes) << 40 | (lmd_bits + 7) << 60,
                  32 + len(packed) | lmd[0].state << 32 | lmd[1].state << 42 | lmd[2].state << 52]
        head = struct.pack('<4sIQQQ', b'bvx2', raw, *fields) + packed
    return head + literal_bytes + lmd_bytes


def fse_blocks(data, version=2, most_triples=10000, most_literals=40000):
    result, triples, raw, literals = b'', [], 0, 0

    def flush():
        nonlocal result, triples, raw, literals
        if triples:
            result += fse_block(triples, raw, version)
        triples, raw, literals = [], 0, 0

    for run, length, distance in matches(data, 0, MOST_D, MOST_M):
        while len(run) > MOST_L:
            pieces = [(run[:MOST_L], 0, 1)]
            run = run[MOST_L:]
            if literals + MOST_L > most_literals - 4 or len(triples) + 1 > most_triples:
                flush()
            triples += pieces
            raw += MOST_L
            literals += MOST_L
        if literals + len(run) > most_literals - 4 or len(triples) + 1 > most_triples:
            flush()
        triples.append((run, length, distance))
        raw += len(run) + length
        literals += len(run)
    flush()
    return result


# ---- LZVN ----------------------------------------------------------------------------------

def lzvn_codes(data):
    out, previous = bytearray(), None
    for run, length, distance in matches(data, 0, 65535, 1 << 20, 3):
        while len(run) > 3 or (run and not length):
            part = min(len(run), 271)
            out += bytes([0xe0, part - 16]) if part >= 16 else bytes([0xe0 | part])
            out += run[:part]
            run = run[part:]
        if not length:
            break
        count = len(run)
        part = min(length, 10)
        if distance == previous and count:
            part = min(length, 4 + 3 if count == 1 else 3 + 3)
            if (count, part - 3) not in ((1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5)):
                part = min(part, 3)
        if distance == previous and not count:
            part = min(length, 271)
            out += bytes([0xf0, part - 16]) if part >= 16 else bytes([0xf0 | part])
        elif distance == previous and count == 1 and part - 3 <= 5:
            out += bytes([0x46 | (part - 3) << 3]) + run
        elif distance < 1536 and count * 64 + 64 <= 0x100 and valid_small(count, part):
            out += bytes([count << 6 | (part - 3) << 3 | distance >> 8, distance & 255]) + run
        elif distance < 16384:
            part = min(length, 34)
            out += bytes([0xa0 | count << 3 | (part - 3) >> 2])
            out += struct.pack('<H', distance << 2 | ((part - 3) & 3)) + run
        else:
            part = min(length, 10 if count < 1 else 8 if count == 1 else 6 if count == 2 else 4)
            out += bytes([count << 6 | (part - 3) << 3 | 7]) + struct.pack('<H', distance) + run
        previous = distance
        length -= part
        while length:
            part = min(length, 271)
            out += bytes([0xf0, part - 16]) if part >= 16 else bytes([0xf0 | part])
            length -= part
    return bytes(out) + b'\x06' + bytes(7)


def valid_small(count, length):
    """Opcodes 0x70 to 0x7f, 0xa0 to 0xbf and 0xd0 to 0xff have other meanings."""
    code = count << 6 | (length - 3) << 3
    return not (0x70 <= code < 0x80 or 0xa0 <= code < 0xc0 or code >= 0xd0)


# ---- Streams -------------------------------------------------------------------------------

END = b'bvx$'


def encode(data, kind='bvx2', **how):
    """A whole stream: bvx-, bvxn, bvx1 or bvx2."""
    if kind == 'bvx-':
        return b'bvx-' + struct.pack('<I', len(data)) + data + END
    if kind == 'bvxn':
        codes = lzvn_codes(data)
        return b'bvxn' + struct.pack('<II', len(data), len(codes)) + codes + END
    return fse_blocks(data, int(kind[3]), **how) + END
