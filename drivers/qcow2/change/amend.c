/* SPDX-License-Identifier: MIT */
/*
 * Changes options of an existing image: which changes are possible, and the order of applying them.
 * Specification: "Header", "Header extensions", "Snapshots" (what version 3 requires in their table).
 *
 * An upgrade to version 3 is the first step and a downgrade to version 2 the last, so that the steps between can use
 * all features.  The texts and the order of refusals are qemu-img's.
 */
#include "../qcow2.h"

enum { V2_REFCOUNT_ORDER = 4 };

/* The requested options, in terms of the header. */
struct plan {
    const struct qcow2_create_options *given;
    const struct img_amend *how;
    unsigned version, refcount_order;
};

static int write_header(struct img *image, struct img_error *err)
{
    int status = qcow2_sync(image);

    if (status < 0 || (status = qcow2_write_header(image)) < 0)
        return img_error_errno(err, -status, "Failed to update the image header");
    return 0;
}

/* ---- The request -------------------------------------------------------------------------------- */

static int plan_version(const struct qcow2_create_options *given, unsigned *version, struct img_error *err)
{
    const char *compat = given->compat;

    if (!compat || !*compat)
        return 0;
    if (!strcmp(compat, "0.10") || !strcmp(compat, "v2"))
        *version = 2;
    else if (!strcmp(compat, "1.1") || !strcmp(compat, "v3"))
        *version = 3;
    else
        return img_error_set(err, EINVAL, "Unknown compatibility level %s", compat);
    return 0;
}

static int plan_refcount_order(const struct qcow2_create_options *given, unsigned *order, struct img_error *err)
{
    int64_t bits = given->refcount_bits;

    if (bits == -1)
        return 0;
    if (bits < 1 || bits > 64 || !img_power_of_two((uint64_t)bits))
        return img_error_set(err, EINVAL, "Refcount width must be a power of two and may not exceed 64 bits");
    *order = (unsigned)__builtin_ctz((unsigned)bits);
    return 0;
}

static int check_data_file(const struct img *image, const struct qcow2_create_options *given, struct img_error *err)
{
    const struct qcow2 *s = image->state;

    if (given->data_file && !image->data_file)
        return img_error_set(err, EINVAL, "data-file can only be set for images that use an external data file");
    if (given->data_file_raw == 1 && !(s->h.autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW))
        return img_error_set(err, EINVAL, "data-file-raw cannot be set on existing images");
    return 0;
}

static int make_plan(const struct img *image, struct plan *plan, struct img_error *err)
{
    const struct qcow2 *s = image->state;
    int status;

    plan->version = s->h.version;
    plan->refcount_order = s->h.refcount_order;
    if ((status = qcow2_check_amend_encryption(image, plan->given, err)) < 0 ||
        (status = plan_version(plan->given, &plan->version, err)) < 0 ||
        (status = check_data_file(image, plan->given, err)) < 0)
        return status;
    return plan_refcount_order(plan->given, &plan->refcount_order, err);
}

/* ---- To version 3 ---------------------------------------------------------------------------------- */

/* Version 3 requires the disk size in each snapshot. */
static bool snapshots_complete(const struct qcow2 *s)
{
    bool complete = true;

    for (size_t i = 0; i < s->snapshots.count; i++)
        complete &= s->snapshots.at[i].extra_length >= 16;
    return complete;
}

/* Write a complete snapshot table at a new place; the next header write refers to it. */
static int rewrite_snapshots(struct img *image, struct img_error *err)
{
    struct qcow2_range table;
    int status = qcow2_put_snapshot_table(image, NULL, &table);

    if (status < 0)
        return img_error_errno(err, -status, "Failed to update the snapshot table");
    qcow2_state(image)->h.snapshots_offset = table.offset;
    return 0;
}

static int upgrade(struct img *image, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    struct qcow2_header before = s->h;
    uint64_t old_length = qcow2_snapshot_table_length(s);
    int status = snapshots_complete(s) ? 0 : rewrite_snapshots(image, err);

    if (status < 0)
        return status;
    s->h.version = 3;
    if ((status = write_header(image, err)) < 0) {
        s->h = before;
        return status;
    }
    if (s->h.snapshots_offset == before.snapshots_offset)
        return 0;
    struct img_error again = IMG_ERROR_INIT;
    if ((status = qcow2_free_clusters(image, before.snapshots_offset, old_length)) == 0)
        status = qcow2_read_snapshots(image, &again);
    img_error_clear(&again);
    return status < 0 ? img_error_errno(err, -status, "Failed to update the snapshot table") : 0;
}

/* ---- Header fields --------------------------------------------------------------------------------- */

static int amend_refcounts(struct img *image, const struct plan *plan, struct img_error *err)
{
    if (plan->refcount_order == qcow2_state(image)->h.refcount_order)
        return 0;
    if (plan->version < 3 && plan->refcount_order != V2_REFCOUNT_ORDER)
        return img_error_set(err, EINVAL, "Refcount widths other than 16 bits require compatibility level 1.1 or above "
                             "(use compat=1.1 or greater)");
    return qcow2_amend_refcounts(image, plan->refcount_order, plan->how, err);
}

static int amend_data_file(struct img *image, const struct qcow2_create_options *given, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t autoclear = s->h.autoclear;
    char *old_name = s->data_file_name;
    int status;

    CLEANUP_FREE char *name = given->data_file && *given->data_file ? img_strdup(given->data_file) : NULL;
    if (given->data_file && *given->data_file && !name)
        return img_error_memory(err);
    if (given->data_file_raw == 0)
        s->h.autoclear &= ~(uint64_t)QCOW2_AUTOCLEAR_DATA_FILE_RAW;
    if (given->data_file)
        s->data_file_name = name;
    name = NULL;
    if (s->h.autoclear == autoclear && s->data_file_name == old_name)
        return 0;
    if ((status = write_header(image, err)) < 0) {
        if (s->data_file_name != old_name)
            free(s->data_file_name);
        s->data_file_name = old_name;
        s->h.autoclear = autoclear;
        return status;
    }
    if (s->data_file_name != old_name)
        free(old_name);
    return 0;
}

static int amend_lazy_refcounts(struct img *image, const struct plan *plan, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    bool now = s->h.compatible & QCOW2_COMPAT_LAZY_REFCOUNTS, wanted = plan->given->lazy_refcounts == 1;

    if (plan->given->lazy_refcounts == -1 || wanted == now)
        return 0;
    if (wanted && plan->version < 3)
        return img_error_set(err, EINVAL, "Lazy refcounts only supported with compatibility level 1.1 and above "
                             "(use compat=1.1 or greater)");
    int status = qcow2_mark_clean(image);
    if (status < 0)
        return img_error_errno(err, -status, "Failed to disable lazy refcounts");
    s->h.compatible ^= QCOW2_COMPAT_LAZY_REFCOUNTS;
    if ((status = write_header(image, err)) < 0)
        s->h.compatible ^= QCOW2_COMPAT_LAZY_REFCOUNTS;
    else
        s->lazy = wanted;
    return status;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* The stored backing name and format may be given again. */
static int refuse_backing(const struct img *image, const struct qcow2_create_options *given, struct img_error *err)
{
    if (!given->backing_file && !given->backing_fmt)
        return 0;
    if (same_text(given->backing_file, image->backing_name) && same_text(given->backing_fmt, image->backing_format))
        return 0;
    img_error_hint(err, "You can use 'qemu-img rebase' instead.");
    return img_error_set(err, EINVAL, "Cannot amend the backing file");
}

static int amend_size(struct img *image, const struct qcow2_create_options *given, struct img_error *err)
{
    if (given->size == -1 || given->size == 0)
        return 0;       /* for qemu-img 0 means "unchanged" */
    if (given->size == INT64_MAX)
        return img_error_set(err, EINVAL, "Image size cannot be negative");
    return img_resize(image, (uint64_t)given->size, NULL, err);
}

int qcow2_amend(struct img *image, const void *options, const struct img_amend *how, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);
    struct plan plan = { .given = options, .how = how };
    int status;

    if (s->broken)
        return img_error_errno(err, ENOMEDIUM, "Error while amending options");
    if ((status = make_plan(image, &plan, err)) < 0)
        return status;
    if (plan.version > s->h.version && (status = upgrade(image, err)) < 0)
        return status;
    if ((status = qcow2_amend_encryption(image, plan.given, how->force, err)) < 0 ||
        (status = amend_refcounts(image, &plan, err)) < 0 ||
        (status = amend_data_file(image, plan.given, err)) < 0 ||
        (status = refuse_backing(image, plan.given, err)) < 0 ||
        (status = amend_lazy_refcounts(image, &plan, err)) < 0 ||
        (status = amend_size(image, plan.given, err)) < 0)
        return status;
    return plan.version < s->h.version ? qcow2_downgrade(image, how, err) : 0;
}
