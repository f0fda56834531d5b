/* SPDX-License-Identifier: MIT */
/*
 * fake-kernel.c - for LD_PRELOAD: /dev/nbd9 as the kernel's NBD client has it.  The disk reads its first sector, and
 * is then disconnected.  What it was told and what it read is written to the file "kernel".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/nbd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DEVICE "/dev/nbd9"

static int device = -1, peer = -1;

static int open_or_fake(const char *call, const char *name, int flags, mode_t mode)
{
    int (*real)(const char *, int, mode_t) = (int (*)(const char *, int, mode_t))dlsym(RTLD_NEXT, call);

    if (strcmp(name, DEVICE) != 0)
        return real(name, flags, mode);
    if ((flags & O_ACCMODE) == O_RDONLY)        /* somebody who looks for partitions */
        return real("/dev/null", flags, mode);
    return device = real("/dev/null", flags, mode);
}

#define FAKE_OPEN(call) \
    int call(const char *name, int flags, ...) \
    { \
        va_list more; \
        mode_t mode; \
        va_start(more, flags); \
        mode = va_arg(more, mode_t); \
        va_end(more); \
        return open_or_fake(#call, name, flags, mode); \
    }
FAKE_OPEN(open)
FAKE_OPEN(open64)

static void tell(const char *what, unsigned long value)
{
    FILE *file = fopen("kernel", "a");

    if (!file)
        return;
    fprintf(file, "%s %lu\n", what, value);
    fclose(file);
}

static int read_fully(unsigned char *to, size_t length)
{
    size_t have = 0;

    while (have < length) {
        ssize_t n = read(peer, to + have, length - have);
        if (n <= 0)
            return -1;
        have += (size_t)n;
    }
    return 0;
}

/* magic, type, cookie, offset, length: all of a request but the type is fixed here */
static int ask(unsigned char type)
{
    unsigned char request[28] = { 0x25, 0x60, 0x95, 0x13, 0, 0, 0, type, [26] = 2 };

    return write(peer, request, sizeof request) == sizeof request ? 0 : -1;
}

static int run_disk(void)
{
    unsigned char reply[16 + 512];

    if (ask(0) < 0 || read_fully(reply, sizeof reply) < 0)
        return -1;
    tell("error", reply[7]);
    tell("first byte", reply[16]);
    return ask(2);
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list more;
    unsigned long value;

    va_start(more, request);
    value = va_arg(more, unsigned long);
    va_end(more);
    if (fd != device)
        return 0;
    switch (request) {
    case NBD_SET_SOCK: peer = (int)value; break;
    case NBD_SET_BLKSIZE: tell("block", value); break;
    case NBD_SET_SIZE_BLOCKS: tell("blocks", value); break;
    case NBD_SET_FLAGS: tell("read-only", value >> 1 & 1); break;
    case NBD_DO_IT: return run_disk();
    case NBD_CLEAR_SOCK: tell("clear", 0); break;
    }
    return 0;
}
