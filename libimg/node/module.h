/* SPDX-License-Identifier: MIT */
/* module.h - drivers that are not linked: a file holds them, which is loaded when one of them is asked for. */
#ifndef IMG_MODULE_H
#define IMG_MODULE_H

#include "driver.h"

/* A driver in a module.  The build writes the table of them beside img_drivers, where its row stands for it. */
struct img_module {
    const struct img_driver *row;
    const char *module, *symbol;        /* "nbd": img-nbd.so; the variable in it */
    const struct img_driver *driver;    /* module.c: once it is loaded */
    char *error;                        /* why it could not be */
};

extern struct img_module img_modules[];     /* the last has no row */
/* Folder of the modules; "": "modules" beside the executable, for what is not installed. */
extern const char img_module_folder[];

/* The driver that a row stands for, loaded if need be; NULL with *err set.  Any thread. */
const struct img_driver *img_module_driver(const struct img_driver *row, struct img_error *err);

#endif
