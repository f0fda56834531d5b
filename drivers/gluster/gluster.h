/* SPDX-License-Identifier: MIT */
/*
 * gluster.h - shared by the files of the gluster driver: a file in a Gluster volume, over libgfapi.
 *
 *   name.c     what "gluster://..." says
 *   target.c   what the options say
 *   server.c   the daemons that tell where a volume is
 *   volume.c   the volumes that this process is connected to
 *   settle.c   waiting for calls in flight
 *   length.c   the length of a file, and allocating storage for a new part
 *   map.c      data and holes
 *   create.c   a new file
 *   gluster.c  the vtable
 *
 * Any threads may use a volume and an open file at the same time.  libgfapi waits for a brick as long as it is told to,
 * not longer (volume.c), so this driver has no timers of its own for requests.
 */
#ifndef GLUSTER_DRIVER_H
#define GLUSTER_DRIVER_H

#include "../../libimg/driver.h"
#include <glusterfs/api/glfs.h>

/* ---- target.c -------------------------------------------------------------------------------- */

enum { GLUSTER_PORT = 24007, GLUSTER_USUAL_DEBUG = 4, GLUSTER_MOST_DEBUG = 9 };

struct gluster_open_options {
    char *volume, *path, *logfile;
    int64_t debug, timeout;
};
/* A daemon that tells about the volume. */
struct gluster_server {
    bool local;                     /* a Unix socket */
    char *host, *port;              /* host: the path of a socket */
};
struct gluster_target {
    char *volume, *path, *logfile;
    int debug;
    uint64_t timeout;               /* seconds that servers may be silent; 0: none was given */
    struct gluster_server *servers;
    size_t count;
};
/* `name`: "gluster://..."; NULL: the options say it. */
int gluster_target_take(const char *name, struct img_doc *options, const struct gluster_open_options *given,
                        struct gluster_target *target, struct img_error *err);
void gluster_target_free(struct gluster_target *target);

/* ---- name.c ------------------------------------------------------------------------------- */

/* Adds the volume, the path, the server, and "debug" and "logfile" if the name has them. */
int gluster_name_take(const char *name, struct gluster_target *target, struct img_error *err);

/* ---- server.c ----------------------------------------------------------------------------------- */

int gluster_check_ports(const struct gluster_target *target, struct img_error *err);
/* The first server that can be reached within `seconds` for all; target->count: there is none. */
size_t gluster_first_server(const struct gluster_target *target, uint64_t seconds);
/* Tell libgfapi of all servers, beginning with `first`. */
int gluster_set_servers(glfs_t *fs, const struct gluster_target *target, size_t first, struct img_error *err);

/* ---- volume.c --------------------------------------------------------------------------------- */

/* Connect to the volume, or find the connection that there is.  It belongs to the process and is never closed. */
int gluster_volume(const struct gluster_target *target, glfs_t **fs, struct img_error *err);

/* ---- settle.c ----------------------------------------------------------------------------------- */

/* Wait until no call is in flight, but not for long: after a file that was changed is closed. */
void gluster_settle(glfs_t *fs);

/* ---- length.c ---------------------------------------------------------------------------------- */

enum gluster_preallocation { GLUSTER_OFF, GLUSTER_FALLOC, GLUSTER_FULL };
/* `mode` may be NULL. */
int gluster_preallocation_parse(const char *mode, enum gluster_preallocation *parsed, struct img_error *err);
int gluster_set_length(glfs_fd_t *fd, uint64_t from, uint64_t to, enum gluster_preallocation mode,
                       struct img_error *err);
/* Zeroes, made by the brick: 0, or a negative errno; -ENOTSUP where it cannot. */
int gluster_zerofill(glfs_fd_t *fd, uint64_t offset, uint64_t length);
int gluster_punch(glfs_fd_t *fd, uint64_t offset, uint64_t length);

/* ---- map.c ------------------------------------------------------------------------------------- */

/* The last answer of a file that is only read; and the handle that is asked. */
struct gluster_map {
    pthread_mutex_t lock;
    glfs_fd_t *fd;                  /* NULL: not opened yet */
    bool unable;                    /* this volume does not tell */
    bool data;                      /* [start, end) is data, else a hole */
    uint64_t start, end;
};
/* The run at `offset` of a file of `size` bytes.  `keep`: nobody writes to it.  0, or a negative errno. */
int gluster_map_ask(struct gluster_map *map, glfs_fd_t *fd, uint64_t offset, uint64_t size, bool keep, bool *data,
                    uint64_t *end);
void gluster_map_end(struct gluster_map *map);

/* ---- create.c -------------------------------------------------------------------------------------- */

struct gluster_create_options {
    int64_t size, debug;
    char *preallocation, *logfile;
};
int gluster_driver_create(const struct img_create *request, struct img_error *err);

#endif
