# SPDX-License-Identifier: Apache-2.0
"""boxlite-unpack as a whole: layers of every kind in, one ext4 file out; hostile layers refused in words."""
import base64
import hashlib
import os
import struct
import subprocess
import tarfile
import tempfile
import time
import unittest

from unpacklib import Blob, Failed, Image, Layer, compress, run, tool

EINVALID, ESTORAGE, EIMAGE, EUNSUPPORTED, ERESOURCE = 5, 7, 8, 13, 20
CAP = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"


def header(name, type=b"0", size=0, link=b"", checksum=True):
    """A bare ustar header: for what tarfile refuses to write."""
    h = bytearray(512)
    h[0:len(name)] = name
    h[100:124] = b"0000644\0000000000\0000000000\0"[:24]
    h[124:136] = b"\x80" + size.to_bytes(11, "big") if size >= 8 ** 11 else b"%011o\0" % size
    h[136:148] = b"00000000000\0"
    h[148:156] = b" " * 8
    h[156:157] = type
    h[157:157 + len(link)] = link
    h[257:265] = b"ustar\00000"
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h)


class Convert(unittest.TestCase):
    def refuse(self, blobs, words, code=EIMAGE, **kw):
        with self.assertRaises(Failed) as e:
            Image(blobs, **kw)
        self.assertIn(words, str(e.exception))
        self.assertEqual(e.exception.code, code)
        return str(e.exception)

    def test_every_kind_of_entry(self):
        name255, nfd = "n" * 255, "e\u0301\u0301"
        layer = Layer()
        layer.dir("./", mode=0o755).dir("tmp", mode=0o1777)
        layer.add("usr/bin/su", data=b"x" * 5000, mode=0o4755, uid=100000, gid=200000)
        layer.add("secret", mode=0)
        layer.add("times", pax={"mtime": "4102444800.123456789"})
        layer.add("old", pax={"mtime": "-86400.5"})
        layer.add(name255).add(nfd).add(b"raw\xff\xfe".decode("utf-8", "surrogateescape"))
        layer.symlink("fast", "usr/bin").symlink("slow", "t" * 300)
        layer.hardlink("hard", "usr/bin/su")
        layer.add("null", tarfile.CHRTYPE, dev=(1, 3)).add("big", tarfile.BLKTYPE, dev=(300, 70000))
        layer.add("pipe", tarfile.FIFOTYPE)
        layer.add("caps", pax={"SCHILY.xattr.security.capability": CAP.decode("latin-1")})
        layer.add("attrs", pax={"SCHILY.xattr.user.note": "hello", "SCHILY.xattr.user.big": "v" * 3000,
                                "SCHILY.xattr.com.apple.x": "ignored",
                                "LIBARCHIVE.xattr.trusted.y": base64.b64encode(b"\0\1\2").decode()})
        for how in "plain", "gzip", "zstd":
            im = Image([layer.blob(how)]).check()
            self.assertEqual(im.ls("/tmp"), [])
            self.assertIn("Mode:  01777", im.stat("/tmp"))
            su = im.stat("/usr/bin/su")
            self.assertIn("Mode:  04755", su)
            self.assertIn("User: 100000   Group: 200000", su)
            self.assertIn("Links: 2", su)
            self.assertEqual(im.read("/hard"), b"x" * 5000)
            self.assertIn("Mode:  0000", im.stat("/secret"))
            self.assertIn("2100", im.stat("/times"))
            self.assertIn(":1d6f3455", im.stat("/times"))  # 123456789 << 2, epoch 1
            self.assertIn("1969", im.stat("/old"))
            self.assertIn(name255, im.ls("/"))
            self.assertIn(nfd, im.ls("/"))  # not normalised
            self.assertIn("Type: regular", im.stat("/" + nfd))
            self.assertIn('Fast link dest: "usr/bin"', im.stat("/fast"))
            self.assertIn("Size: 300", im.stat("/slow"))
            self.assertIn("01:03", im.stat("/null"))
            self.assertIn("300:70000", im.stat("/big"))
            self.assertIn("FIFO", im.stat("/pipe"))
            attrs = im.debugfs("ea_list /attrs")
            for x in "user.note (5)", "user.big (3000)", "trusted.y (3)":
                self.assertIn(x, attrs)
            self.assertNotIn("apple", attrs)
            self.assertIn("security.capability (20)", im.debugfs("ea_list /caps"))

    def test_layers_make_one_tree(self):
        one = Layer().dir("etc").add("etc/a", data=b"1").add("etc/b", data=b"1").dir("d").add("d/x", data=b"1")
        one.dir("o").add("o/low", data=b"1").symlink("lib", "usr/lib").dir("usr").dir("usr/lib")
        one.add("keep", data=b"kept" * 3000).dir("swap").add("swap/in", data=b"1").add("file", data=b"1")
        two = Layer(tarfile.GNU_FORMAT).whiteout("etc/a").whiteout("d").dir("o").add("o/.wh..wh..opq")
        two.add("o/new", data=b"2").add("lib/libx", data=b"2").hardlink("usr/link", "keep")
        two.add("swap", data=b"2").dir("file").add("file/y", data=b"2")
        three = Layer().add("etc/b", data=b"3").hardlink("o/link2", "usr/link").whiteout("keep")
        im = Image([one.blob("gzip"), two.blob("zstd"), three.blob("plain")]).check()
        self.assertEqual(im.ls("/"), ["etc", "file", "lib", "o", "swap", "usr"])
        self.assertEqual(im.ls("/etc"), ["b"])
        self.assertEqual(im.read("/etc/b"), b"3")
        self.assertEqual(im.ls("/o"), ["link2", "new"])
        self.assertEqual(im.ls("/usr/lib"), ["libx"])
        self.assertEqual(im.read("/swap"), b"2")
        self.assertEqual(im.ls("/file"), ["y"])
        self.assertEqual(im.read("/o/link2"), b"kept" * 3000)
        self.assertIn("Links: 2", im.stat("/usr/link"))

    def test_same_layers_same_bytes_and_nothing_left_of_what_was_hidden(self):
        secret = os.urandom(1 << 20)
        one = Layer().add("a", data=secret).add("b", data=b"b" * 10000).blob()
        two = Layer().whiteout("a").add("c", data=b"c" * 70000).blob()
        x, y = Image([one, two], size=64 << 20).check(), Image([one, two], size=64 << 20, scratch=False).check()
        self.assertEqual(x.sha256(), y.sha256())
        with open(x.path, "rb") as f:
            head = f.read(64 << 20)
        self.assertNotIn(secret[:4096], head)
        self.assertLess(os.stat(x.path).st_blocks * 512, 800 << 10)

    def test_sparse_files_stay_sparse(self):
        with tempfile.TemporaryDirectory() as d:
            with open(d + "/s", "wb") as f:
                for i in range(40):
                    f.seek(i << 20)
                    f.write(b"data%d" % i)
                f.truncate(300 << 20)
            with open(d + "/s", "rb") as f:
                want = hashlib.sha256(f.read(64 << 20)).digest()
            for fmt in "gnu", "pax":
                tar = subprocess.run(["tar", "-C", d, "--sparse", "--format=" + fmt, "-cf", "-", "s"],
                                     stdout=subprocess.PIPE, check=True).stdout
                im = Image([compress(tar, "zstd")]).check()
                self.assertLess(os.stat(im.path).st_blocks * 512, 2 << 20)
                self.assertIn(f"Size: {300 << 20}", im.stat("/s"))
                got = d + "/got"
                im.debugfs(f"dump /s {got}")
                with open(got, "rb") as f:
                    self.assertEqual(hashlib.sha256(f.read(64 << 20)).digest(), want)
                os.unlink(got)

    def test_wrong_digests_and_damaged_data(self):
        layer = Layer().add("a", data=os.urandom(300000))
        good, raw = layer.blob("gzip"), layer.raw()
        bad = Blob(good.data)
        bad.digest = "0" * 64
        self.assertIn("layer 2 of 2", self.refuse([good, bad], "wrong digest: expected sha256:0000"))
        bad = Blob(good.data)
        bad.diff_id = "1" * 64
        self.refuse([bad], "wrong digest of the unpacked layer (diff_id): expected sha256:1111")
        self.refuse([Blob(good.data[:-5000])], "damaged or truncated gzip data")
        self.refuse([Blob(layer.blob("zstd").data[:-5000])], "damaged or truncated zstd data")
        self.refuse([Blob(raw[:200000])], "damaged tar archive")
        cut = Blob(good.data[:-5000])  # the blob that the manifest names is whole: the cause is its digest
        cut.digest = good.digest
        self.refuse([cut], "wrong digest")
        self.refuse([Blob(b"")], "the blob is empty")
        self.refuse([Blob(os.urandom(5000))], "not a tar archive")
        self.refuse([Blob(b"\x1f\x8b" + os.urandom(5000))], "damaged or truncated gzip data")
        xz = subprocess.run(["xz", "-c"], input=raw, stdout=subprocess.PIPE, check=True).stdout
        self.refuse([Blob(xz)], "compressed with xz", EUNSUPPORTED)
        trailing = Blob(good.data + b"\0" * 1000)
        self.assertEqual(Image([trailing]).check().ls("/"), ["a"])
        self.assertEqual(Image([Blob(b"\0" * 1024)]).check().ls("/"), [])  # Docker's empty layer

    def test_hostile_paths(self):
        cases = [
            (Layer().add("../../etc/cron.d/x"), "a path leads out of the image: ../../etc/cron.d/x"),
            (Layer().add("a/../../b"), "leads out of the image"),
            (Layer().symlink("a", "b").symlink("b", "a").add("a/x"), "too many symbolic links"),
            (Layer().add("f").add("f/x"), "f is not a directory"),
            (Layer().hardlink("h", "../../etc/shadow"), "leads out of the image"),
            (Layer().hardlink("h", "/etc/shadow"), "to a file that does not exist: /etc/shadow"),
            (Layer().dir("d").hardlink("h", "d"), "to a directory"),
            (Layer().add("d/" * 300 + "x"), "deeper than 256"),
            (Layer().add("x" * 256), "longer than 255 bytes"),
            (Layer().add("/".join(["y" * 100] * 50)), "path is longer than 4095 bytes"),
            (Layer().symlink("l", "t" * 4096), "symbolic link"),
            (Layer().add("x", pax={"SCHILY.xattr.user.big": "v" * 5000}), "4 KiB"),
            (Layer().add("x", pax={f"SCHILY.xattr.user.x{i}": "" for i in range(300)}), "extended attributes"),
            (Layer().add("x", tarfile.CHRTYPE, dev=(1 << 20, 1)), "device number"),
            (Layer().add("x", pax={"uid": str(1 << 40)}), "an owner that Linux does not have"),
            (Layer().add(".wh."), "not a valid whiteout"),
        ]
        for layer, words in cases:
            self.refuse([layer.blob()], words)
        inside = Layer().symlink("out", "/../../../tmp").add("out/x", data=b"1")
        im = Image([inside.blob()]).check()  # what looks like an escape ends in the image
        self.assertEqual(im.read("/tmp/x"), b"1")

    def test_absurd_sizes(self):
        for size, words in ((1 << 62, "absurd size"), (1 << 40, "damaged tar archive"), (5 << 20, "damaged tar archive")):
            self.refuse([Blob(header(b"x", size=size) + b"\0" * 4096)], words)
        self.refuse([Blob(header(b"p", type=b"x", size=1 << 33) + b"\0" * 4096)], "damaged tar archive")
        self.refuse([Blob(header(b"L", type=b"L", size=1 << 33) + b"\0" * 4096)], "damaged tar archive")

    def test_bombs(self):
        zeros = subprocess.run("head -c 1200M /dev/zero | zstd -q -c", shell=True, stdout=subprocess.PIPE, check=True).stdout
        start = time.time()
        head = subprocess.run(["zstd", "-q", "-c"], input=header(b"zeros", size=1200 << 20), stdout=subprocess.PIPE).stdout
        bomb = Blob(head + zeros)  # frames follow each other: 1.2 GiB of zeros in 110 KB
        self.refuse([bomb], "decompression bomb")
        self.refuse([bomb], "unpacks to more than 1000000000 bytes", max_ratio=0, max_bytes=1000000000)
        im = Image([bomb], max_ratio=0).check()  # what is allowed costs nothing: zeros are holes
        self.assertLess(os.stat(im.path).st_blocks * 512, 1 << 20)
        self.assertLess(time.time() - start, 60)

    def test_too_many_entries(self):
        many = b"".join(header(b"d%d/f%d" % (i % 100, i)) for i in range(50000)) + b"\0" * 1024
        self.refuse([compress(many, "zstd")], "more than 40000", max_entries=40000)
        im = Image([compress(many, "zstd")], memory=4 << 20).check()  # the index goes on in the scratch file
        self.assertEqual(im.ok[0], 50101)
        self.refuse([compress(many, "zstd")], "memory", ERESOURCE, memory=2 << 20, scratch=False)

    def test_hundred_thousand_names_in_one_directory(self):
        many = b"".join(header(b"one/f%d" % i) for i in range(100000)) + b"\0" * 1024
        blob = compress(many, "zstd")
        start = time.time()
        im = Image([blob])
        took = time.time() - start
        print(f"# 100,000 names through boxlite-unpack: {took:.2f} s")
        im.check()
        self.assertLess(took, 10)
        self.assertIn("Type: regular", im.stat("/one/f99999"))

    def test_the_file_system_grows_to_what_the_image_needs(self):
        data = os.urandom(1 << 20)
        layer = Layer()
        for i in range(120):
            layer.add(f"f{i}", data=data)
        blob = layer.blob("plain")
        im = Image([blob], size=64 << 20).check()
        self.assertGreater(im.ok[2], 120 << 20)
        self.assertEqual(im.read("/f119"), data)
        self.refuse([blob], "the image needs a disk of about", ERESOURCE, size=64 << 20, max_size=100 << 20,
                    max_bytes=1 << 30)
        many = b"".join(header(b"d%d/f%d" % (i % 100, i)) for i in range(20000)) + b"\0" * 1024
        im = Image([compress(many, "zstd")], size=64 << 20).check()  # 4096 inodes by its size
        self.assertEqual(im.ok[0], 20101)

    def test_space_is_checked_before_and_while_writing(self):
        big = Layer().add("a", data=os.urandom(20 << 20))
        self.refuse([big.blob("plain")], "the image needs at least", ESTORAGE, free=10 << 20)
        self.refuse([big.blob("gzip")], "the image needs at least", ESTORAGE, free=10 << 20)
        flat = Layer().add("a", data=b"\1\2\3\4" * (5 << 20)).blob("gzip")
        lying = Blob(flat.data + b"\0" * 8)  # what stands where gzip states the size says 0
        self.refuse([lying], "may be written", ERESOURCE, free=10 << 20)

    def cannot_run(self, why):
        if os.environ.get("BOXLITE_TEST_MUST_RUN") == "1":
            self.fail(f"it must run here, but: {why}")
        self.skipTest(why)

    def as_root(self):
        if os.geteuid() != 0:
            self.cannot_run("only root can mount")

    def test_a_full_disk_is_said_in_words(self):
        self.as_root()
        blob = Layer().add("a", data=os.urandom(30 << 20)).blob()
        with tempfile.TemporaryDirectory() as d:
            tool("mount", "-t", "tmpfs", "-o", "size=16m", "none", d)
            try:
                out = os.open(d + "/image", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
                with tempfile.TemporaryFile() as f:
                    f.write(blob.data)
                    f.flush()
                    r, w = os.pipe()
                    os.write(w, (f"boxlite-unpack 1\noutput {out}\nsize {1 << 30}\nfree {8 << 30}\nuuid {'0' * 32}\n"
                                 f"layer {f.fileno()} {blob.digest} -\nend\n").encode())
                    os.close(w)
                    with self.assertRaises(Failed) as e:
                        run("convert", [r, "status"], [out, f.fileno(), r])
                    self.assertIn("No space left on device", str(e.exception))
                    self.assertEqual(e.exception.code, ESTORAGE)
                    os.close(r)
                os.close(out)
            finally:
                tool("umount", d)

    def test_a_kernel_reads_what_was_written(self):
        self.as_root()
        layer = Layer().dir("d")
        files = {}
        for i in range(3000):
            files[f"d/file{i:04d}{'x' * (i % 200)}"] = os.urandom(i * 7 % 9000)
        for name, data in files.items():
            layer.add(name, data=data)
        im = Image([layer.blob("zstd")])
        with tempfile.TemporaryDirectory() as d:
            try:
                tool("mount", "-o", "loop,ro", im.path, d)
            except AssertionError as e:
                self.cannot_run(f"no loop mounts here: {e}")
            try:
                self.assertEqual(sorted(os.listdir(d + "/d")), sorted(n[2:] for n in files))
                for name, data in files.items():
                    with open(os.path.join(d, name), "rb") as f:
                        self.assertEqual(f.read(), data)
            finally:
                tool("umount", d)

    def test_the_first_mount_finds_the_overhead_right(self):
        self.as_root()
        # Else the kernel writes every copy of the superblock, one after another, in a box's first start.
        layer = Layer().dir("etc")
        layer.add("etc/file", data=b"x")
        im = Image([layer.blob("zstd")])

        def overhead():
            with open(im.path, "rb") as f:
                f.seek(1024 + 0x248)  # s_overhead_clusters
                return int.from_bytes(f.read(4), "little")

        before = overhead()
        with tempfile.TemporaryDirectory() as d:
            try:
                tool("mount", "-o", "loop", im.path, d)
            except AssertionError as e:
                self.cannot_run(f"no loop mounts here: {e}")
            tool("umount", d)
        self.assertNotEqual(before, 0)
        self.assertEqual(overhead(), before)

    def test_requests_that_make_no_sense(self):
        for text, words in (("hello\n", "unknown version"), ("boxlite-unpack 1\nend\n", "missing"),
                            ("boxlite-unpack 1\ncolour blue\nend\n", "a wrong line \"colour\""),
                            ("boxlite-unpack 1\nsize -5\nend\n", "a wrong line"),
                            ("boxlite-unpack 1\nsize 5", "no end")):
            r, w = os.pipe()
            os.write(w, text.encode())
            os.close(w)
            with self.assertRaises(Failed) as e:
                run("convert", [r, "status"], [r])
            self.assertIn(words, str(e.exception))
            self.assertEqual(e.exception.code, EINVALID)
            os.close(r)


class Scan(unittest.TestCase):
    def scan(self, data, max_bytes=1 << 30):
        with tempfile.TemporaryFile() as f, tempfile.TemporaryFile() as spool:
            f.write(data)
            f.flush()
            lines = run("scan", [f.fileno(), spool.fileno(), "status", max_bytes], [f.fileno(), spool.fileno()])
            spool.seek(0)
            return [l for l in lines if not l.startswith("progress")], spool.read()

    def test_members_are_copied_hashed_and_listed(self):
        blob = os.urandom(100000)
        layer = Layer().add("oci-layout", data=b"{}").dir("blobs").add("blobs/sha256/a b%\u00fc", data=blob)
        layer.symlink("x/layer.tar", "../y/layer.tar").add("empty")
        for how in "plain", "gzip", "zstd":
            lines, spool = self.scan(layer.blob(how).data)
            self.assertEqual(lines[0], f"member 0 2 {hashlib.sha256(b'{}').hexdigest()} oci-layout")
            self.assertEqual(lines[1], f"member 4096 100000 {hashlib.sha256(blob).hexdigest()} "
                                       "blobs/sha256/a%20b%25%C3%BC")
            self.assertEqual(lines[2], "link x/layer.tar ../y/layer.tar")
            self.assertEqual(lines[3].split()[2:], ["0", hashlib.sha256(b"").hexdigest(), "empty"])
            self.assertEqual(lines[4].split()[:2], ["ok", "3"])
            self.assertEqual(spool[4096:104096], blob)

    def test_limits_and_damage(self):
        for data, words, code, limit in (
                (Layer().add("a", data=b"x" * 5000).blob().data, "more than the 4999 bytes", ERESOURCE, 4999),
                (Layer().add("a", data=b"x" * 50000).raw()[:20000], "damaged tar archive", EIMAGE, 1 << 30),
                (b"hello" * 1000, "not a tar archive", EIMAGE, 1 << 30),
                (b"".join(header(b"f%d" % i) for i in range(10001)), "more than 10000 files", EIMAGE, 1 << 30)):
            with self.assertRaises(Failed) as e:
                self.scan(data, limit)
            self.assertIn(words, str(e.exception))
            self.assertEqual(e.exception.code, code)

    def test_the_program_is_locked_down_while_it_reads(self):
        data = b"".join(header(b"l%d" % i, type=b"2", link=b"t" * 90) for i in range(5000))
        with tempfile.TemporaryFile() as f, tempfile.TemporaryFile() as spool:
            f.write(data)
            f.flush()
            r, w = os.pipe()
            argv = [os.environ.get("BOXLITE_UNPACK", "build/boxlite-unpack"), "scan", str(f.fileno()),
                    str(spool.fileno()), str(w), "100000"]
            p = subprocess.Popen(argv, pass_fds=[f.fileno(), spool.fileno(), w])
            os.close(w)
            os.read(r, 1)  # it has begun to tell; the pipe is too small for all of it
            with open(f"/proc/{p.pid}/status") as f:
                status = f.read()
            self.assertIn("Seccomp:\t2", status)
            self.assertIn("NoNewPrivs:\t1", status)
            with open(f"/proc/{p.pid}/limits") as f:
                limits = f.read()
            self.assertRegex(limits, r"Max open files +0 +0")
            os.close(r)  # nobody reads any more: it ends by itself
            self.assertEqual(p.wait(timeout=30), 3)

    def test_a_file_is_copied_and_hashed(self):
        data = os.urandom(3 << 20)
        with tempfile.TemporaryFile() as f, tempfile.TemporaryFile() as out:
            f.write(data)
            f.flush()
            lines = run("hash", [f.fileno(), out.fileno(), "status", 1 << 30], [f.fileno(), out.fileno()])
            self.assertIn(f"file {len(data)} {hashlib.sha256(data).hexdigest()}", lines)
            out.seek(0)
            self.assertEqual(out.read(), data)
            lines = run("hash", [f.fileno(), -1, "status", 1 << 30], [f.fileno()])
            self.assertIn(f"file {len(data)} {hashlib.sha256(data).hexdigest()}", lines)
            with self.assertRaises(Failed):
                run("hash", [f.fileno(), -1, "status", 1000], [f.fileno()])


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
