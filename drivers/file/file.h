/* SPDX-License-Identifier: MIT */
/*
 * file.h - state shared by the files of the "file" and "host_device" drivers.
 *
 *   kind.c     regular files, devices
 *   file.c     the two vtables, open, close, info, limits
 *   descriptor.c  names that mean a descriptor which is open already
 *   lock.c     OFD locks that show other users how the image is used
 *   holder.c   which process has a lock
 *   place.c    files that must lie in a folder, and folders that are images
 *   io.c       bytes: read, write, flush
 *   ranges.c   map, zero, discard
 *   offload.c  copies in the kernel or the server
 *   writeback.c controls when written data leave the page cache
 *   resize.c   change of length, preallocation
 *   create.c   new files
 *   platform.c system-specific calls: block devices, file attributes
 */
#ifndef DRIVERS_FILE_H
#define DRIVERS_FILE_H

#include "../../libimg/driver.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/fd.h"
#include "../../libimg/util/strbuf.h"
#include <stdatomic.h>
#include <sys/stat.h>

#define FILE_SECTOR 512u

enum file_locking { FILE_LOCK_AUTO, FILE_LOCK_ON, FILE_LOCK_OFF };

/* Operations that failed as not supported on this file: each is tried once per handle. */
enum { FILE_NO_PUNCH = 1, FILE_NO_ZERO_RANGE = 2, FILE_NO_ALLOCATE = 4, FILE_NO_DISCARD = 8,
       FILE_NO_ZEROOUT = 16, FILE_NO_SEEK = 32, FILE_NO_SHARE = 64 };

/* IMG_AT_OPEN options. */
struct file_open_options {
    char *locking, *aio, *pr_manager;
    int64_t aio_max_batch;
    int8_t drop_cache, check_cache_dropped;
};

/* IMG_AT_CREATE options. */
struct file_create_options {
    int64_t size;
    int8_t nocow;
    char *preallocation;
    int64_t extent_size_hint;
};

/* Bytes written that may not have reached the storage. */
struct file_range {
    uint64_t start, end;
    uint64_t bytes;                 /* bytes written within the range; 0: none */
};

enum { FILE_RANGES = 256 };

struct file_waiting {
    pthread_mutex_t lock;
    struct file_range now;          /* the newest, still growing */
    struct file_range ranges[FILE_RANGES];      /* a ring, in the order of writes */
    unsigned first, count;
    uint64_t bytes;                 /* in the whole ring */
};

struct file_state {
    int fd;
    enum file_locking locking;
    bool device, block;             /* block: a block device, not a character device */
    bool shared;                    /* somebody else has the same open file */
    bool write_through;             /* every write reaches the storage before it is acknowledged */
    atomic_uint missing;            /* FILE_NO_... */
    atomic_int writeback_error;     /* error while writing back the page cache: the kernel reports it only once */

    pthread_mutex_t end_lock;
    int end_fd;                     /* without O_DIRECT, for the last block; -1: not open; protected by end_lock */

    pthread_mutex_t map_lock;       /* protects the four below */
    uint64_t data_start, data_end;  /* a range known to be data, or a hole; empty if equal */
    bool data_is_hole;
    unsigned data_generation;       /* counts invalidations */

    struct file_waiting waiting;
};

/* kind.c: is it a block or character device?  Is the file of the kind that the driver accepts; is the device
 * writable? */
bool file_is_device(mode_t mode);
int file_check_kind(const struct stat *status, bool device, const char *name, struct img_error *err);
int file_check_writable(int fd, struct img_error *err);

/* Advice for a file that may not be opened or created: whom it lets in. */
void file_advise_access(const char *name, struct img_error *err);
/* descriptor.c: stat() and open() for a name that may mean a descriptor; open returns a negative errno on failure.
 * *shared: the result shares its open file with that descriptor.  Are two descriptors of the same file? */
int file_stat_name(const char *name, struct stat *status);
int file_open_name(const char *name, int flags, bool *shared);
bool file_is_same(int fd, int other);

/* place.c: open `name` if it lies in `folder` after links are resolved.  Returns a descriptor, or a negative errno,
 * with *err set if there is more to say. */
int file_open_within(const char *folder, const char *name, bool device, int flags, struct img_error *err);
int file_in_folder(const char *name, const char *inside, char **found);

/* lock.c: take the locks of `perm`, and check both against other users. */
int file_lock(int fd, enum file_locking mode, unsigned perm, unsigned shared, const char *name,
              struct img_error *err);
/* holder.c: add to the error which processes have a lock on this byte, if anybody gets advice. */
void file_advise_holder(int fd, unsigned byte, struct img_error *err);

/* Drop all of them, where closing does not. */
void file_unlock(int fd);
int file_locking_parse(const char *text, enum file_locking *mode, struct img_error *err);

/* io.c */
int file_pread(struct img *image, void *buffer, uint64_t offset, size_t length);
int file_pwrite(struct img *image, const void *buffer, uint64_t offset, size_t length, unsigned flags);
int file_flush(struct img *image);
uint64_t file_length(struct img *image, bool now);
int file_probe_alignment(struct img *image);
int file_write_plain(int fd, const void *buffer, size_t length, uint64_t offset);

/* ranges.c */
int file_map(struct img *image, uint64_t offset, uint64_t length, struct img_extent *extent);
int file_zero(struct img *image, uint64_t offset, uint64_t length, unsigned flags);
int file_discard(struct img *image, uint64_t offset, uint64_t length);
void file_forget_data(struct file_state *file);

/* writeback.c: record bytes written to the page cache */
void file_written(struct img *image, uint64_t offset, size_t length);

/* offload.c */
int file_copy_range(struct img *from, uint64_t from_offset, struct img *to, uint64_t to_offset, uint64_t length,
                    bool share);

/* resize.c */
enum file_preallocation { FILE_PREALLOC_OFF, FILE_PREALLOC_METADATA, FILE_PREALLOC_FALLOC, FILE_PREALLOC_FULL };
int file_preallocation_parse(const char *text, enum file_preallocation *mode, struct img_error *err);
int file_set_length(int fd, uint64_t size, enum file_preallocation mode, struct img_error *err);
int file_resize(struct img *image, uint64_t size, const char *preallocation, struct img_error *err);

/* create.c */
int file_create(const struct img_create *request, struct img_error *err);
int file_create_on_device(const struct img_create *request, struct img_error *err);
int file_check_name(const char *name, struct img_error *err);

/* platform.c */
int file_device_zero(int fd, uint64_t offset, uint64_t length);
int file_device_discard(int fd, uint64_t offset, uint64_t length);
bool file_device_read_only(int fd);
uint32_t file_device_sector(int fd);              /* 0: unknown */
uint64_t file_queue_limit(int fd, const char *name);   /* from /sys/dev/block/M:N/queue, 0: unknown */
void file_set_nocow(int fd);
int file_set_extent_size(int fd, uint32_t size);
uint32_t file_extent_size(int fd);

#endif
