/* SPDX-License-Identifier: MIT */
/* The text of `-o help`, for every tool that creates images. */
#include "applet.h"

#include <stdio.h>
#include <string.h>

/* Options that qemu-img of an old profile does not list.  OURS: no qemu-img lists them; they are listed only if the
 * tool is called as img-create.  They always work. */
enum { OURS = 0 };
static const struct {
    const char *name;
    unsigned since;
} newer_options[] = {
    { "keep_data_file", COMPAT_11_0 }, { "compression_level", OURS }, { "compression_window", OURS }
};

/* Does the table say that this option is ours alone? */
static bool is_ours(const struct img_driver *driver, const char *name, size_t length)
{
    for (const struct img_option *option = img_driver_options(driver); option && option->name; option++)
        if (length == strlen(option->name) && !strncmp(name, option->name, length))
            return option->when & IMG_OURS;
    return false;
}

static bool is_listed(const struct img_driver *driver, const char *line)
{
    size_t length;

    line += strspn(line, " ");
    length = strcspn(line, "=");
    if (is_ours(driver, line, length))
        return strcmp(app_name, "qemu-img") != 0;
    for (size_t i = 0; i < sizeof newer_options / sizeof *newer_options; i++)
        if (length == strlen(newer_options[i].name) && !strncmp(line, newer_options[i].name, length))
            return newer_options[i].since == OURS ? strcmp(app_name, "qemu-img") != 0
                                                  : compat_profile() >= newer_options[i].since;
    return true;
}

int app_create_help(const struct img_driver *driver, const char *name)
{
    struct img_error err = IMG_ERROR_INIT;
    CLEANUP_FREE char *text = img_create_help(driver, name, &err);

    if (!text) {
        app_report(&err);
        return 1;
    }
    app_output_is_help();
    for (const char *line = text; *line; ) {
        size_t length = strcspn(line, "\n");

        length += line[length] == '\n';
        if (is_listed(driver, line))
            printf("%.*s", (int)length, line);
        line += length;
    }
    return 0;
}
