# SPDX-License-Identifier: MIT
"""What may be on the disk after a power cut, from the log of recorder.c.

The model assumes no more than POSIX promises:

- A change is durable when a sync of its file began after the change had ended, and ended before the cut.  A write
  through a descriptor with O_DSYNC is durable when it returns.  A sync of one file says nothing about another file.
- Every other change (a write, a new length, a hole) happened, did not happen, or happened in part, each for
  itself and whatever became of earlier ones.  What happened in part changed any of its sectors of 512 bytes, not
  only the first ones; a sector is old or new as a whole.
- What happened did so in the order of the log: a sector shows the last of the writes that reached it.
- A file whose end was moved by a write may have its new length without the new bytes: zeroes are there.

A real file system keeps more order than that (ext4 with data=ordered has a length on the disk after the bytes only),
but another one may not.  What blocks of the disk held before they became a part of the file does not show up.
"""
import struct

SECTOR = 512
FILE_NAME, WRITE, LENGTH, ALLOCATE, PUNCH, ZERO, SYNC_BEGIN, SYNC_END = range(8)
DURABLE, KEEP_SIZE = 1, 2
RECORD = struct.Struct('=8Q')


class Change:
    """One change of one file.  `data` is None for zeroes and holes; `end` is where the file ends at least, or None."""

    def __init__(self, kind, offset, length, flags, data):
        self.kind, self.offset, self.length, self.data = kind, offset, length, data
        self.durable = bool(flags & DURABLE)
        self.extends = kind in (WRITE, ALLOCATE) or (kind == ZERO and not flags & KEEP_SIZE)
        if kind == ALLOCATE and flags & KEEP_SIZE:
            self.extends = False

    def sectors(self):
        if self.kind in (LENGTH, ALLOCATE):
            return range(0)
        return range(self.offset // SECTOR, -(-(self.offset + self.length) // SECTOR))

    def apply(self, image, sectors=None, lengthen=True):
        """Change the bytes; `sectors` are those that it reaches, None is all of them."""
        if self.kind == LENGTH:
            set_length(image, self.length)
            return
        end = self.offset + self.length
        if self.kind == ALLOCATE:
            if self.extends:
                set_length(image, max(len(image), end))
            return
        if sectors is None:
            self.put(image, self.offset, end)
            return
        for sector in sectors:
            self.put(image, max(self.offset, sector * SECTOR), min(end, (sector + 1) * SECTOR))
        if lengthen and self.extends:
            set_length(image, max(len(image), end))

    def put(self, image, start, end):
        if self.extends:
            set_length(image, max(len(image), end))
        end = min(end, len(image))
        if start < end:
            image[start:end] = self.data[start - self.offset:end - self.offset] if self.data else bytes(end - start)


def set_length(image, length):
    if length < len(image):
        del image[length:]
    else:
        image.extend(bytes(length - len(image)))


class Log:
    """`events` in order: (file, Change), or (file, SYNC_BEGIN or SYNC_END, number)."""

    def __init__(self, path):
        self.names, self.events = {}, []
        with open(path, 'rb') as file:
            while True:
                head = file.read(RECORD.size)
                if not head:
                    break
                self.add(file, *RECORD.unpack(head)[:5])

    def add(self, file, kind, number, offset, length, flags):
        data = file.read(length) if kind in (FILE_NAME, WRITE) else None
        if kind == FILE_NAME:
            self.names[number] = data.decode()
        elif kind in (SYNC_BEGIN, SYNC_END):
            self.events.append((self.names[number], kind, offset))
        else:
            self.events.append((self.names[number], Change(kind, offset, length, flags, data)))

    def syncs(self):
        return [i for i, event in enumerate(self.events) if event[1] == SYNC_END]


class Replay:
    """The files as before the command, and what is certain at a cut; cuts are asked for in ascending order."""

    def __init__(self, log, files):
        self.log = log
        self.files = {name: bytearray(data) for name, data in files.items()}
        self.done = {name: 0 for name in files}     # changes before this event are in `files`
        self.covered = {name: 0 for name in files}  # changes before this event are durable
        self.begun = {}
        self.at = 0

    def advance(self, cut):
        """Look at the syncs before `cut`; apply what they made durable."""
        for i in range(self.at, cut):
            event = self.log.events[i]
            if event[1] == SYNC_BEGIN:
                self.begun[event[2]] = i
            elif event[1] == SYNC_END:
                self.covered[event[0]] = max(self.covered[event[0]], self.begun[event[2]])
        self.at = cut
        for name, end in self.covered.items():
            for event in self.log.events[self.done[name]:end]:
                if event[0] == name and isinstance(event[1], Change):
                    event[1].apply(self.files[name])
            self.done[name] = max(self.done[name], end)

    def uncertain(self, cut):
        """The changes before `cut` that no sync covers, as (file, Change)."""
        self.advance(cut)
        start = min(self.done.values(), default=0)
        return [event for i, event in enumerate(self.log.events[start:cut], start)
                if isinstance(event[1], Change) and i >= self.done[event[0]]]

    def cut(self, cut, rng):
        """Files after a cut before event `cut`, as bytes, and a word about what was lost."""
        changes = self.uncertain(cut)
        files = {name: bytearray(data) for name, data in self.files.items()}
        word, fate = choose_fate(changes, rng)
        for i, (name, change) in enumerate(changes):
            kept = 1.0 if change.durable else fate(i, name, change)
            if kept >= 1:
                change.apply(files[name])
            elif kept > 0:
                reached = [sector for sector in change.sectors() if rng.random() < kept]
                if change.kind not in (LENGTH, ALLOCATE):
                    change.apply(files[name], reached, rng.random() < 0.5)
                elif rng.random() < kept:
                    change.apply(files[name])
        return files, f'{word}, {len(changes)} uncertain'

    def all(self):
        """Files when nothing is lost."""
        changes = self.uncertain(len(self.log.events))
        files = {name: bytearray(data) for name, data in self.files.items()}
        for name, change in changes:
            change.apply(files[name])
        return files


def choose_fate(changes, rng):
    """How much of a change gets to the disk, as a function of its number, file and itself: 0, 1, or torn in between.

    Losses that are all independent rarely hit what hurts: one change that is lost where all others are not, the small
    ones (metadata) kept without the large ones, all of one place, all of one file.
    """
    if not changes:
        return 'nothing in flight', lambda *_: 1
    count = len(changes)
    pick = rng.randrange(count)
    torn = rng.choice([0, 0, 0.5, 0.9])
    how = rng.choice(['all', 'one', 'one', 'one kept', 'before', 'behind', 'each', 'each', 'sectors', 'place',
                      'place kept', 'small', 'large', 'file'])
    if count == 1 and rng.random() < 0.6:
        how = 'sectors'     # lost or kept, that is rarely a fault
    inside = changes[pick][1]
    name = changes[pick][0]
    if how == 'all':
        return 'all lost', lambda *_: 0
    if how == 'one':
        return f'change {pick} lost', lambda i, *_: torn if i == pick else 1
    if how == 'one kept':
        return f'change {pick} kept', lambda i, *_: (1 - torn if torn else 1) if i == pick else 0
    if how == 'before':
        return f'lost before {pick}', lambda i, *_: 1 if i >= pick else torn
    if how == 'behind':
        return f'lost behind {pick}', lambda i, *_: 1 if i <= pick else torn
    if how == 'each':
        part, fates = rng.choice([0.1, 0.5, 0.9]), [0] * count
        for i in range(count):
            fates[i] = 1 if rng.random() < part else torn if rng.random() < 0.5 else 0
        return f'each kept with {part}', lambda i, *_: fates[i]
    if how == 'sectors':
        part = rng.choice([0.1, 0.5, 0.9])
        return f'each sector kept with {part}', lambda *_: part
    if how in ('place', 'place kept'):
        unit = 1 << rng.randrange(9, 20)
        place = inside.offset // unit

        def there(file, change):
            last = change.offset + max(1, change.length) - 1
            return file == name and change.offset // unit <= place <= last // unit
        if how == 'place':
            return f'lost at {place * unit:#x} of {name}', lambda _, file, change: 0 if there(file, change) else 1
        return f'kept at {place * unit:#x} of {name}', lambda _, file, change: 1 if there(file, change) else 0
    if how in ('small', 'large'):
        limit = rng.choice([inside.length, 4096, 65536])
        if how == 'small':
            return f'up to {limit} bytes kept', lambda _, __, change: 1 if change.length <= limit else torn
        return f'up to {limit} bytes lost', lambda _, __, change: torn if change.length <= limit else 1
    return f'{name} lost', lambda _, file, __: 0 if file == name else 1


def choose_cuts(log, count, rng):
    """Moments in ascending order.  Most is in flight just before a sync ends; the end is one of them now and then."""
    syncs, end = log.syncs(), len(log.events)
    found = []
    for _ in range(count):
        kind = rng.random()
        if kind < 0.45 and syncs:
            found.append(rng.choice(syncs))
        elif kind < 0.5:
            found.append(end)
        else:
            found.append(rng.randrange(end + 1))
    return sorted(found)
