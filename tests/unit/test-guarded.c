/* SPDX-License-Identifier: MIT */
/* Memory for secrets: zeroed, and marked so that no core dump has it. */
#include "test.h"
#include "util/guarded.h"
#include "util/strbuf.h"
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The flags of the mapping that has this address, as /proc/self/smaps shows them; "" if it does not. */
static void flags_of(const void *address, char flags[256])
{
    FILE *file = fopen("/proc/self/smaps", "r");
    unsigned long from, to;
    bool inside = false;
    char line[512];

    flags[0] = 0;
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = from <= (uintptr_t)address && (uintptr_t)address < to;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            snprintf(flags, 256, "%.250s", line + 8);
    }
    if (file)
        fclose(file);
}

int main(void)
{
    static const size_t lengths[] = { 1, 64, 4096, 4097, 300000 };
    char flags[256];

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        uint8_t *at = img_guarded_new(lengths[i]);
        bool zero = at != NULL;
        for (size_t k = 0; zero && k < lengths[i]; k++)
            zero = at[k] == 0;
        OK(zero, "%zu bytes, zeroed", lengths[i]);
        memset(at, 0x5a, lengths[i]);
        flags_of(at + lengths[i] - 1, flags);
        OK(!flags[0] || strstr(flags, " dd"), "in no core dump:%s", flags[0] ? flags : " no smaps");
        img_guarded_free(at, lengths[i]);
    }
    img_guarded_free(NULL, 1);
    OK(!img_guarded_new(SIZE_MAX), "more than there is");
    return test_end();
}
