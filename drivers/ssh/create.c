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
    struct img_doc *options = img_doc_object();
    struct ssh_open_options *given = NULL;
    struct ssh_target target;
    int ret = ssh_parse_name(request->name, options, err);

    if (ret == 0 && !(given = img_options_new(ssh_options, IMG_AT_OPEN, sizeof *given, options, err)))
        ret = -err->code;
    if (ret == 0)
        ret = ssh_target_take(options, given, &target, err);
    if (ret == 0) {
        ret = make(&target, create->size, err);
        ssh_target_free(&target);
    }
    if (given)
        img_options_free(ssh_options, IMG_AT_OPEN, given);
    img_doc_free(options);
    return ret;
}
