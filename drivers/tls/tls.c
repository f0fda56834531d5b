/* SPDX-License-Identifier: MIT */
/*
 * tls: the service that libimg/net has TLS from, over GnuTLS.  It is no disk driver: nothing but libimg finds it.
 */
#include "tls.h"
#include "../../libimg/util/cleanup.h"
#include "../../libimg/util/strbuf.h"
#include <stdarg.h>

IMG_MODULE("gnutls >= 3.7");

int tls_failed(int code, struct img_error *err, const char *format, ...)
{
    struct img_strbuf text = { 0 };
    CLEANUP_FREE char *whole = NULL;
    va_list arguments;

    va_start(arguments, format);
    img_strbuf_vprintf(&text, format, arguments);
    va_end(arguments);
    whole = img_strbuf_take(&text);
    if (!whole || code == GNUTLS_E_MEMORY_ERROR)
        return img_error_memory(err);
    return img_error_set(err, EPROTO, "%s: %s", whole, gnutls_strerror(code));
}

const struct img_driver img_driver_tls = {
    IMG_ROW(
        .name = "tls", .kind = IMG_SERVICE
    ),
    .tls = &tls_session_ops
};
