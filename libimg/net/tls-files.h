/* SPDX-License-Identifier: MIT */
/* tls-files.h - the names of the files that hold TLS credentials. */
#ifndef IMG_TLS_FILES_H
#define IMG_TLS_FILES_H

#include "tls-ops.h"

/* Find them, in qemu-img's words if one is missing.  The caller frees them in any case. */
int img_tls_files_find(const struct img_tls_definition *definition, struct img_tls_files *files,
                       struct img_error *err);
void img_tls_files_free(struct img_tls_files *files);

#endif
