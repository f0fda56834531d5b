/* SPDX-License-Identifier: MIT */
/* The document of img-info as text.  Many programs parse these lines: do not change a single space. */
#include "info.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t number_at(const struct img_doc *object, const char *key)
{
    const struct img_doc *value = img_doc_get(object, key);

    return value ? img_doc_get_uint(value) : 0;
}

/* ---- Values of any shape (format specific information) --------------------------- */

static bool is_container(const struct img_doc *value)
{
    return img_doc_type(value) == IMG_DOC_ARRAY || img_doc_type(value) == IMG_DOC_OBJECT;
}

static void print_scalar(const struct img_doc *value)
{
    switch (img_doc_type(value)) {
    case IMG_DOC_BOOL: printf("%s", img_doc_get_bool(value) ? "true" : "false"); break;
    case IMG_DOC_INT: printf("%" PRId64, img_doc_get_int(value)); break;
    case IMG_DOC_UINT: printf("%" PRIu64, img_doc_get_uint(value)); break;
    case IMG_DOC_DOUBLE: printf("%g", img_doc_get_double(value)); break;
    case IMG_DOC_STRING: printf("%s", img_doc_get_string(value)); break;
    default: printf("null"); break;
    }
}

/* Keys are printed with spaces: "refcount bits" for refcount-bits. */
static void print_key(const char *key)
{
    for (; *key; key++)
        putchar(*key == '-' ? ' ' : *key);
}

static void print_members(const struct img_doc *container, int indent)
{
    bool object = img_doc_type(container) == IMG_DOC_OBJECT;

    for (size_t i = 0; i < img_doc_count(container); i++) {
        const struct img_doc *value = img_doc_at(container, i);

        printf("%*s", indent, "");
        if (object)
            print_key(img_doc_key_at(container, i));
        else
            printf("[%zu]", i);
        if (is_container(value)) {
            printf(":\n");
            print_members(value, indent + 4);
        } else {
            printf(": ");
            print_scalar(value);
            printf("\n");
        }
    }
}

/* ---- Snapshots --------------------------------------------------------------------- */

static void print_snapshot(const struct img_doc *snapshot, bool old, int indent)
{
    char size[32], date[32] = "", clock[40], icount[24] = "";
    time_t seconds = (time_t)number_at(snapshot, "date-sec");
    uint64_t clock_seconds = number_at(snapshot, "vm-clock-sec");
    unsigned milliseconds = (unsigned)(number_at(snapshot, "vm-clock-nsec") / 1000000);
    struct tm local;

    img_human_size(size, sizeof size, (uint64_t)img_doc_get_int(img_doc_get(snapshot, "vm-state-size")));
    if (localtime_r(&seconds, &local))
        strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &local);
    snprintf(clock, sizeof clock, old ? "%02" PRIu64 ":%02u:%02u.%03u" : "%04" PRIu64 ":%02u:%02u.%03u",
             clock_seconds / 3600, (unsigned)(clock_seconds / 60 % 60), (unsigned)(clock_seconds % 60), milliseconds);
    if (img_doc_get(snapshot, "icount"))
        snprintf(icount, sizeof icount, "%" PRId64, img_doc_get_int(img_doc_get(snapshot, "icount")));
    else if (!old)
        snprintf(icount, sizeof icount, "--");
    printf(old ? "%*s%-9s %-16s %8s%20s%13s%11s\n" : "%*s%-7s %-16s %8s %19s %15s %10s\n", indent, "",
           img_doc_string_at(snapshot, "id"), img_doc_string_at(snapshot, "name"), size, date, clock, icount);
}

void info_print_snapshots(const struct img_doc *list, int indent)
{
    bool old = compat_profile() < COMPAT_10_0;

    printf("%*sSnapshot list:\n", indent, "");
    printf(old ? "%*s%-9s %-16s %8s%20s%13s%11s\n" : "%*s%-7s %-16s %8s %19s %15s %10s\n", indent, "", "ID", "TAG",
           old ? "VM SIZE" : "VM_SIZE", "DATE", old ? "VM CLOCK" : "VM_CLOCK", "ICOUNT");
    for (size_t i = 0; i < img_doc_count(list); i++)
        print_snapshot(img_doc_at(list, i), old, indent);
}

/* ---- One node ------------------------------------------------------------------------- */

static void print_disk_size(const struct img_doc *info, int indent)
{
    char size[32];

    if (img_doc_get(info, "actual-size"))
        img_human_size(size, sizeof size, number_at(info, "actual-size"));
    else
        snprintf(size, sizeof size, "unavailable");
    printf("%*sdisk size: %s\n", indent, "", size);
}

static void print_cluster_size(const struct img_doc *info, int indent)
{
    if (img_doc_get(info, "cluster-size"))
        printf("%*scluster_size: %" PRIu64 "\n", indent, "", number_at(info, "cluster-size"));
}

static void print_snapshots(const struct img_doc *info, int indent)
{
    if (img_doc_get(info, "snapshots"))
        info_print_snapshots(img_doc_get(info, "snapshots"), indent);
}

/* A node that is only storage. */
static void print_storage(const struct img_doc *info, int indent)
{
    char size[32];
    uint64_t length = number_at(info, "virtual-size");

    printf("%*sfilename: %s\n", indent, "", img_doc_string_at(info, "filename"));
    printf("%*sprotocol type: %s\n", indent, "", img_doc_string_at(info, "format"));
    printf("%*sfile length: %s (%" PRIu64 " bytes)\n", indent, "", img_human_size(size, sizeof size, length), length);
    print_disk_size(info, indent);
    print_cluster_size(info, indent);
    print_snapshots(info, indent);
}

static void print_backing(const struct img_doc *info, int indent)
{
    const char *name = img_doc_string_at(info, "backing-filename");
    const char *full = img_doc_string_at(info, "full-backing-filename");
    const char *format = img_doc_string_at(info, "backing-filename-format");

    if (!name)
        return;
    printf("%*sbacking file: %s", indent, "", name);
    if (!full)
        printf(" (cannot determine actual path)");
    else if (strcmp(name, full))
        printf(" (actual path: %s)", full);
    printf("\n");
    if (format)
        printf("%*sbacking file format: %s\n", indent, "", format);
}

static void print_image(const struct img_doc *info, int indent)
{
    char size[32];
    uint64_t length = number_at(info, "virtual-size");

    printf("%*simage: %s\n", indent, "", img_doc_string_at(info, "filename"));
    printf("%*sfile format: %s\n", indent, "", img_doc_string_at(info, "format"));
    printf("%*svirtual size: %s (%" PRIu64 " bytes)\n", indent, "", img_human_size(size, sizeof size, length), length);
    print_disk_size(info, indent);
    if (img_doc_get(info, "encrypted"))
        printf("%*sencrypted: yes\n", indent, "");
    print_cluster_size(info, indent);
    if (img_doc_get_bool(img_doc_get(info, "dirty-flag")))
        printf("%*scleanly shut down: no\n", indent, "");
    print_backing(info, indent);
    print_snapshots(info, indent);
}

static void print_section(const struct img_doc *object, const char *title, int indent)
{
    if (!object || !img_doc_count(object))
        return;
    printf("%*s%s:\n", indent, "", title);
    print_members(object, indent + 4);
}

static bool is_storage(const struct img_doc *info)
{
    const char *format = img_doc_string_at(info, "format");
    const struct img_driver *driver = format ? img_driver_find(format) : NULL;

    return driver && img_driver_kind(driver) == IMG_PROTOCOL;
}

static void print_node(const struct img_doc *info, const char *path, int indent)
{
    const struct img_doc *specific = img_doc_get(info, "format-specific"), *children = img_doc_get(info, "children");

    /* The top node is printed as an image, even if it is plain storage. */
    if (*path && is_storage(info))
        print_storage(info, indent);
    else
        print_image(info, indent);
    print_section(specific ? img_doc_get(specific, "data") : NULL, "Format specific information", indent);
    print_section(img_doc_get(info, "limits"), "Block limits", indent);
    for (size_t i = 0; children && i < img_doc_count(children); i++) {
        const struct img_doc *child = img_doc_at(children, i);
        CLEANUP_FREE char *below = app_asprintf("%s/%s", path, img_doc_string_at(child, "name"));

        printf("%*sChild node '%s':\n", indent, "", below);
        print_node(img_doc_get(child, "info"), below, indent + 4);
    }
}

void info_print_human(const struct img_doc *info)
{
    print_node(info, "", 0);
}
