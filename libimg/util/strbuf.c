/* SPDX-License-Identifier: MIT */
/* A growing string, and allocation of small objects. */
#include "strbuf.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ensure space for `more` bytes and a NUL. */
static bool reserve(struct img_strbuf *buffer, size_t more)
{
    size_t need;
    if (buffer->failed || __builtin_add_overflow(buffer->length, more, &need) || need > SIZE_MAX / 2 - 1) {
        buffer->failed = true;
        return false;
    }
    need++;
    if (need <= buffer->capacity)
        return true;
    size_t capacity = buffer->capacity ? buffer->capacity * 2 : 64;
    while (capacity < need)
        capacity *= 2;
    char *text = realloc(buffer->text, capacity);
    buffer->failed = !text;
    if (!text)
        return false;
    buffer->text = text;
    buffer->capacity = capacity;
    return true;
}

void img_strbuf_add_bytes(struct img_strbuf *buffer, const void *bytes, size_t length)
{
    if (!reserve(buffer, length))
        return;
    if (length)
        memcpy(buffer->text + buffer->length, bytes, length);
    buffer->length += length;
    buffer->text[buffer->length] = '\0';
}

void img_strbuf_add(struct img_strbuf *buffer, const char *text)
{
    img_strbuf_add_bytes(buffer, text, strlen(text));
}

void img_strbuf_add_char(struct img_strbuf *buffer, char c)
{
    img_strbuf_add_bytes(buffer, &c, 1);
}

void img_strbuf_vprintf(struct img_strbuf *buffer, const char *format, va_list arguments)
{
    if (!reserve(buffer, 0))
        return;
    va_list again;
    va_copy(again, arguments);
    size_t space = buffer->capacity - buffer->length;
    int length = vsnprintf(buffer->text + buffer->length, space, format, arguments);
    if (length >= 0 && (size_t)length >= space && reserve(buffer, (size_t)length))
        length = vsnprintf(buffer->text + buffer->length, (size_t)length + 1, format, again);
    va_end(again);
    if (length < 0)
        buffer->failed = true;
    if (!buffer->failed)
        buffer->length += (size_t)length;
    else
        buffer->text[buffer->length] = '\0';
}

void img_strbuf_printf(struct img_strbuf *buffer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    img_strbuf_vprintf(buffer, format, arguments);
    va_end(arguments);
}

char *img_strbuf_take(struct img_strbuf *buffer)
{
    char *text = buffer->text;
    if (buffer->failed) {
        img_strbuf_free(buffer);
        return NULL;
    }
    *buffer = (struct img_strbuf){ 0 };
    return text ? text : img_strdup("");
}

void img_strbuf_free(struct img_strbuf *buffer)
{
    free(buffer->text);
    *buffer = (struct img_strbuf){ 0 };
}

void *img_malloc(size_t size)
{
    return malloc(size ? size : 1);
}

void *img_calloc(size_t count, size_t size)
{
    return calloc(count ? count : 1, size ? size : 1);
}

void *img_realloc(void *old, size_t size)
{
    return realloc(old, size ? size : 1);
}

char *img_strndup(const char *text, size_t length)
{
    length = strnlen(text, length);
    char *copy = malloc(length + 1);
    if (copy) {
        memcpy(copy, text, length);
        copy[length] = '\0';
    }
    return copy;
}

char *img_strdup(const char *text)
{
    return img_strndup(text, SIZE_MAX);
}

char *img_asprintf(const char *format, ...)
{
    struct img_strbuf buffer = { 0 };
    va_list arguments;
    va_start(arguments, format);
    img_strbuf_vprintf(&buffer, format, arguments);
    va_end(arguments);
    return img_strbuf_take(&buffer);
}

int img_replace_text(char **kept, const char *text)
{
    char *copy = text ? img_strdup(text) : NULL;
    if (text && !copy)
        return -ENOMEM;
    free(*kept);
    *kept = copy;
    return 0;
}
