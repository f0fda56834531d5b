/* SPDX-License-Identifier: MIT */
/* A new file on the server. */
#include "ssh.h"
#include <fcntl.h>

int ssh_lengthen(struct ssh_connection *c, uint64_t size)
{
    const char zero = 0;
    struct ssh_request last = { .kind = SSH_WRITE, .write = &zero, .offset = size - 1, .length = 1 };

    return size ? ssh_connection_run(c, &last) : 0;
}

static int make(const struct ssh_target *target, int64_t size, struct img_error *err)
{
    const struct ssh_mode mode = { .flags = O_RDWR | O_CREAT | O_TRUNC };
    struct ssh_watch watch;
    struct ssh_connection c = { .watch = &watch };
    int ret = ssh_watch_start(&watch, target->timeout);

    if (ret < 0)
        return img_error_errno(err, -ret, "Could not start a thread");
    ret = ssh_connection_open(&c, target, &mode, -1, err);
    if (ret == 0) {
        ret = ssh_lengthen(&c, size > 0 ? (uint64_t)size : 0);
        if (ret < 0)
            ret = img_error_set(err, EIO, "Failed to grow file");
        ssh_connection_close(&c);
    }
    ssh_watch_end(&watch);
    return ret;
}

int ssh_driver_create(const struct img_create *request, struct img_error *err)
{
    const struct ssh_create_options *create = request->options;
    struct ssh_target target;
    struct img_named named;
    int ret = img_named_options(&img_driver_ssh, request->name, &named, err);

    if (ret == 0)
        ret = ssh_target_take(named.rest, named.options, &target, err);
    if (ret == 0) {
        ret = make(&target, create->size, err);
        ssh_target_free(&target);
    }
    img_named_free(&img_driver_ssh, &named);
    return ret;
}
