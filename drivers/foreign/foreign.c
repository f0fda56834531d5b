/* SPDX-License-Identifier: MIT */
/*
 * Formats that are recognised and not yet read: a probe and a name each, so
 * that such an image is refused by name and never mistaken for raw.  A driver that can
 * read one of them replaces its entry here.  The magic numbers are from the
 * published descriptions of the formats.
 */
#include "../../libimg/driver.h"
#include "../../libimg/util/endian.h"
#include <string.h>

enum { NOT = 0, BY_NAME = 2, SURE = 100, SECTOR = 512 };

static bool starts_with(const uint8_t *head, size_t length, const void *magic, size_t magic_length)
{
    return length >= magic_length && memcmp(head, magic, magic_length) == 0;
}

/* A field of text that is padded with NULs. */
static bool has_text(const uint8_t *field, const char *text)
{
    return memcmp(field, text, strlen(text) + 1) == 0;
}

/* ---- VMware ------------------------------------------------------------------ */

/* The end of the comment or of the line of blanks at `at`; `at` itself when it is neither. */
static const char *skip_line(const char *at, const char *end)
{
    const char *line = at;

    if (*at == '#') {
        at = memchr(at, '\n', (size_t)(end - at));
        return at ? at + 1 : end;
    }
    while (at < end && *at == ' ')
        at++;
    if (at == line)
        return line;
    if (at < end && *at == '\r')
        at++;
    return at < end && *at == '\n' ? at + 1 : line;
}

/* A descriptor of its own: comments and blanks, then version=1 to 3, within the first sector. */
static bool is_descriptor(const uint8_t *head, size_t length)
{
    static const char key[] = "version=";
    const char *at = (const char *)head, *end = at + (length < SECTOR ? length : SECTOR);

    while (at < end) {
        const char *next = skip_line(at, end);

        if (next == at)
            break;
        at = next;
    }
    size_t left = (size_t)(end - at), key_length = sizeof key - 1;
    if (left < key_length + 2 || memcmp(at, key, key_length) != 0)
        return false;
    at += key_length;
    if (*at < '1' || *at > '3')
        return false;
    return at[1] == '\n' || (left >= key_length + 3 && at[1] == '\r' && at[2] == '\n');
}

static int probe_vmdk(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    if (starts_with(head, length, "KDMV", 4) || starts_with(head, length, "COWD", 4))
        return SURE;
    return is_descriptor(head, length) ? SURE : NOT;
}

/* ---- The others -------------------------------------------------------------- */

static int probe_vdi(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return length >= 0x44 && img_get_le32(head + 0x40) == 0xbeda107f ? SURE : NOT;
}

static int probe_vhdx(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return starts_with(head, length, "vhdxfile", 8) ? SURE : NOT;
}

/* A fixed disk has its footer at the end only, and looks raw: that is known and the same in the peer. */
static int probe_vpc(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return starts_with(head, length, "conectix", 8) ? SURE : NOT;
}

static int probe_qed(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return starts_with(head, length, "QED", 4) ? SURE : NOT;
}

/* Version 1; the later ones are qcow2. */
static int probe_qcow(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return starts_with(head, length, "QFI\xfb\0\0\0\1", 8) ? SURE : NOT;
}

static int probe_parallels(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    if (!starts_with(head, length, "WithoutFreeSpace", 16) && !starts_with(head, length, "WithouFreSpacExt", 16))
        return NOT;
    return length >= 20 && img_get_le32(head + 16) == 2 ? SURE : NOT;
}

static int probe_bochs(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    if (length < SECTOR || !has_text(head, "Bochs Virtual HD Image") || !has_text(head + 32, "Redolog") ||
        !has_text(head + 48, "Growing"))
        return NOT;
    uint32_t version = img_get_le32(head + 64);
    return version == 0x10000 || version == 0x20000 ? SURE : NOT;
}

static int probe_cloop(const uint8_t *head, size_t length, const char *name)
{
    static const char script[] = "#!/bin/sh\n#V2.0 Format\n"
                                 "modprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n";

    (void)name;
    return starts_with(head, length, script, sizeof script - 1) ? BY_NAME : NOT;
}

/* Its mark is a trailer, so the name has to do; content that says otherwise is believed first. */
static int probe_dmg(const uint8_t *head, size_t length, const char *name)
{
    size_t name_length = name ? strlen(name) : 0;

    (void)head, (void)length;
    return name_length >= 4 && strcmp(name + name_length - 4, ".dmg") == 0 ? BY_NAME : NOT;
}

static int probe_luks(const uint8_t *head, size_t length, const char *name)
{
    (void)name;
    return starts_with(head, length, "LUKS\xba\xbe", 6) && length >= 8 && img_get_be16(head + 6) == 1 ? SURE : NOT;
}

#define RECOGNISED(id, text) \
    .name = #id, .title = text, .kind = IMG_FORMAT, .traits = IMG_RECOGNISED_ONLY, .probe = probe_##id

const struct img_driver img_driver_vmdk = {
    RECOGNISED(vmdk, "VMware virtual disk")
};

const struct img_driver img_driver_vdi = {
    RECOGNISED(vdi, "VirtualBox disk image")
};

const struct img_driver img_driver_vhdx = {
    RECOGNISED(vhdx, "Hyper-V virtual hard disk, version 2")
};

const struct img_driver img_driver_vpc = {
    RECOGNISED(vpc, "Virtual PC hard disk (VHD)")
};

const struct img_driver img_driver_qed = {
    RECOGNISED(qed, "QEMU enhanced disk")
};

const struct img_driver img_driver_qcow = {
    RECOGNISED(qcow, "QEMU copy-on-write, version 1")
};

const struct img_driver img_driver_parallels = {
    RECOGNISED(parallels, "Parallels disk")
};

const struct img_driver img_driver_bochs = {
    RECOGNISED(bochs, "Bochs growing disk")
};

const struct img_driver img_driver_cloop = {
    RECOGNISED(cloop, "Compressed loop device")
};

const struct img_driver img_driver_dmg = {
    RECOGNISED(dmg, "Apple disk image")
};

const struct img_driver img_driver_luks = {
    RECOGNISED(luks, "LUKS encrypted disk")
};
