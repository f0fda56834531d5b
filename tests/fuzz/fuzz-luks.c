/* SPDX-License-Identifier: MIT */
/* Fuzz target: the input is a LUKS header and its key slots.  What is accepted is written back the same. */
#include "libimg/codec/luks.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size;
};

static int read_input(void *context, uint64_t offset, void *to, size_t length, struct img_error *err)
{
    const struct input *input = context;
    size_t there = offset < input->size ? input->size - (size_t)offset : 0;

    (void)err;
    memset(to, 0, length);
    memcpy(to, input->data + (there ? offset : 0), there < length ? there : length);
    return 0;
}

/* A key slot may ask for hours. */
static void limit_time(struct img_luks *luks)
{
    luks->iterations = luks->iterations % 8 + 1;
    for (unsigned i = 0; i < IMG_LUKS_SLOTS; i++) {
        luks->slots[i].iterations = luks->slots[i].iterations % 8 + 1;
        luks->slots[i].active &= i == 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };
    const struct img_luks_place place = { read_input, &input };
    uint8_t header[IMG_LUKS_HEADER], key[IMG_CIPHER_KEY_MAX];
    struct img_error err = IMG_ERROR_INIT;
    struct img_luks luks, again;

    read_input(&input, 0, header, sizeof header, &err);
    if (img_luks_parse(header, size % 2, &luks, &err) == 0) {
        img_luks_put(&luks, header);
        if (img_luks_parse(header, size % 2, &again, &err) < 0 || memcmp(&again, &luks, sizeof luks) != 0)
            abort();
        limit_time(&luks);
        if (img_luks_check_mode(&luks.data, &err) == 0)
            img_luks_unlock(&luks, &place, data, size % 64, key, &err);
    }
    img_error_clear(&err);
    return 0;
}
