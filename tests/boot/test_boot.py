#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The guest's kernel and initramfs: unpacking of every kind of kernel, order of modules, the same bytes from the same inputs."""
import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import random
import struct
import subprocess
import sys
import tarfile
import tempfile
import traceback

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(SOURCE, "boot"), os.path.join(SOURCE, "tests", "lib")]
import cpio
import initramfs
import kernel
import mkimage
import oci
import vmlinux

ELF = b"\x7fELF\x02\x01" + bytes(range(256)) * 300 + b"abc" * 5000 + bytes(100_000) + random.Random(1).randbytes(70_000)


def lz4_block(data):
    """A plain encoder: runs of one byte or of three become matches that overlap themselves, the rest literals."""
    def length(n):
        return bytes([255] * ((n - 15) // 255) + [(n - 15) % 255]) if n >= 15 else b""

    out, literals, at = b"", b"", 0
    while at < len(data):
        distance = next((d for d in (1, 3, 256) if at >= d and data[at:at + 40] == data[at - d:at - d + 40]), 0)
        if not distance or len(data) - at < 60:
            literals += data[at:at + 1]
            at += 1
            continue
        match = 40
        while at + match < len(data) - 12 and data[at + match] == data[at + match - distance]:
            match += 1
        out += bytes([min(len(literals), 15) << 4 | min(match - 4, 15)]) + length(len(literals)) + literals
        out += struct.pack("<H", distance) + length(match - 4)
        literals, at = b"", at + match
    return out + bytes([min(len(literals), 15) << 4]) + length(len(literals)) + literals


def lz4_legacy(data):
    half = len(data) // 2
    blocks = [lz4_block(part) for part in (data[:half], data[half:])]
    return b"\x02\x21\x4c\x18" + b"".join(struct.pack("<I", len(b)) + b for b in blocks)


def zstd(data):
    return subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout


def boot_image(payload, sized=True):
    """A boot image around a payload: two set-up sectors, then code, the payload and more code."""
    head = bytearray(3 * 512)
    head[0x1f1] = 2
    head[0x202:0x206] = b"HdrS"
    payload += struct.pack("<I", len(ELF)) if sized else b""
    struct.pack_into("<H", head, 0x206, 0x20f)
    struct.pack_into("<II", head, 0x248, 1000, len(payload))
    return bytes(head) + bytes(1000) + payload + bytes(5000)


IMAGES = {
    "lz4": lambda: boot_image(lz4_legacy(ELF)),
    "gzip": lambda: boot_image(gzip.compress(ELF), sized=False),
    "xz": lambda: boot_image(lzma.compress(ELF, lzma.FORMAT_XZ)),
    "xz for x86": lambda: boot_image(lzma.compress(ELF, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=[
        {"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 6}])),
    "lzma": lambda: boot_image(lzma.compress(ELF, lzma.FORMAT_ALONE)),
    "bzip2": lambda: boot_image(bz2.compress(ELF)),
    "zstd": lambda: boot_image(zstd(ELF)),
    "nothing": lambda: boot_image(ELF, sized=False),
}


def test_a_kernel_packed_by_any_compressor_is_unpacked():
    for name, make in IMAGES.items():
        assert vmlinux.unpack(make()) == ELF, name


def test_a_damaged_kernel_is_refused_and_nothing_else_happens():
    rng = random.Random(2)
    for name in ("lz4", "gzip", "xz", "bzip2"):
        good = IMAGES[name]()
        for _ in range(40):
            bad = bytearray(good[:rng.randrange(len(good))] if rng.random() < 0.5 else good)
            for _ in range(rng.randrange(1, 5)):
                if bad:
                    bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
            try:
                vmlinux.unpack(bytes(bad))
            except vmlinux.BadKernel:
                pass


def test_an_unpacked_size_that_is_wrong_is_noticed():
    image = boot_image(lz4_legacy(ELF[:-1]))
    try:
        vmlinux.unpack(image)
    except vmlinux.BadKernel as e:
        assert "size" in str(e), e
    else:
        raise AssertionError("taken")


def module(directory, name, depends):
    """A kernel module as far as its .modinfo goes."""
    source = f'__attribute__((section(".modinfo"), used)) static const char a[] = "license=GPL\\0depends={depends}\\0name={name}";'
    path = os.path.join(directory, name + ".o")
    subprocess.run(["cc", "-x", "c", "-c", "-o", path, "-"], input=source.encode(), check=True)
    with open(path, "rb") as f:
        return f.read()


def test_modules_come_after_what_they_need():
    with tempfile.TemporaryDirectory() as d:
        needs = {"a": "b,c-d", "b": "c_d", "c_d": "", "other": "a"}
        modules = {name: module(d, name, depends) for name, depends in needs.items()}
        assert kernel.load_order(["a", "b"], modules) == ["c_d", "b", "a"]
        for broken in ({"a": module(d, "a", "a")}, {"a": module(d, "a", "gone")}):
            try:
                kernel.load_order(["a"], broken)
            except kernel.Failed:
                continue
            raise AssertionError("taken")


def read_cpio(data):
    """name -> (mode, content, device); several archives one after another, as the kernel reads them."""
    found, at = {}, 0
    while at < len(data):
        if data[at] == 0:
            at += 4
            continue
        assert at % 4 == 0 and data[at:at + 6] == b"070701", (at, data[at:at + 6])
        field = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110:at + 110 + field[11] - 1].decode()
        start = at + (110 + field[11] + 3) // 4 * 4
        assert field[2:4] == [0, 0] and field[5] == 0, "owner and time are fixed"
        if name != "TRAILER!!!":
            assert os.path.dirname(name) in found or "/" not in name, f"{name} comes before its directory"
            found[name] = (field[1], data[start:start + field[6]], (field[9], field[10]))
        at = start + (field[6] + 3) // 4 * 4
    return found


def test_the_initramfs_has_what_the_agent_needs_and_is_the_same_every_time():
    modules = cpio.archive({"lib": cpio.directory(), "lib/modules": cpio.directory(), "lib/modules/00-a.ko": cpio.regular(b"module")})
    first = initramfs.initramfs(b"agent" * 1001, modules)
    assert first == initramfs.initramfs(b"agent" * 1001, modules)
    found = read_cpio(first)
    assert found["init"] == (0o100755, b"agent" * 1001, (0, 0))
    assert found["dev/console"] == (0o020600, b"", (5, 1))
    assert found["lib/modules/00-a.ko"][1] == b"module"
    assert all(found[d][0] == 0o040755 for d in ("dev", "newroot", "proc", "run", "sys"))


def test_boot_files_of_this_build_belong_together(build):
    with open(os.path.join(build, "boot.json"), encoding="utf-8") as f:
        about = json.load(f)
    for name, key in (("vmlinux", "kernel_sha256"), ("initramfs.cpio", "initramfs_sha256")):
        with open(os.path.join(build, name), "rb") as f:
            assert hashlib.file_digest(f, "sha256").hexdigest() == about[key], name
    with open(os.path.join(build, "initramfs.cpio"), "rb") as f:
        found = read_cpio(f.read())
    modules = sorted(n.split("/")[-1] for n in found if n.endswith(".ko"))
    assert modules == [f"{i:02d}-{m}.ko" for i, m in enumerate(about["modules"])], modules
    assert about["modules"].index("virtio_ring") < about["modules"].index("virtio_blk")


def test_an_image_layout_is_the_same_every_time_and_names_its_blobs_rightly():
    entries = [mkimage.directory("a"), mkimage.file("a/f", b"x" * 100_000, xattrs={"user.bytes": b"\0\xff\n"})]
    for compression in oci.COMPRESSIONS:
        with tempfile.TemporaryDirectory() as d:
            descriptors = [mkimage.oci_layout(os.path.join(d, n), "a:1", [entries], compression=compression) for n in "ab"]
            assert descriptors[0] == descriptors[1]
            blobs = os.path.join(d, "a", "blobs", "sha256")
            assert sorted(os.listdir(blobs)) == sorted(os.listdir(os.path.join(d, "b", "blobs", "sha256"))) and len(os.listdir(blobs)) == 3
            for name in os.listdir(blobs):
                with open(os.path.join(blobs, name), "rb") as f:
                    assert hashlib.file_digest(f, "sha256").hexdigest() == name


def test_layers_for_tests_keep_bytes_of_attributes_and_order():
    data = mkimage.tar([mkimage.file("z", b"1", xattrs={"user.bytes": b"\0\xff\n"}), mkimage.whiteout("d/a"), mkimage.file("../up")])
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as t:
        members = t.getmembers()
    assert [m.name for m in members] == ["z", "d/.wh.a", "../up"]
    assert members[0].pax_headers["SCHILY.xattr.user.bytes"].encode("utf-8", "surrogateescape") == b"\0\xff\n"


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else None
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
    print(f"1..{len(tests)}")
    failed = 0
    for number, (name, function) in enumerate(tests, 1):
        title = name[len("test_"):].replace("_", " ")
        if function.__code__.co_argcount and not build and os.environ.get("BOXLITE_TEST_MUST_RUN") != "1":
            print(f"ok {number} - {title} # SKIP no build directory given")
            continue
        try:
            function(*([build] if function.__code__.co_argcount else []))
            print(f"ok {number} - {title}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {number} - {title}", flush=True)
            for line in traceback.format_exc().splitlines():
                print("# " + line, flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
