/* SPDX-License-Identifier: MIT */
/*
 * Who uses a locked image.  The kernel names no process for a lock that belongs to an open file description, but on
 * Linux /proc/PID/fdinfo/FD lists the locks that were taken through this descriptor.  What a user may not see stays
 * unseen.
 */
#include "file.h"
#include "../../libimg/util/printable.h"
#include <dirent.h>
#include <fcntl.h>
#include <string.h>

enum {
    MAX_LOOKS = 100000,     /* descriptors to look at */
    MAX_NAMED = 4           /* processes to name */
};

struct search {
    dev_t device;
    ino_t inode;
    int fd;                 /* the asker's own descriptor of the file */
    unsigned byte;          /* the locked one */
    unsigned looks, named;
};

/* The text of a small file below `folder`; false: it cannot be read. */
static bool read_text(int folder, const char *name, char *text, size_t size)
{
    CLEANUP_FD int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);

    if (length < 0)
        return false;
    text[length] = '\0';
    return true;
}

/* "lock:\t1: OFDLCK  ADVISORY  READ -1 08:01:131 100 101": the last two are the first and the last byte, or EOF. */
static bool line_covers(const char *line, unsigned byte)
{
    unsigned long long first, last;
    char end[24];

    if (strncmp(line, "lock:", 5) != 0 ||
        sscanf(line + 5, " %*s %*s %*s %*s %*s %*s %llu %23s", &first, end) != 2)
        return false;
    if (strcmp(end, "EOF") == 0)
        last = UINT64_MAX;
    else if (sscanf(end, "%llu", &last) != 1)
        return false;
    return first <= byte && byte <= last;
}

/* Has the lock been taken through this descriptor? */
static bool holds_byte(int process, const char *fd, unsigned byte)
{
    char name[300], text[4096];

    snprintf(name, sizeof name, "fdinfo/%s", fd);
    if (!read_text(process, name, text, sizeof text))
        return false;
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (line_covers(line, byte))
            return true;
    }
    return false;
}

/* Only descriptors with such a lock are asked for their file: another may be on a server that does not answer. */
static bool is_the_file(int process, const char *fd, const struct search *search)
{
    char name[300];
    struct stat status;

    snprintf(name, sizeof name, "fd/%s", fd);
    return fstatat(process, name, &status, 0) == 0 && status.st_dev == search->device &&
           status.st_ino == search->inode;
}

static bool is_own_process(const char *pid)
{
    return strtol(pid, NULL, 10) == (long)getpid();
}

static bool holds(int process, bool own, struct search *search)
{
    int list = openat(process, "fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = list < 0 ? NULL : fdopendir(list);
    const struct dirent *entry;
    bool found = false;

    if (list >= 0 && !folder)
        close(list);
    while (folder && !found && (entry = readdir(folder)) && search->looks < MAX_LOOKS) {
        if (entry->d_name[0] == '.' || (own && strtol(entry->d_name, NULL, 10) == search->fd))
            continue;
        search->looks++;
        found = holds_byte(process, entry->d_name, search->byte) && is_the_file(process, entry->d_name, search);
    }
    if (folder)
        closedir(folder);
    return found;
}

static void name_process(int process, const char *pid, struct img_error *err)
{
    char command[64];

    if (is_own_process(pid)) {
        img_error_advise(err, "this command itself uses the image already");
        return;
    }
    if (!read_text(process, "comm", command, sizeof command))
        command[0] = '\0';
    command[strcspn(command, "\n")] = '\0';
    for (char *c = command; *c; c++)
        *c = img_printable(*c);
    img_error_advise(err, *command ? "process %s (%s) uses the image" : "process %s uses the image", pid, command);
}

static void look_at(int proc, const char *pid, struct search *search, struct img_error *err)
{
    CLEANUP_FD int process = openat(proc, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (process < 0 || !holds(process, is_own_process(pid), search))
        return;
    search->named++;
    name_process(process, pid, err);
}

void file_advise_holder(int fd, unsigned byte, struct img_error *err)
{
    struct search search = { .fd = fd, .byte = byte };
    const struct dirent *entry;
    struct stat status;
    DIR *proc;

    if (!img_advice_wanted() || fstat(fd, &status) < 0 || !(proc = opendir("/proc")))
        return;
    search.device = status.st_dev;
    search.inode = status.st_ino;
    while (search.named < MAX_NAMED && search.looks < MAX_LOOKS && (entry = readdir(proc)))
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            look_at(dirfd(proc), entry->d_name, &search, err);
    closedir(proc);
    if (search.named == 0 && search.looks > 0 && search.looks < MAX_LOOKS)
        img_error_advise(err, "none of the processes that can be seen here has it: another user's may, or another "
                         "machine's");
}
