/* SPDX-License-Identifier: MIT */
/*
 * The plan of a new image: its options, checked in qemu-img's order, and its descriptor.
 * Specification: "The Descriptor File".
 */
#include "vmdk.h"
#include <inttypes.h>
#include <string.h>

#define TOOLS_VERSION "2147483647"      /* unknown version, which tools do not update */

static const char *const subformats[] = { "monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse",
                                          "twoGbMaxExtentFlat", "streamOptimized", NULL };
static const char *const adapters[] = { "ide", "buslogic", "lsilogic", "legacyESX", NULL };

/* The index of the value; of the first one if none was given. */
static int choose(const char *value, const char *const *choices, unsigned *index, struct img_error *err)
{
    for (*index = 0; value && strcmp(value, choices[*index]) != 0; ) {
        if (!choices[++*index])
            return img_error_set(err, EINVAL, "invalid parameter value: %s", value);
    }
    return 0;
}

static int check_together(const struct vmdk_plan *plan, struct img_error *err)
{
    const struct vmdk_create_options *given = plan->given;

    if (given->compat6 == 1 && strcmp(plan->hwversion, "undefined") != 0)
        return img_error_set(err, EINVAL, "compat6 cannot be enabled with hwversion set");
    if (vmdk_is_flat(plan) && given->backing_file)
        return img_error_set(err, ENOTSUP, "Flat image can't have backing file");
    if (vmdk_is_flat(plan) && given->zeroed_grain == 1)
        return img_error_set(err, ENOTSUP, "Flat image can't enable zeroed grain");
    return 0;
}

int vmdk_plan(struct vmdk_plan *plan, const struct vmdk_create_options *given, const char *name,
              struct img_error *err)
{
    const char *slash = strrchr(name, '/');
    unsigned adapter = 0, subformat = 0;
    int ret;

    if (given->backing_fmt && strcmp(given->backing_fmt, "vmdk") != 0)
        return img_error_set(err, EINVAL, "backing_file must be a vmdk image");
    ret = choose(given->adapter_type, adapters, &adapter, err);
    if (ret == 0)
        ret = choose(given->subformat, subformats, &subformat, err);
    if (ret < 0)
        return ret;
    *plan = (struct vmdk_plan){
        .given = given, .subformat = (enum vmdk_subformat)subformat,
        .size = given->size < 0 ? 0 : img_align_up((uint64_t)given->size, VMDK_SECTOR),
        .cid = vmdk_new_id(), .parent_cid = VMDK_NO_PARENT,
        .hwversion = given->hwversion ? given->hwversion : "undefined", .adapter = adapters[adapter],
        .toolsversion = given->toolsversion ? given->toolsversion : TOOLS_VERSION,
        .base_name = slash ? slash + 1 : name,
    };
    ret = check_together(plan, err);
    if (ret < 0)
        return ret;
    if (strcmp(plan->hwversion, "undefined") == 0)
        plan->hwversion = given->compat6 == 1 ? "6" : "4";
    return 0;
}

void vmdk_plan_header(const struct vmdk_plan *plan, uint64_t size, struct vmdk_header *header)
{
    bool stream = plan->subformat == VMDK_STREAM_OPTIMIZED, zeroed = plan->given->zeroed_grain == 1;
    uint64_t sectors = size / VMDK_SECTOR;
    uint64_t tables = img_div_up(sectors, VMDK_GRAIN_SECTORS * VMDK_GT_ENTRIES);
    uint64_t metadata = img_div_up(tables * 4, VMDK_SECTOR) + tables * VMDK_GT_SECTORS;

    *header = (struct vmdk_header){
        .version = stream ? 3 : zeroed ? 2 : 1,
        .flags = VMDK_NEWLINE_TEST | VMDK_REDUNDANT_GD | (zeroed ? VMDK_ZEROED_GRAIN : 0) |
                 (stream ? VMDK_COMPRESSED | VMDK_MARKERS : 0),
        .capacity = sectors, .grain = VMDK_GRAIN_SECTORS,
        .descriptor = VMDK_DESCRIPTOR_SECTOR, .descriptor_sectors = VMDK_DESCRIPTOR_SECTORS,
        .table_entries = VMDK_GT_ENTRIES, .compression = stream ? VMDK_DEFLATE : 0,
    };
    header->redundant_directory = header->descriptor + header->descriptor_sectors;
    header->directory = header->redundant_directory + metadata;
    header->overhead = img_align_up(header->directory + metadata, VMDK_GRAIN_SECTORS);
}

char *vmdk_plan_descriptor(const struct vmdk_plan *plan, const char *extents)
{
    unsigned heads = strcmp(plan->adapter, "ide") == 0 ? 16 : 255, sectors = 63;
    const char *backing = plan->given->backing_file;

    return img_asprintf("# Disk DescriptorFile\n"
                         "version=1\n"
                         "CID=%08" PRIx32 "\n"
                         "parentCID=%08" PRIx32 "\n"
                         "createType=\"%s\"\n"
                         "%s%s%s\n"
                         "# Extent description\n"
                         "%s"
                         "\n"
                         "# The Disk Data Base\n"
                         "#DDB\n"
                         "\n"
                         "ddb.virtualHWVersion = \"%s\"\n"
                         "ddb.geometry.cylinders = \"%" PRIu64 "\"\n"
                         "ddb.geometry.heads = \"%u\"\n"
                         "ddb.geometry.sectors = \"%u\"\n"
                         "ddb.adapterType = \"%s\"\n"
                         "ddb.toolsVersion = \"%s\"\n",
                         plan->cid, plan->parent_cid, subformats[plan->subformat],
                         backing ? "parentFileNameHint=\"" : "", backing ? backing : "", backing ? "\"" : "", extents,
                         plan->hwversion, plan->size / ((uint64_t)heads * sectors * VMDK_SECTOR), heads, sectors,
                         plan->adapter, plan->toolsversion);
}
