/* SPDX-License-Identifier: MIT */
/*
 * New images: the files of the extents, and the descriptor, in a separate file or within the sparse extent.  A
 * sparse extent begins with header, descriptor, redundant directory with its tables, directory with its tables, all
 * at known places.
 * Specification: "Hosted Sparse Extents", "The Descriptor File".
 */
#include "vmdk.h"
#include "../../libimg/util/strbuf.h"
#include <inttypes.h>
#include <string.h>

enum { CHUNK_ENTRIES = 16384 };
#define SPLIT_BYTES (2ull << 30)

struct making {
    struct vmdk_plan plan;
    const struct img_create *request;
    const char *name;                   /* of the descriptor's file, without "file:"; it is in `made` */
    IMG_VECTOR(char *) made;            /* files to remove after an error */
    struct img_strbuf lines;
};

static bool is_split(const struct vmdk_plan *plan)
{
    return plan->subformat == VMDK_SPLIT_SPARSE || plan->subformat == VMDK_SPLIT_FLAT;
}

/* ---- The parent ------------------------------------------------------------------------------ */

/* Only the error itself, as qemu-img prints it here. */
static int failed_to_open(const char *name, struct img_error *err)
{
    CLEANUP_FREE char *prefix = img_asprintf("Could not open '%s': ", name);
    size_t length = prefix ? strlen(prefix) : 0;

    if (prefix && strncmp(err->text, prefix, length) == 0)
        memmove(err->text, err->text + length, strlen(err->text) - length + 1);
    return -err->code;
}

static int read_parent(struct making *making, struct img_error *err)
{
    const struct vmdk_create_options *given = making->plan.given;
    const struct img_open how = { .flags = IMG_NO_BACKING };
    struct img_error closing = IMG_ERROR_INIT;
    CLEANUP_FREE char *name = NULL;
    struct img *parent = NULL;
    int ret;

    if (!given->backing_file)
        return 0;
    name = img_name_beside(making->request->name, given->backing_file);
    if (!name)
        return img_error_memory(err);
    ret = img_open(&parent, name, &how, err);
    if (ret < 0)
        return failed_to_open(name, err);
    if (parent->driver != &img_driver_vmdk)
        ret = img_error_set(err, EINVAL, "Invalid backing file format: %s. Must be vmdk", parent->driver->name);
    else
        making->plan.parent_cid = vmdk_state(parent)->cid;
    img_close(parent, &closing);
    img_error_clear(&closing);
    return ret;
}

/* ---- Files ------------------------------------------------------------------------------------- */

static int close_file(struct img *file, int ret, struct img_error *err)
{
    struct img_error closing = IMG_ERROR_INIT;
    int closed = img_close(file, ret < 0 ? &closing : err);

    img_error_clear(&closing);
    return ret < 0 ? ret : closed;
}

static int make_file(struct making *making, const char *name, uint64_t size, struct img **file, struct img_error *err)
{
    /* Options of the protocol hold for all files. */
    struct img_doc *rest = img_doc_copy(making->request->rest);
    int ret = img_create_file(name, size, IMG_PERM_ALL, rest, file, err);
    char *made = ret == 0 ? img_strdup((*file)->filename ? (*file)->filename : "") : NULL;

    img_doc_free(rest);
    if (ret < 0 || (made && IMG_VECTOR_PUSH(&making->made, made)))
        return ret;
    /* What is not in the list has to go now. */
    free(made);
    img_remove_file((*file)->filename);
    ret = close_file(*file, img_error_memory(err), err);
    *file = NULL;
    return ret;
}

/* Do not leave unfinished files behind; a device stays. */
static void remove_made(const struct making *making)
{
    for (size_t i = 0; i < making->made.count; i++)
        img_remove_file(making->made.at[i]);
}

/* ---- Sparse extents ------------------------------------------------------------------------------ */

/* Write a directory at `sector`, followed by its tables. */
static int write_directory(struct img *file, uint64_t sector, uint64_t tables)
{
    uint64_t first = sector + img_div_up(tables * 4, VMDK_SECTOR);
    CLEANUP_FREE uint8_t *bytes = malloc(CHUNK_ENTRIES * 4);
    int ret = 0;

    if (!bytes)
        return -ENOMEM;
    for (uint64_t i = 0; i < tables && ret == 0; i += CHUNK_ENTRIES) {
        uint64_t count = img_min(CHUNK_ENTRIES, tables - i), length = img_align_up(count * 4, VMDK_SECTOR);

        memset(bytes, 0, length);
        for (uint64_t j = 0; j < count; j++)
            img_put_le32(bytes + j * 4, (uint32_t)(first + (i + j) * VMDK_GT_SECTORS));
        ret = img_pwrite(file, bytes, sector * VMDK_SECTOR + i * 4, length);
    }
    return ret;
}

static int fill_sparse(const struct vmdk_plan *plan, struct img *file, uint64_t size, struct img_error *err)
{
    uint8_t sector[VMDK_SECTOR];
    struct vmdk_header header;
    uint64_t tables = img_div_up(size, (uint64_t)VMDK_GRAIN * VMDK_GT_ENTRIES);
    int ret;

    if (tables > VMDK_MAX_TABLES) {
        img_limit_advise((uint64_t)VMDK_MAX_TABLES * VMDK_GRAIN * VMDK_GT_ENTRIES, err);
        return img_error_set(err, EFBIG, "The image is too large for a sparse extent");
    }
    vmdk_plan_header(plan, size, &header);
    vmdk_put_header(sector, &header);
    ret = img_pwrite(file, sector, 0, sizeof sector);
    if (ret < 0)
        return img_error_errno(err, -ret, "failed to write VMDK header");
    ret = img_resize_file(file, header.overhead * VMDK_SECTOR, NULL, err);
    if (ret < 0)
        return ret;
    ret = write_directory(file, header.redundant_directory, tables);
    if (ret < 0)
        return img_error_errno(err, -ret, "failed to write VMDK backup grain directory");
    ret = write_directory(file, header.directory, tables);
    return ret < 0 ? img_error_errno(err, -ret, "failed to write VMDK grain directory") : 0;
}

/* ---- All extents, then the descriptor --------------------------------------------------------------- */

static void add_line(struct making *making, uint64_t size, const char *name)
{
    const char *slash = strrchr(name, '/');

    img_strbuf_printf(&making->lines, vmdk_is_flat(&making->plan) ? "RW %" PRIu64 " FLAT \"%s\" 0\n"
                                                                  : "RW %" PRIu64 " SPARSE \"%s\"\n",
                      size / VMDK_SECTOR, slash ? slash + 1 : name);
}

/* "base-s001.vmdk" of "base.vmdk". */
static char *extent_name(const struct making *making, unsigned number)
{
    const char *name = making->name, *slash = strrchr(name, '/');
    const char *dot = strrchr(slash ? slash : name, '.');
    int stem = dot ? (int)(dot - name) : (int)strlen(name);

    if (!is_split(&making->plan))
        return img_asprintf("%.*s-flat%s", stem, name, name + stem);
    return img_asprintf("%.*s-%c%03u%s", stem, name, vmdk_is_flat(&making->plan) ? 'f' : 's', number, name + stem);
}

static int make_extent(struct making *making, unsigned number, uint64_t size, struct img_error *err)
{
    CLEANUP_FREE char *name = extent_name(making, number);
    struct img *file = NULL;
    if (!name)
        return img_error_memory(err);
    int ret = make_file(making, name, vmdk_is_flat(&making->plan) ? size : 0, &file, err);

    if (ret < 0)
        return ret;
    if (!vmdk_is_flat(&making->plan))
        ret = fill_sparse(&making->plan, file, size, err);
    add_line(making, size, name);
    return close_file(file, ret, err);
}

static int make_extents(struct making *making, struct img *file, struct img_error *err)
{
    uint64_t left = making->plan.size;
    int ret = 0;

    if (!is_split(&making->plan) && !vmdk_is_flat(&making->plan)) {
        add_line(making, left, making->plan.base_name);
        return fill_sparse(&making->plan, file, left, err);
    }
    for (unsigned number = 1; left > 0 && ret == 0; number++) {
        uint64_t size = is_split(&making->plan) ? img_min(left, SPLIT_BYTES) : left;

        ret = make_extent(making, number, size, err);
        left -= size;
    }
    return ret;
}

/* Before the first of several files is touched */
static int check_extents(const struct making *making, struct img_error *err)
{
    uint64_t left = is_split(&making->plan) || vmdk_is_flat(&making->plan) ? making->plan.size : 0;
    int ret = 0;

    for (unsigned number = 1; left > 0 && ret == 0; number++) {
        CLEANUP_FREE char *name = extent_name(making, number);

        ret = name ? img_check_new_file(name, err) : img_error_memory(err);
        left -= is_split(&making->plan) ? img_min(left, SPLIT_BYTES) : left;
    }
    return ret;
}

static int write_descriptor(const struct making *making, struct img *file, struct img_error *err)
{
    bool alone = is_split(&making->plan) || vmdk_is_flat(&making->plan);
    CLEANUP_FREE char *text = vmdk_plan_descriptor(&making->plan, making->lines.text ? making->lines.text : "");
    uint64_t length = text ? strlen(text) : 0;
    int ret;

    if (making->lines.failed || !text)
        return img_error_memory(err);
    if (!alone && length > VMDK_DESCRIPTOR_SECTORS * VMDK_SECTOR)
        return img_error_set(err, EFBIG, "VMDK description file too big");
    ret = img_pwrite(file, text, alone ? 0 : VMDK_DESCRIPTOR_SECTOR * VMDK_SECTOR, length);
    return ret < 0 ? img_error_errno(err, -ret, "Could not write description") : 0;
}

/* What is stored, and what the other files are called, must not begin with the prefix of a protocol. */
static void set_names(struct making *making)
{
    const struct img_create *request = making->request;
    const char *made = making->made.at[0], *stored, *slash;

    making->name = *made ? made : request->name;
    stored = strcmp(request->called, request->name) == 0 ? making->name : request->called;
    slash = strrchr(stored, '/');
    making->plan.base_name = slash ? slash + 1 : stored;
}

int vmdk_create(const struct img_create *request, struct img_error *err)
{
    struct making making = { .request = request, .name = request->name };
    struct img *file = NULL;
    int ret = vmdk_plan(&making.plan, request->options, request->called, err);

    if (ret == 0)
        ret = read_parent(&making, err);
    if (ret == 0)
        ret = img_check_can_grow("vmdk", request->name, err);
    if (ret == 0)
        ret = check_extents(&making, err);
    if (ret == 0)
        ret = make_file(&making, request->name, 0, &file, err);
    if (ret == 0) {
        set_names(&making);
        ret = make_extents(&making, file, err);
        if (ret == 0)
            ret = write_descriptor(&making, file, err);
        ret = close_file(file, ret, err);
    }
    if (ret < 0)
        remove_made(&making);
    for (size_t i = 0; i < making.made.count; i++)
        free(making.made.at[i]);
    free(making.made.at);
    img_strbuf_free(&making.lines);
    return ret;
}
