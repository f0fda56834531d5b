/* SPDX-License-Identifier: MIT */
/* A growing string, and allocation of small objects that cannot fail. */
#include "strbuf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void (*img_memory_handler)(void);

void img_out_of_memory(void)
{
    if (img_memory_handler)
        img_memory_handler();
    exit(1);
}

/* Ensure space for `more` bytes and a NUL. */
static void reserve(struct img_strbuf *buffer, size_t more)
{
    size_t need;
    if (__builtin_add_overflow(buffer->length, more, &need) || need > SIZE_MAX / 2 - 1)
        img_out_of_memory();
    need++;
    if (need <= buffer->capacity)
        return;
    size_t capacity = buffer->capacity ? buffer->capacity * 2 : 64;
    while (capacity < need)
        capacity *= 2;
    buffer->text = img_xrealloc(buffer->text, capacity);
    buffer->capacity = capacity;
}

void img_strbuf_add_bytes(struct img_strbuf *buffer, const void *bytes, size_t length)
{
    reserve(buffer, length);
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
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    if (length < 0)
        img_out_of_memory();
    reserve(buffer, (size_t)length);
    vsnprintf(buffer->text + buffer->length, (size_t)length + 1, format, again);
    va_end(again);
    buffer->length += (size_t)length;
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
    char *text = buffer->text ? buffer->text : img_xstrdup("");
    *buffer = (struct img_strbuf){ 0 };
    return text;
}

void img_strbuf_free(struct img_strbuf *buffer)
{
    free(buffer->text);
    *buffer = (struct img_strbuf){ 0 };
}

/* Return a pointer for size 0 too, with every C library. */
void *img_xmalloc(size_t size)
{
    void *memory = malloc(size ? size : 1);
    if (!memory)
        img_out_of_memory();
    return memory;
}

void *img_xcalloc(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size ? size : 1);
    if (!memory)
        img_out_of_memory();
    return memory;
}

void *img_xrealloc(void *old, size_t size)
{
    void *memory = realloc(old, size ? size : 1);
    if (!memory)
        img_out_of_memory();
    return memory;
}

char *img_xstrndup(const char *text, size_t length)
{
    length = strnlen(text, length);
    char *copy = img_xmalloc(length + 1);
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *img_xstrdup(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(img_xmalloc(size), text, size);
}

char *img_xasprintf(const char *format, ...)
{
    struct img_strbuf buffer = { 0 };
    va_list arguments;
    va_start(arguments, format);
    img_strbuf_vprintf(&buffer, format, arguments);
    va_end(arguments);
    return img_strbuf_take(&buffer);
}
