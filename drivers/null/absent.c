/* SPDX-License-Identifier: MIT */
/* absent.c - stands in for the null drivers where they are left out: they are refused by name. */
#include "../../libimg/driver.h"

const struct img_driver img_driver_null_co = {
    .name = "null-co", .title = "Nothing at all (not built in)", .kind = IMG_PROTOCOL, .prefix = "null-co",
    .traits = IMG_RECOGNISED_ONLY,
};

const struct img_driver img_driver_null_aio = {
    .name = "null-aio", .title = "Nothing at all (not built in)", .kind = IMG_PROTOCOL, .prefix = "null-aio",
    .traits = IMG_RECOGNISED_ONLY,
};
