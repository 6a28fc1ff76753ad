# SPDX-License-Identifier: Apache-2.0
"""boxlite-unpack import: archives of a root file system from files, pipes and sockets, and what is refused, in words."""
import fcntl
import hashlib
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import unittest

sys.dont_write_bytecode = True
from unpacklib import Failed, Layer, UNPACK, compress, run, sanitized
from test_kinds import header

EINVALID, ESTORAGE, EIMAGE, EUNSUPPORTED, ERESOURCE = 5, 7, 8, 13, 20
END = b"\0" * 1024


class Imported:
    """What the program said, and the copy that it made."""

    def __init__(self, lines, copy):
        said = {l.split()[0]: l.split()[1:] for l in lines if not l.startswith("progress")}
        self.lines, self.copy = lines, copy
        self.size, self.digest = int(said["file"][0]), said["file"][1]
        self.content_size, self.content = int(said["content"][0]), said["content"][1]
        self.packing, self.entries, self.newest = said["tar"][0], int(said["tar"][1]), int(said["tar"][2])


def import_fd(fd, max_bytes=1 << 40, keep=True, before=()):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as scratch:
        fds = [fd, out.fileno(), scratch.fileno()]
        lines = run("import", [fd, out.fileno(), "status", max_bytes, scratch.fileno()], fds, before)
        out.seek(0)
        return Imported(lines, out.read() if keep else b"")


def import_bytes(data, **kw):
    with tempfile.TemporaryFile() as f:
        f.write(data)
        f.seek(0)
        return import_fd(f.fileno(), **kw)


def import_from(writer, **kw):
    """writer(fd) fills the other end of a pipe, from a thread."""
    r, w = os.pipe2(os.O_CLOEXEC)

    def fill():
        try:
            writer(w)
        except BrokenPipeError:
            pass
        finally:
            os.close(w)
    thread = threading.Thread(target=fill)
    thread.start()
    try:
        return import_fd(r, **kw)
    finally:
        os.close(r)
        thread.join()


def write_all(fd, data, piece=1 << 20):
    for at in range(0, len(data), piece):
        view = memoryview(data)[at:at + piece]
        while view:
            view = view[os.write(fd, view):]


def root(mtime=1_700_000_000):
    layer = Layer().dir("etc").add("etc/passwd", data=b"root:x:0:0::/root:/bin/sh\n", mtime=mtime).symlink("bin", "usr/bin")
    return layer.hardlink("etc/again", "etc/passwd").add("big", data=os.urandom(300000))


class Import(unittest.TestCase):
    def refuse(self, data, words, code=EIMAGE, **kw):
        with self.assertRaises(Failed) as e:
            import_bytes(data, **kw)
        self.assertIn(words, str(e.exception))
        self.assertEqual(e.exception.code, code)
        return str(e.exception)

    def check(self, got, blob, packing):
        self.assertEqual(got.copy, blob.data)
        self.assertEqual((got.size, got.digest), (len(blob.data), blob.digest))
        self.assertEqual(got.content, blob.diff_id)
        self.assertEqual(got.packing, packing)

    def test_every_packing_is_copied_hashed_and_counted(self):
        raw = root(mtime=1_800_000_000).raw()
        for packing in "plain", "gzip", "zstd":
            blob = compress(raw, packing)
            got = import_bytes(blob.data)
            self.check(got, blob, packing)
            self.assertEqual(got.content_size, len(raw))
            self.assertEqual((got.entries, got.newest), (5, 1_800_000_000))

    def test_a_pipe_gives_the_same_as_a_file_however_it_is_cut(self):
        for packing, piece in ("plain", 700), ("gzip", 1), ("zstd", 1 << 20):
            blob = compress(Layer().dir("a").add("a/b", data=os.urandom(2000)).raw(), packing)
            self.check(import_from(lambda fd: write_all(fd, blob.data, piece)), blob, packing)

    def test_a_socket_and_a_non_blocking_pipe_are_waited_for(self):
        blob = root().blob("plain")
        ours, theirs = socket.socketpair()
        with ours, theirs:
            thread = threading.Thread(target=lambda: (ours.sendall(blob.data), ours.shutdown(socket.SHUT_WR)))
            thread.start()
            self.check(import_fd(theirs.fileno()), blob, "plain")
            thread.join()
        r, w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(w, True)

        def fill():
            with os.fdopen(w, "wb", buffering=0) as f:
                write_all(f.fileno(), blob.data, 50000)
        thread = threading.Thread(target=fill)
        thread.start()
        self.check(import_fd(r), blob, "plain")
        thread.join()
        self.assertTrue(fcntl.fcntl(r, fcntl.F_GETFL) & os.O_NONBLOCK)  # it is somebody else's
        os.close(r)

    def test_a_named_pipe_that_is_opened_before_its_writer_waits_for_it(self):
        blob = root().blob("gzip")
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "pipe")
            os.mkfifo(path)
            r = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

            def fill():
                with open(path, "wb") as f:
                    f.write(blob.data)
            timer = threading.Timer(0.3, fill)
            timer.start()
            self.check(import_fd(r), blob, "gzip")
            timer.join()
            os.close(r)

    def test_a_descriptor_is_read_from_where_it_stands(self):
        blob = root().blob("plain")
        with tempfile.TemporaryFile() as f:
            f.write(b"a line before it\n" + blob.data)
            os.lseek(f.fileno(), 17, os.SEEK_SET)
            self.check(import_fd(f.fileno()), blob, "plain")

    def test_what_is_no_tar_is_told_so(self):
        for data, words, code in (
                (b"", "nothing came", EIMAGE),
                (b"x", "not a tar archive", EIMAGE),
                (b"a file of text\n" * 5000, "not a tar archive", EIMAGE),
                (os.urandom(100000), "not a tar archive", EIMAGE),
                (b"\x7fELF" + os.urandom(3000), "not a tar archive", EIMAGE),
                (compress(b"a file of text\n" * 5000, "gzip").data, "not a tar archive", EIMAGE),
                (compress(b"a file of text\n" * 5000, "zstd").data, "not a tar archive", EIMAGE),
                (compress(compress(root().raw(), "gzip").data, "gzip").data, "not a tar archive", EIMAGE),
                (b"\x1f\x8b" + os.urandom(5000), "damaged or truncated gzip", EIMAGE),
                (b"\x28\xb5\x2f\xfd" + os.urandom(5000), "damaged or truncated zstd", EIMAGE),
                (b"\xfd7zXZ\0" + os.urandom(5000), "compressed with xz", EUNSUPPORTED),
                (b"BZh9" + os.urandom(5000), "compressed with bzip2", EUNSUPPORTED),
                (b"PK\3\4" + os.urandom(5000), "not a tar archive", EIMAGE),
                (b"\0" * 10240, "nothing in the archive", EIMAGE),
                (b"\0" * 100, "", EIMAGE)):
            with self.subTest(data[:8]):
                self.refuse(data, words, code)
        with self.assertRaises(Failed) as e:
            import_from(lambda fd: None)
        self.assertIn("nothing came", str(e.exception))

    def test_an_archive_of_an_image_is_for_load(self):
        for name in "oci-layout", "./oci-layout":
            self.refuse(Layer().add(name, data=b"{}").add("index.json", data=b"{}").raw(), "boxlite load")
        import_bytes(Layer().dir("srv").add("srv/oci-layout", data=b"{}").raw())

    def test_wherever_it_is_cut_off_it_is_refused(self):
        raw = Layer().dir("a").add("a/zeros", data=b"\0" * 5000).add("b", data=b"b" * 700).raw()
        end = len(raw.rstrip(b"\0"))
        end += -end % 512
        for cut in list(range(0, end, 256)) + [end, end + 100, end + 511]:
            with self.subTest(cut):
                self.refuse(raw[:cut], "")
        self.refuse(raw[:end], "cut off")
        self.assertEqual(import_bytes(raw[:end + 512]).entries, 3)  # one block of zeros: old tars end so
        for packing in "gzip", "zstd":
            data = compress(raw, packing).data
            for cut in range(1, len(data), 7):
                with self.subTest(packing=packing, cut=cut):
                    self.refuse(data[:cut], "")
            self.refuse(compress(raw[:end], packing).data, "cut off")

    def test_a_writer_that_dies_leaves_nothing_imported(self):
        raw = root().raw()
        with self.assertRaises(Failed) as e:
            import_from(lambda fd: write_all(fd, raw[:200000]))
        self.assertEqual(e.exception.code, EIMAGE)

    def test_bytes_behind_the_end_belong_to_the_layer(self):
        raw = root().raw() + b"more" * 1000
        got = import_bytes(raw)
        self.assertEqual((got.digest, got.content_size), (hashlib.sha256(raw).hexdigest(), len(raw)))

    def test_hostile_trees(self):
        for layer, words in (
                (Layer().add("../../etc/cron.d/x"), "leads out of the image: ../../etc/cron.d/x"),
                (Layer().add("a/../../b"), "leads out of the image"),
                (Layer().symlink("a", "b").symlink("b", "a").add("a/x"), "too many symbolic links"),
                (Layer().add("f").add("f/x"), "is not a directory"),
                (Layer().hardlink("h", "/etc/shadow"), "to a file that does not exist"),
                (Layer().add("d/" * 300 + "x"), "deeper than 256"),
                (Layer().add("x" * 256), "longer than 255 bytes"),
                (Layer().add("x", tarfile.CHRTYPE, dev=(1 << 20, 1)), "device number"),
                (Layer().add("x", pax={"uid": str(1 << 40)}), "an owner that Linux does not have"),
                (Layer().add("x", pax={"SCHILY.xattr.system.posix_acl_access": "no"}), "not a valid POSIX ACL"),
                (Layer().add("x", pax={"SCHILY.xattr.security.capability": "no"}), "not valid file capabilities"),
                (Layer().add("x", pax={f"SCHILY.xattr.user.x{i}": "" for i in range(300)}), "extended attributes")):
            with self.subTest(words):
                self.refuse(layer.raw(), words)
        for size in 1 << 62, 1 << 40, 5 << 20:
            self.refuse(header(b"x", size=size) + b"\0" * 4096, "")
        for kind in b"x", b"L", b"K":
            self.refuse(header(b"p", kind, size=1 << 33) + b"\0" * 4096, "")
        broken = bytearray(root().raw())
        broken[600] ^= 0xff  # in the second header
        self.refuse(bytes(broken), "damaged tar archive")

    def test_bombs_and_limits(self):
        zeros = subprocess.run("head -c 1200M /dev/zero | zstd -q -c", shell=True, stdout=subprocess.PIPE, check=True).stdout
        bomb = compress(header(b"zeros", size=1200 << 20), "zstd").data + zeros + compress(END, "zstd").data
        self.refuse(bomb, "decompression bomb")
        self.refuse(root().raw(), "larger than the 300000 bytes allowed", ERESOURCE, max_bytes=300000)
        self.refuse(compress(Layer().add("x", data=b"\0" * 900000).raw(), "gzip").data, "unpacks to more than 500000 bytes",
                    max_bytes=500000)

    def test_an_endless_pipe_ends_at_the_limit(self):
        def endless(fd):
            while True:
                os.write(fd, header(b"x", size=1 << 20) + b"\0" * (1 << 20))
        with self.assertRaises(Failed) as e:
            import_from(endless, max_bytes=20 << 20)
        self.assertEqual(e.exception.code, ERESOURCE)

    def test_a_full_disk_is_said_in_words(self):
        def limited():
            import resource
            resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
        with tempfile.TemporaryFile() as f, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as scratch:
            f.write(root().raw())
            f.seek(0)
            r, w = os.pipe()
            fds = [f.fileno(), out.fileno(), w, scratch.fileno()]
            p = subprocess.Popen([UNPACK, "import", *map(str, (fds[0], fds[1], w, 1 << 40, fds[3]))], pass_fds=fds, preexec_fn=limited)
            os.close(w)
            with os.fdopen(r) as status:
                last = status.read().splitlines()[-1]
            self.assertEqual(p.wait(), 1)
            self.assertTrue(last.startswith(f"error {ESTORAGE} copy the archive: "), last)

    def test_what_is_neither_file_nor_pipe_is_refused(self):
        for path in "/dev/zero", "/":
            fd = os.open(path, os.O_RDONLY)
            with self.assertRaises(Failed) as e:
                import_fd(fd)
            os.close(fd)
            self.assertEqual(e.exception.code, EINVALID)

    def test_the_program_is_locked_down_while_it_waits_for_a_pipe(self):
        r, w = os.pipe2(os.O_CLOEXEC)
        status_r, status_w = os.pipe2(os.O_CLOEXEC)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as scratch:
            fds = [r, out.fileno(), status_w, scratch.fileno()]
            p = subprocess.Popen([UNPACK, "import", str(r), str(out.fileno()), str(status_w), str(1 << 40), str(scratch.fileno())],
                                 pass_fds=fds)
            os.close(r)
            os.close(status_w)
            os.write(w, b"x" * (1 << 16))
            os.write(w, b"x" * (1 << 16))  # room again: it has read
            with open(f"/proc/{p.pid}/status", encoding="ascii") as f:
                state = dict(l.rstrip("\n").split(":\t", 1) for l in f if ":\t" in l)
            self.assertEqual((state["Seccomp"], state["NoNewPrivs"]), ("2", "1"))
            os.close(w)
            os.close(status_r)
            self.assertIn(p.wait(timeout=30), (1, 3))

    def test_an_archive_of_any_size_takes_little_memory(self):
        if sanitized() or not os.environ.get("BX_TEST_PEAK"):
            self.skipTest("a sanitizer's memory is its own")
        def large(fd):
            for i in range(64):
                write_all(fd, b"".join(header(b"d%02d-%04d" % (i, k), b"5") for k in range(4096)))
            write_all(fd, END)
        with tempfile.NamedTemporaryFile() as peak:
            got = import_from(large, keep=False, before=[os.environ["BX_TEST_PEAK"], peak.name])
            kib = int(peak.read())
        self.assertEqual(got.entries, 64 * 4096)
        self.assertLess(kib, 64 << 10)


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
