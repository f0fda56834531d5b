/* SPDX-License-Identifier: MIT */
/* uuid.c - identifiers of new images. */
#include "uuid.h"
#include "random.h"
#include <unistd.h>
#include <time.h>

static void exchange(uint8_t *a, uint8_t *b)
{
    uint8_t kept = *a;

    *a = *b;
    *b = kept;
}

void img_uuid_make(uint8_t uuid[16])
{
    /* The kernel has no randomness: these values still distinguish images, and need not be secret. */
    if (img_random(uuid, 16) < 0) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        uint64_t mixed[2] = { (uint64_t)now.tv_sec << 30 ^ (uint64_t)now.tv_nsec, (uint64_t)getpid() };
        for (int i = 0; i < 16; i++)
            uuid[i] = (uint8_t)(mixed[i / 8] >> i % 8 * 8);
    }
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

void img_uuid_swap(uint8_t uuid[16])
{
    exchange(uuid, uuid + 3);
    exchange(uuid + 1, uuid + 2);
    exchange(uuid + 4, uuid + 5);
    exchange(uuid + 6, uuid + 7);
}

void img_uuid_text(const uint8_t uuid[16], char text[IMG_UUID_TEXT])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *text++ = '-';
        *text++ = digits[uuid[i] >> 4];
        *text++ = digits[uuid[i] & 15];
    }
    *text = 0;
}
