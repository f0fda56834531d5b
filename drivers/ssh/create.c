/* SPDX-License-Identifier: MIT */
/* A new file on the server. */
#include "ssh.h"

static int make(const struct ssh_target *target, uint64_t size, struct img_error *err)
{
    static const uint8_t zero[1];
    struct ssh_request last = { .kind = SSH_WRITE, .write = zero, .offset = size - 1, .length = 1, .stop = -1 };
    struct ssh_connection c;
    int ret = ssh_connection_open(&c, target, -1, err);

    if (ret < 0)
        return ret;
    ret = ssh_file_open(&c, target, SFTP3_FOR_READING | SFTP3_FOR_WRITING | SFTP3_CREATE | SFTP3_TRUNCATE, -1, err);
    if (ret == 0) {
        if (size && ssh_connection_run(&c, &last) < 0)
            ret = img_error_set(err, EIO, "Failed to grow file");
        ssh_file_close(&c);
    }
    ssh_connection_close(&c);
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
        ret = make(&target, create->size > 0 ? (uint64_t)create->size : 0, err);
        ssh_target_free(&target);
    }
    img_named_free(&img_driver_ssh, &named);
    return ret;
}
