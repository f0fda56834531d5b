/* SPDX-License-Identifier: MIT */
/* module.h - drivers in modules: files that are loaded when one of their drivers is asked for. */
#ifndef IMG_MODULE_H
#define IMG_MODULE_H

#include "driver.h"

/* A driver in a module.  The build generates the table of them beside img_drivers, which has a row for each. */
struct img_module {
    const struct img_driver *row;
    const char *module, *symbol;        /* "nbd": img-nbd.so; the variable in it */
    const struct img_driver *driver;    /* set by module.c when loaded */
    char *error;                        /* why loading failed */
};

extern struct img_module img_modules[];     /* the last has no row */
/* Folder of the modules; "": "modules" beside the executable, for a program that is not installed. */
extern const char img_module_folder[];

/* The driver that a row stands for; loads it if needed.  NULL with *err set on failure.  Thread-safe. */
const struct img_driver *img_module_driver(const struct img_driver *row, struct img_error *err);
/* The service with this name, loaded if needed (driver.c).  NULL with *err set on failure.  Thread-safe. */
const struct img_driver *img_service_find(const char *name, struct img_error *err);

#endif
