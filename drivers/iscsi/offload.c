/* SPDX-License-Identifier: MIT */
/*
 * A copy that the target does by itself, from one of its disks to another: EXTENDED COPY(LID1) (SPC-4, 6.4).
 *
 * The command goes to the disk that is written.  It names both disks by a designator that each has told of itself
 * (VPD page 83h), and lets the target read from one and write to the other.  What the target takes is in its answer to
 * RECEIVE COPY OPERATING PARAMETERS.  Nobody but `convert -C` needs these, so they are asked for at the first copy.
 */
#include "iscsi.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/endian.h"
#include <string.h>

enum { ANSWER = 255, IDENTIFICATION_PAGE = 0x83 };
/* The parameter list: a head, two descriptors of disks, one of a segment.  A segment has at most so many blocks. */
enum { HEAD = 16, DISK = 32, SEGMENT = 28, PARAMETERS = HEAD + 2 * DISK + SEGMENT, MOST_BLOCKS = 0xffff };
enum { DISK_BY_DESIGNATOR = 0xe4, BLOCKS_TO_BLOCKS = 0x02 };
/* LIST ID USAGE, in its place: results are not held for an identifier; there is no identifier. */
enum { NOTHING_HELD = 2 << 3, NO_IDENTIFIER = 3 << 3 };

/* ---- The name of a disk ------------------------------------------------------------------------ */

enum { OF_VENDOR = 1, EUI64 = 2, NAA = 3 };

/* How well does a designator tell this disk from all others?  0: not at all. */
static int rank(unsigned association, unsigned type, size_t length)
{
    if (association != 0 || length > ISCSI_DESIGNATOR)
        return 0;                   /* not of the logical unit */
    switch (type) {
    case NAA: return length >= 16 ? 5 : length >= 8 ? 4 : 0;
    case EUI64: return length >= 8 ? 3 : 0;
    case OF_VENDOR: return length > 8 ? 1 : 0;
    default: return 0;
    }
}

bool iscsi_find_designator(const unsigned char *page, size_t got, struct iscsi_designator *found)
{
    size_t end = got < 4 ? 0 : img_min(got, img_get_be16(page + 2) + UINT64_C(4));
    int best = 0;

    for (size_t at = 4; at + 4 <= end; at += 4u + page[at + 3]) {
        const unsigned char *one = page + at;
        size_t length = one[3];
        int this = rank(one[1] >> 4 & 3, one[1] & 0xf, length);
        if (at + 4 + length > end)
            break;
        if (this <= best)
            continue;
        best = this;
        *found = (struct iscsi_designator){ .code_set = one[0] & 0xf, .type = one[1] & 0xf, .length = length };
        memcpy(found->bytes, one + 4, length);
    }
    return best > 0;
}

static bool same_designator(const struct iscsi_designator *a, const struct iscsi_designator *b)
{
    return a->type == b->type && a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

/* ---- What the target takes ------------------------------------------------------------------------ */

static bool lists(const unsigned char *answer, size_t got, unsigned char descriptor)
{
    return got > 44 && memchr(answer + 44, descriptor, img_min(got - 44, answer[43])) != NULL;
}

bool iscsi_judge_copy_limits(const unsigned char *answer, size_t got, struct iscsi_copy_limits *limits)
{
    got = got < 4 ? 0 : img_min(got, img_get_be32(answer) + UINT64_C(4));
    if (!lists(answer, got, DISK_BY_DESIGNATOR) || !lists(answer, got, BLOCKS_TO_BLOCKS) ||
        img_get_be16(answer + 8) < 2 || img_get_be16(answer + 10) < 1 ||
        img_get_be32(answer + 12) < 2 * DISK + SEGMENT || answer[37] >= 32)
        return false;
    *limits = (struct iscsi_copy_limits){
        .without_identifier = answer[4] & 1,
        .longest = img_get_be32(answer + 16),
        .most = img_max(answer[36], 1),
        .granularity = UINT64_C(1) << answer[37],
    };
    return true;
}

/* ---- Asking ----------------------------------------------------------------------------------------- */

static int ask(struct img *image, struct iscsi *s, struct iscsi_request *request, unsigned char *answer)
{
    request->answer = answer;
    request->room = ANSWER;
    return iscsi_run(image, s, request, NULL);
}

/* These two ask once.  (-ECANCELED is no answer.) */
static bool knows_name(struct img *image, struct iscsi *s)
{
    struct iscsi_offload *o = &s->offload;
    struct iscsi_request request = { .kind = ISCSI_INQUIRY, .page = IDENTIFICATION_PAGE };
    unsigned char answer[ANSWER];
    int ret;

    LOCK_SCOPE(&o->lock);
    if (!o->asked_name) {
        ret = ask(image, s, &request, answer);
        o->asked_name = ret != -ECANCELED;
        o->has_name = ret == 0 && request.got >= 4 && answer[1] == IDENTIFICATION_PAGE &&
                      iscsi_find_designator(answer, request.got, &o->name);
    }
    return o->has_name;
}

static bool takes_copies(struct img *image, struct iscsi *s)
{
    struct iscsi_offload *o = &s->offload;
    struct iscsi_request request = { .kind = ISCSI_COPY_LIMITS };
    unsigned char answer[ANSWER];
    int ret;

    LOCK_SCOPE(&o->lock);
    if (!s->unit.copies)
        return false;
    if (!o->asked_limits) {
        ret = ask(image, s, &request, answer);
        o->asked_limits = ret != -ECANCELED;
        o->takes = ret == 0 && iscsi_judge_copy_limits(answer, request.got, &o->limits);
    }
    return o->takes;
}

/*
 * May the target of `to` be told to read from `from`?  It looks for that among the disks that it knows, so they must be
 * in the same box: another one can have a disk of the same name, as the clone of a machine has.
 */
static bool can_copy(struct img *from, struct img *to)
{
    struct iscsi *source = from->state, *target = to->state;

    return strcmp(source->target.portal, target->target.portal) == 0 &&
           source->unit.block_size == target->unit.block_size && takes_copies(to, target) &&
           knows_name(from, source) && knows_name(to, target) &&
           !same_designator(&source->offload.name, &target->offload.name);
}

/* ---- The command ------------------------------------------------------------------------------------- */

static void put_disk(unsigned char *to, const struct iscsi_designator *name, uint32_t block_size)
{
    to[0] = DISK_BY_DESIGNATOR;
    to[4] = (unsigned char)name->code_set;
    to[5] = (unsigned char)name->type;
    to[7] = (unsigned char)name->length;
    memcpy(to + 8, name->bytes, name->length);
    to[29] = (unsigned char)(block_size >> 16);
    img_put_be16(to + 30, (uint16_t)block_size);
}

/* From the first of the disks to the second. */
static void put_segment(unsigned char *to, uint64_t from_lba, uint64_t to_lba, uint16_t blocks)
{
    to[0] = BLOCKS_TO_BLOCKS;
    img_put_be16(to + 2, SEGMENT - 4);
    img_put_be16(to + 4, 0);
    img_put_be16(to + 6, 1);
    img_put_be16(to + 10, blocks);
    img_put_be64(to + 12, from_lba);
    img_put_be64(to + 20, to_lba);
}

/* A target takes only some copies at a time, which have different identifiers. */
static unsigned begin_copy(struct iscsi_offload *o)
{
    unsigned identifier = 0;

    LOCK_SCOPE(&o->lock);
    while (o->running == (o->limits.most < ISCSI_MOST_COPIES ? (1u << o->limits.most) - 1 : UINT32_MAX))
        pthread_cond_wait(&o->change, &o->lock);
    while (o->running & 1u << identifier)
        identifier++;
    o->running |= 1u << identifier;
    return identifier;
}

static void end_copy(struct iscsi_offload *o, unsigned identifier)
{
    LOCK_SCOPE(&o->lock);
    o->running &= ~(1u << identifier);
    pthread_cond_signal(&o->change);
}

static int copy_segment(struct img *from, uint64_t from_lba, struct img *to, uint64_t to_lba, uint16_t blocks)
{
    struct iscsi *source = from->state, *target = to->state;
    struct iscsi_offload *o = &target->offload;
    unsigned char list[PARAMETERS] = { 0 };
    struct iscsi_request request = { .kind = ISCSI_COPY, .write = list, .length = sizeof list, .lba = to_lba };
    unsigned identifier = begin_copy(o);
    int ret;

    list[0] = o->limits.without_identifier ? 0 : (unsigned char)(identifier + 1);
    list[1] = o->limits.without_identifier ? NO_IDENTIFIER : NOTHING_HELD;
    img_put_be16(list + 2, 2 * DISK);
    img_put_be32(list + 8, SEGMENT);
    put_disk(list + HEAD, &source->offload.name, source->unit.block_size);
    put_disk(list + HEAD + DISK, &target->offload.name, target->unit.block_size);
    put_segment(list + HEAD + 2 * DISK, from_lba, to_lba, blocks);
    ret = iscsi_run(to, target, &request, NULL);
    end_copy(o, identifier);
    return ret;
}

int iscsi_copy_range(struct img *from, uint64_t from_offset, struct img *to, uint64_t to_offset, uint64_t length,
                     bool share)
{
    const struct iscsi *target = to->state;
    uint64_t block = target->unit.block_size, most;
    int ret = 0;

    if (share || !can_copy(from, to))
        return -ENOTSUP;
    if (!img_aligned(from_offset | to_offset | length, img_max(block, target->offload.limits.granularity)) ||
        !img_within(from_offset, length, img_size(from)) || !img_within(to_offset, length, img_size(to)))
        return -EINVAL;
    most = target->offload.limits.longest;
    most = img_align_down(img_min(most ? most : UINT64_MAX, MOST_BLOCKS * block),
                          img_max(block, target->offload.limits.granularity));
    if (most == 0)
        return -ENOTSUP;
    for (uint64_t done = 0; done < length && ret == 0; ) {
        uint64_t part = img_min(length - done, most);
        ret = copy_segment(from, (from_offset + done) / block, to, (to_offset + done) / block,
                           (uint16_t)(part / block));
        done += part;
    }
    /* Whatever the target has against it: copying the bytes the ordinary way works, or has an error to tell. */
    return ret < 0 && ret != -ECANCELED ? -ENOTSUP : ret;
}
