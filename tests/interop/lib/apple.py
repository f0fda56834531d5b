# SPDX-License-Identifier: MIT
"""Makes sparse disk images of Apple: .sparseimage, .sparsebundle, ASIF.

Written from the descriptions of the formats: https://keramics.github.io (sparseimage, sparsebundle),
https://github.com/huven/asif-format.
"""
import os
import struct

SECTOR = 512


# ---- .sparseimage -------------------------------------------------------------------------------

def sparseimage(sectors, band_sectors, bands, **fields):
    """A file with these bands, (number from 1 on, bytes), in this order; with as many indexes as it needs, or (`room`)
    with so many bands in front of each."""
    out = bytearray()
    bands, first, node = list(bands), True, 0
    while first or bands:
        room = fields.get('room', 1008 if first else 1010)
        here, bands = bands[:room], bands[room:]
        length = 4096 + len(here) * band_sectors * SECTOR
        following = len(out) + length if bands else 0
        numbers = b''.join(struct.pack('>I', number) for number, _ in here)
        if first:
            head = struct.pack('>4sIIIIQQ28x', b'sprs', 3, band_sectors, 1, sectors & 0xffffffff, following,
                               fields.get('long_sectors', sectors))
        else:
            head = struct.pack('>4sIIQ36x', b'sprs', node, 1, following)
            node += 1
        out += (head + numbers).ljust(4096, b'\0')
        for _, content in here:
            out += content.ljust(band_sectors * SECTOR, b'\0')
        first = False
    return bytes(out)


# ---- .sparsebundle ------------------------------------------------------------------------------

def info_plist(size, band_size, kind='com.apple.diskimage.sparsebundle', more=''):
    return f'''<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
\t<key>CFBundleInfoDictionaryVersion</key>
\t<string>6.0</string>
\t<key>band-size</key>
\t<integer>{band_size}</integer>
\t<key>bundle-backingstore-version</key>
\t<integer>1</integer>
\t<key>diskimage-bundle-type</key>
\t<string>{kind}</string>
\t<key>size</key>
\t<integer>{size}</integer>
{more}</dict>
</plist>
'''


def sparsebundle(folder, size, band_size, bands, **more):
    """A bundle with these bands: {number from 0 on: bytes}."""
    os.makedirs(os.path.join(folder, 'bands'))
    for name in 'Info.plist', 'Info.bckup':
        with open(os.path.join(folder, name), 'w', encoding='utf-8') as file:
            file.write(info_plist(size, band_size, **more))
    with open(os.path.join(folder, 'token'), 'wb'):
        pass
    for number, content in bands.items():
        with open(os.path.join(folder, 'bands', f'{number:x}'), 'wb') as file:
            file.write(content)


# ---- ASIF ---------------------------------------------------------------------------------------

NOTHING, WHOLE, PARTLY = 0, 1, 3


class Asif:
    """An image whose chunks are put into the file in the order of the calls."""

    def __init__(self, sectors, chunk=1 << 20, sector=512, most=None):
        self.sectors, self.chunk, self.sector = sectors, chunk, sector
        self.most = sectors if most is None else most
        self.group = 4 * sector                         # chunks with data in a group
        self.groups = chunk // (8 * (self.group + 1))   # groups in a table
        self.reach = self.groups * self.group * chunk   # bytes of the disk that a table is for
        self.tables = {}                                # number: entries
        self.places = {}                                # number of a table: chunk of the file
        self.chunks = []                                # chunks of the file behind the directories
        self.bitmaps = {}
        count = -(-self.most * sector // self.reach)
        self.directory_bytes = 8 * (count + 1)
        self.first = -(-(512 + 2 * self.directory_bytes) // chunk)

    def add(self, content=b''):
        """A chunk of the file: its number."""
        self.chunks.append(bytearray(content.ljust(self.chunk, b'\0')))
        return self.first + len(self.chunks) - 1

    def at(self, number):
        return self.chunks[number - self.first]

    def entry(self, index):
        """Where the entry for chunk `index` of the disk is: the table, and the place in it."""
        table, inside = divmod(index, self.groups * self.group)
        if table not in self.tables:
            self.tables[table] = {}
            self.places[table] = self.add()
        group, number = divmod(inside, self.group)
        return table, group * (self.group + 1) + number

    def set(self, index, value):
        table, place = self.entry(index)
        self.tables[table][place] = value

    def put(self, index, content, state=WHOLE):
        """A chunk of the disk with data in all of its sectors."""
        self.set(index, state << 62 | self.add(content))

    def put_partly(self, index, content, there):
        """A chunk of the disk of whose sectors only those of the set `there` count."""
        table, place = self.entry(index)
        group = place // (self.group + 1)
        bitmap = self.tables[table].get(group * (self.group + 1) + self.group)
        if bitmap is None:
            bitmap = self.add()
            self.tables[table][group * (self.group + 1) + self.group] = bitmap
        per_chunk = self.chunk // self.sector
        for sector in there:
            number = (place % (self.group + 1)) * per_chunk + sector
            self.at(bitmap)[number // 4] |= 1 << 2 * (number % 4)
        self.put(index, content, PARTLY)

    def image(self, **fields):
        get = fields.get
        for number, entries in self.tables.items():
            for place, value in entries.items():
                struct.pack_into('>Q', self.at(self.places[number]), 8 * place, value)
        older, newer = get('directories', (512, 512 + self.directory_bytes))
        head = struct.pack('>4sIIIQQ16sQQIHHQ', get('magic', b'shdw'), get('version', 1), 512, get('flags', 0), older, newer,
                           b'U' * 16, get('sectors', self.sectors), get('most', self.most), get('chunk', self.chunk),
                           get('sector', self.sector), 0, 0xffffffff)
        out = bytearray(self.first * self.chunk)
        out[:len(head)] = head
        sequences = get('sequences', (1, 2))
        for place, sequence in zip((512, 512 + self.directory_bytes), sequences):
            struct.pack_into('>Q', out, place, sequence)
            if sequence == max(sequences):
                for number, chunk in self.places.items():
                    struct.pack_into('>Q', out, place + 8 * (number + 1), chunk)
        return bytes(out) + b''.join(self.chunks)
