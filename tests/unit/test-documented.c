/* SPDX-License-Identifier: MIT */
/* The page of each driver has its options, those to open and those to create. */
#include "libimg/img.h"
#include "test.h"

#include <stdlib.h>

/* Drivers that share a page. */
static const char *const pages[][2] = {
    { "gzip", "wrappers" }, { "xz", "wrappers" }, { "zstd", "wrappers" }, { "bzip2", "wrappers" }, { "tar", "wrappers" },
    { "http", "curl" }, { "https", "curl" }, { "ftp", "curl" }, { "ftps", "curl" },
    { "host_device", "file" }, { "host_cdrom", "file" }, { "null-co", "null" }, { "null-aio", "null" },
};

static char *read_page(const char *driver)
{
    const char *root = getenv("ROOT"), *page = driver;
    char name[512], *text;
    size_t length;
    FILE *file;

    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        if (strcmp(pages[i][0], driver) == 0)
            page = pages[i][1];
    snprintf(name, sizeof name, "%s/docs/drivers/%s.md", root ? root : ".", page);
    file = fopen(name, "r");
    text = file ? calloc(1, 1 << 20) : NULL;
    length = text ? fread(text, 1, (1 << 20) - 1, file) : 0;
    if (file)
        fclose(file);
    OK(length > 0, "%s has the page %s", driver, name);
    return text;
}

/* A word of a table begins after one of these and ends before one. */
static bool is_edge(char c)
{
    return c == '`' || c == ' ' || c == '=' || c == ',' || c == '|';
}

static bool has_word(const char *page, const char *word)
{
    size_t length = strlen(word);

    for (const char *at = page; (at = strstr(at, word)); at++)
        if (at > page && is_edge(at[-1]) && is_edge(at[length]))
            return true;
    return false;
}

/* A group may stand there as "group.*", or as "group.KIND" with the kinds by themselves. */
static bool has_option(const char *page, const char *name)
{
    const char *dot = strchr(name, '.');
    char group[80], kind[80];

    snprintf(group, sizeof group, "%.*s.*", dot ? (int)(dot - name) : 0, name);
    snprintf(kind, sizeof kind, "%.*s.KIND", dot ? (int)(dot - name) : 0, name);
    return has_word(page, name) || (dot && (has_word(page, group) || (has_word(page, kind) && has_word(page, dot + 1))));
}

int main(void)
{
    const struct img_driver *driver = NULL;
    int drivers = 0;

    OK(has_option("| `a`, `b` |", "b") && !has_option("| `ab` |", "b") && has_option("`a.*`", "a.b") &&
       has_option("`a.KIND` `b`", "a.b") && !has_option("`a.KIND` `c`", "a.b"), "what a page has");
    while ((driver = img_driver_next(driver))) {
        const char *name = img_driver_name(driver);
        const struct img_option *option = img_driver_usable(driver) ? img_driver_options(driver) : NULL;
        char *page = option && option->name ? read_page(name) : NULL;

        for (; page && option->name; option++)
            OK(has_option(page, option->name), "%s: %s", name, option->name);
        drivers += page != NULL;
        free(page);
    }
    OK(drivers > 10, "many drivers have options");
    return test_end();
}
