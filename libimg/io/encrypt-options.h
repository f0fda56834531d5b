/* SPDX-License-Identifier: MIT */
/* encrypt-options.h - what users say to open an encrypted image. */
#ifndef IMG_ENCRYPT_OPTIONS_H
#define IMG_ENCRYPT_OPTIONS_H

#include "img.h"

/* The bytes of the secret, which belong to the list of secrets; `prefix` of the option, "" or "encrypt.".  NULL with
 * *err set: none is given, it is unknown, or it is no text. */
const uint8_t *img_cipher_password(const char *prefix, const char *key_secret, size_t *length, struct img_error *err);
/*
 * The options encrypt.* of a format that may be encrypted: `method` is what its header says (NULL: it is not), `format`
 * what the user expects (NULL: anything).  What is left in `options` under "encrypt" is unknown; it is refused, or
 * dropped if nothing is encrypted.
 */
int img_cipher_check_options(const char *method, const char *format, struct img_doc *options, struct img_error *err);
/*
 * The format of encryption that a new image is asked for; NULL: none.  `encryption` is the older option for it, NULL or
 * the word that was given: "on" means aes.  As in qemu-img, any word but "on" and "off" is taken for the name of a
 * format, and no format has it.  check_alias: -EINVAL where both options ask for one.
 */
const char *img_cipher_new_format(const char *encryption, const char *format);
int img_cipher_check_alias(const char *encryption, const char *format, struct img_error *err);
/* Says that the password opens nothing; -EINVAL. */
int img_cipher_wrong_password(struct img_error *err);
/* Says that no ciphers are built in; -ENOTSUP. */
int img_cipher_missing(struct img_error *err);

#endif
