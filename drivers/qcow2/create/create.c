/* SPDX-License-Identifier: MIT */
/*
 * New qcow2 images.
 *
 * All options are checked before any file is touched, in qemu-img's order, so that of several mistakes the same one
 * is reported.  The image starts with header, refcount table and one refcount block, for a disk of size 0.  Then it
 * is resized by the same code as any image, which gives the same layout as qemu-img's.
 */
#include "../qcow2.h"
#include "../../../libimg/io/encrypt-options.h"


enum { SECTOR = 512, MIN_EXTENDED_CLUSTER = 16384, L2_CACHE_BYTES = 1 << 20, REFBLOCK_CACHE_BYTES = 1 << 20 };

/* The largest size that libimg can address. */
#define MAX_SIZE (INT64_MAX & ~((1ull << 30) - 1))

/* ---- Options ------------------------------------------------------------------- */

static int choose_version(struct qcow2_new *plan, struct img_error *err)
{
    const char *compat = plan->given->compat;
    struct qcow2_header *h = &plan->state.h;

    if (!compat || strcmp(compat, "1.1") == 0 || strcmp(compat, "v3") == 0)
        h->version = 3;
    else if (strcmp(compat, "0.10") == 0 || strcmp(compat, "v2") == 0)
        h->version = 2;
    else
        return qcow2_bad_choice(err, "version", compat);
    return 0;
}

static int choose_compression(struct qcow2_new *plan, struct img_error *err)
{
    const char *type = plan->given->compression_type;

    if (!type || strcmp(type, "zlib") == 0)
        plan->state.h.compression = QCOW2_ZLIB;
    else if (strcmp(type, "zstd") == 0)
        plan->state.h.compression = QCOW2_ZSTD;
    else
        return qcow2_bad_choice(err, "compression-type", type);
    /* (zlib is the default, also of images that will have no compressed cluster) */
    if (plan->state.h.compression == QCOW2_ZSTD && img_codec_need(IMG_CODEC_ZSTD) < 0)
        return img_error_set(err, ENOTSUP, "'compression_type=zstd' needs zstd, which is not built in");
    /* Not stored: the tool passes both on when it opens the image for writing. */
    return qcow2_choose_coding(plan->state.h.compression, plan->given->compression_level,
                               plan->given->compression_window, &plan->state.coding, err);
}

int qcow2_cluster_size_of(const struct qcow2_create_options *given, uint64_t *cluster_size, struct img_error *err)
{
    uint64_t size = given->cluster_size < 0 ? 65536 : (uint64_t)given->cluster_size;

    if (!img_power_of_two(size) || size < 1u << QCOW2_MIN_CLUSTER_BITS || size > 1u << QCOW2_MAX_CLUSTER_BITS)
        return img_error_set(err, EINVAL, "Cluster size must be a power of two between %d and %dk",
                             1 << QCOW2_MIN_CLUSTER_BITS, 1 << (QCOW2_MAX_CLUSTER_BITS - 10));
    if (given->extended_l2 == 1 && size < MIN_EXTENDED_CLUSTER)
        return img_error_set(err, EINVAL, "Extended L2 entries are only supported with cluster sizes of at least %u "
                             "bytes", MIN_EXTENDED_CLUSTER);
    *cluster_size = size;
    return 0;
}

static int choose_cluster_size(struct qcow2_new *plan, struct img_error *err)
{
    const struct qcow2_create_options *given = plan->given;
    uint64_t size;
    int status;

    if (given->extended_l2 == 1 && plan->state.h.version < 3)
        return img_error_set(err, EINVAL, "Extended L2 entries are only supported with compatibility level 1.1 and "
                             "above (use version=v3 or greater)");
    if ((status = qcow2_cluster_size_of(given, &size, err)) < 0)
        return status;
    plan->state.h.cluster_bits = (uint32_t)__builtin_ctzll(size);
    return 0;
}

static int choose_refcounts(struct qcow2_new *plan, struct img_error *err)
{
    int64_t bits = plan->given->refcount_bits == -1 ? 16 : plan->given->refcount_bits;

    if (plan->given->lazy_refcounts == 1 && plan->state.h.version < 3)
        return img_error_set(err, EINVAL, "Lazy refcounts only supported with compatibility level 1.1 and above "
                             "(use version=v3 or greater)");
    if (bits < 1 || bits > 64 || !img_power_of_two((uint64_t)bits))
        return img_error_set(err, EINVAL, "Refcount width must be a power of two and may not exceed 64 bits");
    if (bits != 16 && plan->state.h.version < 3)
        return img_error_set(err, EINVAL, "Different refcount widths than 16 bits require compatibility level 1.1 or "
                             "above (use version=v3 or greater)");
    plan->state.h.refcount_order = (uint32_t)__builtin_ctzll((uint64_t)bits);
    return 0;
}

static int check_backing(const struct qcow2_new *plan, struct img_error *err)
{
    const struct qcow2_create_options *given = plan->given;

    if (given->backing_file && plan->preallocation != QCOW2_PREALLOC_OFF && given->extended_l2 != 1)
        return img_error_set(err, EINVAL, "Backing file and preallocation can only be used at the same time if "
                             "extended_l2 is on");
    if (given->backing_fmt && !given->backing_file)
        return img_error_set(err, EINVAL, "Backing format cannot be used without backing file");
    return 0;
}

static int check_data_file(const struct qcow2_new *plan, struct img_error *err)
{
    const struct qcow2_create_options *given = plan->given;

    if (given->data_file_raw == 1 && !given->data_file)
        return img_error_set(err, EINVAL, "data-file-raw requires data-file");
    if (given->data_file_raw == 1 && given->backing_file)
        return img_error_set(err, EINVAL, "Backing file and data-file-raw cannot be used at the same time");
    if (given->data_file && plan->state.h.version < 3)
        return img_error_set(err, EINVAL, "External data files are only supported with compatibility level 1.1 and "
                             "above (use version=v3 or greater)");
    if (given->keep_data_file == 1 && !given->data_file)
        return img_error_set(err, EINVAL, "keep-data-file requires data-file");
    if (plan->state.h.compression != QCOW2_ZLIB && plan->state.h.version < 3)
        return img_error_set(err, EINVAL, "Non-zlib compression type is only supported with compatibility level 1.1 "
                             "and above (use version=v3 or greater)");
    return 0;
}

static int check_size(struct qcow2_new *plan, struct img_error *err)
{
    uint64_t size = plan->given->size < 0 ? 0 : (uint64_t)plan->given->size;
    uint64_t rounded = img_align_up(size, SECTOR);

    if (rounded > INT64_MAX)
        return img_error_set(err, EINVAL, "Could not resize image: Image size cannot be negative");
    if (rounded > MAX_SIZE)
        return img_error_set(err, EINVAL, "Could not resize image: offset(%llu) exceeds maximum(%llu)",
                             (unsigned long long)rounded, (unsigned long long)MAX_SIZE);
    if (qcow2_l1_entries(&plan->state, rounded) > QCOW2_MAX_L1_BYTES / 8) {
        img_limit_advise(qcow2_largest_disk(&plan->state), err);
        return img_error_set(err, EFBIG, "The image size is too large for file format 'qcow2' (try using a larger "
                             "cluster size)");
    }
    plan->size = rounded;
    return 0;
}

/* Set the features from the options, then everything that depends on the header. */
static void set_features(struct qcow2_new *plan)
{
    const struct qcow2_create_options *given = plan->given;
    struct qcow2_header *h = &plan->state.h;

    if (h->compression != QCOW2_ZLIB)
        h->incompatible |= QCOW2_INCOMPAT_COMPRESSION;
    if (given->extended_l2 == 1)
        h->incompatible |= QCOW2_INCOMPAT_EXTENDED_L2;
    if (given->lazy_refcounts == 1)
        h->compatible |= QCOW2_COMPAT_LAZY_REFCOUNTS;
    if (given->data_file)
        h->incompatible |= QCOW2_INCOMPAT_DATA_FILE;
    if (given->data_file_raw == 1)
        h->autoclear |= QCOW2_AUTOCLEAR_DATA_FILE_RAW;
    qcow2_derive(&plan->state);
}

static int check_options(struct qcow2_new *plan, struct img_error *err)
{
    const struct qcow2_create_options *given = plan->given;
    int status;

    if ((status = img_cipher_check_alias(given->encryption, given->encrypt_format, err)) < 0 ||
        (plan->name && (status = img_check_target(plan->name, err)) < 0) || (status = choose_version(plan, err)) < 0)
        return status;
    if (given->backing_fmt && !img_driver_find(given->backing_fmt))
        return qcow2_bad_choice(err, "backing-fmt", given->backing_fmt);
    if ((status = qcow2_check_new_encryption(given, err)) < 0)
        return status;
    if (qcow2_preallocation_parse(given->preallocation, &plan->preallocation) < 0)
        return qcow2_bad_choice(err, "preallocation", given->preallocation);
    if ((status = choose_compression(plan, err)) < 0 ||
        (status = choose_cluster_size(plan, err)) < 0 ||
        (status = check_backing(plan, err)) < 0 ||
        (status = choose_refcounts(plan, err)) < 0 ||
        (status = check_data_file(plan, err)) < 0)
        return status;
    set_features(plan);
    if ((status = check_size(plan, err)) < 0)
        return status;
    status = qcow2_plan_encryption(&plan->state.luks, given, &plan->state.h.crypt_method, err);
    plan->state.has_crypto = plan->state.luks.range.start > 0;
    return status;
}

/* ---- Files ------------------------------------------------------------------------- */

static int open_data_file(struct qcow2_new *plan, struct img_error *err)
{
    const struct qcow2_create_options *given = plan->given;
    struct img **node = &plan->image.data_file;
    int status;

    if (!given->data_file)
        return 0;
    if (given->keep_data_file == 1) {
        const struct img_open how = { .format = "raw", .flags = IMG_RDWR | IMG_RESIZE, .cache = IMG_CACHE_UNSAFE };
        status = img_open(node, given->data_file, &how, err);
    } else {
        /* The protocol options apply to both files. */
        struct img_doc *rest = img_doc_copy(plan->rest);
        status = img_create_file(given->data_file, 0, IMG_PERM_ALL, rest, node, err);
        img_doc_free(rest);
    }
    return status;
}

int qcow2_new_header(struct qcow2_new *plan, uint8_t **header, struct img_error *err)
{
    const struct qcow2_create_options *given = plan->given;
    struct qcow2 *s = &plan->state;

    if (img_replace_text(&s->data_file_name, given->data_file) < 0)
        return img_error_memory(err);
    s->h.refcount_table_offset = s->cluster_size;
    s->h.refcount_table_clusters = 1;
    *header = malloc(s->cluster_size);
    if (!*header)
        return img_error_errno(err, ENOMEM, "Could not create qcow2 header");
    int status = qcow2_build_header(&plan->image, *header);
    if (status < 0)
        return img_error_errno(err, -status, "Could not update qcow2 header");
    if (!given->backing_file || !given->backing_file[0])
        return 0;

    if (img_replace_text(&plan->image.backing_name, given->backing_file) < 0 ||
        img_replace_text(&plan->image.backing_format, given->backing_fmt) < 0)
        return img_error_memory(err);
    status = strlen(given->backing_file) > QCOW2_MAX_BACKING_NAME ? -EINVAL
                                                                  : qcow2_build_header(&plan->image, *header);
    if (status < 0 && !given->backing_fmt)
        return img_error_errno(err, -status, "Could not assign backing file '%s'", given->backing_file);
    return status < 0 ? img_error_errno(err, -status, "Could not assign backing file '%s' with format '%s'",
                                        given->backing_file, given->backing_fmt) : 0;
}

/* ---- The first clusters --------------------------------------------------------------- */

/* Write header, refcount table and first refcount block, in this order, each counted. */
static int write_first_clusters(struct qcow2_new *plan, const uint8_t *header, const char **what)
{
    struct qcow2 *s = &plan->state;
    struct img *image = &plan->image;
    uint64_t entries = s->cluster_size / 8, offset;
    uint8_t *block;
    int status;

    CLEANUP_FREE uint8_t *table = calloc(1, s->cluster_size);
    s->refcount_table = calloc(entries, 8);
    if (!table || !s->refcount_table)
        return -ENOMEM;
    s->refcount_table_size = (uint32_t)entries;
    s->refcount_table[0] = 2ull * s->cluster_size;
    img_put_be64(table, s->refcount_table[0]);
    s->l2_cache = qcow2_cache_new(image, QCOW2_AT_ACTIVE_L2, L2_CACHE_BYTES);
    s->refblock_cache = qcow2_cache_new(image, QCOW2_AT_REFBLOCK, REFBLOCK_CACHE_BYTES);
    if (!s->l2_cache || !s->refblock_cache)
        return -ENOMEM;
    if ((status = img_pwrite(image->file, header, 0, s->cluster_size)) < 0)
        return status;
    *what = "Could not write refcount table";
    if ((status = img_pwrite(image->file, table, s->cluster_size, s->cluster_size)) < 0 ||
        (status = qcow2_cache_new_table(s->refblock_cache, s->refcount_table[0], &block)) < 0 ||
        (status = qcow2_alloc_clusters(image, 3ull * s->cluster_size, &offset)) < 0)
        return status;
    return qcow2_flush(image);
}

static int grow(struct qcow2_new *plan, struct img_error *err)
{
    static const char *const modes[] = { "off", "metadata", "falloc", "full" };

    int status = qcow2_resize(&plan->image, plan->size, modes[plan->preallocation], err);
    return status < 0 ? img_error_prefix(err, "Could not resize image: ") : 0;
}

static int write_image(struct qcow2_new *plan, const uint8_t *header, struct img_error *err)
{
    const char *what = "Could not write qcow2 header";
    int status = write_first_clusters(plan, header, &what);
    uint8_t magic[4];

    if (status < 0)
        return img_error_errno(err, -status, "%s", what);
    /* Some files accept everything and store nothing. */
    if ((status = qcow2_read(&plan->image, magic, 0, sizeof magic)) < 0)
        return img_error_errno(err, -status, "Could not read qcow2 header");
    if (img_get_be32(magic) != QCOW2_MAGIC)
        return img_error_set(err, EINVAL, "Image is not in qcow2 format");
    return grow(plan, err);
}

static int make_image(struct qcow2_new *plan, const uint8_t *header, struct img_error *err)
{
    struct img *image = &plan->image;
    bool keep = plan->given->keep_data_file == 1;
    int status = plan->given->data_file ? img_check_new_file(plan->name, err) : 0;

    if (status == 0)
        status = open_data_file(plan, err);
    if (status == 0)
        status = img_create_file(plan->name, 0, IMG_PERM_READ | IMG_PERM_WRITE_UNCHANGED, plan->rest, &image->file,
                                 err);
    if (status == 0)
        status = write_image(plan, header, err);
    if (status == 0)
        status = qcow2_write_encryption(plan, err);
    if (status < 0) {
        img_remove_file(image->file ? image->file->filename : NULL);
        if (!keep)
            img_remove_file(image->data_file ? image->data_file->filename : NULL);
    }
    status = img_close_file(image->file, status, err);
    status = img_close_file(image->data_file, status, err);
    image->file = image->data_file = NULL;
    return status;
}

void qcow2_new_release(struct qcow2_new *plan)
{
    struct qcow2 *s = &plan->state;

    qcow2_cache_free(s->l2_cache);
    qcow2_cache_free(s->refblock_cache);
    free(s->l1);
    free(s->refcount_table);
    free(s->metadata_filter);
    free(s->dropped.at);
    qcow2_free_header(s);
    free(plan->image.backing_name);
    free(plan->image.backing_format);
    free(plan->crypto.bytes);
    pthread_mutex_destroy(&plan->image.lock);
}

int qcow2_new_begin(struct qcow2_new *plan, const struct qcow2_create_options *given, struct img_error *err)
{
    plan->given = given;
    plan->image.driver = &img_driver_qcow2;
    plan->image.state = &plan->state;
    plan->image.flags = IMG_RDWR | IMG_RESIZE;
    /* Nobody relies on an unfinished image: skip the ordering while writing it. */
    plan->image.cache = IMG_CACHE_UNSAFE;
    plan->state.creating = true;
    pthread_mutex_init(&plan->image.lock, NULL);
    return check_options(plan, err);
}

int qcow2_create(const struct img_create *request, struct img_error *err)
{
    struct qcow2_new plan = { .name = request->name, .rest = request->rest };
    CLEANUP_FREE uint8_t *header = NULL;

    int status = qcow2_new_begin(&plan, request->options, err);
    if (status == 0)
        status = qcow2_new_header(&plan, &header, err);
    if (status == 0)
        status = qcow2_make_encryption(&plan, err);
    if (status == 0)
        status = make_image(&plan, header, err);
    qcow2_new_release(&plan);
    return status;
}
