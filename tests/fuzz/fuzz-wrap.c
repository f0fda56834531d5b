/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the first byte says which, the rest is a compressed file or an archive.  What takes long to decode by
 * nature is kept short.
 */
#include "fuzz-image.h"

static const struct {
    const char *format;
    size_t most;
} kinds[] = { { "gzip", 64 << 10 }, { "xz", 1 << 20 }, { "zstd", 64 << 10 }, { "bzip2", 1 << 10 }, { "tar", 1 << 20 } };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t kind = size ? data[0] % (sizeof kinds / sizeof *kinds) : 0;

    if (size == 0 || size - 1 > kinds[kind].most)
        return 0;
    return fuzz_image(kinds[kind].format, NULL, data + 1, size - 1);
}
