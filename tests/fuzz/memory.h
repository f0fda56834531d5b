/* SPDX-License-Identifier: MIT */
/* memory.h - the storage of a fuzz target: one disk in memory, called "memory:". */
#ifndef FUZZ_MEMORY_H
#define FUZZ_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#define FUZZ_MEMORY "memory:"

/* From now on the disk holds these bytes, which stay the caller's and are never written to. */
void fuzz_memory_load(const uint8_t *bytes, size_t size);
/* Nothing; gives back what was written. */
void fuzz_memory_clear(void);
uint64_t fuzz_memory_size(void);

#endif
