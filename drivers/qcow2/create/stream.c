/* SPDX-License-Identifier: MIT */
/*
 * Writes an image from front to back, into a pipe: the driver callbacks, and the metadata.
 * Specification: "Header", "Host cluster management", "Cluster mapping".
 */
#include "stream.h"
#include <stdlib.h>

struct qcow2_stream {
    struct qcow2_new fresh;         /* must be first: code that expects the state of an open image finds it there */
    uint8_t *header;
    bool backed;                    /* holes show a backing file */
    struct qcow2_plan plan;
    struct qcow2_placer placer;     /* for the data, while they are written */
    uint64_t first_table, first_data;   /* host offset of the L2 tables, and of the data */
};

static struct qcow2_stream *stream_of(const struct img *image)
{
    return image->state;
}

/* ---- Options -------------------------------------------------------------------------- */

static int refuse_options(const struct qcow2_new *fresh, struct img_error *err)
{
    if (fresh->given->data_file)
        return img_error_set(err, ENOTSUP, "An image that is written in order takes no external data file");
    if (fresh->preallocation != QCOW2_PREALLOC_OFF)
        return img_error_set(err, ENOTSUP, "An image that is written in order takes no preallocation");
    if (fresh->state.h.crypt_method)
        return img_error_set(err, ENOTSUP, "An image that is written in order takes no encryption");
    return 0;
}

static int stream_open(struct img *image, const void *create_options, bool compress, struct img_error *err)
{
    struct qcow2_stream *stream = stream_of(image);
    struct qcow2_new *fresh = &stream->fresh;
    int status = qcow2_new_begin(fresh, create_options, err);

    if (status == 0)
        status = refuse_options(fresh, err);
    if (status == 0)
        status = qcow2_new_header(fresh, &stream->header, err);
    if (status < 0)
        return status;
    stream->backed = fresh->image.backing_name != NULL;
    image->size = fresh->size;
    image->limits.cluster = fresh->state.cluster_size;
    image->limits.write_unit = fresh->state.subcluster_size;
    return qcow2_plan_init(&stream->plan, &fresh->state, fresh->size, compress);
}

static void stream_close(struct img *image)
{
    struct qcow2_stream *stream = stream_of(image);

    qcow2_placer_free(&stream->placer);
    qcow2_plan_free(&stream->plan);
    free(stream->header);
    if (stream->fresh.given)
        qcow2_new_release(&stream->fresh);
}

/* ---- The plan -------------------------------------------------------------------------- */

/* The kind of a run of zeroes in this image. */
static enum img_extent_kind kind_of_zeroes(const struct qcow2_stream *stream)
{
    if (!stream->backed)
        return IMG_HOLE;
    return stream->fresh.state.h.version < 3 ? IMG_DATA : IMG_ZERO;
}

static int stream_plan(struct img *image, const struct img_run *runs, size_t count)
{
    struct qcow2_stream *stream = stream_of(image);
    int status = 0;

    for (size_t i = 0; i < count && status == 0; i++) {
        const struct img_run *run = &runs[i];
        enum img_extent_kind kind = run->kind == IMG_ZERO ? kind_of_zeroes(stream) : run->kind;
        status = qcow2_plan_set(&stream->plan, run->offset, run->length, kind, run->coded_length);
    }
    return status;
}

/* Find the first piece, at cluster *first or later, with planned data; false: none. */
static bool next_piece(const struct qcow2_plan *plan, uint64_t *first)
{
    const struct qcow2 *s = plan->s;
    uint64_t clusters = img_div_up(plan->size, s->cluster_size), piece = qcow2_piece_clusters(plan);

    while (*first < clusters) {
        uint64_t table = *first >> s->l2_bits, last = (img_min(*first + piece, clusters) - 1) >> s->l2_bits;
        for (; table <= last; table++) {
            if (plan->tables[table])
                return true;
        }
        *first = img_max(*first + piece, table << s->l2_bits);
    }
    return false;
}

/* ---- Metadata ---------------------------------------------------------------------------- */

/* Set the sizes of all parts of the file in the header. */
static int lay_out(struct qcow2_stream *stream)
{
    struct qcow2 *s = &stream->fresh.state;
    struct qcow2_plan *plan = &stream->plan;
    struct qcow2_placer placer;
    uint64_t piece = qcow2_piece_clusters(plan), blocks, table, l1, fixed;
    int status = qcow2_placer_init(&placer, plan, 0);

    for (uint64_t first = 0; status == 0 && next_piece(plan, &first); first += piece)
        qcow2_place_piece(&placer, first);
    qcow2_placer_free(&placer);
    l1 = img_div_up(plan->table_count * 8, s->cluster_size);
    fixed = 1 + l1 + plan->used_tables;
    if (status == 0)
        status = qcow2_refcount_area_size(s, true, fixed + img_div_up(placer.host, s->cluster_size), &blocks, &table);
    if (status < 0)
        return status;
    s->h.size = plan->size;
    s->h.l1_size = (uint32_t)plan->table_count;
    s->h.refcount_table_offset = s->cluster_size;
    s->h.refcount_table_clusters = (uint32_t)table;
    s->h.l1_offset = (1 + table + blocks) << s->h.cluster_bits;
    stream->first_table = s->h.l1_offset + (l1 << s->h.cluster_bits);
    stream->first_data = stream->first_table + (plan->used_tables << s->h.cluster_bits);
    /* Largest host offset that the entry of a compressed cluster can hold. */
    if (plan->coded && (stream->first_data + placer.host) >> (62 - (s->h.cluster_bits - 8)))
        return -EFBIG;
    return qcow2_placer_init(&stream->placer, plan, stream->first_data);
}

static int write_number(struct img_sink *sink, uint64_t number)
{
    uint8_t raw[8];

    img_put_be64(raw, number);
    return img_sink_write(sink, raw, sizeof raw);
}

/* Write the table, then its blocks. */
static int write_refcount_table(struct qcow2_stream *stream, struct img_sink *sink)
{
    const struct qcow2 *s = &stream->fresh.state;
    uint64_t table = (uint64_t)s->h.refcount_table_clusters << s->h.cluster_bits;
    uint64_t first = s->h.refcount_table_offset + table;
    int status = 0;

    for (uint64_t block = first; block < s->h.l1_offset && status == 0; block += s->cluster_size)
        status = write_number(sink, block);
    return status < 0 ? status : img_sink_advance(sink, first);
}

struct counter {
    const struct qcow2 *s;
    struct img_sink *sink;
    uint8_t *block;
    uint64_t first;                 /* first cluster that it counts */
};

static int write_block(struct counter *counter)
{
    int status = img_sink_write(counter->sink, counter->block, counter->s->cluster_size);

    if (status == 0)
        status = img_sink_flush(counter->sink);
    memset(counter->block, 0, counter->s->cluster_size);
    counter->first += 1ull << counter->s->refblock_bits;
    return status;
}

/* Count the clusters of [host, +length) once more; calls must ascend. */
static int count(struct counter *counter, uint64_t host, uint64_t length)
{
    const struct qcow2 *s = counter->s;
    uint64_t last = (host + length - 1) >> s->h.cluster_bits;
    int status = 0;

    for (uint64_t cluster = host >> s->h.cluster_bits; cluster <= last && status == 0; cluster++) {
        while (cluster >= counter->first + (1ull << s->refblock_bits) && status == 0)
            status = write_block(counter);
        uint64_t index = cluster - counter->first;
        qcow2_refcount_put(s, counter->block, index, qcow2_refcount_at(s, counter->block, index) + 1);
    }
    return status;
}

static int write_blocks(struct qcow2_stream *stream, struct img_sink *sink)
{
    const struct qcow2 *s = &stream->fresh.state;
    CLEANUP_FREE uint8_t *block = calloc(1, s->cluster_size);
    struct counter counter = { .s = s, .sink = sink, .block = block };
    struct qcow2_placer placer;
    uint64_t piece = qcow2_piece_clusters(&stream->plan);
    int status = qcow2_placer_init(&placer, &stream->plan, stream->first_data);

    if (status == 0)
        status = block ? count(&counter, 0, stream->first_data) : -ENOMEM;
    for (uint64_t first = 0; status == 0 && next_piece(&stream->plan, &first); first += piece) {
        qcow2_place_piece(&placer, first);
        for (size_t i = 0; i < placer.count && status == 0; i++)
            status = count(&counter, placer.at[i].host, placer.at[i].coded ? placer.at[i].coded : s->cluster_size);
    }
    qcow2_placer_free(&placer);
    return status < 0 ? status : write_block(&counter);
}

static int write_l1(struct qcow2_stream *stream, struct img_sink *sink)
{
    const struct qcow2 *s = &stream->fresh.state;
    uint64_t table = stream->first_table;
    int status = 0;

    for (uint64_t i = 0; i < stream->plan.table_count && status == 0; i++) {
        bool used = stream->plan.tables[i] != NULL;
        status = write_number(sink, used ? table | QCOW2_COPIED : 0);
        table += used ? s->cluster_size : 0;
    }
    return status < 0 ? status : img_sink_advance(sink, stream->first_table);
}

/* ---- L2 tables ------------------------------------------------------------------------------ */

/* Clusters that are entered into tables together: whole pieces, whole tables. */
struct region {
    const struct qcow2_plan *plan;
    uint64_t first, clusters;
    uint8_t *entries;
};

static void put_entry(struct region *region, uint64_t cluster, uint64_t entry, uint64_t bitmap)
{
    const struct qcow2 *s = region->plan->s;
    uint8_t *at = region->entries + (cluster - region->first) * s->l2_entry_size;

    img_put_be64(at, entry);
    if (s->subclusters > 1)
        img_put_be64(at + 8, bitmap);
}

static void put_place(struct region *region, const struct qcow2_place *place)
{
    const struct qcow2_plan *plan = region->plan;

    if (place->coded)
        put_entry(region, place->cluster, qcow2_coded_entry(plan->s, place->host, place->coded), 0);
    else
        put_entry(region, place->cluster, place->host | QCOW2_COPIED,
                  plan->coded ? UINT32_MAX : qcow2_plan_bitmap(plan, place->cluster));
}

static void put_zeroes(struct region *region)
{
    const struct qcow2_plan *plan = region->plan;
    uint64_t end = img_min(region->first + region->clusters, img_div_up(plan->size, plan->s->cluster_size));

    for (uint64_t cluster = region->first; cluster < end; cluster++) {
        if (qcow2_plan_cluster(plan, cluster) != IMG_ZERO)
            continue;
        if (plan->s->subclusters == 1)
            put_entry(region, cluster, QCOW2_ZERO, 0);
        else
            put_entry(region, cluster, 0, plan->coded ? ~(uint64_t)UINT32_MAX : qcow2_plan_bitmap(plan, cluster));
    }
}

static int write_region(struct region *region, struct qcow2_placer *placer, struct img_sink *sink)
{
    const struct qcow2_plan *plan = region->plan;
    const struct qcow2 *s = plan->s;
    uint64_t first = region->first, end = first + region->clusters, piece = qcow2_piece_clusters(plan);
    int status = 0;

    memset(region->entries, 0, region->clusters * s->l2_entry_size);
    for (; next_piece(plan, &first) && first < end; first += piece) {
        qcow2_place_piece(placer, first);
        for (size_t i = 0; i < placer->count; i++)
            put_place(region, &placer->at[i]);
    }
    put_zeroes(region);
    for (uint64_t i = 0; i < region->clusters >> s->l2_bits && status == 0; i++) {
        uint64_t index = (region->first >> s->l2_bits) + i;
        if (index < plan->table_count && plan->tables[index])
            status = img_sink_write(sink, region->entries + (i << s->h.cluster_bits), s->cluster_size);
    }
    return status < 0 ? status : img_sink_flush(sink);
}

static int write_l2(struct qcow2_stream *stream, struct img_sink *sink)
{
    const struct qcow2 *s = &stream->fresh.state;
    struct region region = { .plan = &stream->plan };
    struct qcow2_placer placer;
    uint64_t first = 0;

    region.clusters = img_max(qcow2_piece_clusters(&stream->plan), 1ull << s->l2_bits);
    region.entries = malloc(region.clusters * s->l2_entry_size);
    int status = qcow2_placer_init(&placer, &stream->plan, stream->first_data);
    if (!region.entries)
        status = -ENOMEM;
    for (; status == 0 && next_piece(&stream->plan, &first); first = region.first + region.clusters) {
        region.first = img_align_down(first, region.clusters);
        status = write_region(&region, &placer, sink);
    }
    qcow2_placer_free(&placer);
    free(region.entries);
    return status;
}

static int stream_begin(struct img *image, struct img_sink *sink)
{
    struct qcow2_stream *stream = stream_of(image);
    struct qcow2 *s = &stream->fresh.state;
    int status = lay_out(stream);

    if (status < 0 || (status = qcow2_build_header(&stream->fresh.image, stream->header)) < 0 ||
        (status = img_sink_write(sink, stream->header, s->cluster_size)) < 0 ||
        (status = write_refcount_table(stream, sink)) < 0 ||
        (status = write_blocks(stream, sink)) < 0 ||
        (status = img_sink_advance(sink, s->h.l1_offset)) < 0 ||
        (status = write_l1(stream, sink)) < 0 ||
        (status = write_l2(stream, sink)) < 0)
        return status;
    return img_sink_advance(sink, stream->first_data);
}

/* ---- Data --------------------------------------------------------------------------------------- */

/* Does the part of a run in this unit match the plan?  If not, the source has changed meanwhile. */
static bool as_planned(const struct qcow2_stream *stream, const struct img_run *run, uint64_t unit, uint64_t unit_size)
{
    enum img_extent_kind kind = qcow2_plan_kind(&stream->plan, unit);
    bool zero = run->kind == IMG_ZERO || (run->kind == IMG_HOLE && !stream->backed);

    if (kind == IMG_CODED)
        return run->kind == IMG_CODED && run->coded_length == qcow2_plan_coded(&stream->plan, unit);
    if (kind == run->kind)
        return true;
    if (kind == IMG_DATA)
        return zero;
    /* Zeroes were planned, unless the backing file should show. */
    if (kind == IMG_HOLE && stream->backed)
        return false;
    if (run->kind != IMG_DATA)
        return zero;
    uint64_t inside = unit * unit_size - run->offset;
    return img_is_zero((const uint8_t *)run->bytes + inside, img_min(unit_size, run->length - inside));
}

static bool all_as_planned(const struct qcow2_stream *stream, const struct img_run *runs, size_t count)
{
    const struct qcow2_plan *plan = &stream->plan;
    uint64_t unit_size = plan->s->cluster_size / plan->units;

    for (size_t i = 0; i < count; i++) {
        const struct img_run *run = &runs[i];
        bool hole = run->kind == IMG_HOLE || (run->kind == IMG_ZERO && !stream->backed);
        uint64_t unit = run->offset / unit_size, end = img_div_up(run->offset + run->length, unit_size);
        while (unit < end) {
            if (hole && !plan->tables[unit / plan->table_units])
                unit = (unit / plan->table_units + 1) * plan->table_units;
            else if (!as_planned(stream, run, unit++, unit_size))
                return false;
        }
    }
    return true;
}

/* The run at `offset`; the search begins at *index. */
static const struct img_run *run_at(const struct img_run *runs, size_t *index, uint64_t offset)
{
    if (runs[*index].offset > offset)
        *index = 0;
    while (runs[*index].offset + runs[*index].length <= offset)
        ++*index;
    return &runs[*index];
}

static int put_whole(const struct qcow2_stream *stream, const struct qcow2_place *place, const struct img_run *runs,
                     size_t *index, struct img_sink *sink)
{
    const struct qcow2_plan *plan = &stream->plan;
    uint64_t unit_size = plan->s->cluster_size / plan->units, offset = place->cluster << plan->s->h.cluster_bits;
    uint64_t end = img_min(offset + plan->s->cluster_size, plan->size);
    int status = 0;

    for (; offset < end && status == 0; offset += unit_size) {
        const struct img_run *run = run_at(runs, index, offset);
        uint64_t inside = offset - run->offset;
        if (run->kind == IMG_DATA && qcow2_plan_kind(plan, offset / unit_size) == IMG_DATA)
            status = img_sink_write(sink, (const uint8_t *)run->bytes + inside,
                                    img_min(unit_size, run->length - inside));
        if (status == 0)
            status = img_sink_advance(sink, place->host + (offset % plan->s->cluster_size) + unit_size);
    }
    return status < 0 ? status : img_sink_advance(sink, place->host + plan->s->cluster_size);
}

static int put_place_bytes(const struct qcow2_stream *stream, const struct qcow2_place *place,
                           const struct img_run *runs, size_t *index, struct img_sink *sink)
{
    int status = img_sink_advance(sink, place->host);

    if (status < 0 || !place->coded)
        return status < 0 ? status : put_whole(stream, place, runs, index, sink);
    return img_sink_write(sink, run_at(runs, index, place->cluster << stream->plan.s->h.cluster_bits)->bytes,
                          place->coded);
}

static int stream_put(struct img *image, const struct img_run *runs, size_t number, struct img_sink *sink)
{
    struct qcow2_stream *stream = stream_of(image);
    const struct qcow2 *s = &stream->fresh.state;
    uint64_t first = runs[0].offset >> s->h.cluster_bits, piece = qcow2_piece_clusters(&stream->plan);
    uint64_t end = img_div_up(runs[number - 1].offset + runs[number - 1].length, s->cluster_size);
    size_t index = 0;
    int status = all_as_planned(stream, runs, number) ? 0 : -ESTALE;

    for (; status == 0 && next_piece(&stream->plan, &first) && first < end; first += piece) {
        qcow2_place_piece(&stream->placer, first);
        for (size_t i = 0; i < stream->placer.count && status == 0; i++)
            status = put_place_bytes(stream, &stream->placer.at[i], runs, &index, sink);
    }
    return status;
}

/* Compressed clusters are read in whole sectors. */
static int stream_end(struct img *image, struct img_sink *sink)
{
    return img_sink_advance(sink, img_align_up(stream_of(image)->placer.host, 512));
}

const struct img_stream_ops qcow2_stream_ops = {
    .state_size = sizeof(struct qcow2_stream),
    .open = stream_open,
    .plan = stream_plan,
    .begin = stream_begin,
    .put = stream_put,
    .end = stream_end,
    .close = stream_close,
};
