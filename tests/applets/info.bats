#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-info: human text and JSON of every kind of image, and what it refuses.

load ../helper

fixtures() {
    local name
    for name; do
        fixture "$name"
    done
}

@test "info: raw" {
    truncate -s 1M a.raw
    img 0 info a.raw
    mask
    out <<'EOF'
image: a.raw
file format: raw
virtual size: 1 MiB (1048576 bytes)
disk size: N
Child node '/file':
    filename: a.raw
    protocol type: file
    file length: 1 MiB (1048576 bytes)
    disk size: N
EOF
    err ''
    img 0 info -f raw --output=json a.raw
    mask
    out <<'EOF'
{
    "children": [
        {
            "name": "file",
            "info": {
                "children": [
                ],
                "virtual-size": 1048576,
                "filename": "a.raw",
                "format": "file",
                "actual-size": N,
                "format-specific": {
                    "type": "file",
                    "data": {
                    }
                },
                "dirty-flag": false
            }
        }
    ],
    "virtual-size": 1048576,
    "filename": "a.raw",
    "format": "raw",
    "actual-size": N,
    "dirty-flag": false
}
EOF
    err ''
    img 0 info -f raw --output human a.raw
    mask
    out <<'EOF'
image: a.raw
file format: raw
virtual size: 1 MiB (1048576 bytes)
disk size: N
Child node '/file':
    filename: a.raw
    protocol type: file
    file length: 1 MiB (1048576 bytes)
    disk size: N
EOF
    err ''
}

@test "info: qcow2 by content, not by its name" {
    img 0 create -q -f qcow2 a.raw 64M
    img 0 info a.raw
    mask
    out <<'EOF'
image: a.raw
file format: qcow2
virtual size: 64 MiB (67108864 bytes)
disk size: N
cluster_size: 65536
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: a.raw
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: N
EOF
    err ''
    img 0 info --output=json a.raw
    mask
    out <<'EOF'
{
    "children": [
        {
            "name": "file",
            "info": {
                "children": [
                ],
                "virtual-size": 197120,
                "filename": "a.raw",
                "format": "file",
                "actual-size": N,
                "format-specific": {
                    "type": "file",
                    "data": {
                    }
                },
                "dirty-flag": false
            }
        }
    ],
    "virtual-size": 67108864,
    "filename": "a.raw",
    "cluster-size": 65536,
    "format": "qcow2",
    "actual-size": N,
    "format-specific": {
        "type": "qcow2",
        "data": {
            "compat": "1.1",
            "compression-type": "zlib",
            "lazy-refcounts": false,
            "refcount-bits": 16,
            "corrupt": false,
            "extended-l2": false
        }
    },
    "dirty-flag": false
}
EOF
    err ''
}

@test "info: options of the format" {
    img 0 create -q -f qcow2 -o compat=0.10 v2.qcow2 1G
    img 0 info v2.qcow2
    mask
    out <<'EOF'
image: v2.qcow2
file format: qcow2
virtual size: 1 GiB (1073741824 bytes)
disk size: N
cluster_size: 65536
Format specific information:
    compat: 0.10
    compression type: zlib
    refcount bits: 16
Child node '/file':
    filename: v2.qcow2
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: N
EOF
    err ''
    img 0 info --output=json v2.qcow2
    mask
    out <<'EOF'
{
    "children": [
        {
            "name": "file",
            "info": {
                "children": [
                ],
                "virtual-size": 197120,
                "filename": "v2.qcow2",
                "format": "file",
                "actual-size": N,
                "format-specific": {
                    "type": "file",
                    "data": {
                    }
                },
                "dirty-flag": false
            }
        }
    ],
    "virtual-size": 1073741824,
    "filename": "v2.qcow2",
    "cluster-size": 65536,
    "format": "qcow2",
    "actual-size": N,
    "format-specific": {
        "type": "qcow2",
        "data": {
            "compat": "0.10",
            "compression-type": "zlib",
            "refcount-bits": 16
        }
    },
    "dirty-flag": false
}
EOF
    err ''
    img 0 create -q -f qcow2 -o cluster_size=128k,extended_l2=on,lazy_refcounts=on,refcount_bits=64,compression_type=zstd x.qcow2 1T
    img 0 info x.qcow2
    mask
    out <<'EOF'
image: x.qcow2
file format: qcow2
virtual size: 1 TiB (1099511627776 bytes)
disk size: N
cluster_size: 131072
Format specific information:
    compat: 1.1
    compression type: zstd
    lazy refcounts: true
    refcount bits: 64
    corrupt: false
    extended l2: true
Child node '/file':
    filename: x.qcow2
    protocol type: file
    file length: 392 KiB (401408 bytes)
    disk size: N
EOF
    err ''
    img 0 info --output=json x.qcow2
    mask
    out <<'EOF'
{
    "children": [
        {
            "name": "file",
            "info": {
                "children": [
                ],
                "virtual-size": 401408,
                "filename": "x.qcow2",
                "format": "file",
                "actual-size": N,
                "format-specific": {
                    "type": "file",
                    "data": {
                    }
                },
                "dirty-flag": false
            }
        }
    ],
    "virtual-size": 1099511627776,
    "filename": "x.qcow2",
    "cluster-size": 131072,
    "format": "qcow2",
    "actual-size": N,
    "format-specific": {
        "type": "qcow2",
        "data": {
            "compat": "1.1",
            "compression-type": "zstd",
            "lazy-refcounts": true,
            "refcount-bits": 64,
            "corrupt": false,
            "extended-l2": true
        }
    },
    "dirty-flag": false
}
EOF
    err ''
}

@test "info: a size that is not round" {
    truncate -s 1500000 a.raw
    img 0 info a.raw
    mask
    out <<'EOF'
image: a.raw
file format: raw
virtual size: 1.43 MiB (1500160 bytes)
disk size: N
Child node '/file':
    filename: a.raw
    protocol type: file
    file length: 1.43 MiB (1500160 bytes)
    disk size: N
EOF
    err ''
    img 0 create -q -f qcow2 b.qcow2 3333333
    img 0 info b.qcow2
    mask
    out <<'EOF'
image: b.qcow2
file format: qcow2
virtual size: 3.18 MiB (3333632 bytes)
disk size: N
cluster_size: 65536
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: b.qcow2
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: N
EOF
    err ''
}

@test "info: a backing file, one image and the chain" {
    fixtures base.qcow2 mid.qcow2 top.qcow2
    img 0 info top.qcow2
    mask
    out <<'EOF'
image: top.qcow2
file format: qcow2
virtual size: 896 KiB (917504 bytes)
disk size: N
cluster_size: 512
backing file: mid.qcow2
backing file format: qcow2
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: top.qcow2
    protocol type: file
    file length: 8 KiB (8192 bytes)
    disk size: N
EOF
    err ''
    img 0 info --output=json top.qcow2
    mask
    out <<'EOF'
{
    "children": [
        {
            "name": "file",
            "info": {
                "children": [
                ],
                "virtual-size": 8192,
                "filename": "top.qcow2",
                "format": "file",
                "actual-size": N,
                "format-specific": {
                    "type": "file",
                    "data": {
                    }
                },
                "dirty-flag": false
            }
        }
    ],
    "backing-filename-format": "qcow2",
    "virtual-size": 917504,
    "filename": "top.qcow2",
    "cluster-size": 512,
    "format": "qcow2",
    "actual-size": N,
    "format-specific": {
        "type": "qcow2",
        "data": {
            "compat": "1.1",
            "compression-type": "zlib",
            "lazy-refcounts": false,
            "refcount-bits": 16,
            "corrupt": false,
            "extended-l2": false
        }
    },
    "full-backing-filename": "mid.qcow2",
    "backing-filename": "mid.qcow2",
    "dirty-flag": false
}
EOF
    err ''
    img 0 info --backing-chain top.qcow2
    mask
    out <<'EOF'
image: top.qcow2
file format: qcow2
virtual size: 896 KiB (917504 bytes)
disk size: N
cluster_size: 512
backing file: mid.qcow2
backing file format: qcow2
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: top.qcow2
    protocol type: file
    file length: 8 KiB (8192 bytes)
    disk size: N

image: mid.qcow2
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 65536
backing file: base.qcow2
backing file format: qcow2
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: mid.qcow2
    protocol type: file
    file length: 448 KiB (458752 bytes)
    disk size: N

image: base.qcow2
file format: qcow2
virtual size: 512 KiB (524288 bytes)
disk size: N
cluster_size: 4096
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: base.qcow2
    protocol type: file
    file length: 276 KiB (282624 bytes)
    disk size: N
EOF
    err ''
    img 0 info --backing-chain --output=json top.qcow2
    mask
    out <<'EOF'
[
    {
        "children": [
            {
                "name": "file",
                "info": {
                    "children": [
                    ],
                    "virtual-size": 8192,
                    "filename": "top.qcow2",
                    "format": "file",
                    "actual-size": N,
                    "format-specific": {
                        "type": "file",
                        "data": {
                        }
                    },
                    "dirty-flag": false
                }
            }
        ],
        "backing-filename-format": "qcow2",
        "virtual-size": 917504,
        "filename": "top.qcow2",
        "cluster-size": 512,
        "format": "qcow2",
        "actual-size": N,
        "format-specific": {
            "type": "qcow2",
            "data": {
                "compat": "1.1",
                "compression-type": "zlib",
                "lazy-refcounts": false,
                "refcount-bits": 16,
                "corrupt": false,
                "extended-l2": false
            }
        },
        "full-backing-filename": "mid.qcow2",
        "backing-filename": "mid.qcow2",
        "dirty-flag": false
    },
    {
        "children": [
            {
                "name": "file",
                "info": {
                    "children": [
                    ],
                    "virtual-size": 458752,
                    "filename": "mid.qcow2",
                    "format": "file",
                    "actual-size": N,
                    "format-specific": {
                        "type": "file",
                        "data": {
                        }
                    },
                    "dirty-flag": false
                }
            }
        ],
        "backing-filename-format": "qcow2",
        "virtual-size": 1048576,
        "filename": "mid.qcow2",
        "cluster-size": 65536,
        "format": "qcow2",
        "actual-size": N,
        "format-specific": {
            "type": "qcow2",
            "data": {
                "compat": "1.1",
                "compression-type": "zlib",
                "lazy-refcounts": false,
                "refcount-bits": 16,
                "corrupt": false,
                "extended-l2": false
            }
        },
        "full-backing-filename": "base.qcow2",
        "backing-filename": "base.qcow2",
        "dirty-flag": false
    },
    {
        "children": [
            {
                "name": "file",
                "info": {
                    "children": [
                    ],
                    "virtual-size": 282624,
                    "filename": "base.qcow2",
                    "format": "file",
                    "actual-size": N,
                    "format-specific": {
                        "type": "file",
                        "data": {
                        }
                    },
                    "dirty-flag": false
                }
            }
        ],
        "virtual-size": 524288,
        "filename": "base.qcow2",
        "cluster-size": 4096,
        "format": "qcow2",
        "actual-size": N,
        "format-specific": {
            "type": "qcow2",
            "data": {
                "compat": "1.1",
                "compression-type": "zlib",
                "lazy-refcounts": false,
                "refcount-bits": 16,
                "corrupt": false,
                "extended-l2": false
            }
        },
        "dirty-flag": false
    }
]
EOF
    err ''
}

@test "info: backing file in another folder" {
    mkdir sub
    fixture base.qcow2 && mv base.qcow2 sub/
    img 0 create -q -f qcow2 -b base.qcow2 -F qcow2 sub/over.qcow2
    img 0 info sub/over.qcow2
    mask
    out <<'EOF'
image: sub/over.qcow2
file format: qcow2
virtual size: 512 KiB (524288 bytes)
disk size: N
cluster_size: 65536
backing file: base.qcow2 (actual path: sub/base.qcow2)
backing file format: qcow2
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: sub/over.qcow2
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: N
EOF
    err ''
    img 0 info --backing-chain sub/over.qcow2
    mask
    out <<'EOF'
image: sub/over.qcow2
file format: qcow2
virtual size: 512 KiB (524288 bytes)
disk size: N
cluster_size: 65536
backing file: base.qcow2 (actual path: sub/base.qcow2)
backing file format: qcow2
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: sub/over.qcow2
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: N

image: sub/base.qcow2
file format: qcow2
virtual size: 512 KiB (524288 bytes)
disk size: N
cluster_size: 4096
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: sub/base.qcow2
    protocol type: file
    file length: 276 KiB (282624 bytes)
    disk size: N
EOF
    err ''
    img 0 info sub/over.qcow2 --output=json
    mask
    out <<'EOF'
{
    "children": [
        {
            "name": "file",
            "info": {
                "children": [
                ],
                "virtual-size": 197120,
                "filename": "sub/over.qcow2",
                "format": "file",
                "actual-size": N,
                "format-specific": {
                    "type": "file",
                    "data": {
                    }
                },
                "dirty-flag": false
            }
        }
    ],
    "backing-filename-format": "qcow2",
    "virtual-size": 524288,
    "filename": "sub/over.qcow2",
    "cluster-size": 65536,
    "format": "qcow2",
    "actual-size": N,
    "format-specific": {
        "type": "qcow2",
        "data": {
            "compat": "1.1",
            "compression-type": "zlib",
            "lazy-refcounts": false,
            "refcount-bits": 16,
            "corrupt": false,
            "extended-l2": false
        }
    },
    "full-backing-filename": "sub/base.qcow2",
    "backing-filename": "base.qcow2",
    "dirty-flag": false
}
EOF
    err ''
}

@test "info: a missing backing file matters for the chain only" {
    fixtures top.qcow2
    img 0 info top.qcow2
    mask
    out <<'EOF'
image: top.qcow2
file format: qcow2
virtual size: 896 KiB (917504 bytes)
disk size: N
cluster_size: 512
backing file: mid.qcow2
backing file format: qcow2
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: top.qcow2
    protocol type: file
    file length: 8 KiB (8192 bytes)
    disk size: N
EOF
    err ''
    img 1 info --backing-chain top.qcow2
    out ''
    err "qemu-img: Could not open 'mid.qcow2': Could not open 'mid.qcow2': No such file or directory"
}

@test "info: backing files in a loop" {
    img 0 create -q -f qcow2 -u -b b.qcow2 -F qcow2 a.qcow2 1M
    img 0 create -q -f qcow2 -u -b a.qcow2 -F qcow2 b.qcow2 1M
    img 1 create -f qcow2 -u -b self.qcow2 -F qcow2 self.qcow2 1M
    out ''
    err 'qemu-img: self.qcow2: Error: Trying to create an image with the same filename as the backing file'
    img 0 info a.qcow2
    mask
    out <<'EOF'
image: a.qcow2
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 65536
backing file: b.qcow2
backing file format: qcow2
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: a.qcow2
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: N
EOF
    err ''
    img 1 info --backing-chain a.qcow2
    out ''
    err "qemu-img: Backing file 'a.qcow2' creates an infinite loop."
    img 1 info --backing-chain -U a.qcow2
    out ''
    err "qemu-img: Backing file 'a.qcow2' creates an infinite loop."
    img 1 info --backing-chain --output=json a.qcow2
    out ''
    err "qemu-img: Backing file 'a.qcow2' creates an infinite loop."
}

@test "info: internal snapshots" {
    fixtures snapshots.qcow2
    img 0 info snapshots.qcow2
    mask
    out <<'EOF'
image: snapshots.qcow2
file format: qcow2
virtual size: 64 KiB (65536 bytes)
disk size: N
cluster_size: 512
Snapshot list:
ID      TAG               VM_SIZE                DATE        VM_CLOCK     ICOUNT
1       first                 0 B 2026-11-22 02:45:19  0000:00:00.000          0
2       second one            0 B 2026-11-22 02:45:19  0000:00:00.000          0
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: snapshots.qcow2
    protocol type: file
    file length: 13.5 KiB (13824 bytes)
    disk size: N
EOF
    err ''
    img 0 info --output=json snapshots.qcow2
    mask
    out <<'EOF'
{
    "children": [
        {
            "name": "file",
            "info": {
                "children": [
                ],
                "virtual-size": 13824,
                "filename": "snapshots.qcow2",
                "format": "file",
                "actual-size": N,
                "format-specific": {
                    "type": "file",
                    "data": {
                    }
                },
                "dirty-flag": false
            }
        }
    ],
    "snapshots": [
        {
            "icount": 0,
            "vm-clock-nsec": 0,
            "name": "first",
            "date-sec": 1795315519,
            "date-nsec": 393450000,
            "vm-clock-sec": 0,
            "id": "1",
            "vm-state-size": 0
        },
        {
            "icount": 0,
            "vm-clock-nsec": 0,
            "name": "second one",
            "date-sec": 1795315519,
            "date-nsec": 408706000,
            "vm-clock-sec": 0,
            "id": "2",
            "vm-state-size": 0
        }
    ],
    "virtual-size": 65536,
    "filename": "snapshots.qcow2",
    "cluster-size": 512,
    "format": "qcow2",
    "actual-size": N,
    "format-specific": {
        "type": "qcow2",
        "data": {
            "compat": "1.1",
            "compression-type": "zlib",
            "lazy-refcounts": false,
            "refcount-bits": 16,
            "corrupt": false,
            "extended-l2": false
        }
    },
    "dirty-flag": false
}
EOF
    err ''
}

@test "info: bitmaps" {
    fixtures bitmaps.qcow2
    img 0 info bitmaps.qcow2
    mask
    out <<'EOF'
image: bitmaps.qcow2
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 4096
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    bitmaps:
        [0]:
            flags:
                [0]: auto
            name: changes
            granularity: 4096
        [1]:
            flags:
            name: old
            granularity: 4096
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: bitmaps.qcow2
    protocol type: file
    file length: 56.5 KiB (57856 bytes)
    disk size: N
EOF
    err ''
    img 0 info --output=json bitmaps.qcow2
    mask
    out <<'EOF'
{
    "children": [
        {
            "name": "file",
            "info": {
                "children": [
                ],
                "virtual-size": 57856,
                "filename": "bitmaps.qcow2",
                "format": "file",
                "actual-size": N,
                "format-specific": {
                    "type": "file",
                    "data": {
                    }
                },
                "dirty-flag": false
            }
        }
    ],
    "virtual-size": 1048576,
    "filename": "bitmaps.qcow2",
    "cluster-size": 4096,
    "format": "qcow2",
    "actual-size": N,
    "format-specific": {
        "type": "qcow2",
        "data": {
            "compat": "1.1",
            "compression-type": "zlib",
            "lazy-refcounts": false,
            "bitmaps": [
                {
                    "flags": [
                        "auto"
                    ],
                    "name": "changes",
                    "granularity": 4096
                },
                {
                    "flags": [
                    ],
                    "name": "old",
                    "granularity": 4096
                }
            ],
            "refcount-bits": 16,
            "corrupt": false,
            "extended-l2": false
        }
    },
    "dirty-flag": false
}
EOF
    err ''
}

@test "info: an image that was not closed" {
    fixtures dirty.qcow2
    img 0 info dirty.qcow2
    mask
    out <<'EOF'
image: dirty.qcow2
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 4096
cleanly shut down: no
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: true
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: dirty.qcow2
    protocol type: file
    file length: 36 KiB (36864 bytes)
    disk size: N
EOF
    err ''
    img 0 info --output=json dirty.qcow2
    mask
    out <<'EOF'
{
    "children": [
        {
            "name": "file",
            "info": {
                "children": [
                ],
                "virtual-size": 36864,
                "filename": "dirty.qcow2",
                "format": "file",
                "actual-size": N,
                "format-specific": {
                    "type": "file",
                    "data": {
                    }
                },
                "dirty-flag": false
            }
        }
    ],
    "virtual-size": 1048576,
    "filename": "dirty.qcow2",
    "cluster-size": 4096,
    "format": "qcow2",
    "actual-size": N,
    "format-specific": {
        "type": "qcow2",
        "data": {
            "compat": "1.1",
            "compression-type": "zlib",
            "lazy-refcounts": true,
            "refcount-bits": 16,
            "corrupt": false,
            "extended-l2": false
        }
    },
    "dirty-flag": true
}
EOF
    err ''
}

@test "info: the corrupt bit" {
    fixtures v3.qcow2
    poke v3.qcow2 72 0000000000000002
    img 0 info v3.qcow2
    mask
    out <<'EOF'
image: v3.qcow2
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 4096
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: true
    extended l2: false
Child node '/file':
    filename: v3.qcow2
    protocol type: file
    file length: 44 KiB (45056 bytes)
    disk size: N
EOF
    err ''
    img 0 info --output=json v3.qcow2
    mask
    out <<'EOF'
{
    "children": [
        {
            "name": "file",
            "info": {
                "children": [
                ],
                "virtual-size": 45056,
                "filename": "v3.qcow2",
                "format": "file",
                "actual-size": N,
                "format-specific": {
                    "type": "file",
                    "data": {
                    }
                },
                "dirty-flag": false
            }
        }
    ],
    "virtual-size": 1048576,
    "filename": "v3.qcow2",
    "cluster-size": 4096,
    "format": "qcow2",
    "actual-size": N,
    "format-specific": {
        "type": "qcow2",
        "data": {
            "compat": "1.1",
            "compression-type": "zlib",
            "lazy-refcounts": false,
            "refcount-bits": 16,
            "corrupt": true,
            "extended-l2": false
        }
    },
    "dirty-flag": false
}
EOF
    err ''
}

@test "info: external data file" {
    img 0 create -q -f qcow2 -o data_file=d.raw x.qcow2 1M
    img 0 info x.qcow2
    mask
    out <<'EOF'
image: x.qcow2
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 65536
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    data file: d.raw
    data file raw: false
    corrupt: false
    extended l2: false
Child node '/file':
    filename: x.qcow2
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: N
EOF
    err ''
    img 0 info --output=json x.qcow2
    mask
    out <<'EOF'
{
    "children": [
        {
            "name": "file",
            "info": {
                "children": [
                ],
                "virtual-size": 197120,
                "filename": "x.qcow2",
                "format": "file",
                "actual-size": N,
                "format-specific": {
                    "type": "file",
                    "data": {
                    }
                },
                "dirty-flag": false
            }
        }
    ],
    "virtual-size": 1048576,
    "filename": "x.qcow2",
    "cluster-size": 65536,
    "format": "qcow2",
    "actual-size": N,
    "format-specific": {
        "type": "qcow2",
        "data": {
            "compat": "1.1",
            "compression-type": "zlib",
            "lazy-refcounts": false,
            "refcount-bits": 16,
            "data-file": "d.raw",
            "data-file-raw": false,
            "corrupt": false,
            "extended-l2": false
        }
    },
    "dirty-flag": false
}
EOF
    err ''
    rm d.raw
    img 0 info x.qcow2
    mask
    out <<'EOF'
image: x.qcow2
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 65536
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    data file: d.raw
    data file raw: false
    corrupt: false
    extended l2: false
Child node '/file':
    filename: x.qcow2
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: N
EOF
    err ''
}

@test "info: --image-opts and json: names" {
    truncate -s 1M a.raw
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 info --image-opts driver=qcow2,file.filename=a.qcow2
    mask
    out <<'EOF'
image: a.qcow2
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 65536
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: a.qcow2
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: N
EOF
    err ''
    img 0 info --image-opts driver=raw,file.driver=file,file.filename=a.raw,offset=65536,size=131072
    mask
    out <<'EOF'
image: json:{"offset": "65536", "driver": "raw", "size": "131072", "file": {"driver": "file", "filename": "a.raw"}}
file format: raw
virtual size: 128 KiB (131072 bytes)
disk size: N
Child node '/file':
    filename: a.raw
    protocol type: file
    file length: 1 MiB (1048576 bytes)
    disk size: N
EOF
    err ''
    img 0 info 'json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}}'
    mask
    out <<'EOF'
image: a.qcow2
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 65536
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: a.qcow2
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: N
EOF
    err ''
    img 0 info 'json:{"file":{"driver":"raw","offset":512,"file":{"driver":"file","filename":"a.raw"}}}'
    mask
    out <<'EOF'
image: json:{"driver": "raw", "file": {"offset": 512, "driver": "raw", "file": {"driver": "file", "filename": "a.raw"}}}
file format: raw
virtual size: 1 MiB (1048064 bytes)
disk size: N
Child node '/file':
    image: json:{"offset": 512, "driver": "raw", "file": {"driver": "file", "filename": "a.raw"}}
    file format: raw
    virtual size: 1 MiB (1048064 bytes)
    disk size: N
    Child node '/file/file':
        filename: a.raw
        protocol type: file
        file length: 1 MiB (1048576 bytes)
        disk size: N
EOF
    err ''
    img 1 info --image-opts driver=nosuch,file.filename=a.raw
    out ''
    err "qemu-img: Could not open 'driver=nosuch,file.filename=a.raw': Unknown driver 'nosuch'"
    img 1 info --image-opts file.filename=a.raw,nosuch=1
    out ''
    err "qemu-img: Could not open 'file.filename=a.raw,nosuch=1': Block format 'raw' does not support the option 'nosuch'"
    img 1 info --image-opts driver=qcow2
    out ''
    err 'qemu-img: Could not open '\''driver=qcow2'\'': A block device must be specified for "file"'
    img 1 info 'json:{'
    out ''
    err "qemu-img: Could not open 'json:{': Could not parse the JSON options: JSON parse error, premature EOI"
    img 1 info 'json:{"driver":"qcow2"}'
    out ''
    err 'qemu-img: Could not open '\''json:{"driver":"qcow2"}'\'': A block device must be specified for "file"'
    img 1 info 'json:[]'
    out ''
    err "qemu-img: Could not open 'json:[]': Invalid JSON object given"
}

@test "info: the wrong format named" {
    truncate -s 1M a.raw
    img 0 create -q -f qcow2 a.qcow2 1M
    img 1 info -f qcow2 a.raw
    out ''
    err "qemu-img: Could not open 'a.raw': Image is not in qcow2 format"
    img 0 info -f raw a.qcow2
    mask
    out <<'EOF'
image: a.qcow2
file format: raw
virtual size: 192 KiB (197120 bytes)
disk size: N
Child node '/file':
    filename: a.qcow2
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: N
EOF
    err ''
    img 1 info -f nosuch a.raw
    out ''
    err "qemu-img: Could not open 'a.raw': Unknown driver 'nosuch'"
}

@test "info: nothing to open" {
    img 1 info none
    out ''
    err "qemu-img: Could not open 'none': Could not open 'none': No such file or directory"
    mkdir dir
    img 1 info dir
    out ''
    err "qemu-img: Could not open 'dir': 'file' driver requires 'dir' to be a regular file"
    img 1 info ''
    out ''
    err "qemu-img: Could not open '': The 'file' block driver requires a file name"
    img 1 info nosuch:thing
    out ''
    err "qemu-img: Could not open 'nosuch:thing': Unknown protocol 'nosuch'"
    img 1 info
    out ''
    err 'qemu-img: Expecting one image file name' \
        "Try 'qemu-img info --help' for more info"
    img 1 info a b
    out ''
    err 'qemu-img: Expecting one image file name' \
        "Try 'qemu-img info --help' for more info"
    img 1 info --output=xml a
    out ''
    err "qemu-img: --output expects 'human' or 'json' not 'xml'" \
        "Try 'qemu-img info --help' for more info"
    img 1 info --nosuch a
    out ''
    err "qemu-img info: unrecognized option '--nosuch'" \
        "Try 'qemu-img info --help' for more info"
    img 1 info -f
    out ''
    err "qemu-img info: option requires an argument -- 'f'" \
        "Try 'qemu-img info --help' for more info"
}

@test "info: a file that cannot be read" {
    [ "$(id -u)" -eq 0 ] && [ "$(stat -f -c %T .)" != nfs ] || skip 'not root'
    truncate -s 1M a.raw
    chmod 0 a.raw
    chmod 755 . ..
    cmd 1 setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all "$IMG" info "$PWD/a.raw"
    out ''
    err "qemu-img: Could not open '$PWD/a.raw': Could not open '$PWD/a.raw': Permission denied"
}

@test "info: an empty file" {
    : > empty
    img 0 info empty
    mask
    out <<'EOF'
image: empty
file format: raw
virtual size: 0 B (0 bytes)
disk size: N
Child node '/file':
    filename: empty
    protocol type: file
    file length: 0 B (0 bytes)
    disk size: N
EOF
    err ''
    img 1 info -f qcow2 empty
    out ''
    err "qemu-img: Could not open 'empty': Image is not in qcow2 format"
    img 0 info --output=json empty
    mask
    out <<'EOF'
{
    "children": [
        {
            "name": "file",
            "info": {
                "children": [
                ],
                "virtual-size": 0,
                "filename": "empty",
                "format": "file",
                "actual-size": N,
                "format-specific": {
                    "type": "file",
                    "data": {
                    }
                },
                "dirty-flag": false
            }
        }
    ],
    "virtual-size": 0,
    "filename": "empty",
    "format": "raw",
    "actual-size": N,
    "dirty-flag": false
}
EOF
    err ''
}

@test "info: names with blanks, a colon, bytes that are no UTF-8" {
    truncate -s 64k 'a b' ./c:d
    img 0 info 'a b'
    mask
    out <<'EOF'
image: a b
file format: raw
virtual size: 64 KiB (65536 bytes)
disk size: N
Child node '/file':
    filename: a b
    protocol type: file
    file length: 64 KiB (65536 bytes)
    disk size: N
EOF
    err ''
    img 0 info ./c:d
    mask
    out <<'EOF'
image: ./c:d
file format: raw
virtual size: 64 KiB (65536 bytes)
disk size: N
Child node '/file':
    filename: ./c:d
    protocol type: file
    file length: 64 KiB (65536 bytes)
    disk size: N
EOF
    err ''
    img 0 info file:c:d
    mask
    out <<'EOF'
image: ./c:d
file format: raw
virtual size: 64 KiB (65536 bytes)
disk size: N
Child node '/file':
    filename: ./c:d
    protocol type: file
    file length: 64 KiB (65536 bytes)
    disk size: N
EOF
    err ''
    img 1 info c:d
    out ''
    err "qemu-img: Could not open 'c:d': Unknown protocol 'c'"
    cp ./c:d $'bad\xffname'
    img 0 info --output=json $'bad\xffname'
    mask
    iconv -f UTF-8 -t UTF-8 "$OUT" > /dev/null
}

@test "info: several options twice, -U, long names" {
    truncate -s 64k a.raw
    img 0 info -U -f raw --force-share --format raw a.raw
    mask
    out <<'EOF'
image: a.raw
file format: raw
virtual size: 64 KiB (65536 bytes)
disk size: N
Child node '/file':
    filename: a.raw
    protocol type: file
    file length: 64 KiB (65536 bytes)
    disk size: N
EOF
    err ''
    img 1 info --image-opts -f raw a.raw
    out ''
    err 'qemu-img: --image-opts and --format are mutually exclusive'
}

@test "info: --limits" {
    beyond
    truncate -s 64k a.raw
    img 0 info --limits a.raw
    has "$OUT" '[Rr]equest.alignment'
    img 0 create -q -f qcow2 -o extended_l2=on a.qcow2 1M
    img 0 info --limits --output=json --image-opts \
        driver=qcow2,file.driver=delay,file.file.driver=blkdebug,file.file.align=4096,file.file.image.filename=a.qcow2
    has "$OUT" '"request-alignment": 4096'
    has "$OUT" '"allocation-unit": 2048'
    has "$OUT" '"requests-in-flight": 128'
}

@test "info: the output of version 7.2" {
    beyond
    fixtures base.qcow2 mid.qcow2
    export IMGBOX_COMPAT=7.2
    img 0 info mid.qcow2
    mask
    out <<'END'
image: mid.qcow2
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 65536
backing file: base.qcow2
backing file format: qcow2
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
END
    err ''
    img 0 info --output=json mid.qcow2
    if grep -q children "$OUT"; then false; fi
}

@test "info: works within the limits that callers set" {
    no_asan
    img 0 create -q -f qcow2 a.qcow2 64M
    cmd 0 prlimit --as=1073741824 --cpu=2 "$IMG" info a.qcow2
    err ''
}

@test "info: --help names every option" {
    img 0 info --help
    for option in --format --image-opts --backing-chain --force-share --object --output; do
        has "$OUT" "$option"
    done
    err ''
}

# A storage that is far away answers each request after a while.
@test "info: few requests are made" {
    beyond
    need_strace
    img 0 create -q -f qcow2 base.qcow2 64M
    img 0 create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2
    for name in one two three; do img 0 snapshot -c $name a.qcow2; done
    truncate -s 1M a.raw
    [ "$(requests a.raw)" -le 3 ]
    [ "$(requests a.qcow2)" -le 6 ]
    # bitmaps have a directory, and each a table
    img 0 bitmap --add a.qcow2 bits
    [ "$(requests a.qcow2)" -le 8 ]
    # what is not asked for stays out of the page cache: in parts that were set aside it would become data
    cmd 1 grep -E 'pread64\(.*, [0-9]{5,}, 0\)' trace
}

# requests FILE: how often info reads from it
requests() {
    strace -qq -f -y -o trace -e trace=pread64,preadv,read "$IMG" info "$1" > /dev/null
    grep "$1>" trace | grep -c -v ' = 0$'
}

@test "info: names a volume of BitLocker" {
    beyond
    printf '\353X\220-FVE-FS-' > x
    truncate -s 1M x
    img 0 info x
    has "$OUT" '^file format: raw$'
    err "qemu-img: warning: 'x' begins with a volume of BitLocker: what it holds is encrypted"
    img 0 convert -O raw x y
    silent
    printf '\353X\220-FVE-FS' > x
    img 0 info x
    err ''
}
