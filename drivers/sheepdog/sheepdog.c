/* SPDX-License-Identifier: MIT */
/* The vtable. */
#include "sheepdog.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/strbuf.h"
#include <stdlib.h>

IMG_MODULE("");
IMG_NOT_STATIC("to keep that small");

enum { SECTOR = 512, MOST_TRANSFER = 4 << 20, USEFUL_EACH = 4 };

/* ---- Opening ---------------------------------------------------------------------------------- */

static void set_limits(struct img *image)
{
    const struct sheepdog *s = image->state;
    struct img_limits *limits = &image->limits;
    uint64_t size = sheepdog_object_size(&s->vdi);

    limits->request_alignment = SECTOR;
    limits->max_transfer = img_min(size, MOST_TRANSFER);
    limits->write_zeroes_alignment = limits->discard_alignment = size;
    limits->requests = USEFUL_EACH * s->pool.most;
    limits->round_trip = true;
}

static int find_and_load(struct img *image, struct img_error *err)
{
    struct sheepdog *s = image->state;
    uint32_t id;
    int ret = sheepdog_find_target(s, &id, err);

    if (ret == 0)
        ret = sheepdog_inode_load(s, id, err);
    if (ret == 0 && image->flags & IMG_RDWR && s->vdi.snapshot_time)
        ret = img_error_set(err, EACCES, "A snapshot of a VDI can only be read");
    return ret;
}

static int driver_open(struct img *image, const void *parsed, struct img_doc *options, struct img_error *err)
{
    struct sheepdog *s = image->state;
    int ret = sheepdog_connect(s, parsed, options, err);

    if (ret < 0)
        return ret;
    s->image = image;
    ret = find_and_load(image, err);
    if (ret < 0) {
        sheepdog_disconnect(s);
        return ret;
    }
    image->size = img_align_up(s->vdi.size, SECTOR);
    image->no_details = true;
    set_limits(image);
    return 0;
}

static int driver_close(struct img *image)
{
    struct sheepdog *s = image->state;

    sheepdog_unlock(s);
    sheepdog_disconnect(s);
    return 0;
}

/* What was read before the lock may have changed since then. */
static int driver_lock(struct img *image, struct img_error *err)
{
    struct sheepdog *s = image->state;
    int ret;

    if (s->locked || s->vdi.snapshot_time || !(image->perm & (IMG_PERM_WRITE | IMG_PERM_RESIZE)))
        return 0;
    ret = sheepdog_lock(s, err);
    if (ret == 0)
        ret = sheepdog_inode_load(s, s->locked, err);
    if (ret < 0) {
        sheepdog_unlock(s);
        return ret;
    }
    image->size = img_align_up(s->vdi.size, SECTOR);
    return 0;
}

static int plain_name(const struct img *image, char **name)
{
    const struct sheepdog *s = image->state;

    return sheepdog_target_text(&s->target, name);
}

/* ---- Requests ------------------------------------------------------------------------------------ */

static int driver_pread(struct img *image, void *buffer, uint64_t offset, size_t length)
{
    return sheepdog_read(image->state, buffer, offset, length);
}

static int driver_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags)
{
    int ret = sheepdog_write(image->state, buffer, offset, length);

    if (ret < 0)
        return ret;
    img_grew_to(image, offset + length);
    return flags & IMG_WRITE_FUA ? sheepdog_flush(image->state) : 0;
}

/* (zeroes that have to keep their storage are written) */
static int driver_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags)
{
    struct sheepdog *s = image->state;
    uint64_t end;
    int ret;

    if (!(flags & IMG_ZERO_MAY_UNMAP))
        return -ENOTSUP;
    if (!img_add(offset, length, &end) || end > sheepdog_most_size(s->vdi.shift))
        return -EFBIG;
    ret = sheepdog_inode_grow(s, end);
    if (ret == 0)
        ret = sheepdog_zero(s, offset, length, !(flags & IMG_ZERO_NO_FALLBACK));
    if (ret == 0)
        img_grew_to(image, end);
    return ret;
}

static int driver_discard(struct img *image, uint64_t offset, uint64_t length)
{
    return sheepdog_discard(image->state, offset, length);
}

static int driver_flush(struct img *image)
{
    return sheepdog_flush(image->state);
}

/* Objects in a row that there are, or are not. */
static int driver_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent)
{
    const struct sheepdog *s = image->state;
    struct sheepdog_piece piece = sheepdog_first_piece(s, offset, length);
    uint64_t end = offset + piece.length;
    bool data = sheepdog_owner(s, piece.object);

    while (end < offset + length) {
        piece = sheepdog_first_piece(s, end, offset + length - end);
        if (data != !!sheepdog_owner(s, piece.object))
            break;
        end += piece.length;
    }
    *extent = (struct img_extent){ .offset = offset, .length = end - offset, .kind = data ? IMG_DATA : IMG_ZERO,
                                   .host_valid = true, .file = image, .host = offset };
    return 0;
}

static int driver_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err)
{
    struct sheepdog *s = image->state;
    uint64_t old = s->vdi.size;
    bool full;
    int ret = sheepdog_take_preallocation(preallocation, &full, err);

    if (ret < 0)
        return ret;
    if (size < old)
        return img_error_set(err, ENOTSUP, "A VDI cannot become smaller");
    if (size > sheepdog_most_size(s->vdi.shift))
        return img_error_set(err, EFBIG, "With objects of %llu bytes a VDI has at most %llu bytes",
                             (unsigned long long)sheepdog_object_size(&s->vdi),
                             (unsigned long long)sheepdog_most_size(s->vdi.shift));
    ret = sheepdog_inode_grow(s, size);
    if (ret < 0)
        return img_error_errno(err, -ret, "Could not resize VDI '%s'", s->target.vdi);
    image->size = img_align_up(size, SECTOR);
    if (full && (ret = sheepdog_allocate(s, old, size)) < 0)
        return img_error_errno(err, -ret, "Could not preallocate VDI '%s'", s->target.vdi);
    return 0;
}

/* ---- What it is like --------------------------------------------------------------------------------- */

static uint64_t count_objects(const struct sheepdog *s, bool own)
{
    uint64_t objects = img_div_up(s->vdi.size, sheepdog_object_size(&s->vdi)), count = 0;

    for (uint32_t i = 0; i < objects; i++) {
        uint32_t owner = sheepdog_owner(s, i);
        count += own ? owner == s->vdi.id : owner != 0;
    }
    return count;
}

/* (what it has of its own, as without copies) */
static int64_t driver_allocated(struct img *image)
{
    const struct sheepdog *s = image->state;

    return (int64_t)(count_objects(s, true) << s->vdi.shift);
}

static uint64_t driver_length(struct img *image, bool now)
{
    (void)now;
    return sheepdog_size(image->state);
}

static bool zero_initialised(struct img *image)
{
    return count_objects(image->state, false) == 0;
}

static int driver_info(struct img *image, struct img_doc *data, struct img_error *err)
{
    const struct sheepdog_vdi *vdi = &((const struct sheepdog *)image->state)->vdi;
    char *redundancy = vdi->copy_policy
        ? img_asprintf("%u:%u", (vdi->copy_policy >> 4) * 2u, vdi->copy_policy & 15u) : img_asprintf("%u", vdi->copies);
    char *id = img_asprintf("%06x", vdi->id);

    if (id)
        img_doc_put_string(data, "vdi-id", id);
    img_doc_put_uint(data, "object-size", sheepdog_object_size(vdi));
    if (redundancy)
        img_doc_put_string(data, "redundancy", redundancy);
    img_doc_put_bool(data, "snapshot", vdi->snapshot_time != 0);
    free(id);
    free(redundancy);
    return id && redundancy ? 0 : img_error_memory(err);
}

/* ---- The table -------------------------------------------------------------------------------------- */

#define AT_CREATE(option, kind, member, text) \
    { .name = option, .help = text, .type = kind, .when = IMG_AT_CREATE, \
      .offset = offsetof(struct sheepdog_create_options, member) }
#define AT_OPEN(option, kind, member, usual, text) \
    { .name = option, .help = text, .type = kind, .when = IMG_AT_OPEN, .standard = usual, \
      .offset = offsetof(struct sheepdog_open_options, member) }

static const struct img_option sheepdog_options[] = {
    AT_CREATE("size", IMG_OPT_SIZE, size, "Virtual disk size"),
    AT_CREATE("backing_file", IMG_OPT_STRING, backing_file, "Name of the snapshot to clone"),
    AT_CREATE("backing_fmt", IMG_OPT_STRING, backing_fmt, "Must be 'raw' if present"),
    AT_CREATE("preallocation", IMG_OPT_STRING, preallocation, "Preallocation mode (allowed values: off, full)"),
    AT_CREATE("redundancy", IMG_OPT_STRING, redundancy, "Number of copies, or X:Y for erasure coding"),
    AT_CREATE("object_size", IMG_OPT_SIZE, object_size, "Size of the objects that the disk consists of"),
    AT_OPEN("vdi", IMG_OPT_STRING, vdi, NULL, "Name of the disk"),
    AT_OPEN("snap-id", IMG_OPT_NUMBER, snap_id, NULL, "Id of a snapshot"),
    AT_OPEN("tag", IMG_OPT_STRING, tag, NULL, "Tag of a snapshot"),
    AT_OPEN("timeout", IMG_OPT_NUMBER, timeout, "60", "Seconds that the server may be silent; 0: for ever"),
    AT_OPEN("reconnect-delay", IMG_OPT_NUMBER, reconnect_delay, "30", "Seconds to wait for a server that was lost"),
    AT_OPEN("connections", IMG_OPT_NUMBER, connections, "4", "Connections at most"),
    { .name = NULL }
};

static const char *const strong_options[] = { "server.", "vdi", "snap-id", "tag", NULL };

const struct img_driver img_driver_sheepdog = {
    IMG_ROW(
        .name = "sheepdog", .kind = IMG_PROTOCOL, .prefix = "sheepdog sheepdog+tcp sheepdog+unix"
    ),
    .traits = IMG_WRITES_FUA,
    .state_size = sizeof(struct sheepdog),
    .options = sheepdog_options,
    .create_size = sizeof(struct sheepdog_create_options),
    .open_size = sizeof(struct sheepdog_open_options),
    .open = driver_open,
    .close = driver_close,
    .lock = driver_lock,
    .create = sheepdog_driver_create,
    .parse_name = sheepdog_parse_name,
    .plain_name = plain_name,
    .pread = driver_pread,
    .pwrite = driver_pwrite,
    .zero = driver_zero,
    .discard = driver_discard,
    .flush = driver_flush,
    .map = driver_map,
    .resize = driver_resize,
    .info = driver_info,
    .allocated = driver_allocated,
    .length = driver_length,
    .zero_initialised = zero_initialised,
    .snapshots = sheepdog_snapshots,
    .snapshot_load = sheepdog_snapshot_load,
    .snapshot_create = sheepdog_snapshot_create,
    .snapshot_apply = sheepdog_snapshot_apply,
    .snapshot_delete = sheepdog_snapshot_delete,
    .strong_options = strong_options,
};
