# SPDX-License-Identifier: MIT
"""What has to hold after a power cut.

- The check of the reference tool and ours find no corruption; leaks are allowed.  An image may say itself that it was
  not closed (dirty bit of qcow2, "needs check" of qed, "in use" of parallels, a log in vhdx): then one of the two tools
  opens it for writing, which mends it as its specification says, and the checks have to be content after that.
- Every sector that a guest may read holds its old or its new content, before and after the image was mended.
- Where the command had ended, all are the new ones.
- The image can be written to as it is: what is written then is there, and nothing else has changed.  (A place that is
  used twice shows up so, also in formats without a check.)
- A bitmap of qcow2 that is not marked "in use" has the bits of all that changed, and keeps those that it had.
- Of `check -r all` on an image with faults: another `check -r all` mends what it left.
- A vdi image counts its blocks in the header, apart from the map: a count that is too high is a leak.

A view is a guest's disk or a snapshot, named by the words of convert that read it.
"""
import os
import re
import struct

from bitmaps import trusted, untrue
from harness import IMG, PEER, PEER_IO, guest_bytes, run

SECTOR = 512
PIECE = 20480       # of what is written afterwards
# Where the reference tool writes on badly: over a short backing file (qed, without any cut), and into a place that
# holds bytes of a block that is in no table (vpc).
OURS_WRITES = ('qed', 'vpc')
SOUND = (0, 3, 63)      # no fault, leaks, no check for this format


def bad_sector(got, old, new):
    """The first sector that is neither the old nor the new one, or None.  Behind the end of the shorter one: that of
    the longer one, or zeroes, since a disk grows and shrinks by zeroes."""
    for start in range(0, len(got), 65536):
        end = min(start + 65536, len(got))
        part = got[start:end]
        if part in (old[start:end], new[start:end]):
            continue
        for at in range(start, end, SECTOR):
            sector = got[at:min(at + SECTOR, end)]
            if sector not in (old[at:at + len(sector)], new[at:at + len(sector)]) and \
                    not (at + len(sector) > min(len(old), len(new)) and not any(sector)):
                return at // SECTOR
    return None


def dirty_qcow2(data):
    return data[:4] == b'QFI\xfb' and data[7] >= 3 and bool(data[79] & 1)


def dirty_qed(data):
    return data[:4] == b'QED\0' and bool(struct.unpack_from('<Q', data, 16)[0] & 2)


def dirty_parallels(data):
    return data[44:48] == b'Ynot'


def dirty_vhdx(data):
    heads = []
    for at in 0x10000, 0x20000:
        if data[at:at + 4] == b'head':
            heads.append((struct.unpack_from('<Q', data, at + 8)[0], data[at + 48:at + 64]))
    return any(any(log) for _, log in heads)


UNCLEAN = {'qcow2': dirty_qcow2, 'qed': dirty_qed, 'parallels': dirty_parallels, 'vhdx': dirty_vhdx}


def lost_blocks(text):
    """The header of a vdi image counts more blocks than there are, and nothing else is wrong."""
    found = re.findall(r'^ERROR: (?:allocated blocks mismatch, is (\d+), should be (\d+))?', text, re.MULTILINE)
    return bool(len(found) == 1 and found[0][0]) and int(found[0][0]) < int(found[0][1])


class Judge:
    """`case` tells what is checked and read; `old` and `new`: title of a view to its bytes before and after.

    `images_before`, `images_after`: name of an image to its bytes.
    """

    def __init__(self, folder, case, old, new, images_before, images_after):
        self.folder, self.images, self.views, self.repair = folder, case.images, case.views, case.repair
        self.old, self.new = old, new
        self.problems, self.mended = [], False
        name, form = self.images[0]
        self.bitmaps = [trusted(images[name]) if form == 'qcow2' else {} for images in (images_before, images_after)]

    def verdict(self, complete, by_us):
        """Problems of what lies in the folder.  `complete`: the command had ended.  `by_us`: our tool mends."""
        self.problems = []
        unclean = [image for image in self.images if self.repair or self.unclean(*image)]
        self.mended = bool(unclean)
        replay = any(form == 'vhdx' for _, form in unclean)
        if not replay:
            self.look(complete, 'as left')
        self.check([image for image in self.images if image not in unclean], 'as left')
        if unclean and not self.problems:
            # (a repair by the reference tool may lose a snapshot, of images that no power was cut for, too)
            by_us = by_us or self.repair
            for image in unclean:
                self.mend(by_us, *image)
            who = 'mended by us' if by_us else 'mended by qemu-img'
            self.check(unclean, who)
            self.look(complete, who)
        return self.problems

    def write_on(self, by_us, rng):
        """Write to what the first view shows; problems of that."""
        (title, words), (name, form) = next(iter(self.views.items())), self.images[0]
        got, error = guest_bytes(PEER, words, self.folder)
        if got is None or words[-1] != name or len(got) < 2 * PIECE:
            return []
        wanted, steps = bytearray(got), []
        for number in range(1, 5):
            at = rng.randrange(len(got) - PIECE) // SECTOR * SECTOR
            wanted[at:at + PIECE] = bytes([number]) * PIECE
            steps.append((number, at))
        if by_us or form in OURS_WRITES:
            for number, at in steps:
                run(IMG, ['bench', '-w', '-f', form, '-c', '1', '-d', '1', '-s', str(PIECE), '-o', str(at),
                          f'--pattern={number}', name], self.folder)
        else:
            run(PEER_IO, ['-f', form] + [word for number, at in steps
                                         for word in ('-c', f'write -P {number} {at} {PIECE}')] + [name], self.folder)
        got, error = guest_bytes(PEER, words, self.folder)
        if got is None:
            return [f'written on: {title}: cannot be read: {error[:300]}']
        bad = bad_sector(got, wanted, wanted)
        return [] if bad is None else [f'written on: {title}: sector {bad} is not what it was or was to be']

    def unclean(self, name, form):
        if form not in UNCLEAN:
            return False
        with open(os.path.join(self.folder, name), 'rb') as file:
            return UNCLEAN[form](file.read(0x30000))

    def mend(self, by_us, name, form):
        """Open it for writing."""
        if form == 'vhdx' or self.repair:
            run(IMG if by_us else PEER, ['check', '-q', '-r', 'all', '-f', form, name], self.folder)
        elif by_us:
            run(IMG, ['resize', '-q', '-f', form, name, '+0'], self.folder)
        else:
            run(PEER_IO, ['-f', form, '-c', 'write 0 0', name], self.folder)

    def check(self, images, who):
        for name, form in images:
            for tool in PEER, IMG:
                result = run(tool, ['check', '-f', form, name], self.folder)
                if result.code not in SOUND and not (form == 'vdi' and lost_blocks(result.out + result.err)):
                    self.problems.append(f"{who}: {'check' if tool == PEER else 'our check'} of {name}: exit "
                                         f'{result.code}\n  {result.out[:400]}\n  {result.err[:400]}')

    def look(self, complete, who):
        for title, words in self.views.items():
            got, error = guest_bytes(PEER, words, self.folder)
            problem = self.compare(title, got, error, complete)
            if not problem and title == 'disk' and any(self.bitmaps) and not self.repair:
                with open(os.path.join(self.folder, self.images[0][0]), 'rb') as file:
                    problem = untrue(trusted(file.read()), *self.bitmaps, self.old[title], got)
            if problem:
                self.problems.append(f'{who}: {title}: {problem}')

    def compare(self, title, got, error, complete):
        old, new = self.old[title], self.new[title]
        if complete:
            return None if got == new else self.name_difference(got, new, error)
        if got is None:
            return None if old is None or new is None else f'cannot be read: {error[:300]}'
        old, new = new if old is None else old, old if new is None else new
        shorter, longer = sorted((len(old), len(new)))
        # (a raw file has no header that tells its size: it may have grown in part)
        raw = self.views[title][1] == 'raw'
        if len(got) not in (shorter, longer) and not (raw and shorter <= len(got) <= longer):
            return f'{len(got)} bytes in place of {len(old)} or {len(new)}'
        bad = bad_sector(got, old, new)
        if bad is None:
            return None
        at = bad * SECTOR
        return (f'sector {bad} is neither the old nor the new one: {got[at:at + 8].hex()}, '
                f'old {old[at:at + 8].hex()}, new {new[at:at + 8].hex()}')

    @staticmethod
    def name_difference(got, new, error):
        if got is None or new is None:
            return f'is there or not: {error[:300]}'
        if len(got) != len(new):
            return f'{len(got)} bytes in place of {len(new)}'
        return f'sector {bad_sector(got, new, new)} is not the new one, and the command had ended'
