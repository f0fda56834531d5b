/* SPDX-License-Identifier: MIT */
/* options.c - the options of a new image, in the order in which "Formatting ..." shows them. */
#include "vmdk.h"

#define NEW(kind, key, member, value, ...) \
    { .name = key, .help = __VA_ARGS__, .type = IMG_OPT_##kind, .standard = value, .when = IMG_AT_CREATE, \
      .offset = offsetof(struct vmdk_create_options, member) }

const struct img_option vmdk_options[] = {
    NEW(SIZE, "size", size, NULL, "Virtual disk size"),
    NEW(STRING, "adapter_type", adapter_type, NULL,
        "Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX",
        .choices = "ide lsilogic buslogic legacyESX"),
    NEW(STRING, "backing_file", backing_file, NULL, "File name of a base image"),
    NEW(STRING, "backing_fmt", backing_fmt, NULL, "Must be 'vmdk' if present"),
    NEW(BOOL, "compat6", compat6, "off", "VMDK version 6 image"),
    NEW(STRING, "hwversion", hwversion, "undefined", "VMDK hardware version"),
    NEW(STRING, "toolsversion", toolsversion, NULL, "VMware guest tools version"),
    NEW(STRING, "subformat", subformat, NULL,
        "VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat | twoGbMaxExtentSparse | "
        "twoGbMaxExtentFlat | streamOptimized} ",
        .choices = "monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat streamOptimized"),
    NEW(BOOL, "zeroed_grain", zeroed_grain, NULL, "Enable efficient zero writes using the zeroed-grain GTE feature"),
    { .name = NULL }
};
