/* SPDX-License-Identifier: MIT */
/* luks-volume.c - opens an image by its LUKS header, and shows that (see luks-volume.h). */
#include "luks-volume.h"
#include "luks-place.h"
#include "util/checked.h"
#include "util/guarded.h"
#include "util/wipe.h"
#include <string.h>

#ifdef HAVE_NETTLE
void img_luks_volume_forget(struct img_luks_volume *volume)
{
    img_guarded_free(volume->key, IMG_CIPHER_KEY_MAX);
    volume->key = NULL;
    img_luks2_free(&volume->two);
}

/* ---- Reading -------------------------------------------------------------------------- */

static int read_place(void *context, uint64_t offset, void *to, size_t length, struct img_error *err)
{
    const struct img_luks_volume *volume = context;
    int ret = -EIO;

    if (!img_within(offset, length, volume->length))
        return img_error_set(err, EINVAL, "Request for data outside of extension header");
    if (volume->start <= INT64_MAX - length && offset <= INT64_MAX - length - volume->start)
        ret = img_pread_padded(volume->file, to, volume->start + offset, length);
    return ret < 0 ? img_error_errno(err, -ret, "Could not read encryption header") : 0;
}

struct img_luks_place img_luks_volume_place(struct img_luks_volume *volume)
{
    return (struct img_luks_place){ read_place, volume };
}

static int read_first(struct img_luks_volume *volume, const uint8_t *bytes, struct img_error *err)
{
    int ret = img_luks_parse(bytes, volume->detached, &volume->header, err);

    volume->version = 1;
    volume->range = (struct img_cipher_range){ .start = volume->header.payload, .sector = IMG_LUKS_SECTOR };
    volume->size = UINT64_MAX;
    return ret;
}

static int read_second(struct img_luks_volume *volume, struct img_error *err)
{
    const struct img_luks_place place = img_luks_volume_place(volume);
    const struct img_luks2 *two = &volume->two;
    int ret = img_luks2_read(&place, &volume->two, err);

    if (ret < 0)
        return ret;
    volume->version = 2;
    volume->range = (struct img_cipher_range){ two->start, two->first_iv, two->sector };
    volume->size = two->size;
    return 0;
}

/* Version 2 has a second copy of its header, which may be all that is left. */
int img_luks_volume_read(struct img_luks_volume *volume, struct img_error *err)
{
    static const char magic[] = "LUKS\xba\xbe\0\2";
    uint8_t bytes[IMG_LUKS_HEADER];
    int ret = read_place(volume, 0, bytes, sizeof bytes, err);

    if (ret < 0)
        return ret;
    if (volume->newer && memcmp(bytes, magic, sizeof magic - 1) == 0)
        return read_second(volume, err);
    ret = read_first(volume, bytes, err);
    if (ret < 0 && volume->newer && memcmp(bytes, magic, 6) != 0) {
        struct img_error ignored = IMG_ERROR_INIT;
        int second = read_second(volume, &ignored);
        img_error_clear(second < 0 ? &ignored : err);
        return second < 0 ? ret : 0;
    }
    return ret;
}

/* ---- Unlocking -------------------------------------------------------------------------- */

static int check(const struct img_luks_volume *volume, struct img_error *err)
{
    return volume->version == 2 ? img_luks2_check(&volume->two, err) : img_luks_check_mode(&volume->header.data, err);
}

static int find_key(struct img_luks_volume *volume, const uint8_t *password, size_t length, struct img_luks_cipher *how,
                    uint8_t *key, struct img_error *err)
{
    const struct img_luks_place place = img_luks_volume_place(volume);

    if (volume->version == 2)
        return img_luks2_unlock(&volume->two, &place, password, length, how, key, err);
    *how = volume->header.data;
    return img_luks_unlock(&volume->header, &place, password, length, key, err);
}

int img_luks_volume_unlock(struct img_luks_volume *volume, const char *key_secret, bool keep, struct img_crypt **crypt,
                           struct img_error *err)
{
    uint8_t key[IMG_CIPHER_KEY_MAX];
    struct img_luks_cipher how;
    const uint8_t *password;
    size_t length;
    int ret = check(volume, err);

    if (ret < 0)
        return ret;
    password = img_cipher_password(volume->prefix, key_secret, &length, err);
    if (!password)
        return -err->code;
    ret = find_key(volume, password, length, &how, key, err);
    if (ret == -ENOKEY)
        return img_cipher_wrong_password(err);
    if (ret < 0)
        return ret;
    if (keep && (volume->key = img_guarded_new(IMG_CIPHER_KEY_MAX)))
        memcpy(volume->key, key, sizeof key);
    *crypt = keep && !volume->key ? NULL : img_luks_crypt(&how, volume->range.sector, key);
    img_wipe(key, sizeof key);
    return *crypt ? 0 : img_error_memory(err);
}

/* ---- What info shows --------------------------------------------------------------------- */

static void put_slot(struct img_doc *slots, const struct img_luks_slot *from)
{
    struct img_doc *slot = img_doc_object();

    img_doc_put_bool(slot, "active", from->active);
    if (from->active)
        img_doc_put_uint(slot, "iters", from->iterations);
    img_doc_put_uint(slot, "key-offset", from->key_offset);
    if (from->active)
        img_doc_put_uint(slot, "stripes", from->stripes);
    img_doc_append(slots, slot);
}

static void info_first(const struct img_luks_volume *volume, const char *format, struct img_doc *data)
{
    const struct img_luks *h = &volume->header;
    struct img_doc *slots = img_doc_array();

    for (unsigned i = 0; i < IMG_LUKS_SLOTS; i++)
        put_slot(slots, &h->slots[i]);
    img_doc_put_string(data, "ivgen-alg", img_luks_ivgen_name(h->data.ivgen));
    img_doc_put_bool(data, "detached-header", volume->detached && h->payload == 0);
    img_doc_put_string(data, "hash-alg", img_kdf_hash_name(h->hash));
    img_doc_put_string(data, "cipher-alg", img_cipher_name(h->data.cipher));
    img_doc_put_string(data, "uuid", h->uuid);
    if (h->data.ivgen == IMG_IV_ESSIV)
        img_doc_put_string(data, "ivgen-hash-alg", img_kdf_hash_name(h->data.ivgen_hash));
    if (format)
        img_doc_put_string(data, "format", format);
    img_doc_put_string(data, "cipher-mode", img_luks_mode_name(h->data.mode));
    img_doc_put(data, "slots", slots);
    img_doc_put_uint(data, "payload-offset", h->payload);
    img_doc_put_uint(data, "master-key-iters", h->iterations);
}

void img_luks_volume_info(const struct img_luks_volume *volume, const char *format, struct img_doc *data)
{
    if (volume->version == 2)
        img_luks2_info(&volume->two, data);
    else
        info_first(volume, format, data);
}
#else
void img_luks_volume_forget(struct img_luks_volume *volume)
{
    (void)volume;
}

int img_luks_volume_read(struct img_luks_volume *volume, struct img_error *err)
{
    (void)volume;
    (void)err;
    return 0;
}

int img_luks_volume_unlock(struct img_luks_volume *volume, const char *key_secret, bool keep, struct img_crypt **crypt,
                           struct img_error *err)
{
    (void)volume;
    (void)key_secret;
    (void)keep;
    *crypt = NULL;
    return img_cipher_missing(err);
}

void img_luks_volume_info(const struct img_luks_volume *volume, const char *format, struct img_doc *data)
{
    (void)volume;
    if (format)
        img_doc_put_string(data, "format", format);
}
#endif
