/* SPDX-License-Identifier: MIT */
/* guess.c - the known word that somebody meant who misspelt it. */
#include "img.h"

#include <string.h>

enum { LONGEST = 32, BEGINNING = 3 };

/* Letters that people mix up cost nothing. */
static char folded(char c)
{
    if (c == '_')
        return '-';
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool same(char a, char b)
{
    return folded(a) == folded(b);
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* How many letters must be inserted, left out, replaced, or swapped with the next one. */
static unsigned distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    unsigned rows[3][LONGEST + 1] = { 0 };

    for (size_t i = 0; i <= a_length; i++) {
        unsigned *now = rows[i % 3];
        const unsigned *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

        now[0] = (unsigned)i;
        for (size_t j = 1; j <= b_length; j++) {
            if (i == 0) {
                now[j] = (unsigned)j;
                continue;
            }
            now[j] = least(least(last[j], now[j - 1]) + 1, last[j - 1] + !same(a[i - 1], b[j - 1]));
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
                now[j] = least(now[j], before[j - 2] + 1);
        }
    }
    return rows[a_length % 3][b_length];
}

/* In a short word each letter counts. */
static unsigned tolerance(size_t length)
{
    if (length < 3)
        return 0;
    return length < 6 ? 1 : 2;
}

/* Is it the beginning of the word?  One letter says nothing. */
static bool begins(const char *word, size_t length, const char *spelt, size_t other)
{
    if (length < 2 || length >= other)
        return false;
    for (size_t i = 0; i < length; i++)
        if (!same(word[i], spelt[i]))
            return false;
    return true;
}

void img_guess_try(struct img_guess *guess, const char *spelt, const char *meant)
{
    size_t length = strlen(guess->word), other = strlen(spelt);
    unsigned far;

    if (length > LONGEST || other > LONGEST)
        return;
    far = distance(guess->word, length, spelt, other);
    /* Whoever stopped typing comes behind whoever mistyped. */
    if (far > tolerance(length) && begins(guess->word, length, spelt, other))
        far = BEGINNING;
    else if (far > tolerance(length))
        return;
    if (guess->best && far > guess->far)
        return;
    if (guess->best && far == guess->far) {
        guess->tied |= strcmp(meant, guess->best) != 0;
        return;
    }
    guess->best = meant;
    guess->far = far;
    guess->tied = false;
}

const char *img_guess_best(const struct img_guess *guess)
{
    return guess->tied ? NULL : guess->best;
}
