/* SPDX-License-Identifier: MIT */
/* Does the slimmed zlib still write and read its three formats?  See slim.sh. */
#include <string.h>
#include <zlib.h>

enum { LENGTH = 100000 };
static unsigned char plain[LENGTH], coded[LENGTH * 2], back[LENGTH];

static int round_trip(int window)
{
    z_stream out = { 0 }, in = { 0 };
    int good;

    if (deflateInit2(&out, 6, Z_DEFLATED, window, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        return 0;
    out.next_in = plain, out.avail_in = LENGTH;
    out.next_out = coded, out.avail_out = sizeof coded;
    good = deflate(&out, Z_FINISH) == Z_STREAM_END;
    deflateEnd(&out);
    if (!good || inflateInit2(&in, window) != Z_OK)
        return 0;
    in.next_in = coded, in.avail_in = (uInt)out.total_out;
    in.next_out = back, in.avail_out = LENGTH;
    good = inflate(&in, Z_FINISH) == Z_STREAM_END && in.total_out == LENGTH && memcmp(plain, back, LENGTH) == 0;
    inflateEnd(&in);
    return good;
}

int main(void)
{
    for (int i = 0; i < LENGTH; i++)
        plain[i] = (unsigned char)(i % 7 ? 'a' + i % 11 : i * 2654435761u >> 24);
    return !(crc32(0, (const unsigned char *)"123456789", 9) == 0xcbf43926 && round_trip(-12) && round_trip(15) &&
             round_trip(15 + 16));
}
