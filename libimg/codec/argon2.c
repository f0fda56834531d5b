/* SPDX-License-Identifier: MIT */
/* argon2.c - Argon2i and Argon2id (see argon2.h). */
#include "argon2.h"
#include <errno.h>

#ifdef HAVE_ARGON2
#include <argon2.h>

bool img_argon2_available(void)
{
    return true;
}

int img_argon2(const struct img_argon2 *how, uint8_t *key, size_t length, struct img_error *err)
{
    /* libargon2 does not write to them without a flag that asks to clear them. */
    argon2_context context = {
        .out = key, .outlen = (uint32_t)length,
        .pwd = (uint8_t *)(uintptr_t)how->password, .pwdlen = (uint32_t)how->password_length,
        .salt = (uint8_t *)(uintptr_t)how->salt, .saltlen = (uint32_t)how->salt_length,
        .t_cost = how->time, .m_cost = how->memory, .lanes = how->lanes, .threads = how->lanes,
        .version = ARGON2_VERSION_13, .flags = ARGON2_DEFAULT_FLAGS,
    };
    int ret = argon2_ctx(&context, how->kind == IMG_ARGON2_I ? Argon2_i : Argon2_id);

    if (ret == ARGON2_OK)
        return 0;
    if (ret == ARGON2_MEMORY_ALLOCATION_ERROR || ret == ARGON2_THREAD_FAIL)
        return img_error_set(err, ENOMEM, "Argon2 does not get the %u MiB of memory that the key slot asks for",
                             how->memory / 1024);
    return img_error_set(err, EINVAL, "Argon2 refuses the numbers of the key slot");
}
#else
bool img_argon2_available(void)
{
    return false;
}

int img_argon2(const struct img_argon2 *how, uint8_t *key, size_t length, struct img_error *err)
{
    (void)how;
    (void)key;
    (void)length;
    return img_error_set(err, ENOTSUP, "The key slot needs libargon2, which is not built in");
}
#endif
