/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing on one connection.  The reads of a request are all sent before the first answer is waited for; each
 * asks for no more than every server gives.
 */
#include "ssh.h"
#include "../../libimg/util/checked.h"
#include "../../libimg/util/clock.h"
#include <string.h>

/* The longest read and write in one message; how many reads are in flight. */
enum { PART = 128 << 10, IN_FLIGHT = 16 };

/* ---- Errors ------------------------------------------------------------------------------------ */

/* What went wrong in the last call: a negative errno, or IMG_POOL_LOST. */
static int fault(struct ssh_connection *c)
{
    if (__atomic_load_n(&c->ended, __ATOMIC_RELAXED) || !ssh_is_connected(c->session))
        return IMG_POOL_LOST;
    switch (sftp_get_error(c->sftp)) {
    case SSH_FX_PERMISSION_DENIED: return -EACCES;
    case SSH_FX_OP_UNSUPPORTED: return -ENOTSUP;
    case SSH_FX_NO_CONNECTION: case SSH_FX_CONNECTION_LOST: return IMG_POOL_LOST;
    default: return -EIO;
    }
}

/* ---- Reading ---------------------------------------------------------------------------------------- */

/* Read what an answer lacks, up to the end of the file. */
static int read_rest(struct ssh_connection *c, char *buffer, uint64_t offset, size_t length)
{
    if (sftp_seek64(c->file, offset) < 0)
        return -EIO;
    while (length) {
        ssize_t got = sftp_read(c->file, buffer, img_min(length, PART));
        if (got < 0)
            return fault(c);
        if (got == 0) {
            memset(buffer, 0, length);
            return 0;
        }
        buffer += got;
        length -= (size_t)got;
    }
    return 0;
}

struct part {
    uint32_t id;
    size_t length, got;
};

/* Ask for up to IN_FLIGHT parts; returns how many, or what went wrong. */
static int ask(struct ssh_connection *c, struct part *parts, uint64_t offset, size_t length)
{
    int count = 0;

    if (sftp_seek64(c->file, offset) < 0)
        return -EIO;
    for (; length && count < IN_FLIGHT; count++) {
        size_t part = img_min(length, PART);
        int id = sftp_async_read_begin(c->file, (uint32_t)part);
        if (id < 0)
            return fault(c);
        parts[count] = (struct part){ .id = (uint32_t)id, .length = part };
        length -= part;
    }
    return count;
}

/* Take all answers, also after an error: a later request must not find them. */
static int collect(struct ssh_connection *c, struct part *parts, int count, char *buffer)
{
    int ret = 0;

    for (int i = 0; i < count; i++) {
        int got = sftp_async_read(c->file, buffer, (uint32_t)parts[i].length, parts[i].id);
        if (got < 0)
            ret = fault(c);
        if (ret == IMG_POOL_LOST)
            break;
        parts[i].got = got > 0 ? (size_t)got : 0;
        buffer += parts[i].length;
    }
    return ret;
}

static int read_parts(struct ssh_connection *c, char *buffer, uint64_t offset, size_t length)
{
    struct part parts[IN_FLIGHT];

    while (length) {
        int count = ask(c, parts, offset, length), ret = count < 0 ? count : collect(c, parts, count, buffer);
        for (int i = 0; ret == 0 && i < count; i++) {
            size_t got = parts[i].got;
            if (got < parts[i].length)
                ret = read_rest(c, buffer + got, offset + got, parts[i].length - got);
            buffer += parts[i].length;
            offset += parts[i].length;
            length -= parts[i].length;
        }
        if (ret < 0)
            return ret;
    }
    return 0;
}

/* ---- Writing ------------------------------------------------------------------------------------------- */

static int write_parts(struct ssh_connection *c, const char *bytes, uint64_t offset, size_t length)
{
    if (sftp_seek64(c->file, offset) < 0)
        return -EIO;
    while (length) {
        ssize_t done = sftp_write(c->file, bytes, img_min(length, PART));
        if (done <= 0)
            return done < 0 ? fault(c) : -EIO;
        bytes += done;
        length -= (size_t)done;
    }
    return 0;
}

static int flush_file(struct ssh_connection *c)
{
    if (!sftp_extension_supported(c->sftp, "fsync@openssh.com", "1"))
        return -ENOTSUP;
    return sftp_fsync(c->file) < 0 ? fault(c) : 0;
}

/* ---- A request --------------------------------------------------------------------------------------------- */

int ssh_connection_run(void *connection, void *context)
{
    struct ssh_connection *c = connection;
    struct ssh_request *r = context;
    int ret;

    pthread_mutex_lock(&c->lock);
    if (__atomic_load_n(&c->ended, __ATOMIC_RELAXED)) {
        pthread_mutex_unlock(&c->lock);
        return IMG_POOL_LOST;
    }
    __atomic_store_n(&c->started, img_now_milliseconds(), __ATOMIC_RELAXED);
    if (r->kind == SSH_READ)
        ret = read_parts(c, r->read, r->offset, r->length);
    else if (r->kind == SSH_WRITE)
        ret = write_parts(c, r->write, r->offset, r->length);
    else
        ret = flush_file(c);
    __atomic_store_n(&c->started, 0, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&c->lock);
    return ret;
}
