/* SPDX-License-Identifier: MIT */
/*
 * The parent of a differencing disk: its identifier and its names.
 * Specification: "Dynamic Disk Header Format" (parent unique ID, parent unicode name, parent locator entries).
 */
#include "vpc.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include "../../libimg/util/utf16.h"
#include "../../libimg/util/uuid.h"

enum { MAX_NAME_BYTES = 16 << 10 };
/* A locator: the platform whose name it is, how long that is, and where. */
enum { CODE = 0, ROOM = 4, LENGTH = 8, PLACE = 16 };

/* ---- Names ---------------------------------------------------------------------------- */

/* With a NUL behind; caller frees.  *bytes NULL: there is none that can be read. */
static int read_bytes(struct img *image, const uint8_t *locator, uint8_t **bytes, size_t *length)
{
    *bytes = NULL;
    *length = img_get_be32(locator + LENGTH);
    if (*length < 2 || *length > MAX_NAME_BYTES)
        return 0;
    *bytes = calloc(1, *length + 1);
    if (!*bytes)
        return -ENOMEM;
    if (vpc_read(image, *bytes, img_get_be64(locator + PLACE), *length) == 0)
        return 0;
    free(*bytes);
    *bytes = NULL;
    return 0;
}

/* The low byte comes first; but not with every writer, and names begin with a letter, a dot or a slash. */
static int wide_name(const uint8_t *bytes, size_t length, char **name)
{
    return img_utf16_to_utf8(bytes, length, !bytes[0] && bytes[1], name);
}

/* Of the codes that are no longer used: bytes. */
static int narrow_name(const uint8_t *bytes, size_t length, char **name)
{
    if (!bytes[1])
        return wide_name(bytes, length, name);
    *name = img_strdup((const char *)bytes);
    return *name ? 0 : -ENOMEM;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* The path of "file://localhost/...", or relative, as XenServer has it, of "file://./..."; %XX stands for a byte. */
static int url_path(const uint8_t *bytes, size_t length, char **name)
{
    const char *from = (const char *)bytes;
    char *to;

    (void)length;
    *name = NULL;
    if (strncmp(from, "file:", 5) != 0)
        return 0;
    from += 5;
    if (strncmp(from, "//.", 3) == 0)
        from += 2;
    else if (strncmp(from, "//", 2) == 0)
        from += 2 + strcspn(from + 2, "/");
    *name = to = img_strdup(from);
    if (!to)
        return -ENOMEM;
    for (; *from; from++) {
        int high = *from == '%' ? hex_value(from[1]) : -1, low = high < 0 ? -1 : hex_value(from[2]);
        *to++ = low < 0 ? *from : (char)(high << 4 | low);
        from += low < 0 ? 0 : 2;
    }
    *to = '\0';
    return 0;
}

/* Relative names first: they are right wherever the disks have been moved to. */
static const struct {
    char code[5];
    int (*read)(const uint8_t *bytes, size_t length, char **name);
} platforms[] = {
    { "W2ru", wide_name }, { "Wi2r", narrow_name }, { "W2ku", wide_name }, { "Wi2k", narrow_name }, { "MacX", url_path }
};

/* `status`: how reading the name ended; one that is not valid is ignored. */
static int add_name(struct img *image, int status, const char *name)
{
    if (status == -ENOMEM)
        return status;
    return name ? img_add_parent_name(image, name) : 0;
}

static int add_locators(struct img *image, const uint8_t *header, size_t platform)
{
    int status = 0;

    for (unsigned i = 0; i < VPC_LOCATOR_COUNT && status == 0; i++) {
        const uint8_t *locator = header + VPC_LOCATORS + i * VPC_LOCATOR_BYTES;
        CLEANUP_FREE uint8_t *bytes = NULL;
        CLEANUP_FREE char *name = NULL;
        size_t length;

        if (memcmp(locator + CODE, platforms[platform].code, 4) != 0)
            continue;
        status = read_bytes(image, locator, &bytes, &length);
        if (bytes)
            status = platforms[platform].read(bytes, length, &name);
        status = add_name(image, status, name);
    }
    return status;
}

/* The name in the header has the high byte first, but not with every writer. */
static int add_header_name(struct img *image, const uint8_t *header)
{
    const uint8_t *bytes = header + VPC_PARENT_NAME;
    CLEANUP_FREE char *name = NULL;
    int status = img_utf16_to_utf8(bytes, VPC_PARENT_NAME_BYTES, !bytes[0] || bytes[1], &name);

    return add_name(image, status, name);
}

int vpc_read_parent(struct img *image, const uint8_t *header, struct img_error *err)
{
    int status = 0;

    image->has_parent = true;
    memcpy(vpc_state(image)->parent_uuid, header + VPC_PARENT_UUID, VPC_UUID_BYTES);
    vpc_state(image)->names_end = vpc_locators_end(image, header);
    for (size_t i = 0; i < sizeof platforms / sizeof *platforms && status == 0; i++)
        status = add_locators(image, header, i);
    if (status == 0)
        status = add_header_name(image, header);
    return status < 0 ? img_error_memory(err) : 0;
}

/* The room of a name is in bytes, with all writers that were seen; where that cannot be, it is as long as the name. */
uint64_t vpc_locators_end(const struct img *image, const uint8_t *header)
{
    uint64_t size = img_size(image->file), end = 0;

    for (unsigned i = 0; i < VPC_LOCATOR_COUNT; i++) {
        const uint8_t *locator = header + VPC_LOCATORS + i * VPC_LOCATOR_BYTES;
        uint64_t place = img_get_be64(locator + PLACE), length = img_get_be32(locator + LENGTH);
        uint64_t room = img_max(length, img_get_be32(locator + ROOM));
        if (img_get_be32(locator + CODE) && img_within(place, room, size))
            end = img_max(end, place + room);
        else if (img_get_be32(locator + CODE) && img_within(place, length, size))
            end = img_max(end, place + length);
    }
    return end;
}

/* ---- Identity -------------------------------------------------------------------------- */

int vpc_check_parent(struct img *image, struct img *candidate, struct img_error *err)
{
    const uint8_t *wanted = vpc_state(image)->parent_uuid, *found = vpc_state(candidate)->footer + VPC_UUID;
    char wanted_text[IMG_UUID_TEXT], found_text[IMG_UUID_TEXT];

    if (memcmp(wanted, found, VPC_UUID_BYTES) == 0)
        return 0;
    img_uuid_text(wanted, wanted_text);
    img_uuid_text(found, found_text);
    return img_error_set(err, EINVAL, "its identifier is %s, that of the parent is %s", found_text, wanted_text);
}
