/* SPDX-License-Identifier: MIT */
/*
 * The footer, which stores the disk size twice: in bytes, and as a geometry of cylinders, heads and sectors, which
 * is all that some guests use.
 * Specification: "Hard Disk Footer Format", "Appendix: CHS Calculation".
 */
#include "vpc.h"

const struct vpc_geometry vpc_largest = { 65535, 16, 255 };

uint32_t vpc_checksum(const uint8_t *bytes, size_t length, size_t field)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < length; i++)
        sum += i - field < 4 ? 0u : bytes[i];
    return ~sum;
}

uint64_t vpc_geometry_sectors(struct vpc_geometry geometry)
{
    return (uint64_t)geometry.cylinders * geometry.heads * geometry.sectors;
}

/* The calculation of the specification.  The result may be smaller than the disk, by up to a cylinder. */
static struct vpc_geometry geometry_by_rule(uint64_t sectors)
{
    uint64_t tracks, heads, per_track;

    if (sectors >= 65535ull * 16 * 63) {
        per_track = 255;
        heads = 16;
        tracks = sectors / per_track;
    } else {
        per_track = 17;
        tracks = sectors / per_track;
        heads = img_max(img_div_up(tracks, 1024), 4);
        if (tracks >= heads * 1024 || heads > 16) {
            per_track = 31;
            heads = 16;
            tracks = sectors / per_track;
        }
        if (tracks >= heads * 1024) {
            per_track = 63;
            heads = 16;
            tracks = sectors / per_track;
        }
    }
    return (struct vpc_geometry){ (uint16_t)(tracks / heads), (uint8_t)heads, (uint8_t)per_track };
}

struct vpc_geometry vpc_geometry_for(uint64_t sectors)
{
    struct vpc_geometry geometry = { 0, 0, 0 };

    if (sectors > vpc_geometry_sectors(vpc_largest))
        return vpc_largest;
    for (uint64_t asked = sectors; vpc_geometry_sectors(geometry) < sectors; asked++)
        geometry = geometry_by_rule(asked);
    return geometry;
}

struct vpc_geometry vpc_geometry_within(uint64_t sectors)
{
    return sectors >= vpc_geometry_sectors(vpc_largest) ? vpc_largest : geometry_by_rule(sectors);
}

struct vpc_geometry vpc_footer_geometry(const uint8_t *footer)
{
    return (struct vpc_geometry){ img_get_be16(footer + VPC_CYLINDERS), footer[VPC_HEADS],
                                  footer[VPC_SECTORS_PER_TRACK] };
}

bool vpc_counts_by_geometry(const uint8_t *creator)
{
    return memcmp(creator, "vpc ", 4) == 0 || memcmp(creator, "qemu", 4) == 0;
}

uint64_t vpc_disk_sectors(const uint8_t *footer, const char *calc)
{
    uint64_t by_geometry = vpc_geometry_sectors(vpc_footer_geometry(footer));
    uint64_t by_bytes = img_get_be64(footer + VPC_CURRENT_SIZE) / VPC_SECTOR;
    bool wanted = calc ? strcmp(calc, "chs") == 0 : vpc_counts_by_geometry(footer + VPC_CREATOR);

    /* The largest geometry stands for all larger disks. */
    if (by_geometry == vpc_geometry_sectors(vpc_largest))
        return by_bytes;
    /* A writer that does not know one of them leaves it 0. */
    if (by_geometry == 0 || by_bytes == 0)
        return img_max(by_geometry, by_bytes);
    return wanted ? by_geometry : by_bytes;
}
