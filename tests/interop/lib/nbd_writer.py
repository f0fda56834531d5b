# SPDX-License-Identifier: MIT
"""Writes to a server over NBD, and knows what must be on the disk after the server, or the power, is gone."""
import random
import threading

from nbd import EXTENDED, FLUSH, FUA, PAYLOAD, SIMPLE, STRUCTURED, TRIM, WRITE, ZEROES, Client

UNIT = 4096
LAST, NEVER = 1 << 62, 1 << 63       # moments after all others


class Change:
    """What one request did to one unit.  `contents`: what may be there after it; `sent` and `durable`: moments."""
    __slots__ = 'contents', 'sent', 'durable'

    def __init__(self, contents, sent):
        self.contents, self.sent, self.durable = contents, sent, NEVER


class Writer:
    """One connection, in a thread of its own, until the server is gone or all `steps` are done.  It writes into a
    region of its own, of `units` units.

    moment: returns the time that `problems` is asked about
    through: the server promises that an answer to any request means that it is durable
    """

    def __init__(self, path, number, seed, units, steps=None, moment=lambda: 0, through=False):
        self.rng, self.units, self.first = random.Random(seed), units, number * units
        self.steps, self.moment, self.through = steps, moment, through
        self.history = {}       # of a unit: its changes, in order
        self.answered = []      # changes that the next flush makes durable
        self.mode = self.rng.choice([SIMPLE, STRUCTURED, EXTENDED])
        self.client = Client(path).open(self.mode)
        self.trouble = None
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def end(self):
        self.thread.join()
        self.client.close()

    def work(self):
        try:
            while self.steps != 0 and self.step():
                self.steps = self.steps and self.steps - 1
        except OSError:
            pass
        except Exception as error:      # an answer that makes no sense
            if not self.trouble:
                self.trouble = repr(error)

    def ask(self, *request):
        """False: no answer came any more."""
        self.client.request(*request)
        error = self.client.error()
        if error > 0:
            self.trouble = f'request {request[:4]}: error {error}'
        return error == 0

    def step(self):
        return self.flush() if self.rng.random() < 0.1 else self.change()

    def flush(self):
        flushed, self.answered = self.answered, []
        if not self.ask(FLUSH):
            return False
        self.are_durable(flushed)
        return True

    def are_durable(self, changes):
        now = self.moment()
        for change in changes:
            change.durable = now

    def server_has_ended(self, moment):
        """By itself: then all that it has answered is durable."""
        for change in self.answered:
            change.durable = moment

    def change(self):
        rng = self.rng
        count = rng.randrange(1, 9)
        unit = rng.randrange(self.units - count)
        kind = rng.choice([WRITE] * 6 + [ZEROES] * 2 + [TRIM])
        fua = FUA if rng.random() < 0.1 else 0
        data = (b'%16x' % rng.getrandbits(64)) * (UNIT // 16) if kind == WRITE else bytes(UNIT)
        changes = [self.expect(at, kind, data) for at in range(unit, unit + count)]
        payload = PAYLOAD if self.mode == EXTENDED and kind == WRITE else 0
        if not self.ask(kind, (self.first + unit) * UNIT, count * UNIT, fua | payload,
                        data * count if kind == WRITE else b''):
            return False
        if fua or self.through:
            self.are_durable(changes)
        else:
            self.answered += changes
        return True

    def expect(self, unit, kind, data):
        """What is trimmed may stay as it was."""
        changes = self.history.setdefault(unit, [])
        before = changes[-1].contents if changes else {bytes(UNIT)}
        changes.append(Change({data} | before if kind == TRIM else {data}, self.moment()))
        return changes[-1]

    def durable_units(self):
        return sum(any(change.durable < NEVER for change in changes) for changes in self.history.values())

    def possible(self, changes, moment):
        """The contents that a unit may have: those of the last durable change, and of all that were sent since."""
        found = {bytes(UNIT)}
        for change in changes:
            if change.durable <= moment:
                found = set(change.contents)
            elif change.sent <= moment:
                found |= change.contents
        return found

    def problems(self, disk, moment=LAST, grain=UNIT):
        """`grain`: bytes that are written as a whole."""
        found = [self.trouble] if self.trouble else []
        for unit, changes in self.history.items():
            start, contents = (self.first + unit) * UNIT, self.possible(changes, moment)
            for at in range(0, UNIT, grain):
                if disk[start + at:start + at + grain] not in [content[at:at + grain] for content in contents]:
                    found.append(f'offset {start + at} has {disk[start + at:start + at + 16]!r}, '
                                 f'not one of {len(contents)} contents')
                    break
        return found[:3]
