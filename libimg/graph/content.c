/* SPDX-License-Identifier: MIT */
/*
 * content.c - names what a file holds that no format claims.  It is read as a raw disk then, as by qemu-img: a guest
 * may write any of this to its disk, so it decides nothing.  But it is said.
 */
#include "graph.h"
#include "util/checked.h"
#include <string.h>

struct content {
    struct img_content told;
    const struct img_mark *marks;   /* of the first bytes; in the table of ends: one, anywhere in the last bytes */
};

enum { END_BYTES = 1024 };

static const char decompress[] = "decompress it first", unpack[] = "unpack it first, and open the disk that is in it",
                  export[] = "restore or export the disk with the program that made it",
                  download[] = "get the file itself: this stands in its place";

static const struct content beginnings[] = {
    { { "gzip", "data compressed with gzip", decompress }, IMG_MARKS(IMG_AT(0, "\x1f\x8b\x08")) },
    { { "xz", "data compressed with xz", decompress }, IMG_MARKS(IMG_AT(0, "\xfd" "7zXZ\0")) },
    { { "zstd", "data compressed with zstd", decompress },
      IMG_MARKS(IMG_AT(0, "\x28\xb5\x2f\xfd"), IMG_OR, IMG_AT(0, "\x50\x2a\x4d\x18")) },
    { { "bzip2", "data compressed with bzip2", decompress }, IMG_MARKS(IMG_AT(0, "BZh"), IMG_AT(4, "1AY&SY")) },
    { { "lz4", "data compressed with lz4", decompress },
      IMG_MARKS(IMG_AT(0, "\x04\x22\x4d\x18"), IMG_OR, IMG_AT(0, "\x02\x21\x4c\x18")) },
    { { "lzip", "data compressed with lzip", decompress }, IMG_MARKS(IMG_AT(0, "LZIP\1")) },
    { { "lzop", "data compressed with lzop", decompress }, IMG_MARKS(IMG_AT(0, "\x89LZO\0\r\n\x1a\n")) },
    { { "zip", "a zip archive", unpack }, IMG_MARKS(IMG_AT(0, "PK\3\4")) },
    { { "7z", "a 7z archive", unpack }, IMG_MARKS(IMG_AT(0, "7z\xbc\xaf\x27\x1c")) },
    { { "rar", "a RAR archive", unpack }, IMG_MARKS(IMG_AT(0, "Rar!\x1a\7")) },
    { { "tar", "a tar archive, as an OVA is", unpack }, IMG_MARKS(IMG_AT(257, "ustar")) },
    { { "wim", "a Windows image (WIM), which holds files and no disk", "apply it to a disk, with wimlib for example" },
      IMG_MARKS(IMG_AT(0, "MSWIM\0\0\0"), IMG_OR, IMG_AT(0, "WLPWM\0\0\0")) },
    { { "ewf", "evidence in EnCase's format (E01)", "export it as a raw disk, with ewfexport for example" },
      IMG_MARKS(IMG_AT(0, "EVF\t\r\n\xff\0"), IMG_OR, IMG_AT(0, "LVF\t\r\n\xff\0")) },
    { { "ewf2", "evidence in EnCase's second format (Ex01)", "export it as a raw disk, with ewfexport for example" },
      IMG_MARKS(IMG_AT(0, "EVF2\r\n\x81\0"), IMG_OR, IMG_AT(0, "LEF2\r\n\x81\0")) },
    { { "aff", "evidence in the Advanced Forensic Format", export }, IMG_MARKS(IMG_AT(0, "AFF10\r\n\0")) },
    { { "vma", "a backup of Proxmox VE (VMA)", "extract the disks, with vma extract" }, IMG_MARKS(IMG_AT(0, "VMA\0")) },
    { { "vbk", "a backup of Veeam", export }, IMG_MARKS(IMG_AT(4, "\1\0\0\0\3\0\0\0md5\0")) },
    { { "partclone", "an image of partclone", export }, IMG_MARKS(IMG_AT(0, "partclone-image")) },
    { { "ntfsclone", "an image of ntfsclone", export }, IMG_MARKS(IMG_AT(0, "\0ntfsclone-image")) },
    { { "android-sparse", "an Android sparse image", "make it a raw disk, with simg2img" },
      IMG_MARKS(IMG_AT(0, "\x3a\xff\x26\xed")) },
    { { "sparseimage", "a sparse image of macOS, of an unknown version", export }, IMG_MARKS(IMG_AT(0, "sprs\0\0\0")) },
    { { "asif", "a sparse image of macOS (ASIF), of an unknown version", export },
      IMG_MARKS(IMG_AT(0, "shdw\0\0\0")) },
    { { "luks", "an encrypted disk (LUKS), of an unknown version", export }, IMG_MARKS(IMG_AT(0, "LUKS\xba\xbe")) },
    { { "vmdk", "the descriptor of a VMDK, in an unknown form", "-f vmdk says what is wrong with it" },
      IMG_MARKS(IMG_AT(0, "# Disk DescriptorFile"), IMG_OR, IMG_AT(0, "\xef\xbb\xbf# Disk DescriptorFile"), IMG_OR,
                IMG_AT(0, "\n# Disk DescriptorFile"), IMG_OR, IMG_AT(0, "\r\n# Disk DescriptorFile"), IMG_OR,
                IMG_AT(0, "\xff\xfe#\0 \0D\0i\0s\0k\0 \0D\0e\0s\0c\0r\0"), IMG_OR,
                IMG_AT(0, "\xfe\xff\0#\0 \0D\0i\0s\0k\0 \0D\0e\0s\0c\0r")) },
    { { "vmx", "the configuration of a virtual machine of VMware", "open the disk that it names" },
      IMG_MARKS(IMG_AT(0, ".encoding = \"")) },
    { { "parallels", "the descriptor of a disk of Parallels", "open the folder that it lies in" },
      IMG_MARKS(IMG_XML("Parallels_disk_image")) },
    { { "ovf", "the description of a virtual machine (OVF)", "open the disk that it names" },
      IMG_MARKS(IMG_XML("Envelope"), IMG_OR, IMG_XML("ovf:Envelope")) },
    { { "vbox", "the configuration of a virtual machine of VirtualBox", "open the disk that it names" },
      IMG_MARKS(IMG_XML("VirtualBox")) },
    { { "html", "a web page", download },
      IMG_MARKS(IMG_XML("html"), IMG_OR, IMG_AT(0, "<!DOCTYPE html"), IMG_OR, IMG_AT(0, "<!doctype html")) },
    { { "git-lfs", "a pointer of Git LFS", download }, IMG_MARKS(IMG_AT(0, "version https://git-lfs.github.com/")) },
};

static const struct content ends[] = {
    { { "vpc", "a fixed VHD, by its end", "if it is one, use -f vpc" }, IMG_MARKS(IMG_AT(0, "conectix\0\0\0")) },
    { { "dmg", "an Apple disk image, by its end", "if it is one, use -f dmg" },
      IMG_MARKS(IMG_AT(0, "koly\0\0\0\4\0\0\2\0")) },
    { { "dmg", "an encrypted Apple disk image (version 1), by its end", "convert it on macOS, with hdiutil" },
      IMG_MARKS(IMG_AT(0, "cdsaencr")) },
};

const struct img_content *img_content_by_head(const struct img_head *head)
{
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++)
        if (img_marks_show(beginnings[i].marks, head->bytes, sizeof head->bytes, ""))
            return &beginnings[i].told;
    return NULL;
}

/*
 * Only where a read more costs nothing and is seen by nobody: not over a network, and not through a filter that counts
 * requests.
 */
static const struct img_content *by_end(struct img *file)
{
    uint8_t end[END_BYTES];
    uint64_t size = img_size(file);

    if (file->driver->kind != IMG_PROTOCOL || file->limits.round_trip || size < sizeof end ||
        img_pread(file, end, size - sizeof end, sizeof end) < 0)
        return NULL;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (memmem(end, sizeof end, ends[i].marks->bytes, ends[i].marks->length))
            return &ends[i].told;
    return NULL;
}

static const struct img_content *find(const struct img_content *content, struct img *file)
{
    return content ? content : by_end(file);
}

/* ---- What is done about it ------------------------------------------------------------------ */

static bool strict;

void img_set_strict_format(bool on)
{
    strict = on;
}

const struct img_content *img_content(const struct img *image)
{
    bool guessed = image->probed && img_driver_is_plain(image->driver);

    return guessed ? find(image->content, image->file) : NULL;
}

int img_content_judge(const struct img_content *content, struct img *file, const char *name, struct img_error *err)
{
    if (!strict && !img_advice_wanted())
        return 0;
    content = find(content, file);
    if (!content)
        return 0;
    if (!strict) {
        img_notice(IMG_ADVICE, "'%s' looks like %s, and is read as a raw disk\n%s; -f raw says that it is a disk", name,
                   content->what, content->advice);
        return 0;
    }
    img_error_set(err, EINVAL, "The image looks like %s, and its format is not given", content->what);
    img_error_advise(err, "%s", content->advice);
    img_error_advise(err, "-f raw says that it is a disk");
    return -EINVAL;
}
