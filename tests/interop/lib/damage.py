# SPDX-License-Identifier: MIT
"""The bytes of a qcow2 image, and every kind of damage to its metadata.

DAMAGES is a list of (group, name, function); a function changes an Image in place, at a random
place, and raises Skip if the image has nothing to damage in this way.
"""
import struct

OFFSET = 0x00fffffffffffe00
COPIED = 1 << 63
COMPRESSED = 1 << 62
BITMAPS = 0x23852875
DAMAGES = []


class Skip(Exception):
    """Nothing in this image can be damaged this way."""


def damage(group):
    def enter(function):
        DAMAGES.append((group, function.__name__.replace('_', ' '), function))
        return function
    return enter


class Image:
    def __init__(self, data):
        self.data = bytearray(data)
        (self.version, self.cluster_bits, self.size, self.l1_size, self.l1_offset, self.table_offset,
         self.table_clusters, self.snapshot_count, self.snapshots_offset) = struct.unpack_from(
             '>4xI12xIQ4xIQQIIQ', self.data)
        self.incompatible, order = 0, 4
        if self.version >= 3:
            self.incompatible, order = struct.unpack_from('>Q16xI', self.data, 72)
        self.cluster = 1 << self.cluster_bits
        self.clusters = -(-len(self.data) // self.cluster)
        self.width = 1 << order
        self.entry = 16 if self.incompatible & 16 else 8
        self.per_block = self.cluster * 8 // self.width
        self.bitmaps = self.find_extension(BITMAPS) if self.version >= 3 else None

    def get(self, offset, form='>Q'):
        if not 0 <= offset <= len(self.data) - struct.calcsize(form):
            return 0
        return struct.unpack_from(form, self.data, offset)[0]

    def put(self, offset, value, form='>Q'):
        size = struct.calcsize(form)
        if not 0 <= offset <= len(self.data) - size:
            raise Skip
        struct.pack_into(form, self.data, offset, value & (1 << 8 * size) - 1)

    def find_extension(self, wanted):
        """Place of the data of a header extension, or None."""
        place = self.get(100, '>I')
        while 0 < place < self.cluster - 8:
            kind, length = self.get(place, '>I'), self.get(place + 4, '>I')
            if kind == 0:
                return None
            if kind == wanted:
                return place + 8
            place += 8 + (length + 7 & ~7)
        return None

    def stale_bitmaps(self):
        return bool(self.bitmaps) and not self.get(88) & 1

    # ---- places ----

    def l1_places(self, used=True):
        return [p for p in range(self.l1_offset, self.l1_offset + 8 * self.l1_size, 8) if not used or self.get(p)]

    def snapshots(self):
        place = self.snapshots_offset
        found = []
        for _ in range(min(self.snapshot_count, 100)):
            found.append(place)
            ident, name = self.get(place + 12, '>H'), self.get(place + 14, '>H')
            place = place + 40 + self.get(place + 36, '>I') + ident + name + 7 & ~7
        return found

    def snapshot_l1_places(self):
        found = []
        for place in self.snapshots():
            start, size = self.get(place), self.get(place + 8, '>I')
            found += [p for p in range(start, start + 8 * min(size, 4096), 8) if self.get(p)]
        return found

    def tables(self, l1_places):
        tables = {self.get(place) & OFFSET for place in l1_places}
        return sorted(t for t in tables if t and t + self.cluster <= len(self.data))

    def l2_places(self, want, tables=None):
        """Entries for which want(entry) is true."""
        found = []
        for table in self.tables(self.l1_places()) if tables is None else tables:
            words = struct.unpack_from('>%dQ' % (self.cluster // 8), self.data, table)
            step = self.entry // 8
            found += [table + 8 * i for i in range(0, len(words), step) if want(words[i])]
        return found

    def blocks(self):
        found = []
        for index in range(min(self.table_clusters * self.cluster // 8, 1 << 16)):
            offset = self.get(self.table_offset + 8 * index) & OFFSET
            if offset and offset + self.cluster <= len(self.data):
                found.append((index, offset))
        return found

    # ---- reference counts ----

    def count_place(self, cluster):
        block = self.get(self.table_offset + 8 * (cluster // self.per_block)) & OFFSET
        if not block or cluster // self.per_block >= self.table_clusters * self.cluster // 8:
            return None
        bit = cluster % self.per_block * self.width
        place = block + bit // 8
        return (place, bit % 8) if place + max(1, self.width // 8) <= len(self.data) else None

    def get_count(self, cluster):
        at = self.count_place(cluster)
        if not at:
            return 0
        if self.width >= 8:
            return int.from_bytes(self.data[at[0]:at[0] + self.width // 8], 'big')
        return self.data[at[0]] >> at[1] & (1 << self.width) - 1

    def put_count(self, cluster, value):
        at = self.count_place(cluster)
        if not at:
            raise Skip
        value &= (1 << self.width) - 1
        if self.width >= 8:
            self.data[at[0]:at[0] + self.width // 8] = value.to_bytes(self.width // 8, 'big')
        else:
            mask = (1 << self.width) - 1 << at[1]
            self.data[at[0]] = self.data[at[0]] & ~mask | value << at[1]

    def used(self):
        return [c for c in range(self.clusters) if self.get_count(c)]


def pick(rng, places):
    places = list(places)
    if not places:
        raise Skip
    return rng.choice(places)


def metadata(rng, image):
    """Offset of some metadata cluster."""
    kinds = [[0], [image.l1_offset], [image.table_offset], image.tables(image.l1_places()),
             [offset for _, offset in image.blocks()]]
    if image.snapshot_count:
        kinds += [[image.snapshots_offset], [image.get(place) for place in image.snapshots()]]
    if image.bitmaps:
        kinds += [[image.get(image.bitmaps + 16)]]
    return pick(rng, pick(rng, [kind for kind in kinds if kind]))


def outside(rng, image):
    """An aligned offset beyond the end of the file: near, far, absurd."""
    end = image.clusters
    cluster = rng.choice((end, end + 1, end + rng.randrange(2, 9), end + rng.randrange(1 << 12),
                          rng.randrange(1 << 20, 1 << 22), (OFFSET >> image.cluster_bits) - rng.randrange(3)))
    return cluster << image.cluster_bits & OFFSET


def unaligned(rng, image, offset):
    if image.cluster == 512:
        raise Skip
    return offset + 512 * rng.randrange(1, image.cluster // 512)


def allocated(entry):
    return entry & OFFSET and not entry & COMPRESSED


# ---- counts ------------------------------------------------------------------------------

@damage('leak')
def leaked_cluster(rng, image):
    free = [c for c in range(image.clusters + 3) if not image.get_count(c)]
    for cluster in rng.sample(free, min(len(free), rng.choice((1, 1, 2, 6)))):
        image.put_count(cluster, rng.choice((1, 1, 2, 3, (1 << image.width) - 1)) or 1)


@damage('leak')
def leaked_at_the_end(rng, image):
    more = rng.randrange(1, 5)
    image.data.extend(bytes(more * image.cluster - rng.choice((0, 0, 1, image.cluster - 1))))
    for cluster in range(image.clusters, image.clusters + more):
        image.put_count(cluster, 1)


@damage('count')
def count_too_low(rng, image):
    cluster = pick(rng, [c for c in image.used() if image.get_count(c) > 1])
    image.put_count(cluster, rng.randrange(1, image.get_count(cluster)))


@damage('count')
def count_zero(rng, image):
    for cluster in rng.sample(image.used(), min(len(image.used()), rng.choice((1, 1, 2, 5)))):
        image.put_count(cluster, 0)


@damage('count')
def count_too_high(rng, image):
    if image.width == 1:
        raise Skip
    for _ in range(rng.choice((1, 1, 3))):
        cluster = pick(rng, image.used())
        image.put_count(cluster, rng.choice((image.get_count(cluster) + 1, (1 << image.width) - 1)))


@damage('count')
def count_of_metadata(rng, image):
    image.put_count(metadata(rng, image) >> image.cluster_bits, rng.choice((0, 0, 2, 3)))


# ---- COPIED ----------------------------------------------------------------------------------

def flip_copied(image, places):
    for place in places:
        image.put(place, image.get(place) ^ COPIED)


@damage('copied')
def copied_of_data(rng, image):
    places = image.l2_places(allocated)
    flip_copied(image, rng.sample(places, min(len(places), rng.choice((1, 1, 2, 8)))))


@damage('copied')
def copied_of_a_table(rng, image):
    flip_copied(image, [pick(rng, image.l1_places())])


@damage('copied')
def copied_of_compressed(rng, image):
    flip_copied(image, [pick(rng, image.l2_places(lambda e: e & COMPRESSED))])


@damage('copied')
def copied_of_a_snapshot(rng, image):
    places = image.snapshot_l1_places()
    flip_copied(image, [pick(rng, places + image.l2_places(allocated, image.tables(places)))])


# ---- L1 and L2 entries ---------------------------------------------------------------------------

def aim(image, place, offset):
    """Make an entry point elsewhere, with the same flags."""
    image.put(place, image.get(place) & ~OFFSET | offset)


@damage('overlap')
def data_over_metadata(rng, image):
    aim(image, pick(rng, image.l2_places(allocated)), metadata(rng, image))


@damage('overlap')
def data_over_data(rng, image):
    places = image.l2_places(allocated)
    aim(image, pick(rng, places), image.get(pick(rng, places)) & OFFSET)


@damage('overlap')
def new_data_over_something(rng, image):
    image.put(pick(rng, image.l2_places(lambda e: not e)), pick(rng, image.used()) << image.cluster_bits |
              rng.choice((0, COPIED)))


@damage('overlap')
def table_over_metadata(rng, image):
    aim(image, pick(rng, image.l1_places()), metadata(rng, image))


@damage('overlap')
def table_over_data(rng, image):
    aim(image, pick(rng, image.l1_places(rng.randrange(3) > 0)),
        image.get(pick(rng, image.l2_places(allocated))) & OFFSET)


@damage('overlap')
def table_twice(rng, image):
    image.put(pick(rng, image.l1_places(False)), image.get(pick(rng, image.l1_places())))


@damage('overlap')
def table_of_a_snapshot_over_metadata(rng, image):
    aim(image, pick(rng, image.snapshot_l1_places()), metadata(rng, image))


@damage('overlap')
def data_of_a_snapshot_over_metadata(rng, image):
    places = image.l2_places(allocated, image.tables(image.snapshot_l1_places()))
    aim(image, pick(rng, places), metadata(rng, image))


@damage('outside')
def data_outside(rng, image):
    places = image.l2_places(allocated)
    for place in rng.sample(places, min(len(places), rng.choice((1, 1, 3)))):
        aim(image, place, outside(rng, image))


@damage('outside')
def table_outside(rng, image):
    aim(image, pick(rng, image.l1_places(rng.randrange(3) > 0)), outside(rng, image))


@damage('outside')
def compressed_outside(rng, image):
    place = pick(rng, image.l2_places(lambda e: e & COMPRESSED))
    bits = 62 - (image.cluster_bits - 8)
    sectors = image.get(place) >> bits & (1 << image.cluster_bits - 8) - 1
    image.put(place, COMPRESSED | sectors << bits | outside(rng, image) & (1 << bits) - 1)


@damage('overlap')
def compressed_over_something(rng, image):
    place = pick(rng, image.l2_places(lambda e: e & COMPRESSED or not e))
    bits = 62 - (image.cluster_bits - 8)
    at = (rng.choice((metadata(rng, image), rng.randrange(len(image.data)))) + rng.randrange(image.cluster))
    image.put(place, COMPRESSED | rng.randrange(1 << image.cluster_bits - 8) << bits | at & (1 << bits) - 1)


@damage('entry')
def data_unaligned(rng, image):
    place = pick(rng, image.l2_places(allocated))
    aim(image, place, unaligned(rng, image, image.get(place) & OFFSET))


@damage('entry')
def zeroes_unaligned(rng, image):
    if image.version < 3 or image.entry == 16:
        raise Skip
    place = pick(rng, image.l2_places(allocated))
    image.put(place, image.get(place) & ~OFFSET | unaligned(rng, image, image.get(place) & OFFSET) | 1)


@damage('entry')
def subclusters_unaligned(rng, image):
    if image.entry == 8:
        raise Skip
    place = pick(rng, image.l2_places(allocated))
    image.put(place, image.get(place) & ~OFFSET | unaligned(rng, image, image.get(place) & OFFSET))
    image.put(place + 8, rng.randrange(1 << 32) << 32)


@damage('entry')
def table_unaligned(rng, image):
    place = pick(rng, image.l1_places())
    aim(image, place, unaligned(rng, image, image.get(place) & OFFSET))


@damage('entry')
def reserved_bits_of_an_entry(rng, image):
    if rng.randrange(2):
        place = pick(rng, image.l1_places())
        image.put(place, image.get(place) | 1 << rng.choice((0, 3, 8, 56, 62)))
    else:
        place = pick(rng, image.l2_places(bool))
        image.put(place, image.get(place) | 1 << rng.choice((1, 2, 8, 56, 57, 60, 61)))


@damage('entry')
def entry_lost(rng, image):
    image.put(pick(rng, image.l1_places() + image.l2_places(bool)), 0)


@damage('entry')
def zero_flag(rng, image):
    place = pick(rng, image.l2_places(lambda e: not e & COMPRESSED))
    image.put(place, image.get(place) ^ 1)


@damage('entry')
def kind_of_an_entry(rng, image):
    place = pick(rng, image.l2_places(bool))
    image.put(place, image.get(place) ^ COMPRESSED)


@damage('entry')
def subcluster_bits(rng, image):
    if image.entry == 8:
        raise Skip
    place = pick(rng, image.l2_places(rng.choice((bool, lambda e: not e, lambda e: e & COMPRESSED))))
    image.put(place + 8, rng.choice((0, (1 << 32) - 1, (1 << 32) - 1 << 32, rng.randrange(1 << 64),
                                     rng.randrange(1 << 32))))


@damage('entry')
def noise_in_a_table(rng, image):
    table = pick(rng, image.tables(image.l1_places()) + [image.l1_offset])
    length = image.cluster if table != image.l1_offset else max(8, 8 * image.l1_size)
    for _ in range(rng.choice((1, 4))):
        image.put(table + 8 * rng.randrange(length // 8), rng.choice((rng.randrange(1 << 64), (1 << 64) - 1)))


# ---- refcount structures -----------------------------------------------------------------------------

def block_entry(rng, image):
    return image.table_offset + 8 * pick(rng, image.blocks())[0]


@damage('refcounts')
def block_lost(rng, image):
    image.put(block_entry(rng, image), 0)


@damage('refcounts')
def block_unaligned(rng, image):
    place = block_entry(rng, image)
    image.put(place, unaligned(rng, image, image.get(place)))


@damage('refcounts')
def block_reserved_bits(rng, image):
    place = block_entry(rng, image)
    image.put(place, image.get(place) | 1 << rng.randrange(9))


@damage('refcounts')
def block_outside(rng, image):
    place = rng.choice((block_entry(rng, image), image.table_offset + 8 * rng.randrange(image.cluster // 8)))
    image.put(place, outside(rng, image))


@damage('refcounts')
def block_over_something(rng, image):
    image.put(rng.choice((block_entry(rng, image), image.table_offset + 8 * rng.randrange(image.cluster // 8))),
              rng.choice((metadata(rng, image), pick(rng, image.used()) << image.cluster_bits)))


@damage('refcounts')
def block_twice(rng, image):
    image.put(image.table_offset + 8 * rng.randrange(min(image.cluster // 8, 64)),
              image.get(block_entry(rng, image)))


@damage('refcounts')
def block_of_noise(rng, image):
    _, offset = pick(rng, image.blocks())
    length = rng.choice((8, 64, image.cluster))
    at = offset + rng.randrange(image.cluster - length + 1)
    image.data[at:at + length] = rng.choice((bytes(length), b'\xff' * length, rng.randbytes(length)))


@damage('refcounts')
def refcount_table_empty(_, image):
    image.data[image.table_offset:image.table_offset + image.cluster] = bytes(image.cluster)


@damage('refcounts')
def refcount_table_of_noise(rng, image):
    for _ in range(rng.choice((1, 3, 16))):
        image.put(image.table_offset + 8 * rng.randrange(image.cluster // 8), rng.randrange(1 << 64))


@damage('refcounts')
def refcount_table_elsewhere(rng, image):
    image.put(48, rng.choice((metadata(rng, image), outside(rng, image), pick(rng, image.used()) << image.cluster_bits,
                              image.table_offset + 512)))


@damage('refcounts')
def refcount_table_length(rng, image):
    image.put(56, rng.choice((0, 0, 2, 3, 64, (8 << 20 >> image.cluster_bits), (8 << 20 >> image.cluster_bits) + 1,
                              (1 << 32) - 1)), '>I')


# ---- features and the file ----------------------------------------------------------------------------

@damage('features')
def dirty(_, image):
    if image.version < 3:
        raise Skip
    image.put(72, image.get(72) | 1)


@damage('features')
def dirty_with_lazy_counts(rng, image):
    dirty(rng, image)
    image.put(80, image.get(80) | 1)
    for cluster in rng.sample(image.used(), min(len(image.used()), 4)):
        image.put_count(cluster, 0)


@damage('features')
def marked_corrupt(rng, image):
    if image.version < 3:
        raise Skip
    image.put(72, image.get(72) | rng.choice((2, 2, 3)))


@damage('features')
def unknown_autoclear(rng, image):
    if image.version < 3:
        raise Skip
    image.put(88, image.get(88) ^ rng.choice((1, 4, 1 << 40)))


@damage('file')
def cut_short(rng, image):
    least = image.cluster
    more = rng.choice((rng.randrange(1, image.cluster), image.cluster * rng.randrange(1, 8)))
    del image.data[max(least, len(image.data) - more):]


@damage('file')
def grown(rng, image):
    image.data.extend(rng.choice((bytes, lambda n: b'x' * n))(rng.randrange(1, 4 * image.cluster)))


# ---- snapshots -------------------------------------------------------------------------------------------

@damage('snapshot')
def snapshot_l1_elsewhere(rng, image):
    place = pick(rng, image.snapshots())
    image.put(place, rng.choice((metadata(rng, image), outside(rng, image), image.l1_offset, image.get(place) + 512,
                                 image.get(pick(rng, image.snapshots())))))


@damage('snapshot')
def snapshot_l1_size(rng, image):
    place = pick(rng, image.snapshots())
    size = image.get(place + 8, '>I')
    image.put(place + 8, rng.choice((0, 1, size + 1, size * 2, size + image.cluster // 8, 4 << 20, (4 << 20) + 1,
                                     (1 << 32) - 1)), '>I')


@damage('snapshot')
def snapshot_l1_entry(rng, image):
    place = pick(rng, image.snapshot_l1_places())
    image.put(place, rng.choice((0, image.get(place) | 2, image.get(place) & ~OFFSET | outside(rng, image),
                                 image.get(place) + 512)))


@damage('snapshot')
def snapshot_l2_entry(rng, image):
    place = pick(rng, image.l2_places(allocated, image.tables(image.snapshot_l1_places())))
    image.put(place, rng.choice((0, image.get(place) | 4, image.get(place) & ~OFFSET | outside(rng, image),
                                 image.get(place) + 512, image.get(place) | 1)))


@damage('snapshot')
def snapshot_extra_length(rng, image):
    image.put(pick(rng, image.snapshots()) + 36, rng.choice((0, 8, 15, 16, 1024, 1025, 4000, 1 << 31, (1 << 32) - 1)),
              '>I')


@damage('snapshot')
def snapshot_name_lengths(rng, image):
    image.put(pick(rng, image.snapshots()) + rng.choice((12, 14)), rng.choice((0, 1, 3, 200, 65535)), '>H')


@damage('snapshot')
def snapshot_sizes(rng, image):
    image.put(pick(rng, image.snapshots()) + rng.choice((40, 48)), rng.choice((0, 1, 1 << 40, (1 << 64) - 1)))


@damage('snapshot')
def snapshot_count(rng, image):
    image.put(60, rng.choice((0, 1, image.snapshot_count + 1, image.snapshot_count + 9, 65537, (1 << 32) - 1)), '>I')


@damage('snapshot')
def snapshot_table_elsewhere(rng, image):
    if not image.snapshot_count and rng.randrange(4):
        raise Skip
    image.put(64, rng.choice((metadata(rng, image), outside(rng, image), image.snapshots_offset + 512, 0)))
    if not image.snapshot_count:
        image.put(60, 1, '>I')


@damage('snapshot')
def snapshot_twice(rng, image):
    places = image.snapshots()
    if len(places) < 2:
        raise Skip
    one, other = rng.sample(places, 2)
    image.data[one:one + 12] = image.data[other:other + 12]


# ---- bitmaps ------------------------------------------------------------------------------------------------

def directory(image):
    if not image.bitmaps:
        raise Skip
    return image.get(image.bitmaps + 16)


def bitmap(rng, image):
    """Place of some directory entry."""
    place, found = directory(image), []
    for _ in range(image.get(image.bitmaps, '>I')):
        found.append(place)
        place = place + 24 + image.get(place + 18, '>H') + image.get(place + 20, '>I') + 7 & ~7
    return pick(rng, found)


@damage('bitmap')
def bitmaps_stale(_, image):
    directory(image)
    image.put(88, image.get(88) & ~1)


@damage('bitmap')
def bitmap_directory_elsewhere(rng, image):
    start = directory(image)
    image.put(image.bitmaps + 16, rng.choice((metadata(rng, image), outside(rng, image), start + 512, start + 8, 0)))


@damage('bitmap')
def bitmap_directory_size(rng, image):
    directory(image)
    size = image.get(image.bitmaps + 8)
    image.put(image.bitmaps + 8, rng.choice((0, 8, size - 8, size + 8, size * 2, 1 << 26, (1 << 26) + 1, 1 << 63)))


@damage('bitmap')
def bitmap_count(rng, image):
    directory(image)
    count = image.get(image.bitmaps, '>I')
    image.put(image.bitmaps, rng.choice((0, count - 1, count + 1, 65535, 65536, (1 << 32) - 1)), '>I')


@damage('bitmap')
def bitmap_in_use(rng, image):
    place = bitmap(rng, image)
    image.put(place + 12, image.get(place + 12, '>I') ^ rng.choice((1, 1, 2, 4, 1 << 20)), '>I')


@damage('bitmap')
def bitmap_table_elsewhere(rng, image):
    place = bitmap(rng, image)
    image.put(place, rng.choice((metadata(rng, image), outside(rng, image), image.get(place) + 512, 0)))


@damage('bitmap')
def bitmap_table_size(rng, image):
    place = bitmap(rng, image)
    size = image.get(place + 8, '>I')
    image.put(place + 8, rng.choice((0, size - 1, size + 1, size + image.cluster // 8, 1 << 26, (1 << 27) + 1)), '>I')


@damage('bitmap')
def bitmap_table_entry(rng, image):
    place = bitmap(rng, image)
    table, size = image.get(place), image.get(place + 8, '>I')
    image.put(table + 8 * rng.randrange(max(1, size)),
              rng.choice((0, 1, 2, COPIED, 1 | metadata(rng, image), metadata(rng, image), outside(rng, image),
                          pick(rng, image.used()) << image.cluster_bits, rng.randrange(1 << 64))))


@damage('bitmap')
def bitmap_entry_fields(rng, image):
    place = bitmap(rng, image)
    at, form, values = rng.choice(((16, '>B', (0, 2, 255)), (17, '>B', (0, 8, 9, 31, 32, 255)),
                                   (18, '>H', (0, 1, 40, 1023, 1024, 65535)), (20, '>I', (8, 1 << 20, (1 << 32) - 1))))
    image.put(place + at, rng.choice(values), form)
