/* SPDX-License-Identifier: MIT */
/* encrypt-options.c - what users say to open an encrypted image, and what they are told. */
#include "encrypt-options.h"
#include "util/utf8.h"
#include <errno.h>
#include <string.h>

const uint8_t *img_cipher_password(const char *prefix, const char *key_secret, size_t *length, struct img_error *err)
{
    const uint8_t *password;

    if (!key_secret) {
        img_error_set(err, EINVAL, "Parameter '%skey-secret' is required for cipher", prefix);
        img_error_advise(err, "'--object secret,id=ID,file=PATH' defines the secret, and '%skey-secret=ID' refers to "
                         "it:", prefix);
        img_error_advise(err, "in -o for a new image, else --image-opts "
                         "driver=FORMAT,file.filename=NAME,%skey-secret=ID", prefix);
        return NULL;
    }
    password = img_secret_find(key_secret, length, err);
    if (password && !img_utf8_is_text(password, *length)) {
        img_error_set(err, EINVAL, "Data from secret %s is not valid UTF-8", key_secret);
        return NULL;
    }
    return password;
}

int img_cipher_check_options(const char *method, const char *format, struct img_doc *options, struct img_error *err)
{
    const struct img_doc *unknown = img_doc_get(options, "encrypt");

    if (format && !method)
        return img_error_set(err, EINVAL, "No encryption in image header, but options specified format '%s'", format);
    if (format && strcmp(format, method) != 0)
        return img_error_set(err, EINVAL, "Header reported '%s' encryption format but options specify '%s'", method,
                             format);
    if (img_doc_count(unknown) == 0)
        return 0;
    if (method)
        return img_error_set(err, EINVAL, "Parameter '%s' is unexpected", img_doc_key_at(unknown, 0));
    img_doc_remove(options, "encrypt");
    return 0;
}

const char *img_cipher_new_format(const char *encryption, const char *format)
{
    if (!encryption || strcmp(encryption, "off") == 0)
        return format;
    return strcmp(encryption, "on") == 0 ? "aes" : encryption;
}

int img_cipher_check_alias(const char *encryption, const char *format, struct img_error *err)
{
    if (format && img_cipher_new_format(encryption, NULL))
        return img_error_set(err, EINVAL, "'encrypt.format' and its alias 'encryption' can't be used at the same time");
    return 0;
}

int img_cipher_wrong_password(struct img_error *err)
{
    img_error_advise(err, "all bytes of a secret's file belong to the password, a newline at its end too");
    return img_error_set(err, EINVAL, "Invalid password, cannot unlock any keyslot");
}

int img_cipher_missing(struct img_error *err)
{
    return img_error_set(err, ENOTSUP, "Encryption needs nettle, which is not built in");
}
