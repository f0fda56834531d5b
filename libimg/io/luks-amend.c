/* SPDX-License-Identifier: MIT */
/*
 * luks-amend.c - changes the key slots of a LUKS header (see luks-volume.h).
 *
 * Whenever the power is cut, the passwords that opened the disk before do so, or those that are to open it: a slot is
 * filled before the header says that it is, and the header says that it is empty before it is overwritten.  The header
 * lies in two sectors, which are written in that order, too.  A slot in use that gets another password is first doubled
 * in a free one.
 */
#include "luks-place.h"

#ifdef HAVE_NETTLE
#include "util/checked.h"
#include "util/random.h"
#include "util/strbuf.h"
#include "util/wipe.h"
#include <stdlib.h>
#include <string.h>

enum { NONE = -1 };

/* ---- Writing ------------------------------------------------------------------------- */

static int write_synced(const struct img_luks_volume *volume, const void *bytes, uint64_t at, size_t length)
{
    int ret = -EINVAL;

    if (img_within(at, length, volume->length))
        ret = img_pwrite(volume->file, bytes, volume->start + at, length);
    return ret < 0 ? ret : img_flush(volume->file);
}

/* `last`: the sector whose change counts.  The other one has only what is meaningless before, or after. */
static int write_header(const struct img_luks_volume *volume, unsigned last)
{
    uint8_t header[IMG_LUKS_HEADER];
    int ret = 0;

    img_luks_put(&volume->header, header);
    for (unsigned i = 0; ret == 0 && i < 2; i++) {
        bool second = i == 0 ? last == 0 : last == 1;
        size_t from = second ? IMG_LUKS_SECTOR : 0, to = second ? sizeof header : IMG_LUKS_SECTOR;
        ret = write_synced(volume, header + from, from, to - from);
    }
    return ret;
}

/* The sector that says whether a slot is active: only the last one lies in the second. */
static unsigned sector_of(unsigned slot)
{
    return slot == IMG_LUKS_SLOTS - 1;
}

static int cannot_write(int ret, struct img_error *err)
{
    return ret < 0 ? img_error_errno(err, -ret, "Could not write encryption header") : 0;
}

/* Put what was made for `from` into the empty slot `to`. */
static int activate(struct img_luks_volume *volume, const struct img_luks_slot *made, const uint8_t *split, unsigned to)
{
    struct img_luks_slot *slot = &volume->header.slots[to];
    int ret = write_synced(volume, split, slot->key_offset, img_luks_split_bytes(&volume->header));

    if (ret < 0)
        return ret;
    slot->active = true;
    slot->iterations = made->iterations;
    memcpy(slot->salt, made->salt, sizeof slot->salt);
    return write_header(volume, sector_of(to));
}

static int erase(struct img_luks_volume *volume, unsigned number)
{
    struct img_luks_slot *slot = &volume->header.slots[number];
    size_t bytes = img_luks_split_bytes(&volume->header);
    uint8_t *noise = img_malloc(bytes);
    int ret = noise ? img_random(noise, bytes) : -ENOMEM;

    if (ret == 0) {
        slot->active = false;
        slot->iterations = 0;
        memset(slot->salt, 0, sizeof slot->salt);
        ret = write_header(volume, !sector_of(number));
    }
    if (ret == 0)
        ret = write_synced(volume, noise, slot->key_offset, bytes);
    free(noise);
    return ret;
}

/* ---- Adding ---------------------------------------------------------------------------- */

static int free_slot(const struct img_luks_volume *volume)
{
    for (int i = 0; i < IMG_LUKS_SLOTS; i++)
        if (!volume->header.slots[i].active)
            return i;
    return NONE;
}

/* Also a slot that is in use, after it was doubled in a free one. */
static int replace(struct img_luks_volume *volume, const struct img_luks_slot *made, const uint8_t *split,
                   unsigned slot)
{
    int spare = volume->header.slots[slot].active ? free_slot(volume) : NONE, ret = 0;

    if (spare != NONE)
        ret = activate(volume, made, split, (unsigned)spare);
    if (ret == 0 && volume->header.slots[slot].active)
        ret = erase(volume, slot);
    if (ret == 0)
        ret = activate(volume, made, split, slot);
    if (ret == 0 && spare != NONE)
        ret = erase(volume, (unsigned)spare);
    return ret;
}

static int choose_slot(const struct img_luks_volume *volume, const struct img_luks_options *given, bool force,
                       struct img_error *err)
{
    if (given->keyslot < 0) {
        int slot = free_slot(volume);
        return slot == NONE ? img_error_set(err, EINVAL, "Can't add a keyslot - all keyslots are in use") : slot;
    }
    if (given->keyslot >= IMG_LUKS_SLOTS)
        return img_error_set(err, EINVAL, "Invalid keyslot %u specified, must be between 0 and %d",
                             (unsigned)given->keyslot, IMG_LUKS_SLOTS - 1);
    if (volume->header.slots[given->keyslot].active && !force)
        return img_error_set(err, EINVAL, "Refusing to overwrite active keyslot %d - please erase it first",
                             (int)given->keyslot);
    return (int)given->keyslot;
}

static int add_key(struct img_luks_volume *volume, const struct img_luks_options *given, bool force,
                   struct img_error *err)
{
    struct img_luks made = volume->header;
    const uint8_t *password;
    uint8_t *split;
    size_t length;
    int slot, ret;

    if (!given->new_secret)
        return img_error_set(err, EINVAL, "'new-secret' is required to activate a keyslot");
    if (given->old_secret)
        return img_error_set(err, EINVAL, "'old-secret' must not be given when activating keyslots");
    slot = choose_slot(volume, given, force, err);
    if (slot < 0)
        return slot;
    password = img_cipher_password("", given->new_secret, &length, err);
    if (!password)
        return -err->code;
    split = img_malloc(img_luks_split_bytes(&made));
    if (!split)
        return img_error_memory(err);
    ret = img_luks_fill_slot(&made, (unsigned)slot, password, length, img_luks_iter_time(given), volume->key, split,
                             err);
    if (ret == 0)
        ret = cannot_write(replace(volume, &made.slots[slot], split, (unsigned)slot), err);
    free(split);
    return ret;
}

/* ---- Erasing ----------------------------------------------------------------------------- */

static unsigned count_active(const struct img_luks_volume *volume)
{
    unsigned count = 0;

    for (unsigned i = 0; i < IMG_LUKS_SLOTS; i++)
        count += volume->header.slots[i].active;
    return count;
}

/* Which slots does the password open?  A bit for each; a negative errno with *err set. */
static int matching(struct img_luks_volume *volume, const char *secret, unsigned slots, struct img_error *err)
{
    const struct img_luks_place place = img_luks_volume_place(volume);
    uint8_t key[IMG_CIPHER_KEY_MAX];
    size_t length;
    const uint8_t *password = img_cipher_password("", secret, &length, err);
    int found = 0, ret = 0;

    if (!password)
        return -err->code;
    for (unsigned i = 0; ret >= 0 && i < IMG_LUKS_SLOTS; i++) {
        if (!volume->header.slots[i].active || !(slots >> i & 1))
            continue;
        ret = img_luks_try_slot(&volume->header, i, &place, password, length, key, err);
        found |= ret > 0 ? 1 << i : 0;
    }
    img_wipe(key, sizeof key);
    return ret < 0 ? ret : found;
}

static int erase_one(struct img_luks_volume *volume, const struct img_luks_options *given, bool force,
                     struct img_error *err)
{
    unsigned slot = (unsigned)given->keyslot;
    int found = 1;

    if (given->keyslot >= IMG_LUKS_SLOTS)
        return img_error_set(err, EINVAL, "Invalid keyslot %u specified, must be between 0 and %d", slot,
                             IMG_LUKS_SLOTS - 1);
    if (given->old_secret && (found = matching(volume, given->old_secret, 1u << slot, err)) < 0)
        return found;
    if (!found)
        return img_error_set(err, EINVAL, "Given keyslot %u doesn't contain the given old password for erase operation",
                             slot);
    if (!force && !volume->header.slots[slot].active)
        return img_error_set(err, EINVAL, "Given keyslot %u is already erased (inactive) ", slot);
    if (!force && count_active(volume) == 1)
        return img_error_set(err, EINVAL, "Attempt to erase the only active keyslot %u which will erase all the data "
                             "in the image irreversibly - refusing operation", slot);
    return cannot_write(erase(volume, slot), err);
}

static int erase_matching(struct img_luks_volume *volume, const struct img_luks_options *given, bool force,
                          struct img_error *err)
{
    int found = matching(volume, given->old_secret, ~0u, err), ret = 0;

    if (found < 0)
        return found;
    if (found == 0)
        return img_error_set(err, EINVAL, "No keyslots match given (old) password for erase operation");
    if (!force && (unsigned)__builtin_popcount((unsigned)found) == count_active(volume))
        return img_error_set(err, EINVAL, "All the active keyslots match the (old) password that was given and erasing "
                             "them will erase all the data in the image irreversibly - refusing operation");
    for (unsigned i = 0; ret == 0 && i < IMG_LUKS_SLOTS; i++)
        if (found >> i & 1)
            ret = erase(volume, i);
    return cannot_write(ret, err);
}

static int erase_keys(struct img_luks_volume *volume, const struct img_luks_options *given, bool force,
                      struct img_error *err)
{
    if (given->new_secret)
        return img_error_set(err, EINVAL, "'new-secret' must not be given when erasing keyslots");
    if (given->iter_time >= 0)
        return img_error_set(err, EINVAL, "'iter-time' must not be given when erasing keyslots");
    if (given->keyslot >= 0)
        return erase_one(volume, given, force, err);
    if (given->old_secret)
        return erase_matching(volume, given, force, err);
    return img_error_set(err, EINVAL, "To erase keyslot(s), either explicit keyslot index or the password currently "
                         "contained in them must be given");
}

int img_luks_volume_amend(struct img_luks_volume *volume, const struct img_luks_options *given, bool force,
                          struct img_error *err)
{
    if (volume->version == 2)
        return img_error_set(err, ENOTSUP, "The passwords of LUKS version 2 cannot be changed here (cryptsetup does it)");
    if (!given->state)
        return img_error_set(err, EINVAL, "Parameter 'state' is missing");
    if (strcmp(given->state, "active") == 0)
        return add_key(volume, given, force, err);
    if (strcmp(given->state, "inactive") == 0)
        return erase_keys(volume, given, force, err);
    return img_error_set(err, EINVAL, "Parameter 'state' does not accept value '%s'", given->state);
}
#else
int img_luks_volume_amend(struct img_luks_volume *volume, const struct img_luks_options *given, bool force,
                          struct img_error *err)
{
    (void)volume;
    (void)given;
    (void)force;
    return img_cipher_missing(err);
}
#endif
