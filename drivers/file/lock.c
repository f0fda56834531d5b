/* SPDX-License-Identifier: MIT */
/*
 * Image locks.  A user of an image holds a shared lock on byte 100 + n for each permission n that it uses, and on
 * byte 200 + n for each one that it does not share.  Taking a shared lock never fails; afterwards each user probes
 * the opposite bytes of the others and withdraws on a conflict.  So of two users that start at the same moment both
 * may fail, but never both succeed.
 *
 * Locks belong to the open file description: closing the descriptor drops them, whatever else the process has open.
 *
 * A file system without locks (NFS without lockd, 9p, some of FUSE) is no reason not to use an image: nobody could, and
 * the user can do nothing about it in the image.
 */
#include "file.h"
#include <fcntl.h>
#include <string.h>

#define HELD_BASE 100
#define UNSHARED_BASE 200
#define PERMISSIONS 4

static const char *const permission_names[PERMISSIONS] = {
    "consistent read", "write", "write unchanged", "resize"
};

struct lock_calls {
    int set, get;
};

int file_locking_parse(const char *text, enum file_locking *mode, struct img_error *err)
{
    *mode = FILE_LOCK_AUTO;
    if (!text || strcmp(text, "auto") == 0)
        return 0;
    if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
        return img_error_set(err, EINVAL, "invalid parameter value: %s", text);
    *mode = strcmp(text, "on") == 0 ? FILE_LOCK_ON : FILE_LOCK_OFF;
    return 0;
}

static int lock_byte(int fd, const struct lock_calls *calls, unsigned byte)
{
    struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1 };

    while (fcntl(fd, calls->set, &lock) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

/* -EAGAIN: another user holds the byte. */
static int probe_byte(int fd, const struct lock_calls *calls, unsigned byte)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1 };

    while (fcntl(fd, calls->get, &lock) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return lock.l_type == F_UNLCK ? 0 : -EAGAIN;
}

/* Returns false if this handle uses no locks. */
static bool choose_calls(int fd, enum file_locking mode, struct lock_calls *calls)
{
#ifdef F_OFD_SETLK
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    if (fcntl(fd, F_OFD_GETLK, &lock) == 0 || errno != EINVAL) {
        *calls = (struct lock_calls){ F_OFD_SETLK, F_OFD_GETLK };
        return true;
    }
#else
    (void)fd;
#endif
    if (mode == FILE_LOCK_AUTO)
        return false;
    img_notice(IMG_WARNING, "File lock requested but OFD locking syscall is unavailable, "
               "falling back to POSIX file locks");
    *calls = (struct lock_calls){ F_SETLK, F_GETLK };
    return true;
}

static int hold(int fd, const struct lock_calls *calls, unsigned perm, unsigned unshared, struct img_error *err)
{
    const unsigned masks[2] = { perm, unshared }, bases[2] = { HELD_BASE, UNSHARED_BASE };

    for (int half = 0; half < 2; half++) {
        for (unsigned n = 0; n < PERMISSIONS; n++) {
            int status = masks[half] & (1u << n) ? lock_byte(fd, calls, bases[half] + n) : 0;

            if (status < 0)
                return img_error_errno(err, -status, "Failed to lock byte %u", bases[half] + n);
        }
    }
    return 0;
}

static int conflict(int fd, int status, unsigned byte, const char *name, struct img_error *err)
{
    const char *shared = byte < UNSHARED_BASE ? "shared " : "";
    unsigned n = byte % 100;

    if (status != -EAGAIN)
        return img_error_errno(err, -status, "Failed to probe the %s\"%s\" lock", shared, permission_names[n]);
    img_error_set(err, EAGAIN, "Failed to get %s\"%s\" lock", shared, permission_names[n]);
    img_error_hint(err, "Is another process using the image [%s]?", name);
    file_advise_holder(fd, byte, err);
    return -EAGAIN;
}

static int check(int fd, const struct lock_calls *calls, unsigned perm, unsigned unshared, const char *name,
                 struct img_error *err)
{
    for (unsigned n = 0; n < PERMISSIONS; n++) {
        int status = perm & (1u << n) ? probe_byte(fd, calls, UNSHARED_BASE + n) : 0;

        if (status < 0)
            return conflict(fd, status, UNSHARED_BASE + n, name, err);
        status = unshared & (1u << n) ? probe_byte(fd, calls, HELD_BASE + n) : 0;
        if (status < 0)
            return conflict(fd, status, HELD_BASE + n, name, err);
    }
    return 0;
}

static bool no_locks_here(int status)
{
    return status == -ENOLCK || status == -EOPNOTSUPP || status == -ENOTSUP || status == -ENOSYS;
}

/* Once is enough: the files of a chain are mostly in one place. */
static void warn_unlocked(const char *name, int status)
{
    static atomic_flag warned = ATOMIC_FLAG_INIT;

    if (!atomic_flag_test_and_set(&warned))
        img_notice(IMG_WARNING, "The file system of '%s' has no locks (%s): nothing keeps other programs from using "
                   "the image at the same time", name, img_strerror(status));
}

void file_unlock(int fd)
{
#ifdef F_OFD_SETLK
    struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = HELD_BASE,
                          .l_len = UNSHARED_BASE - HELD_BASE + PERMISSIONS };

    (void)fcntl(fd, F_OFD_SETLK, &lock);
#else
    (void)fd;
#endif
}

int file_lock(int fd, enum file_locking mode, unsigned perm, unsigned shared, const char *name,
              struct img_error *err)
{
    unsigned unshared = ~shared & IMG_PERM_ALL;
    struct lock_calls calls;

    perm &= IMG_PERM_ALL;
    if (mode == FILE_LOCK_OFF || (perm | unshared) == 0 || !choose_calls(fd, mode, &calls))
        return 0;
    int status = hold(fd, &calls, perm, unshared, err);
    if (status == 0)
        status = check(fd, &calls, perm, unshared, name, err);
    if (!no_locks_here(status))
        return status;
    if (mode == FILE_LOCK_ON) {
        img_error_advise(err, "the file system has no locks: locking=auto or locking=off does without");
        return status;
    }
    img_error_clear(err);
    warn_unlocked(name, status);
    return 0;
}
