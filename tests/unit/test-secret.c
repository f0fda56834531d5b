/* SPDX-License-Identifier: MIT */
/* Secrets: base64, encryption, padding, files. */
#include "libimg/codec/base64.h"
#include "libimg/img.h"
#include "test.h"

#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

static int add(const struct img_secret *secret)
{
    struct img_error err = IMG_ERROR_INIT;
    int ret = img_secret_add(secret, &err);

    if (ret < 0)
        printf("# %s\n", err.text);
    img_error_clear(&err);
    return ret;
}

static bool holds(const char *id, const char *bytes, size_t length)
{
    struct img_error err = IMG_ERROR_INIT;
    size_t found = 0;
    const unsigned char *at = img_secret_find(id, &found, &err);

    img_error_clear(&err);
    return at && found == length && memcmp(at, bytes, length) == 0 && at[length] == 0;
}

static void plain(void)
{
    OK(add(&(struct img_secret){ .id = "a", .data = "pass" }) == 0 && holds("a", "pass", 4), "plain data");
    OK(add(&(struct img_secret){ .id = "b", .data = "aGVs\nbG8=", .base64 = true }) == 0 && holds("b", "hello", 5),
       "base64 with a line end");
    OK(add(&(struct img_secret){ .id = "n", .data = "aGVsbG8", .base64 = true }) == 0 && holds("n", "hel", 3),
       "base64 without padding loses its last group, as in qemu-img");
    OK(add(&(struct img_secret){ .id = "c", .data = "//79AA==", .base64 = true }) == 0 &&
       holds("c", "\xff\xfe\xfd\0", 4),
       "base64 of any bytes");
    OK(add(&(struct img_secret){ .id = "a", .data = "other" }) < 0 && holds("a", "pass", 4), "an id is taken once");
    OK(!holds("none", "", 0), "an unknown id");
}

static void from_file(void)
{
    char name[] = "/tmp/test-secret-XXXXXX";
    int fd = mkstemp(name);
    static char long_text[10000];

    memset(long_text, 'x', sizeof long_text);
    long_text[5] = '\0';
    OK(fd >= 0 && write(fd, long_text, sizeof long_text) == sizeof long_text, "a file");
    OK(add(&(struct img_secret){ .id = "file", .file = name }) == 0 && holds("file", long_text, sizeof long_text),
       "a file is taken whole, with a NUL in it");
    OK(add(&(struct img_secret){ .id = "nofile", .file = "/nonexist" }) < 0, "no file");
    close(fd);
    unlink(name);
}

static void encrypted(void)
{
    static const char key[] = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=", iv[] = "AAAAAAAAAAAAAAAAAAAAAA==";
    struct img_secret secret = { .id = "s", .data = "9AVgiDpwg33v/jPjj++ZYA==", .base64 = true, .key_id = "master",
                                 .iv = iv };

    OK(add(&(struct img_secret){ .id = "master", .data = key, .base64 = true }) == 0, "the key");
    OK(add(&secret) == 0 && holds("s", "hello", 5), "what openssl encrypted");
    secret.id = "t";
    secret.iv = "AQAAAAAAAAAAAAAAAAAAAA==";
    OK(add(&secret) == 0 && holds("t", "iello", 5), "the IV counts");
    secret.key_id = "a";
    secret.id = "u";
    OK(add(&secret) < 0 && !holds("u", "", 0), "a key of another length");
}

/* ---- Wiping ------------------------------------------------------------------ */

enum { LETTERS = 100000, PIECE = 32 };

static char letter(unsigned i)
{
    unsigned long long state = i;

    test_random(&state);
    return (char)('A' + test_random(&state) % 26);
}

static void letters(unsigned from, char piece[PIECE])
{
    for (unsigned i = 0; i < PIECE; i++)
        piece[i] = letter(from + i);
}

static int write_letters(char *name)
{
    int fd = mkstemp(name);
    char piece[PIECE];

    for (unsigned i = 0; i < LETTERS; i += PIECE) {
        letters(i, piece);
        if (write(fd, piece, PIECE) != PIECE)
            return -1;
    }
    return close(fd);
}

/* Is the piece anywhere in the memory of the process, except the stack? */
static bool in_memory(const char piece[PIECE])
{
    FILE *maps = fopen("/proc/self/maps", "r");
    bool found = false;
    char line[512];
    unsigned long start, end;

    while (maps && !found && fgets(line, sizeof line, maps)) {
        if (strstr(line, " rw-p ") && !strstr(line, "[stack]") && sscanf(line, "%lx-%lx", &start, &end) == 2)
            found = memmem((const void *)start, end - start, piece, PIECE) != NULL;
    }
    if (maps)
        fclose(maps);
    return found;
}

/* Check many places, since a stale copy may be partly overwritten. */
static bool any_in_memory(bool decoded)
{
    for (unsigned i = 0; i < LETTERS - 2 * PIECE; i += 4000) {
        char piece[PIECE], text[2 * PIECE], bytes[2 * PIECE];

        letters(i, text);
        letters(i + PIECE, text + PIECE);
        img_base64_decode(bytes, text, sizeof text);
        memcpy(piece, decoded ? bytes : text, PIECE);
        if (in_memory(piece))
            return true;
    }
    return false;
}

static void wiped(void)
{
    char name[] = "/tmp/test-secret-XXXXXX";

    if (access("/proc/self/maps", R_OK) != 0)
        return;
    OK(write_letters(name) == 0, "a file of letters");
    OK(!any_in_memory(false) && !any_in_memory(true), "nobody has it in memory yet");
    OK(add(&(struct img_secret){ .id = "letters", .file = name, .base64 = true }) == 0, "a secret from it");
    OK(any_in_memory(true), "it is in memory");
    OK(!any_in_memory(false), "its base64 is not, any more");
    OK(add(&(struct img_secret){ .id = "plain letters", .file = name }) == 0 && any_in_memory(false), "plain too");
    OK(add(&(struct img_secret){ .id = "bad", .file = name, .key_id = "letters", .iv = "" }) < 0, "one that fails");
    img_objects_free();
    OK(!any_in_memory(false) && !any_in_memory(true), "nothing of it stays when the objects go");
    OK(!holds("letters", "", 0) && add(&(struct img_secret){ .id = "letters", .data = "" }) == 0, "their ids are free");
    img_objects_free();
    unlink(name);
}

int main(void)
{
    plain();
    from_file();
    encrypted();
    wiped();
    return test_end();
}
