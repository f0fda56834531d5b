/* SPDX-License-Identifier: MIT */
/*
 * serve-kernel.c - -c and -d: a disk of the kernel (/dev/nbdN) whose requests are served here.  The kernel has one end
 * of a pair of sockets, after the handshake was done for it, the server has the other.
 */
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nbd.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { BLOCK = 512 };

int serve_disconnect(const char *device)
{
    CLEANUP_FD int fd = open(device, O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        app_error("Cannot open %s: %s", device, img_strerror(errno));
        return 1;
    }
    /* Whether a disk was connected does not matter, to qemu-nbd neither. */
    ioctl(fd, NBD_CLEAR_QUE);
    ioctl(fd, NBD_DISCONNECT);
    ioctl(fd, NBD_CLEAR_SOCK);
    printf("%s disconnected\n", device);
    return 0;
}

/* The kernel's side, in a thread of its own: NBD_DO_IT returns when the disk is disconnected. */
struct kernel {
    struct serve *serve;
    int device, socket;
    int status;
    pthread_t thread;
};

static bool set_up(const struct kernel *k, uint64_t size, uint32_t flags)
{
    if (ioctl(k->device, NBD_SET_SOCK, (unsigned long)k->socket) < 0)
        return app_refuse("Failed to set NBD socket");
    if (ioctl(k->device, NBD_SET_BLKSIZE, (unsigned long)BLOCK) < 0 ||
        ioctl(k->device, NBD_SET_SIZE_BLOCKS, (unsigned long)(size / BLOCK)) < 0) {
        app_error("Failed setting size (in blocks): %s", img_strerror(errno));
    } else if (ioctl(k->device, NBD_SET_FLAGS, (unsigned long)flags) < 0) {
        app_error("Failed setting flags: %s", img_strerror(errno));
    } else {
        return true;
    }
    ioctl(k->device, NBD_CLEAR_SOCK);
    return false;
}

/* The kernel reads the partition table when somebody opens a disk that is connected. */
static void *show_partitions(void *device)
{
    int fd = open(device, O_RDONLY | O_CLOEXEC);

    if (fd >= 0)
        close(fd);
    return NULL;
}

static int run_device(struct kernel *k)
{
    const struct serve *s = k->serve;
    struct img_error err = IMG_ERROR_INIT;
    pthread_t opener;
    uint64_t size;
    uint32_t flags;

    if (img_server_join(k->socket, s->disks.at[0].name, &size, &flags, &err) < 0) {
        app_report(&err);
        return 1;
    }
    if (!set_up(k, size, flags) || !serve_ready(s))
        return 1;
    if (s->verbose)
        app_tell("NBD device %s is now connected to %s\n", s->device, s->disks.at[0].file);
    if (pthread_create(&opener, NULL, show_partitions, (void *)s->device) == 0)
        pthread_detach(opener);
    /* (the server's end was closed, or a signal came: that is the end, too) */
    if (ioctl(k->device, NBD_DO_IT) < 0 && errno != EPIPE && errno != EINTR) {
        app_error("NBD device %s: %s", s->device, img_strerror(errno));
        return 1;
    }
    return 0;
}

static void *kernel_thread(void *argument)
{
    struct kernel *k = argument;

    k->status = run_device(k);
    /* The server's side sees the end of the stream. */
    shutdown(k->socket, SHUT_RDWR);
    ioctl(k->device, NBD_CLEAR_QUE);
    ioctl(k->device, NBD_CLEAR_SOCK);
    return NULL;
}

static int serve_device(struct kernel *k, int ours)
{
    int error = pthread_create(&k->thread, NULL, kernel_thread, k);

    if (error) {
        app_error("Failed to create client thread: %s", img_strerror(error));
        return 1;
    }
    img_server_talk(k->serve->server, ours, ours);
    shutdown(ours, SHUT_RDWR);
    pthread_join(k->thread, NULL);
    return k->status;
}

int serve_kernel(struct serve *s)
{
    struct kernel k = { .serve = s };
    int pair[2], status;

    k.device = open(s->device, O_RDWR | O_CLOEXEC);
    if (k.device < 0) {
        app_error("Failed to open %s: %s", s->device, img_strerror(errno));
        return 1;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        app_error("Failed to create socket: %s", img_strerror(errno));
        close(k.device);
        return 1;
    }
    k.socket = pair[0];
    status = serve_device(&k, pair[1]);
    close(pair[0]);
    close(pair[1]);
    close(k.device);
    return status;
}
