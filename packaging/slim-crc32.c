/* SPDX-License-Identifier: MIT */
/* The CRC of RFC 1952 section 8 with a table of 16 entries, for the small static file: see slim.sh. */
__attribute__((weak)) unsigned long crc32(unsigned long crc, const unsigned char *bytes, unsigned length)
{
    static const unsigned nibbles[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c
    };
    unsigned value = ~(unsigned)crc;

    if (!bytes)
        return 0;
    while (length--) {
        value ^= *bytes++;
        value = value >> 4 ^ nibbles[value & 15];
        value = value >> 4 ^ nibbles[value & 15];
    }
    return ~value & 0xFFFFFFFFu;
}
