/* SPDX-License-Identifier: MIT */
/* The results of the protocol, in words and as errno values. */
#include "sheepdog.h"

static const struct {
    enum sheepdog_result result;
    int code;
    const char *words;
    bool busy;
} known[] = {
    { SHEEPDOG_UNKNOWN, EIO, "unknown error", false },
    { SHEEPDOG_NO_OBJECT, ENOENT, "no such object", false },
    { SHEEPDOG_EIO, EIO, "the cluster has an input/output error", false },
    { SHEEPDOG_VDI_EXISTS, EEXIST, "there is a VDI of that name", false },
    { SHEEPDOG_INVALID, EINVAL, "the server does not take the request", false },
    { SHEEPDOG_SYSTEM_ERROR, EIO, "system error of the server", false },
    { SHEEPDOG_LOCKED, EBUSY, "the VDI is locked", false },
    { SHEEPDOG_NO_VDI, ENOENT, "no such VDI", false },
    { SHEEPDOG_NO_BASE, ENOENT, "no such base VDI", false },
    { SHEEPDOG_VDI_READ, EIO, "the server could not read the VDI", false },
    { SHEEPDOG_VDI_WRITE, EIO, "the server could not write the VDI", false },
    { SHEEPDOG_BASE_READ, EIO, "the server could not read the base VDI", false },
    { SHEEPDOG_BASE_WRITE, EIO, "the server could not write the base VDI", false },
    { SHEEPDOG_NO_TAG, ENOENT, "no such snapshot", false },
    { SHEEPDOG_STARTUP, EAGAIN, "the cluster is starting", true },
    { SHEEPDOG_NOT_LOCKED, EINVAL, "the VDI is not locked", false },
    { SHEEPDOG_SHUTDOWN, EIO, "the cluster is shutting down", false },
    { SHEEPDOG_NO_MEMORY, ENOMEM, "the server has no memory", false },
    { SHEEPDOG_FULL_VDI, ENOSPC, "the cluster has no room for another VDI", false },
    { SHEEPDOG_OTHER_VERSION, EPROTO, "the server has another version of the protocol", false },
    { SHEEPDOG_NO_SPACE, ENOSPC, "the cluster has no space", false },
    { SHEEPDOG_NOT_FORMATTED, EIO, "the cluster is not formatted", false },
    { SHEEPDOG_WAIT_FOR_JOIN, EAGAIN, "the cluster waits for nodes", true },
    { SHEEPDOG_JOIN_FAILED, EIO, "the server could not join the cluster", false },
    { SHEEPDOG_HALT, EIO, "the cluster has halted", false },
    { SHEEPDOG_READ_ONLY, EROFS, "the VDI has become a snapshot, which cannot be written", false },
    { SHEEPDOG_INVALIDATED, ESTALE, "another client has changed the VDI", false },
    { SHEEPDOG_OLD_NODE, EAGAIN, "the cluster is changing", true },
    { SHEEPDOG_NEW_NODE, EAGAIN, "the cluster is changing", true },
    { SHEEPDOG_NETWORK, EIO, "the servers do not reach each other", false },
    { SHEEPDOG_AGAIN, EAGAIN, "the cluster is busy", true },
    { SHEEPDOG_COLLECTING, EAGAIN, "the cluster is changing", true },
};

const char *sheepdog_result_words(uint32_t result)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].result == result)
            return known[i].words;
    return "the server has an error that is not known";
}

int sheepdog_result_errno(uint32_t result)
{
    if (result == SHEEPDOG_SUCCESS)
        return 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].result == result)
            return -known[i].code;
    return -EIO;
}

bool sheepdog_result_is_busy(uint32_t result)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].result == result)
            return known[i].busy;
    return false;
}
