/* SPDX-License-Identifier: MIT */
/*
 * The options of the qcow2 driver: first for create, in the order in which "Formatting ..." shows them, then for
 * open.  Those for both are the first members of both structures.
 */
#include "../qcow2.h"

#define AT(member) offsetof(struct qcow2_create_options, member)
#define OPEN_AT(member) offsetof(struct qcow2_open_options, member)
#define NEW(kind, key, member, at, value, ...) \
    { .name = key, .help = __VA_ARGS__, .type = IMG_OPT_##kind, .standard = value, .when = at, .offset = AT(member) }
#define OPEN_OPTION(kind, key, member, ...) \
    { .name = key, .help = __VA_ARGS__, .type = IMG_OPT_##kind, .when = IMG_AT_OPEN, .offset = OPEN_AT(member) }
#define OVERLAP_OPTION(key, bit, text) \
    { .name = "overlap-check." key, .help = text, .type = IMG_OPT_BOOL, .when = IMG_AT_OPEN, \
      .offset = OPEN_AT(overlap) + (bit) }

/* FIXED at creation; LATER: amend can change it, too. */
enum { FIXED = IMG_AT_CREATE | IMG_AT_MEASURE, LATER = FIXED | IMG_AT_AMEND };

const struct img_option qcow2_options[] = {
    NEW(BOOL_WORD, "encryption", encryption, FIXED, NULL,
        "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"),
    NEW(STRING, "encrypt.format", encrypt_format, FIXED | IMG_AT_OPEN, NULL,
        "Encrypt the image, format choices: 'aes', 'luks'", .choices = "aes luks"),
    NEW(STRING, "encrypt.key-secret", encrypt_key_secret, FIXED | IMG_AT_OPEN | IMG_AT_RUN, NULL,
        "ID of secret providing qcow AES key or LUKS passphrase"),
    NEW(STRING, "encrypt.cipher-alg", luks.cipher, FIXED, NULL, "Name of encryption cipher algorithm",
        .choices = IMG_LUKS_CIPHERS),
    NEW(STRING, "encrypt.cipher-mode", luks.mode, FIXED, NULL, "Name of encryption cipher mode",
        .choices = IMG_LUKS_MODES),
    NEW(STRING, "encrypt.ivgen-alg", luks.ivgen, FIXED, NULL, "Name of IV generator algorithm",
        .choices = IMG_LUKS_IVGENS),
    NEW(STRING, "encrypt.ivgen-hash-alg", luks.ivgen_hash, FIXED, NULL, "Name of IV generator hash algorithm",
        .choices = IMG_LUKS_HASHES),
    NEW(STRING, "encrypt.hash-alg", luks.hash, FIXED, NULL, "Name of encryption hash algorithm",
        .choices = IMG_LUKS_HASHES),
    NEW(NUMBER, "encrypt.iter-time", luks.iter_time, LATER, NULL, "Time to spend in PBKDF in milliseconds"),
    NEW(STRING, "encrypt.state", luks.state, IMG_AT_AMEND, NULL,
        "Select new state of affected keyslots (active/inactive)", .choices = "active inactive"),
    NEW(STRING, "encrypt.new-secret", luks.new_secret, IMG_AT_AMEND, NULL,
        "New secret to set in the matching keyslots. Empty string to erase"),
    NEW(STRING, "encrypt.old-secret", luks.old_secret, IMG_AT_AMEND, NULL,
        "Select all keyslots that match this password"),
    NEW(NUMBER, "encrypt.keyslot", luks.keyslot, IMG_AT_AMEND, NULL, "Select a single keyslot to modify explicitly"),
    NEW(SIZE, "cluster_size", cluster_size, FIXED, "65536", "qcow2 cluster size"),
    NEW(BOOL, "extended_l2", extended_l2, FIXED, "off", "Extended L2 tables"),
    NEW(STRING, "preallocation", preallocation, FIXED, NULL,
        "Preallocation mode (allowed values: off, metadata, falloc, full)", .choices = "off metadata falloc full"),
    NEW(STRING, "compression_type", compression_type, FIXED, "zlib",
        "Compression method used for image cluster compression", .choices = "zlib zstd"),
    NEW(NUMBER, "compression_level", compression_level, IMG_AT_CREATE | IMG_AT_MEASURE | IMG_AT_RUN, NULL,
        "Level at which clusters are compressed now"),
    NEW(SIZE, "compression_window", compression_window, IMG_AT_CREATE | IMG_AT_MEASURE | IMG_AT_RUN, NULL,
        "Longest distance in clusters that are compressed now (zlib: 512 to 32k)"),
    NEW(SIZE, "size", size, LATER, NULL, "Virtual disk size"),
    NEW(STRING, "compat", compat, LATER, NULL, "Compatibility level (v2 [0.10] or v3 [1.1])",
        .choices = "0.10 1.1 v2 v3"),
    NEW(STRING, "backing_file", backing_file, LATER, NULL, "File name of a base image"),
    NEW(STRING, "backing_fmt", backing_fmt, LATER, NULL, "Image format of the base image"),
    NEW(STRING, "data_file", data_file, LATER, NULL, "File name of an external data file"),
    NEW(BOOL, "data_file_raw", data_file_raw, LATER, NULL, "The external data file must stay valid as a raw image"),
    NEW(BOOL, "keep_data_file", keep_data_file, IMG_AT_CREATE, NULL,
        "Take an existing external data file over, with its content"),
    NEW(BOOL, "lazy_refcounts", lazy_refcounts, LATER, "off", "Postpone refcount updates"),
    NEW(NUMBER, "refcount_bits", refcount_bits, LATER, "16", "Width of a reference count entry in bits",
        .choices = "1 2 4 8 16 32 64"),

    OPEN_OPTION(BOOL, "lazy-refcounts", lazy_refcounts, "Postpone refcount updates"),
    OPEN_OPTION(BOOL, "pass-discard-request", pass_discard_request, "Pass guest discard requests to the layer below"),
    OPEN_OPTION(BOOL, "pass-discard-snapshot", pass_discard_snapshot,
                "Generate discard requests when snapshot related space is freed"),
    OPEN_OPTION(BOOL, "pass-discard-other", pass_discard_other,
                "Generate discard requests when other clusters are freed"),
    OPEN_OPTION(BOOL, "discard-no-unref", discard_no_unref, "Do not unreference discarded clusters"),
    OPEN_OPTION(STRING, "overlap-check", overlap_check,
                "Selects which overlap checks to perform from a range of templates (none, constant, cached, all)",
        .choices = "none constant cached all"),
    OPEN_OPTION(STRING, "overlap-check.template", overlap_template,
                "Selects which overlap checks to perform from a range of templates (none, constant, cached, all)",
        .choices = "none constant cached all"),
    OVERLAP_OPTION("main-header", 0, "Check for unintended writes into the main qcow2 header"),
    OVERLAP_OPTION("active-l1", 1, "Check for unintended writes into the active L1 table"),
    OVERLAP_OPTION("active-l2", 2, "Check for unintended writes into an active L2 table"),
    OVERLAP_OPTION("refcount-block", 3, "Check for unintended writes into a refcount block"),
    OVERLAP_OPTION("refcount-table", 4, "Check for unintended writes into the refcount table"),
    OVERLAP_OPTION("snapshot-table", 5, "Check for unintended writes into the snapshot table"),
    OVERLAP_OPTION("inactive-l1", 6, "Check for unintended writes into an inactive L1 table"),
    OVERLAP_OPTION("inactive-l2", 7, "Check for unintended writes into an inactive L2 table"),
    OVERLAP_OPTION("bitmap-directory", 8, "Check for unintended writes into the bitmap directory"),
    OPEN_OPTION(SIZE, "cache-size", cache_size,
                "Maximum combined metadata (L2 tables and refcount blocks) cache size"),
    OPEN_OPTION(SIZE, "l2-cache-size", l2_cache_size, "Maximum L2 table cache size"),
    OPEN_OPTION(SIZE, "l2-cache-entry-size", l2_cache_entry_size, "Size of each entry in the L2 cache"),
    OPEN_OPTION(SIZE, "refcount-cache-size", refcount_cache_size, "Maximum refcount block cache size"),
    OPEN_OPTION(NUMBER, "cache-clean-interval", cache_clean_interval,
                "Clean unused cache entries after this time (in seconds)"),
    OPEN_OPTION(NUMBER, "compression_level", compression_level, "Level at which clusters are compressed now"),
    OPEN_OPTION(SIZE, "compression_window", compression_window,
                "Longest distance in clusters that are compressed now (zlib: 512 to 32k)"),
    { .name = NULL }
};

int qcow2_bad_choice(struct img_error *err, const char *name, const char *value)
{
    return img_error_set(err, EINVAL, "Parameter '%s' does not accept value '%s'", name, value);
}

int qcow2_choose_coding(uint8_t compression, int64_t level, int64_t window, struct img_codec_how *how,
                        struct img_error *err)
{
    bool zstd = compression == QCOW2_ZSTD;
    enum img_codec codec = zstd ? IMG_CODEC_ZSTD : IMG_CODEC_DEFLATE;

    *how = (struct img_codec_how){ 0 };
    if (level < 0 && window < 0)
        return 0;
    if (!img_codec_available(codec))
        return img_error_set(err, ENOTSUP, "'compression_level' and 'compression_window' need %s, which is not built in",
                             zstd ? "zstd" : "zlib");
    if (window >= 0 && zstd)
        return img_error_set(err, EINVAL, "'compression_window' is for compression type 'zlib'");
    if (window >= 0 && (window < IMG_WINDOW_MIN || window > IMG_WINDOW_MAX || (window & (window - 1))))
        return img_error_set(err, EINVAL, "'compression_window' must be a power of two from 512 to 32k");
    how->window = window < 0 ? 0 : (uint32_t)window;
    int highest = img_codec_level_max(codec, how->window);
    if (!highest)
        return img_error_set(err, ENOTSUP, "'compression_window' needs zlib, which is not built in");
    if (level >= 0 && (level < 1 || level > highest))
        return img_error_set(err, EINVAL, "'compression_level' of '%s' must be from 1 to %d in this build%s",
                             zstd ? "zstd" : "zlib", highest, how->window ? " with that 'compression_window'" : "");
    how->level = level < 0 ? 0 : (int)level;
    return 0;
}
