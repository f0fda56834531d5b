/* SPDX-License-Identifier: MIT */
/* script.h - a fuzz input as the script of a server's answers: bytes taken one by one; behind the end, zeroes. */
#ifndef FUZZ_SCRIPT_H
#define FUZZ_SCRIPT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct script {
    const uint8_t *at, *end;
};

static inline unsigned script_byte(struct script *s)
{
    return s->at < s->end ? *s->at++ : 0;
}

static inline uint64_t script_number(struct script *s, unsigned bytes)
{
    uint64_t number = 0;

    while (bytes--)
        number = number << 8 | script_byte(s);
    return number;
}

static inline void script_bytes(struct script *s, void *to, size_t length)
{
    size_t there = (size_t)(s->end - s->at) < length ? (size_t)(s->end - s->at) : length;

    memset(to, 0, length);
    if (there)
        memcpy(to, s->at, there);
    s->at += there;
}

#endif
