/* SPDX-License-Identifier: MIT */
/* Identifiers of new images: UUIDs of version 4 (RFC 9562, section 5.4). */
#ifndef IMG_UTIL_UUID_H
#define IMG_UTIL_UUID_H

#include <stdint.h>

/* A new random one, in the byte order of the RFC. */
void img_uuid_make(uint8_t uuid[16]);
/* "01234567-89ab-...", in small letters, with a NUL. */
enum { IMG_UUID_TEXT = 37 };
void img_uuid_text(const uint8_t uuid[16], char text[IMG_UUID_TEXT]);
/* Convert to or from the byte order of a GUID, whose first three fields are little-endian. */
void img_uuid_swap(uint8_t uuid[16]);

#endif
