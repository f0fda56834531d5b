/* SPDX-License-Identifier: MIT */
/*
 * recorder.c - a library to preload (LD_PRELOAD) that writes down what a program does to the files of a folder.
 *
 * Each change of a file and each sync becomes a record in a log.  A lock is held around a change and its record, so
 * the order of the log is an order in which the changes did happen.  A sync is two records, its beginning and its end,
 * and no lock is held between them: what stands between the two was in flight beside it, and is not covered by it.
 *
 * The sync itself is left out (nobody cuts the power here); a short sleep stands for it, so that other
 * threads do go on meanwhile.
 *
 * environment: POWERCUT_LOG          the log; without it nothing is recorded
 *              POWERCUT_FOLDER       files in this folder are recorded, others are not
 *              POWERCUT_LIMIT        most bytes of a log (256 MiB); the program is ended where it would be longer
 *              POWERCUT_FORGET_SYNCS when set, no sync is recorded: for a test of the test
 *
 * A record: eight 64-bit numbers of the machine's byte order, { kind, file, offset, length, flags, 0, 0, 0 }, and for
 * FILE_NAME and WRITE `length` bytes.  replay.py reads them.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <linux/falloc.h>
#include <linux/fs.h>

#if defined(__LP64__)
#define SAME_AS(name) __attribute__((alias(name)))      /* off_t has 64 bits: pwrite64 is pwrite */
#else
#error "the recorder is for machines of 64 bits"
#endif

enum kind { FILE_NAME, WRITE, LENGTH, ALLOCATE, PUNCH, ZERO, SYNC_BEGIN, SYNC_END };
enum { FLAG_DURABLE = 1, FLAG_KEEP_SIZE = 2 };
enum { MOST_FILES = 64, SYNC_MICROSECONDS = 500 };

static struct { dev_t device; ino_t inode; } files[MOST_FILES];
static size_t file_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static uint64_t log_bytes, log_limit = 256u << 20, sync_count;
static char folder[PATH_MAX];
static bool forget_syncs;

/* ---- The log ------------------------------------------------------------------------- */

static void die(const char *what)
{
    fprintf(stderr, "powercut: %s\n", what);
    _exit(99);
}

/* The next function of this name, behind ours. */
static void *next(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);

    if (!function)
        die(name);
    return function;
}

#define NEXT(type, name) ({ static __typeof__(&name) real; if (!real) real = (type)next(#name); real; })

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("POWERCUT_LOG"), *where = getenv("POWERCUT_FOLDER"), *limit = getenv("POWERCUT_LIMIT");
    forget_syncs = getenv("POWERCUT_FORGET_SYNCS") != NULL;

    if (!path || !where || !realpath(where, folder))
        return;
    if (limit)
        log_limit = strtoull(limit, NULL, 10);
    log_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (log_fd < 0)
        die("the log cannot be made");
}

static void put(const void *bytes, size_t length)
{
    while (length > 0) {
        ssize_t done = NEXT(ssize_t (*)(int, const void *, size_t), write)(log_fd, bytes, length);
        if (done <= 0)
            die("the log cannot be written");
        bytes = (const char *)bytes + done;
        length -= (size_t)done;
    }
}

/* The caller holds the lock. */
static void record(enum kind kind, int file, uint64_t offset, uint64_t length, uint64_t flags, const void *bytes)
{
    uint64_t numbers[8] = { kind, (uint64_t)file, offset, length, flags };

    log_bytes += sizeof numbers + (bytes ? length : 0);
    if (log_bytes > log_limit)
        die("the log is too long");
    put(numbers, sizeof numbers);
    if (bytes)
        put(bytes, (size_t)length);
}

/* The number of a watched file, or -1.  The caller holds the lock. */
static int watched(int fd)
{
    char link[64], path[PATH_MAX];
    struct stat status;
    size_t length = strlen(folder);

    if (log_fd < 0 || fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return -1;
    for (size_t i = 0; i < file_count; i++)
        if (files[i].device == status.st_dev && files[i].inode == status.st_ino)
            return (int)i;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = readlink(link, path, sizeof path);
    if (got <= (ssize_t)length + 1 || memcmp(path, folder, length) != 0 || path[length] != '/')
        return -1;
    if (file_count == MOST_FILES)
        die("too many files");
    files[file_count].device = status.st_dev;
    files[file_count].inode = status.st_ino;
    record(FILE_NAME, (int)file_count, 0, (uint64_t)got - length - 1, 0, path + length + 1);
    return (int)file_count++;
}

static int enter(int fd)
{
    pthread_mutex_lock(&lock);
    return watched(fd);
}

static void leave(void)
{
    int error = errno;

    pthread_mutex_unlock(&lock);
    errno = error;
}

/* For a file opened with O_DSYNC or O_SYNC, a write is durable when it returns. */
static uint64_t write_flags(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && flags & O_DSYNC && !forget_syncs ? FLAG_DURABLE : 0;
}

static void record_vector(int fd, int file, const struct iovec *vector, int count, uint64_t offset, size_t length)
{
    for (int i = 0; i < count && length > 0; i++) {
        size_t part = vector[i].iov_len < length ? vector[i].iov_len : length;
        if (part > 0)
            record(WRITE, file, offset, part, write_flags(fd), vector[i].iov_base);
        offset += part;
        length -= part;
    }
}

/* Read back what the kernel copied or cloned. */
static void record_copied(int fd, int file, uint64_t offset, uint64_t length)
{
    enum { PIECE = 1 << 20 };
    char link[64], *bytes = malloc(PIECE);

    /* (the target may be open for writing only) */
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int reader = open(link, O_RDONLY | O_CLOEXEC);
    if (!bytes || reader < 0)
        die("what was copied cannot be read");
    while (length > 0) {
        ssize_t got = pread(reader, bytes, length < PIECE ? (size_t)length : PIECE, (off_t)offset);
        if (got <= 0)
            die("what was copied cannot be read");
        record(WRITE, file, offset, (uint64_t)got, write_flags(fd), bytes);
        offset += (uint64_t)got;
        length -= (uint64_t)got;
    }
    close(reader);
    free(bytes);
}

/* ---- Writes ------------------------------------------------------------------------------ */

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    int file = enter(fd);
    ssize_t done = NEXT(ssize_t (*)(int, const void *, size_t, off_t), pwrite)(fd, bytes, length, offset);

    if (file >= 0 && done > 0)
        record(WRITE, file, (uint64_t)offset, (uint64_t)done, write_flags(fd), bytes);
    leave();
    return done;
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) SAME_AS("pwrite");

ssize_t pwritev(int fd, const struct iovec *vector, int count, off_t offset)
{
    int file = enter(fd);
    ssize_t done = NEXT(ssize_t (*)(int, const struct iovec *, int, off_t), pwritev)(fd, vector, count, offset);

    if (file >= 0 && done > 0)
        record_vector(fd, file, vector, count, (uint64_t)offset, (size_t)done);
    leave();
    return done;
}
ssize_t pwritev64(int fd, const struct iovec *vector, int count, off_t offset) SAME_AS("pwritev");

ssize_t write(int fd, const void *bytes, size_t length)
{
    int file = enter(fd);
    ssize_t done = NEXT(ssize_t (*)(int, const void *, size_t), write)(fd, bytes, length);

    if (file >= 0 && done > 0)
        record(WRITE, file, (uint64_t)(lseek(fd, 0, SEEK_CUR) - done), (uint64_t)done, write_flags(fd), bytes);
    leave();
    return done;
}

ssize_t writev(int fd, const struct iovec *vector, int count)
{
    int file = enter(fd);
    ssize_t done = NEXT(ssize_t (*)(int, const struct iovec *, int), writev)(fd, vector, count);

    if (file >= 0 && done > 0)
        record_vector(fd, file, vector, count, (uint64_t)(lseek(fd, 0, SEEK_CUR) - done), (size_t)done);
    leave();
    return done;
}

ssize_t copy_file_range(int from, off_t *source, int to, off_t *target, size_t length, unsigned flags)
{
    int file = enter(to);
    off_t start = target ? *target : lseek(to, 0, SEEK_CUR);
    ssize_t done = NEXT(ssize_t (*)(int, off_t *, int, off_t *, size_t, unsigned), copy_file_range)
        (from, source, to, target, length, flags);

    if (file >= 0 && done > 0)
        record_copied(to, file, (uint64_t)start, (uint64_t)done);
    leave();
    return done;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list list;

    va_start(list, request);
    void *argument = va_arg(list, void *);
    va_end(list);
    int file = enter(fd);
    int done = NEXT(int (*)(int, unsigned long, ...), ioctl)(fd, request, argument);
    if (file >= 0 && done == 0 && (request == FICLONE || request == FICLONERANGE)) {
        const struct file_clone_range *range = argument;
        struct stat status;
        uint64_t offset = request == FICLONE ? 0 : range->dest_offset;
        uint64_t length = request == FICLONE ? 0 : range->src_length;
        if (length == 0 && fstat(request == FICLONE ? (int)(intptr_t)argument : (int)range->src_fd, &status) == 0)
            length = (uint64_t)status.st_size - (request == FICLONE ? 0 : range->src_offset);
        record_copied(fd, file, offset, length);
    }
    leave();
    return done;
}

/* ---- Lengths, holes, zeroes ----------------------------------------------------------------- */

int ftruncate(int fd, off_t length)
{
    int file = enter(fd);
    int done = NEXT(int (*)(int, off_t), ftruncate)(fd, length);

    if (file >= 0 && done == 0)
        record(LENGTH, file, 0, (uint64_t)length, 0, NULL);
    leave();
    return done;
}
int ftruncate64(int fd, off_t length) SAME_AS("ftruncate");

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    int file = enter(fd);
    int done = NEXT(int (*)(int, int, off_t, off_t), fallocate)(fd, mode, offset, length);

    if (file >= 0 && done == 0) {
        enum kind kind = mode & FALLOC_FL_PUNCH_HOLE ? PUNCH : mode & FALLOC_FL_ZERO_RANGE ? ZERO : ALLOCATE;
        if (mode & ~(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE))
            die("fallocate: a mode that cannot be replayed");
        record(kind, file, (uint64_t)offset, (uint64_t)length, mode & FALLOC_FL_KEEP_SIZE ? FLAG_KEEP_SIZE : 0, NULL);
    }
    leave();
    return done;
}
int fallocate64(int fd, int mode, off_t offset, off_t length) SAME_AS("fallocate");

int posix_fallocate(int fd, off_t offset, off_t length)
{
    int file = enter(fd);
    int done = NEXT(int (*)(int, off_t, off_t), posix_fallocate)(fd, offset, length);

    if (file >= 0 && done == 0)
        record(ALLOCATE, file, (uint64_t)offset, (uint64_t)length, 0, NULL);
    leave();
    return done;
}
int posix_fallocate64(int fd, off_t offset, off_t length) SAME_AS("posix_fallocate");

/* Only O_TRUNC changes a file here. */
static int open_recorded(int fd, int flags)
{
    if (fd >= 0 && flags & O_TRUNC) {
        int file = enter(fd);
        if (file >= 0)
            record(LENGTH, file, 0, 0, 0, NULL);
        leave();
    }
    return fd;
}

int open(const char *path, int flags, ...)
{
    va_list list;

    va_start(list, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
    va_end(list);
    return open_recorded(NEXT(int (*)(const char *, int, ...), open)(path, flags, mode), flags);
}
int open64(const char *path, int flags, ...) SAME_AS("open");

/* (called by programs built with _FORTIFY_SOURCE) */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __open_2(const char *path, int flags)
{
    return open(path, flags);
}
int __open64_2(const char *path, int flags)
{
    return open(path, flags);
}

/* ---- Syncs ------------------------------------------------------------------------------------ */

static int record_sync(int fd)
{
    int file = enter(fd);
    uint64_t number = ++sync_count;

    if (file < 0) {
        leave();
        return -1;
    }
    if (!forget_syncs)
        record(SYNC_BEGIN, file, number, 0, 0, NULL);
    pthread_mutex_unlock(&lock);
    usleep(SYNC_MICROSECONDS);
    pthread_mutex_lock(&lock);
    if (!forget_syncs)
        record(SYNC_END, file, number, 0, 0, NULL);
    leave();
    return 0;
}

int fdatasync(int fd)
{
    return record_sync(fd) == 0 ? 0 : NEXT(int (*)(int), fdatasync)(fd);
}

int fsync(int fd)
{
    return record_sync(fd) == 0 ? 0 : NEXT(int (*)(int), fsync)(fd);
}
