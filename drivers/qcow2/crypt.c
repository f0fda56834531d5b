/* SPDX-License-Identifier: MIT */
/*
 * Encrypted images: guest clusters pass a cipher node on their way to the storage; all metadata, and compressed clusters,
 * are not encrypted.
 * Specification: "Header" (crypt_method), "Full disk encryption header pointer", "Data encryption".
 *
 *     aes     the old one; IVs by the sectors of the guest, the key is the password
 *     luks    a LUKS header in clusters of its own; IVs by the sectors of the storage
 */
#include "qcow2.h"
#include "../../libimg/io/encrypt-options.h"

enum { AES = 1, LUKS = 2 };

static const char *const methods[] = { NULL, "aes", "luks" };

/* ---- Opening -------------------------------------------------------------------------- */

int qcow2_check_encrypt_options(const struct img *image, const char *format, struct img_doc *options,
                                struct img_error *err)
{
    return img_cipher_check_options(methods[qcow2_state(image)->h.crypt_method], format, options, err);
}

static int open_luks(struct img *image, const char *key_secret, struct img_error *err)
{
    const struct img_cipher_range whole = { .sector = IMG_LUKS_SECTOR };
    struct qcow2 *s = qcow2_state(image);
    struct img_crypt *crypt;
    int status;

    if (!s->has_crypto)
        return img_error_set(err, EINVAL, "Missing CRYPTO header for crypt method %u", s->h.crypt_method);
    s->luks.file = image->file;
    s->luks.prefix = "encrypt.";
    status = img_luks_volume_read(&s->luks, err);
    if (status < 0 || image->flags & IMG_NO_IO)
        return status;
    status = img_luks_volume_unlock(&s->luks, key_secret, image->flags & IMG_RDWR, &crypt, err);
    if (status < 0)
        return status;
    s->cipher = img_cipher_node_new(image, qcow2_storage(image), &whole, crypt);
    return s->cipher ? 0 : img_error_memory(err);
}

int qcow2_open_encryption(struct img *image, const char *key_secret, struct img_error *err)
{
    struct qcow2 *s = qcow2_state(image);

    if (s->h.crypt_method == LUKS)
        return open_luks(image, key_secret, err);
    if (s->h.crypt_method == AES && !(image->flags & IMG_NO_IO))
        return img_cipher_node_aes(image, qcow2_storage(image), key_secret, &s->cipher, err);
    return 0;
}

void qcow2_close_encryption(struct qcow2 *s)
{
    img_luks_volume_forget(&s->luks);
    img_cipher_node_free(s->cipher);
    s->cipher = NULL;
}

void qcow2_put_encryption(const struct qcow2 *s, struct img_doc *data)
{
    struct img_doc *encrypt;

    if (s->h.crypt_method == 0)
        return;
    encrypt = img_doc_object();
    if (s->h.crypt_method == LUKS)
        img_luks_volume_info(&s->luks, methods[LUKS], encrypt);
    else
        img_doc_put_string(encrypt, "format", methods[s->h.crypt_method]);
    img_doc_put(data, "encrypt", encrypt);
}

/* ---- Amending ---------------------------------------------------------------------------- */

static bool amends(const struct img_luks_options *given)
{
    return given->state || given->new_secret || given->old_secret || given->keyslot != -1 || given->iter_time != -1;
}

int qcow2_check_amend_encryption(const struct img *image, const struct qcow2_create_options *given,
                                 struct img_error *err)
{
    if (!amends(&given->luks))
        return 0;
    if (!image->encrypted)
        return img_error_set(err, EINVAL, "Can't amend encryption options - encryption not present");
    if (qcow2_state(image)->h.crypt_method != LUKS)
        return img_error_set(err, ENOTSUP, "Only LUKS encryption options can be amended");
    return 0;
}

int qcow2_amend_encryption(struct img *image, const struct qcow2_create_options *given, bool force,
                           struct img_error *err)
{
    return amends(&given->luks) ? img_luks_volume_amend(&qcow2_state(image)->luks, &given->luks, force, err) : 0;
}

/* ---- A new image ------------------------------------------------------------------------- */

/* The encryption that the options ask for; 0: none. */
static uint32_t method_of(const struct qcow2_create_options *given)
{
    const char *format = img_cipher_new_format(given->encryption, given->encrypt_format);

    for (uint32_t i = AES; format && i <= LUKS; i++)
        if (strcmp(format, methods[i]) == 0)
            return i;
    return 0;
}

/* An option that only LUKS has; NULL: none is given. */
static const char *luks_only(const struct qcow2_create_options *given)
{
    const struct img_luks_options *luks = &given->luks;

    return luks->cipher ? "cipher-alg" : luks->mode ? "cipher-mode" : luks->ivgen ? "ivgen-alg" :
           luks->ivgen_hash ? "ivgen-hash-alg" : luks->hash ? "hash-alg" : luks->iter_time >= 0 ? "iter-time" : NULL;
}

int qcow2_check_new_encryption(const struct qcow2_create_options *given, struct img_error *err)
{
    const char *format = img_cipher_new_format(given->encryption, given->encrypt_format);
    const char *only = luks_only(given);
    uint32_t method = method_of(given);

    if (format && !method)
        return qcow2_bad_choice(err, "format", format);
    if (!method && (only || given->encrypt_key_secret))
        return img_error_set(err, EINVAL, "Parameter 'encrypt.format' is missing");
    if (method == AES && only)
        return img_error_set(err, EINVAL, "Parameter 'encrypt.%s' is unexpected", only);
    return 0;
}

int qcow2_plan_encryption(struct img_luks_volume *luks, const struct qcow2_create_options *given, uint32_t *method,
                          struct img_error *err)
{
    *method = method_of(given);
    luks->prefix = "encrypt.";
    if (*method == AES)
        return img_cipher_aes_secret(given->encrypt_key_secret, err);
    return *method == LUKS ? img_luks_volume_plan(luks, 1, &given->luks, given->encrypt_key_secret, err) : 0;
}

int qcow2_make_encryption(struct qcow2_new *plan, struct img_error *err)
{
    if (plan->state.h.crypt_method != LUKS)
        return 0;
    return img_luks_volume_make(&plan->state.luks, &plan->given->luks, plan->given->encrypt_key_secret, &plan->crypto,
                                err);
}

/* The slots that are free read as zeroes. */
static int place_luks(struct img *image)
{
    struct qcow2 *s = qcow2_state(image);
    uint64_t length = s->luks.range.start, whole = img_align_up(length, s->cluster_size);
    int status = qcow2_alloc_clusters(image, whole, &s->luks.start);

    if (status == 0)
        status = img_zero(image->file, s->luks.start, whole, 0);
    s->luks.file = image->file;
    s->luks.length = length;
    return status;
}

int qcow2_write_encryption(struct qcow2_new *plan, struct img_error *err)
{
    struct img *image = &plan->image;
    int status;

    if (plan->state.h.crypt_method == 0)
        return 0;
    if (plan->state.h.crypt_method == LUKS) {
        if ((status = place_luks(image)) < 0)
            return img_error_errno(err, -status, "Cannot allocate cluster for LUKS header size %llu",
                                   (unsigned long long)plan->state.luks.range.start);
        if ((status = img_luks_volume_write(&plan->state.luks, &plan->crypto, err)) < 0)
            return status;
    }
    if ((status = qcow2_flush(image)) < 0 || (status = qcow2_write_header(image)) < 0)
        return img_error_errno(err, -status, "Cannot write encryption header");
    return 0;
}
