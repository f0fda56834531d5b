/* SPDX-License-Identifier: MIT */
/* nbd-protocol.c - the names of options and replies. */
#include "nbd-protocol.h"

const char *img_nbd_option_name(uint32_t option)
{
    static const char *const names[] = {
        [NBD_OPT_EXPORT_NAME] = "export name", [NBD_OPT_ABORT] = "abort", [NBD_OPT_LIST] = "list",
        [NBD_OPT_STARTTLS] = "starttls", [NBD_OPT_INFO] = "info",
        [NBD_OPT_GO] = "go", [NBD_OPT_STRUCTURED_REPLY] = "structured reply",
        [NBD_OPT_LIST_META_CONTEXT] = "list meta context", [NBD_OPT_SET_META_CONTEXT] = "set meta context",
        [NBD_OPT_EXTENDED_HEADERS] = "extended headers",
    };

    return option < sizeof names / sizeof *names && names[option] ? names[option] : "<unknown>";
}

const char *img_nbd_reply_name(uint32_t reply)
{
    static const char *const names[] = { [NBD_REP_ACK] = "ack", [NBD_REP_SERVER] = "server", [NBD_REP_INFO] = "info",
                                         [NBD_REP_META_CONTEXT] = "meta context" };

    return reply < sizeof names / sizeof *names && names[reply] ? names[reply] : "<unknown>";
}
