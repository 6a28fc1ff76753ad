# SPDX-License-Identifier: Apache-2.0
"""Unpacks the ELF kernel (vmlinux) from an x86 boot image (bzImage).

A machine that enters the kernel through its PVH note need not unpack it on every boot, and QEMU wants the ELF file for that.

The boot image's setup header tells where the compressed payload lies (Documentation/arch/x86/boot.rst, protocol 2.08 and later).
The payload is one of the formats below; all but gzip are followed by the unpacked size in four bytes, which is checked.
"""
import bz2
import lzma
import struct
import subprocess
import zlib

MAX_VMLINUX = 512 << 20


class BadKernel(Exception):
    pass


def unlz4_block(src, out):
    """Appends one unpacked LZ4 block to out (a bytearray); matches reach back within the block only."""
    start = len(out)
    at, end = 0, len(src)
    while at < end:
        token = src[at]
        at += 1
        literals = token >> 4
        if literals == 15:
            while True:
                more = src[at]
                at += 1
                literals += more
                if more != 255:
                    break
        if literals:
            if at + literals > end:
                raise BadKernel("LZ4: literals run over the block's end")
            out += src[at:at + literals]
            at += literals
        if at == end:
            return
        distance = src[at] | src[at + 1] << 8
        at += 2
        length = token & 15
        if length == 15:
            while True:
                more = src[at]
                at += 1
                length += more
                if more != 255:
                    break
        length += 4
        source = len(out) - distance
        if distance == 0 or source < start:
            raise BadKernel("LZ4: a match reaches before the block")
        if length <= distance:
            out += out[source:source + length]
        else:
            pattern = bytes(out[source:])
            out += (pattern * (length // distance + 1))[:length]
    raise BadKernel("LZ4: the block ends in the middle of a sequence")


def unlz4_legacy(data):
    """The kernel uses lz4's legacy frame: a magic number, then blocks, each after its packed size."""
    out, at = bytearray(), 4
    while at < len(data):
        size, = struct.unpack_from("<I", data, at)
        at += 4
        if size == 0 or at + size > len(data) or len(out) > MAX_VMLINUX:
            raise BadKernel(f"LZ4: impossible block of {size} bytes at {at}")
        try:
            unlz4_block(data[at:at + size], out)
        except IndexError:
            raise BadKernel("LZ4: the block is cut short") from None
        at += size
    return bytes(out)


def unzstd(data):
    r = subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=False)
    if r.returncode != 0:
        raise BadKernel(f"zstd could not unpack the kernel (exit {r.returncode})")
    return r.stdout


# magic number, name, unpacker, whether the unpacked size follows the payload
FORMATS = (
    (b"\x02\x21\x4c\x18", "lz4", unlz4_legacy, True),
    (b"\x1f\x8b", "gzip", lambda d: zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(d, MAX_VMLINUX), False),
    (b"\xfd7zXZ\0", "xz", lambda d: lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(d, MAX_VMLINUX), True),
    (b"\x5d\0\0", "lzma", lambda d: lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(d, MAX_VMLINUX), True),
    (b"BZh", "bzip2", lambda d: bz2.BZ2Decompressor().decompress(d, MAX_VMLINUX), True),
    (b"\x28\xb5\x2f\xfd", "zstd", unzstd, True),
    (b"\x7fELF", "none", bytes, False),
)


def unpack(image):
    """Gives the vmlinux in a bzImage, both as bytes."""
    if len(image) < 0x250 or image[0x202:0x206] != b"HdrS":
        raise BadKernel("not an x86 boot image: no HdrS at 0x202")
    version, = struct.unpack_from("<H", image, 0x206)
    if version < 0x208:
        raise BadKernel(f"boot protocol {version:#x} does not tell where the payload is")
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = ((image[0x1f1] or 4) + 1) * 512 + offset
    if length < 8 or start + length > len(image):
        raise BadKernel("the payload lies outside the file")
    payload = image[start:start + length]
    for magic, name, unpacker, sized in FORMATS:
        if payload.startswith(magic):
            break
    else:
        raise BadKernel(f"unknown compression, magic number {payload[:6].hex()}")
    try:
        elf = unpacker(payload[:-4] if sized else payload)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as e:
        raise BadKernel(f"the {name} payload is damaged: {e}") from e
    if sized and len(elf) != struct.unpack("<I", payload[-4:])[0]:
        raise BadKernel(f"the {name} payload unpacked to {len(elf)} bytes, not to the size it gives")
    if elf[:6] != b"\x7fELF\x02\x01":
        raise BadKernel("what the payload unpacks to is not a 64-bit ELF file")
    return elf
