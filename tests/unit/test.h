/* SPDX-License-Identifier: MIT */
/* A test program prints TAP: OK(name, condition) for each fact, and ends with `return test_end();`. */
#ifndef TEST_H
#define TEST_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int test_number, test_failures;

__attribute__((format(printf, 2, 3)))
static inline bool test_report(bool good, const char *format, ...)
{
    va_list arguments;
    printf("%sok %d - ", good ? "" : "not ", ++test_number);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    test_failures += !good;
    return good;
}

#define OK(condition, ...) \
    ((void)(test_report((condition), __VA_ARGS__) || printf("# %s:%d: %s\n", __FILE__, __LINE__, #condition)))

/* Two strings, either may be NULL. */
static inline void test_same(const char *got, const char *wanted, const char *name)
{
    bool good = got && wanted ? strcmp(got, wanted) == 0 : got == wanted;
    if (!test_report(good, "%s", name))
        printf("# got:    %s\n# wanted: %s\n", got ? got : "(null)", wanted ? wanted : "(null)");
}

/* A small generator, the same on every machine, so that failures can be repeated. */
static inline unsigned test_random(unsigned long long *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(*state >> 33);
}

static inline int test_end(void)
{
    printf("1..%d\n", test_number);
    return test_failures != 0;
}

#endif
