/* SPDX-License-Identifier: MIT */
/* A new file in a volume. */
#include "gluster.h"
#include "../../libimg/util/checked.h"
#include <fcntl.h>

/* The permissions of a new file. */
enum { NEW_FILE = 0600, SECTOR = 512 };

/* What an old file had is dropped.  What could not be completed takes no space. */
static int make(glfs_t *fs, const char *path, uint64_t size, enum gluster_preallocation mode, struct img_error *err)
{
    glfs_fd_t *fd;
    int ret;

    errno = 0;
    fd = glfs_creat(fs, path, O_WRONLY | O_CREAT | O_TRUNC, NEW_FILE);
    if (!fd)
        return img_error_errno(err, errno ? errno : EIO, "Could not create image");
    ret = size ? gluster_set_length(fd, 0, size, mode, err) : 0;
    if (ret < 0)
        glfs_ftruncate(fd, 0, NULL, NULL);
    errno = 0;
    if (glfs_close(fd) < 0 && ret == 0)
        ret = img_error_errno(err, errno ? errno : EIO, "Could not close image");
    gluster_settle(fs);
    return ret;
}

int gluster_driver_create(const struct img_create *request, struct img_error *err)
{
    const struct gluster_create_options *create = request->options;
    const struct gluster_open_options given = { .debug = create->debug, .logfile = create->logfile, .timeout = -1 };
    uint64_t size = create->size < 0 ? 0 : img_align_up((uint64_t)create->size, SECTOR);
    enum gluster_preallocation mode;
    struct gluster_target target;
    glfs_t *fs;
    int ret = gluster_preallocation_parse(create->preallocation, &mode, err);

    if (ret == 0)
        ret = gluster_target_take(request->name, NULL, &given, &target, err);
    if (ret < 0)
        return ret;
    ret = gluster_volume(&target, &fs, err);
    if (ret == 0)
        ret = make(fs, target.path, size, mode, err);
    gluster_target_free(&target);
    return ret;
}
