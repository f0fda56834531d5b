/* SPDX-License-Identifier: MIT */
/* Does the slimmed libbz2 still decode?  See slim.sh. */
#include <bzlib.h>
#include <string.h>

/* "The quick brown fox jumps over the lazy dog. ", written by bzip2. */
static char coded[] = {
      66,   90,  104,   57,   49,   65,   89,   38,   83,   89,    4, -100,  -42,  -60,    0,    0,
       5,   19, -128,   64,    1,    4,    0,   63,   -1,   -1,  -16,   32,    0,   35,   31,  -87,
     -88,  104,   26,   97,   13,  -87,  -74,  -92,   40,    0,   26,    0,    0,   16,   51,   60,
      40,   88,  -19,  -40,  -96,  -90,   12,  -22,  -38,   77, -105, -127,  -58,  -87,    5,  -78,
      75,  -26,   66,   99, -115,  -17,   -8,  -69, -110,   41,  -62, -124, -128,   36,  -26,  -74,
      32
};
static const char plain[] = "The quick brown fox jumps over the lazy dog. ";

int main(void)
{
    char back[sizeof plain];
    unsigned length = sizeof back;

    return !(BZ2_bzBuffToBuffDecompress(back, &length, coded, sizeof coded, 0, 0) == BZ_OK &&
             length == sizeof plain - 1 && memcmp(back, plain, length) == 0);
}
