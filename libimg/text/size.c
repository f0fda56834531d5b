/* SPDX-License-Identifier: MIT */
/* Human-readable sizes, by the exact rules of qemu-img. */
#include "img.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Power of two of the suffix, or -1. */
static int suffix_shift(char suffix)
{
    static const char letters[] = "bkmgtpe";
    const char *found = suffix ? strchr(letters, tolower((unsigned char)suffix)) : NULL;
    return found ? (int)(found - letters) * 10 : -1;
}

/* Digits only: the caller checks for a sign or spaces in front.  Sets *end after the digits. */
static int parse_digits(const char *text, int base, uint64_t *value, const char **end)
{
    char *behind;
    errno = 0;
    uintmax_t number = strtoumax(text, &behind, base);
    *end = behind;
    *value = number > UINT64_MAX ? UINT64_MAX : number;
    return errno == ERANGE || number > UINT64_MAX ? -ERANGE : 0;
}

/* No negative number is a size; the error differs between a plain number and one with a suffix, which is not parsed. */
static int refuse_negative(const char *digits)
{
    size_t length = strspn(digits, "0123456789");
    if (length == 0 && *digits == '.')
        length = 1 + strspn(digits + 1, "0123456789");
    bool number = length > (*digits == '.');
    return number && digits[length] == '\0' ? -ERANGE : -EINVAL;
}

/*
 * Parse ".digits" to [0, 1] and set *end after it; an exponent is refused, because 'e' is a
 * suffix.  A bare "." is zero.
 */
static int parse_fraction(const char *text, double *fraction, const char **end)
{
    *fraction = 0;
    *end = text + 1 + strspn(text + 1, "0123456789");
    if (*end == text + 1)
        return 0;
    char *behind;
    *fraction = strtod(text, &behind);
    return behind == *end ? 0 : -EINVAL;
}

static int scale(uint64_t whole, double fraction, int shift, uint64_t *size)
{
    uint64_t unit = UINT64_C(1) << shift;
    uint64_t part = (uint64_t)(fraction * (double)unit + 0.5), product;
    if (fraction > 0 && fraction < 1 && shift == 0)
        return -EINVAL;
    if (__builtin_mul_overflow(whole, unit, &product) || __builtin_add_overflow(product, part, size))
        return -ERANGE;
    return 0;
}

int img_parse_size(const char *text, char default_suffix, uint64_t *size)
{
    while (isspace((unsigned char)*text))
        text++;
    if (*text == '-')
        return refuse_negative(text + 1);
    text += *text == '+';

    const char *end;
    uint64_t whole = 0;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        if (!isxdigit((unsigned char)text[2]))
            return -EINVAL;
        int status = parse_digits(text + 2, 16, size, &end);
        return *end ? -EINVAL : status;
    }

    bool digits = isdigit((unsigned char)*text);
    if (!digits && !(*text == '.' && isdigit((unsigned char)text[1])))
        return -EINVAL;
    end = text;
    if (digits && parse_digits(text, 10, &whole, &end) < 0)
        return *end ? -EINVAL : -ERANGE;
    double fraction = 0;
    if (*end == '.' && parse_fraction(end, &fraction, &end) < 0)
        return -EINVAL;

    char suffix = *end ? *end++ : default_suffix;
    int shift = suffix_shift(suffix);
    if (shift < 0 || *end)
        return -EINVAL;
    return scale(whole, fraction, shift, size);
}

char *img_human_size(char *buf, size_t capacity, uint64_t size)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double value = (double)size;
    size_t unit = 0;
    /* Three digits are shown: from 1000 on, use the next unit. */
    while (value >= 1000 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1024;
        unit++;
    }
    snprintf(buf, capacity, "%0.3g %s", value, units[unit]);
    return buf;
}

char *img_size_words(char *buf, size_t capacity, uint64_t size)
{
    char human[32];

    img_human_size(human, sizeof human, size);
    snprintf(buf, capacity, size < 1024 ? "%" PRIu64 " bytes" : "%" PRIu64 " bytes (%s)", size, human);
    return buf;
}

void img_size_advise(const char *text, struct img_error *err)
{
    int digits = (int)strspn(text, "0123456789.");
    const char *unit = text + digits + strspn(text + digits, " ");
    bool is_unit = digits > 0 && suffix_shift(*unit) > 0;

    /* 10GB, 10 GiB, 10 G */
    if (is_unit && (!unit[1] || !strcasecmp(unit + 1, "B") || !strcasecmp(unit + 1, "iB")))
        img_error_advise(err, "did you mean '%.*s%c'? (%c is a power of 1024)", digits, text, *unit, *unit);
    else
        img_error_advise(err, "a size is in bytes, or has one of the suffixes k, M, G, T, P, E for powers of 1024, as "
                         "in 10G");
}

void img_limit_advise(uint64_t most, struct img_error *err)
{
    char words[64];

    img_error_advise(err, "the disk may have at most %s", img_size_words(words, sizeof words, most));
}
