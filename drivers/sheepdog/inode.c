/* SPDX-License-Identifier: MIT */
/* What describes a VDI: the header, and the table of owners. */
#include "sheepdog.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/endian.h"
#include "../../libimg/util/strbuf.h"
#include <string.h>

/* Owners that are read at a time. */
enum { READ_AT_ONCE = 1 << 18 };

/* ---- The header ------------------------------------------------------------------------------ */

static void parse_text(char text[SHEEPDOG_NAME + 1], const uint8_t *from)
{
    size_t length = strnlen((const char *)from, SHEEPDOG_NAME);

    memcpy(text, from, length);
    text[length] = 0;
}

static void parse(const uint8_t *header, struct sheepdog_vdi *vdi)
{
    parse_text(vdi->name, header);
    parse_text(vdi->tag, header + SHEEPDOG_AT_TAG);
    vdi->created = img_get_le64(header + 512);
    vdi->snapshot_time = img_get_le64(header + 520);
    vdi->vm_clock = img_get_le64(header + 528);
    vdi->size = img_get_le64(header + SHEEPDOG_AT_SIZE);
    vdi->vm_state_size = img_get_le64(header + 544);
    vdi->copy_policy = header[552];
    vdi->copies = header[554];
    vdi->shift = header[555] ? header[555] : SHEEPDOG_USUAL_SHIFT;
    vdi->snap_id = img_get_le32(header + 556);
    vdi->id = img_get_le32(header + 560);
    vdi->parent = img_get_le32(header + 564);
}

static int judge(uint32_t id, const uint8_t *header, const struct sheepdog_vdi *vdi, struct img_error *err)
{
    bool sound = vdi->id == id && vdi->parent <= SHEEPDOG_MOST_ID && vdi->shift >= SHEEPDOG_LEAST_SHIFT &&
                 vdi->shift <= SHEEPDOG_MOST_SHIFT;

    if (!sound)
        return img_error_set(err, EINVAL, "The inode of VDI %06x is damaged", id);
    if (header[553])
        return img_error_set(err, ENOTSUP, "VDI '%s' is a hyper volume, which is not supported", vdi->name);
    if (vdi->size > sheepdog_most_size(vdi->shift))
        return img_error_set(err, EFBIG, "VDI '%s' is larger than a VDI can be", vdi->name);
    return 0;
}

static struct sheepdog_request read_request(uint32_t id, uint64_t at, void *to, uint32_t length)
{
    const struct sheepdog_object object = { .id = SHEEPDOG_INODE(id), .offset = (uint32_t)at };
    struct sheepdog_request r = { .receive = to, .room = length, .whole = true };

    sheepdog_put_object(&r, SHEEPDOG_READ_OBJECT, 0, &object);
    return r;
}

static int read_header(struct sheepdog *s, uint32_t id, uint8_t *header, struct img_error *err)
{
    struct sheepdog_request r = read_request(id, 0, header, SHEEPDOG_INODE_BEGIN);

    return sheepdog_judge(s, &r, sheepdog_run(s, &r), err, "Could not read the inode of VDI %06x", id);
}

int sheepdog_inode_header(struct sheepdog *s, uint32_t id, struct sheepdog_vdi *vdi, struct img_error *err)
{
    uint8_t header[SHEEPDOG_INODE_BEGIN];
    int ret = read_header(s, id, header, err);

    if (ret < 0)
        return ret;
    parse(header, vdi);
    return judge(id, header, vdi, err);
}

int sheepdog_inode_look(struct sheepdog *s, uint32_t id, struct sheepdog_vdi *vdi, struct img_error *err)
{
    uint8_t header[SHEEPDOG_INODE_BEGIN] = { 0 };
    int ret = read_header(s, id, header, err);

    if (ret == -ENOENT) {
        img_error_clear(err);
        ret = 0;
    }
    parse(header, vdi);
    return ret;
}

/* ---- The owners --------------------------------------------------------------------------------- */

uint64_t sheepdog_most_size(unsigned shift)
{
    return (uint64_t)SHEEPDOG_MOST_OBJECTS << shift;
}

uint32_t sheepdog_owner(const struct sheepdog *s, uint32_t object)
{
    return __atomic_load_n(&s->owners[object], __ATOMIC_ACQUIRE);
}

void sheepdog_set_owner(struct sheepdog *s, uint32_t object, bool own)
{
    __atomic_store_n(&s->owners[object], own ? s->vdi.id : 0, __ATOMIC_RELEASE);
}

/* In place: from bytes to numbers. */
static int convert(uint32_t *owners, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        owners[i] = img_get_le32(&owners[i]);
        if (owners[i] > SHEEPDOG_MOST_ID)
            return -EINVAL;
    }
    return 0;
}

static int read_owners(struct sheepdog *s, const struct sheepdog_vdi *vdi, uint32_t *owners, struct img_error *err)
{
    uint32_t count = (uint32_t)img_div_up(vdi->size, sheepdog_object_size(vdi));

    for (uint32_t first = 0; first < count; first += READ_AT_ONCE) {
        uint32_t some = (uint32_t)img_min(READ_AT_ONCE, count - first);
        struct sheepdog_request r = read_request(vdi->id, SHEEPDOG_AT_OWNERS + (uint64_t)first * sizeof *owners,
                                                 owners + first, some * (uint32_t)sizeof *owners);
        int ret = sheepdog_judge(s, &r, sheepdog_run(s, &r), err, "Could not read the inode of VDI %06x", vdi->id);
        if (ret < 0)
            return ret;
        if (convert(owners + first, some) < 0)
            return img_error_set(err, EINVAL, "The inode of VDI %06x is damaged", vdi->id);
    }
    return 0;
}

int sheepdog_inode_load(struct sheepdog *s, uint32_t id, struct img_error *err)
{
    CLEANUP_FREE uint32_t *owners = img_calloc(SHEEPDOG_MOST_OBJECTS, sizeof *owners);
    struct sheepdog_vdi vdi;
    uint32_t *old;
    int ret = owners ? sheepdog_inode_header(s, id, &vdi, err) : img_error_memory(err);

    /* (the name of one that is deleted goes first) */
    if (ret == 0 && strcmp(vdi.name, s->target.vdi) != 0)
        ret = img_error_set(err, ENOENT, "VDI %06x is not called '%s' any more", id, s->target.vdi);
    if (ret == 0)
        ret = read_owners(s, &vdi, owners, err);
    if (ret < 0)
        return ret;
    old = s->owners;
    s->owners = owners;
    owners = old;
    s->vdi = vdi;
    return 0;
}

/* ---- Writing --------------------------------------------------------------------------------------- */

int sheepdog_inode_write(struct sheepdog *s, uint64_t at, const void *bytes, uint32_t length)
{
    const struct sheepdog_object object = { .id = SHEEPDOG_INODE(s->vdi.id), .offset = (uint32_t)at };
    struct sheepdog_request r = { .send = bytes, .send_length = length, .changes = true };

    sheepdog_put_object(&r, SHEEPDOG_WRITE_OBJECT, SHEEPDOG_WRITE, &object);
    return sheepdog_do(s, &r, "write", object.id);
}

uint64_t sheepdog_size(const struct sheepdog *s)
{
    return __atomic_load_n(&s->vdi.size, __ATOMIC_ACQUIRE);
}

/* (before anything is written there: an end that was not moved would hide it, and show it when the disk grows later) */
int sheepdog_inode_grow(struct sheepdog *s, uint64_t size)
{
    uint8_t bytes[8];
    int ret;

    if (size <= sheepdog_size(s))
        return 0;
    if (size > sheepdog_most_size(s->vdi.shift))
        return -EFBIG;
    LOCK_SCOPE(&s->growing);
    if (size <= s->vdi.size)
        return 0;
    img_put_le64(bytes, size);
    ret = sheepdog_inode_write(s, SHEEPDOG_AT_SIZE, bytes, sizeof bytes);
    if (ret == 0)
        __atomic_store_n(&s->vdi.size, size, __ATOMIC_RELEASE);
    return ret;
}
