/* SPDX-License-Identifier: MIT */
/* LUKS, done by librbd: what is in the objects is encrypted, and what is read and written is not. */
#include "rbd.h"
#include "../../libimg/util/cleanup.h"
#include <stdlib.h>
#include <string.h>

/* ---- Options ---------------------------------------------------------------------------------- */

static int unknown_value(const char *key, const char *value, struct img_error *err)
{
    return img_error_set(err, EINVAL, "Parameter '%s' does not accept value '%s'", key, value);
}

static int find_format(const char *name, enum rbd_cipher_format *format, struct img_error *err)
{
    static const char *const names[] = { [RBD_LUKS1] = "luks", [RBD_LUKS2] = "luks2", [RBD_LUKS_ANY] = "luks-any" };

    for (size_t i = RBD_LUKS1; i <= RBD_LUKS_ANY; i++) {
        if (strcmp(name, names[i]) == 0) {
            *format = (enum rbd_cipher_format)i;
            return 0;
        }
    }
    return unknown_value("format", name, err);
}

static int find_passphrase(const char *id, struct rbd_layer *layer, struct img_error *err)
{
    layer->passphrase = (const char *)img_secret_find(id, &layer->length, err);
    return layer->passphrase ? 0 : -err->code;
}

/* `where`: "encrypt", "encrypt.parent" ... */
static int missing(const char *where, const char *key, struct img_error *err)
{
    return img_error_set(err, EINVAL, "Parameter '%s.%s' is missing", where, key);
}

/* One layer, without its parent. */
static int take_layer(struct img_doc *given, const char *where, struct rbd_layer *layer, struct img_error *err)
{
    CLEANUP_FREE char *format = NULL;

    if (img_options_take_text(given, "format", &format, err) < 0 ||
        img_options_take_text(given, "key-secret", &layer->secret, err) < 0)
        return -err->code;
    if (!format)
        return missing(where, "format", err);
    return find_format(format, &layer->format, err);
}

/* The parent comes before the secret, as in qemu-img. */
static int take_layers(struct img_doc *given, char *where, size_t room, struct rbd_encryption *encryption,
                       struct img_error *err)
{
    struct img_doc *parent;
    struct rbd_layer *layer = &encryption->layers[encryption->count];
    size_t length = strlen(where);
    int ret;

    if (img_doc_type(given) != IMG_DOC_OBJECT)
        return img_error_set(err, EINVAL, "Invalid parameter type for '%s', expected: object", where);
    if (encryption->count == RBD_LAYERS)
        return img_error_set(err, EINVAL, "There can be no more than %d encrypted images", RBD_LAYERS);
    encryption->count++;
    ret = take_layer(given, where, layer, err);
    parent = img_doc_take(given, "parent");
    if (ret == 0 && parent) {
        strncat(where, ".parent", room - length - 1);
        ret = take_layers(parent, where, room, encryption, err);
        where[length] = 0;
    }
    img_doc_free(parent);
    if (ret == 0 && !layer->secret)
        ret = missing(where, "key-secret", err);
    if (ret == 0 && img_doc_count(given))
        ret = img_error_set(err, EINVAL, "Parameter '%s.%s' is unexpected", where, img_doc_key_at(given, 0));
    return ret;
}

int rbd_encryption_take(struct img_doc *options, struct rbd_encryption *encryption, struct img_error *err)
{
    char where[sizeof "encrypt" + RBD_LAYERS * sizeof ".parent"] = "encrypt";
    struct img_doc *given = img_doc_take(options, "encrypt");
    int ret = given ? take_layers(given, where, sizeof where, encryption, err) : 0;

    img_doc_free(given);
    return ret;
}

void rbd_encryption_free(struct rbd_encryption *encryption)
{
    for (size_t i = 0; i < encryption->count; i++)
        free(encryption->layers[i].secret);
    encryption->count = 0;
}

/* ---- An encrypted image ------------------------------------------------------------------------- */

#ifdef LIBRBD_SUPPORTS_ENCRYPTION_LOAD2

/* Options of librbd for one layer.  (Of those for opening, only the passphrase counts.) */
union layer_options {
    rbd_encryption_luks_format_options_t any;
    rbd_encryption_luks1_format_options_t luks1;
    rbd_encryption_luks2_format_options_t luks2;
};

static rbd_encryption_spec_t describe(const struct rbd_layer *layer, union layer_options *options)
{
    rbd_encryption_spec_t spec = { .opts = options };

    if (layer->format == RBD_LUKS1) {
        options->luks1 = (rbd_encryption_luks1_format_options_t){
            .passphrase = layer->passphrase, .passphrase_size = layer->length };
        spec.format = RBD_ENCRYPTION_FORMAT_LUKS1;
        spec.opts_size = sizeof options->luks1;
    } else if (layer->format == RBD_LUKS2) {
        options->luks2 = (rbd_encryption_luks2_format_options_t){
            .passphrase = layer->passphrase, .passphrase_size = layer->length };
        spec.format = RBD_ENCRYPTION_FORMAT_LUKS2;
        spec.opts_size = sizeof options->luks2;
    } else {
        options->any = (rbd_encryption_luks_format_options_t){
            .passphrase = layer->passphrase, .passphrase_size = layer->length };
        spec.format = RBD_ENCRYPTION_FORMAT_LUKS;
        spec.opts_size = sizeof options->any;
    }
    return spec;
}

static int load(rbd_image_t image, const struct rbd_encryption *encryption, struct img_error *err)
{
    union layer_options options[RBD_LAYERS];
    rbd_encryption_spec_t specs[RBD_LAYERS];
    int ret;

    for (size_t i = 0; i < encryption->count; i++)
        specs[i] = describe(&encryption->layers[i], &options[i]);
    ret = rbd_encryption_load2(image, specs, encryption->count);
    return ret < 0 ? img_error_errno(err, -ret, "layered encryption load fail") : 0;
}

#else

static int load(rbd_image_t image, const struct rbd_encryption *encryption, struct img_error *err)
{
    const struct rbd_layer *layer = encryption->layers;
    rbd_encryption_luks1_format_options_t luks1 = {
        .passphrase = layer->passphrase, .passphrase_size = layer->length };
    rbd_encryption_luks2_format_options_t luks2 = {
        .passphrase = layer->passphrase, .passphrase_size = layer->length };
    int ret;

    if (encryption->count > 1)
        return img_error_set(err, ENOTSUP, "RBD library does not support layered encryption");
    if (layer->format == RBD_LUKS1)
        ret = rbd_encryption_load(image, RBD_ENCRYPTION_FORMAT_LUKS1, &luks1, sizeof luks1);
    else if (layer->format == RBD_LUKS2)
        ret = rbd_encryption_load(image, RBD_ENCRYPTION_FORMAT_LUKS2, &luks2, sizeof luks2);
    else    /* (2 is its number in QEMU) */
        return img_error_errno(err, ENOTSUP, "unknown image encryption format: 2");
    return ret < 0 ? img_error_errno(err, -ret, "encryption load fail") : 0;
}

#endif

int rbd_encryption_apply(rbd_image_t image, struct rbd_encryption *encryption, struct img_error *err)
{
    for (size_t i = 0; i < encryption->count; i++)
        if (find_passphrase(encryption->layers[i].secret, &encryption->layers[i], err) < 0)
            return -err->code;
    return encryption->count ? load(image, encryption, err) : 0;
}

/* ---- A new one -------------------------------------------------------------------------------------- */

/* The ciphers that the option takes, in the order of the numbers that qemu-img shows; librbd has two of them. */
static const char *const ciphers[] = {
    "aes-128", "aes-192", "aes-256", "des", "3des", "cast5-128", "serpent-128", "serpent-192", "serpent-256",
    "twofish-128", "twofish-192", "twofish-256", "sm4",
};

static int find_cipher(const char *name, rbd_encryption_algorithm_t *cipher, struct img_error *err)
{
    size_t count = sizeof ciphers / sizeof *ciphers, i = 0;

    *cipher = RBD_ENCRYPTION_ALGORITHM_AES256;
    if (!name || strcmp(name, "aes-256") == 0)
        return 0;
    *cipher = RBD_ENCRYPTION_ALGORITHM_AES128;
    if (strcmp(name, "aes-128") == 0)
        return 0;
    while (i < count && strcmp(name, ciphers[i]) != 0)
        i++;
    return i == count ? unknown_value("cipher-alg", name, err)
                      : img_error_errno(err, ENOTSUP, "unknown encryption algorithm: %zu", i);
}

int rbd_encryption_format_now(rbd_image_t image, const struct rbd_new_encryption *wanted)
{
    const struct rbd_layer *layer = &wanted->layer;
    rbd_encryption_luks1_format_options_t luks1 = {
        .alg = wanted->cipher, .passphrase = layer->passphrase, .passphrase_size = layer->length };
    rbd_encryption_luks2_format_options_t luks2 = {
        .alg = wanted->cipher, .passphrase = layer->passphrase, .passphrase_size = layer->length };

    if (layer->format == RBD_LUKS1)
        return rbd_encryption_format(image, RBD_ENCRYPTION_FORMAT_LUKS1, &luks1, sizeof luks1);
    return rbd_encryption_format(image, RBD_ENCRYPTION_FORMAT_LUKS2, &luks2, sizeof luks2);
}

/* After it the header takes a part of the image, which is given back to the disk. */
static int make(rbd_image_t image, const struct rbd_new_encryption *wanted, struct rbd_waiting *waiting,
                struct img_error *err)
{
    const struct rbd_change change = { .kind = RBD_ENCRYPT, .encryption = *wanted };
    uint64_t before, after;
    int ret = rbd_get_size(image, &before);

    if (ret == 0 && (ret = rbd_change(waiting, image, &change, 0)) < 0)
        return img_error_errno(err, -ret, "encryption format fail");
    if (ret == 0)
        ret = rbd_get_size(image, &after);
    if (ret < 0)
        return img_error_errno(err, -ret, "cannot get raw image size");
    ret = rbd_set_size(waiting, image, before, after < before ? before - after : 0);
    return ret < 0 ? img_error_errno(err, -ret, "cannot resize image after format") : 0;
}

int rbd_encryption_make(rbd_image_t image, const struct rbd_new_encryption *wanted, struct rbd_waiting *waiting,
                        struct img_error *err)
{
    return wanted->layer.format == RBD_PLAIN ? 0 : make(image, wanted, waiting, err);
}

int rbd_encryption_choose(const struct rbd_create_options *create, struct rbd_new_encryption *wanted,
                          struct img_error *err)
{
    *wanted = (struct rbd_new_encryption){ .layer.format = RBD_PLAIN };
    if (!create->encrypt_format)
        return create->cipher_alg || create->key_secret
               ? img_error_set(err, EINVAL, "Parameter 'format' is missing") : 0;
    if (find_format(create->encrypt_format, &wanted->layer.format, err) < 0)
        return -err->code;
    if (wanted->layer.format == RBD_LUKS_ANY)
        return img_error_set(err, EINVAL, "Parameter '%s' is unexpected", create->key_secret ? "key-secret" : "format");
    if (!create->key_secret)
        return img_error_set(err, EINVAL, "Parameter 'key-secret' is missing");
    if (find_cipher(create->cipher_alg, &wanted->cipher, err) < 0)
        return -err->code;
    return find_passphrase(create->key_secret, &wanted->layer, err);
}

/* A clone that is encrypted by itself begins with other letters. */
const char *rbd_encryption_of(const unsigned char header[RBD_HEADER])
{
    if (memcmp(header, "LUKS\xba\xbe", 6) != 0 && memcmp(header, "RBDL\xba\xbe", 6) != 0)
        return NULL;
    if (header[6] != 0)
        return NULL;
    return header[7] == 1 ? "luks" : header[7] == 2 ? "luks2" : NULL;
}
