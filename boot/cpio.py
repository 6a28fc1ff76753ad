# SPDX-License-Identifier: Apache-2.0
"""Writes cpio archives in the kernel's initramfs format ("newc", Documentation/driver-api/early-userspace/buffer-format.rst).

Same entries, same bytes: sorted by name, inode numbers counted, owner root, no times. Device nodes are just entries, so no root is needed.
Archives may be put one after another; the kernel unpacks all.
"""
import stat


def directory(mode=0o755):
    return (stat.S_IFDIR | mode, b"", (0, 0))


def regular(data, mode=0o644):
    return (stat.S_IFREG | mode, data, (0, 0))


def character_device(major, minor, mode=0o600):
    return (stat.S_IFCHR | mode, b"", (major, minor))


def entry(name, inode, mode, data, rdev):
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, *rdev, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % f for f in fields) + encoded
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def archive(entries):
    """entries maps a path without leading slash to what directory(), regular() or character_device() gave; parents sort before children."""
    parts = [entry(name, inode, *entries[name]) for inode, name in enumerate(sorted(entries), 1)]
    parts.append(entry("TRAILER!!!", 0, 0, b"", (0, 0)))
    data = b"".join(parts)
    return data + bytes(-len(data) % 512)
