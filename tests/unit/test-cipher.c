/* SPDX-License-Identifier: MIT */
/*
 * Ciphers, modes, hashes and key derivation, by the vectors of IEEE 1619, NIST SP 800-38A, RFC 6070 and RFC 7914.  With
 * arguments it is a filter, for comparing with other programs:
 *     test-cipher encrypt|decrypt CIPHER MODE KEY SECTOR < sectors > sectors
 */
#include "libimg/codec/cipher.h"
#include "libimg/codec/kdf.h"
#include "test.h"

#include <stdlib.h>

static size_t from_hex(const char *text, uint8_t *to)
{
    size_t length = strlen(text) / 2;

    for (size_t i = 0; i < length; i++) {
        char digits[3] = { text[2 * i], text[2 * i + 1], 0 };
        to[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return length;
}

static bool equals(const uint8_t *bytes, const char *text)
{
    uint8_t wanted[512];
    size_t length = from_hex(text, wanted);

    return memcmp(bytes, wanted, length) == 0;
}

static struct img_crypt *make(const char *cipher, enum img_cipher_mode mode, enum img_ivgen ivgen, const char *key)
{
    const struct img_crypt_how how = { .cipher = img_cipher_find(cipher), .mode = mode, .ivgen = ivgen, .sector = 512 };
    uint8_t bytes[IMG_CIPHER_KEY_MAX];

    from_hex(key, bytes);
    return img_crypt_new(&how, bytes);
}

/* ---- XTS ------------------------------------------------------------------------- */

static void xts(const char *what, const char *cipher, const char *key, uint64_t sector, const uint8_t *plain,
                const char *wanted)
{
    struct img_crypt *crypt = make(cipher, IMG_MODE_XTS, IMG_IV_PLAIN64, key);
    uint8_t bytes[512];

    img_crypt_encrypt(crypt, sector, bytes, plain, sizeof bytes);
    OK(equals(bytes, wanted), "%s", what);
    img_crypt_decrypt(crypt, sector, bytes, bytes, sizeof bytes);
    OK(memcmp(bytes, plain, sizeof bytes) == 0, "%s, back", what);
    img_crypt_free(crypt);
}

static void all_xts(void)
{
    uint8_t plain[512] = { 0 };

    xts("IEEE 1619 vector 1", "aes-128", "0000000000000000000000000000000000000000000000000000000000000000", 0, plain,
        "917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e");
    memset(plain, 0x44, sizeof plain);
    xts("IEEE 1619 vector 2", "aes-128", "1111111111111111111111111111111122222222222222222222222222222222",
        0x3333333333, plain, "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0");
    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (uint8_t)i;
    xts("IEEE 1619 vector 10", "aes-256", "2718281828459045235360287471352662497757247093699959574966967627"
        "3141592653589793238462643383279502884197169399375105820974944592", 0xff, plain,
        "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b5d31e276f8fe4a8d66b317f9ac683f44");
}

/* ---- Chains and counters ------------------------------------------------------------ */

static void chains(void)
{
    static const char key[] = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
    static const char plain[] = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51";
    uint8_t bytes[512] = { 0 }, key_bytes[32], iv[16];
    struct img_crypt *ecb = make("aes-256", IMG_MODE_ECB, IMG_IV_NONE, key);

    from_hex(key, key_bytes);
    from_hex(plain, bytes);
    img_crypt_encrypt(ecb, 5, bytes, bytes, sizeof bytes);
    OK(equals(bytes, "f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870"), "SP 800-38A F.1.5: ECB");
    img_crypt_free(ecb);

    from_hex("000102030405060708090a0b0c0d0e0f", iv);
    from_hex("f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d", bytes);
    OK(img_cbc_decrypt(img_cipher_find("aes-256"), key_bytes, iv, bytes, 32) == 0 && equals(bytes, plain),
       "SP 800-38A F.2.6: CBC of one chain");
}

/* Each sector by itself gives the same as many at once, in place or not, back and forth. */
static void in_groups(const struct img_cipher *cipher, enum img_cipher_mode mode, enum img_ivgen ivgen)
{
    enum { SECTORS = 37 };
    static uint8_t plain[SECTORS * 512], whole[sizeof plain], parts[sizeof plain];
    static const uint8_t key[IMG_CIPHER_KEY_MAX] = { 1, 2, 3, 5, 8, 13, 21, 34, 55 };
    const struct img_crypt_how how = { .cipher = cipher, .mode = mode, .ivgen = ivgen, .sector = 512,
                                       .essiv = img_cipher_find("aes-256"), .essiv_key = key };
    struct img_crypt *crypt = img_crypt_new(&how, key);
    unsigned long long state = 9;

    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (uint8_t)test_random(&state);
    img_crypt_encrypt(crypt, 0xfffffff0, whole, plain, sizeof plain);
    memcpy(parts, plain, sizeof plain);
    for (size_t i = 0; i < SECTORS; i++)
        img_crypt_encrypt(crypt, 0xfffffff0 + i, parts + i * 512, parts + i * 512, 512);
    bool good = memcmp(whole, parts, sizeof whole) == 0 && memcmp(whole, plain, sizeof whole) != 0;
    img_crypt_decrypt(crypt, 0xfffffff0, whole, whole, sizeof whole);
    for (size_t i = 0; i < SECTORS; i++)
        img_crypt_decrypt(crypt, 0xfffffff0 + i, parts + i * 512, parts + i * 512, 512);
    good &= memcmp(whole, plain, sizeof whole) == 0 && memcmp(parts, plain, sizeof whole) == 0;
    OK(good, "%s, mode %d, iv %d: sectors together and one by one", img_cipher_name(cipher), mode, ivgen);
    img_crypt_free(crypt);
}

static void groups(void)
{
    for (const struct img_cipher *cipher = img_cipher_next(NULL); cipher; cipher = img_cipher_next(cipher))
        for (int mode = IMG_MODE_ECB; mode <= IMG_MODE_CTR; mode++)
            for (int ivgen = IMG_IV_NONE; ivgen <= IMG_IV_ESSIV; ivgen++)
                if (mode != IMG_MODE_XTS || img_cipher_block(cipher) == IMG_CIPHER_BLOCK)
                    in_groups(cipher, (enum img_cipher_mode)mode, (enum img_ivgen)ivgen);
}

/* ---- Keys ---------------------------------------------------------------------------- */

static void derive(const char *hash, const char *password, const char *salt, uint32_t iterations, size_t length,
                   const char *wanted)
{
    const struct img_pbkdf2 how = { img_kdf_hash_find(hash), password, salt, strlen(password), strlen(salt), iterations };
    uint8_t key[64];

    img_pbkdf2(&how, key, length);
    OK(equals(key, wanted), "PBKDF2 with %s, %u iterations", hash, iterations);
}

static void keys(void)
{
    derive("sha1", "password", "salt", 1, 20, "0c60c80f961f0e71f3a9b524af6012062fe037a6");
    derive("sha1", "password", "salt", 4096, 20, "4b007901b765489abead49d926f721d065a429c1");
    derive("sha1", "passwordPASSWORDpassword", "saltSALTsaltSALTsaltSALTsaltSALTsalt", 4096, 25,
           "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038");
    derive("sha256", "passwd", "salt", 1, 64, "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
           "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783");
}

static void splitting(void)
{
    uint8_t key[96], merged[96], split[50 * 96];
    unsigned long long state = 4;

    for (const struct img_kdf_hash *hash = img_kdf_hash_next(NULL); hash; hash = img_kdf_hash_next(hash)) {
        size_t length = 16 + test_random(&state) % 81;
        for (size_t i = 0; i < length; i++)
            key[i] = (uint8_t)test_random(&state);
        bool good = img_af_split(hash, key, length, 50, split) == 0;
        img_af_merge(hash, split, length, 50, merged);
        good &= memcmp(key, merged, length) == 0;
        split[test_random(&state) % (50 * length)] ^= 4;
        img_af_merge(hash, split, length, 50, merged);
        OK(good && memcmp(key, merged, length) != 0, "split and merged with %s; one changed bit loses the key",
           img_kdf_hash_name(hash));
    }
}

static int filter(char **argv)
{
    static const char *const modes[] = { "ecb", "cbc", "xts", "ctr" };
    uint8_t bytes[512];
    int mode = 0;

    while (strcmp(argv[3], modes[mode]) != 0)
        mode++;
    struct img_crypt *crypt = make(argv[2], (enum img_cipher_mode)mode, IMG_IV_PLAIN64, argv[4]);
    for (uint64_t sector = strtoull(argv[5], NULL, 0); fread(bytes, sizeof bytes, 1, stdin) == 1; sector++) {
        (*argv[1] == 'e' ? img_crypt_encrypt : img_crypt_decrypt)(crypt, sector, bytes, bytes, sizeof bytes);
        fwrite(bytes, sizeof bytes, 1, stdout);
    }
    img_crypt_free(crypt);
    return 0;
}

int main(int argc, char **argv)
{
    if (!img_cipher_next(NULL)) {
        puts("1..0 # skip nettle is not built in");
        return 0;
    }
    if (argc == 6)
        return filter(argv);
    all_xts();
    chains();
    groups();
    keys();
    splitting();
    return test_end();
}
