/* SPDX-License-Identifier: MIT */
/*
 * Functions of glibc that its headers put into archives in place of the standard ones, and that other C libraries lack:
 * they know how much room there is, and end the program where that is too little.
 */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WEAK __attribute__((weak))

/* How much room there is may be unknown: SIZE_MAX, with which some C libraries do not print. */
static int print_within(char *to, size_t room, const char *format, va_list args)
{
    int ret = room > INT_MAX ? vsprintf(to, format, args) : vsnprintf(to, room, format, args);

    if (ret >= 0 && (size_t)ret >= room)
        __builtin_trap();
    return ret;
}

WEAK int __fprintf_chk(FILE *file, int flag, const char *format, ...)
{
    va_list args;
    int ret;

    (void)flag;
    va_start(args, format);
    ret = vfprintf(file, format, args);
    va_end(args);
    return ret;
}

WEAK int __sprintf_chk(char *to, int flag, size_t room, const char *format, ...)
{
    va_list args;
    int ret;

    (void)flag;
    va_start(args, format);
    ret = print_within(to, room, format, args);
    va_end(args);
    return ret;
}

WEAK int __snprintf_chk(char *to, size_t length, int flag, size_t room, const char *format, ...)
{
    va_list args;
    int ret;

    (void)flag;
    if (length > room)
        __builtin_trap();
    va_start(args, format);
    ret = vsnprintf(to, length, format, args);
    va_end(args);
    return ret;
}

WEAK void *__memcpy_chk(void *to, const void *from, size_t length, size_t room)
{
    if (length > room)
        __builtin_trap();
    return memcpy(to, from, length);
}

WEAK void *__memset_chk(void *to, int value, size_t length, size_t room)
{
    if (length > room)
        __builtin_trap();
    return memset(to, value, length);
}

WEAK int __printf_chk(int flag, const char *format, ...)
{
    va_list args;
    int ret;

    (void)flag;
    va_start(args, format);
    ret = vprintf(format, args);
    va_end(args);
    return ret;
}

WEAK int __vsnprintf_chk(char *to, size_t length, int flag, size_t room, const char *format, va_list args)
{
    (void)flag;
    if (length > room)
        __builtin_trap();
    return vsnprintf(to, length, format, args);
}

WEAK int __vsprintf_chk(char *to, int flag, size_t room, const char *format, va_list args)
{
    (void)flag;
    return print_within(to, room, format, args);
}

WEAK void *__memmove_chk(void *to, const void *from, size_t length, size_t room)
{
    if (length > room)
        __builtin_trap();
    return memmove(to, from, length);
}

WEAK char *__strncat_chk(char *to, const char *from, size_t length, size_t room)
{
    size_t had = strlen(to), added = strnlen(from, length);

    if (added >= room || had >= room - added)
        __builtin_trap();
    return strncat(to, from, length);
}

WEAK void __explicit_bzero_chk(void *to, size_t length, size_t room)
{
    if (length > room)
        __builtin_trap();
    explicit_bzero(to, length);
}

/* The standard function under another name: offsets have 64 bits anyway. */
FILE *fopen64(const char *name, const char *mode);
WEAK FILE *fopen64(const char *name, const char *mode)
{
    return fopen(name, mode);
}
