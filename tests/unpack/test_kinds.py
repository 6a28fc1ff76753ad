# SPDX-License-Identifier: Apache-2.0
"""What a layer can say about a file, exactly: times, owners, devices, ACLs, capabilities, names, holes; and what is refused, in words."""
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import unittest
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "images"))
import imagelib
from unpacklib import Blob, Failed, Image, Layer, compress, sanitized

EINVALID, EIMAGE, ERESOURCE = 5, 8, 20
END = b"\0" * 1024
NO_ID = 0xffffffff
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
CAPS = imagelib.CAPABILITY


def header(name, kind=b"0", size=0, link=b"", major=None, magic=b"ustar\00000", extra=()):
    """A bare header: for what tarfile refuses to write. extra: (offset, bytes)."""
    h = bytearray(512)
    h[0:len(name)] = name
    h[100:124] = b"0000644\0000000000\0000000000\0"[:24]
    h[124:136] = b"%011o\0" % size
    h[136:148] = b"00000000000\0"
    h[156:157] = kind
    h[157:157 + len(link)] = link
    h[257:265] = magic
    if major is not None:
        h[329:337] = b"\x80" + major.to_bytes(7, "big")
        h[337:345] = b"0000001\0"
    for at, data in extra:
        h[at:at + len(data)] = data
    h[148:156] = b" " * 8
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h)


def raw(*parts):
    return Blob(b"".join(parts) + END)


def text(value):
    return value.decode("utf-8", "surrogateescape")


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


def access(value):
    return {"SCHILY.xattr.system.posix_acl_access": text(value)}


def default(value):
    return {"SCHILY.xattr.system.posix_acl_default": text(value)}


ACL = acl((USER_OBJ, 6, NO_ID), (USER, 7, 1000), (GROUP_OBJ, 4, NO_ID), (GROUP, 1, 70000), (MASK, 7, NO_ID), (OTHER, 4, NO_ID))


class Kinds(unittest.TestCase):
    def tree(self, *blobs, **kw):
        """The image's tree as its blocks have it, which is also what a kernel sees."""
        image = Image(list(blobs), **kw).check()
        tree = imagelib.tree_of_ext4(image.path)
        if os.geteuid() == 0:
            self.assertEqual(imagelib.differences(tree, imagelib.tree_by_kernel(image.path)), [])
        return tree

    def refuse(self, blobs, words, code=EIMAGE, **kw):
        with self.assertRaises(Failed) as e:
            Image(blobs, **kw)
        self.assertIn(words, str(e.exception))
        self.assertEqual(e.exception.code, code)

    # --- times, owners, devices ---

    def test_times_before_1970_and_with_nanoseconds_are_exact(self):
        cases = {"1.123456789": "1.123456789", "1.9999999999": "1.999999999", "-86400": "-86400.000000000", "-86400.5": "-86401.500000000",
                 "-1.000000001": "-2.999999999", "3000000000.000000001": "3000000000.000000001", "5.": "5.000000000"}
        layer = Layer()
        for i, time in enumerate(cases):
            layer.add(f"t{i}", pax={"mtime": time})
        tree = self.tree(layer.blob())
        for i, (time, want) in enumerate(cases.items()):
            self.assertEqual(tree[b"/t%d" % i]["time"], want, time)

    def test_times_that_ext4_does_not_have_become_the_nearest_that_it_has(self):
        layer = Layer()
        for i, time in enumerate(("-5000000000.5", "20000000000.5", "9" * 25, "-" + "9" * 25)):
            layer.add(f"t{i}", pax={"mtime": time})
        tree = self.tree(layer.blob())
        first, last = "-2147483648.000000000", "15032385535.999999999"
        self.assertEqual([tree[b"/t%d" % i]["time"] for i in range(4)], [first, last, last, first])

    def test_device_numbers_are_not_cut(self):
        tree = self.tree(raw(header(b"c", b"3", major=4095), header(b"b", b"4", major=8)))
        self.assertEqual((tree[b"/c"]["device"], tree[b"/b"]["device"]), ("4095:1", "8:1"))
        for major in 4096, 1 << 32, (1 << 32) + 1, (1 << 55) + 1:
            self.refuse([raw(header(b"c", b"3", major=major))], "a device number that Linux does not have")

    def test_the_largest_owner_and_all_modes(self):
        layer = Layer().add("a", mode=0o7777, uid=NO_ID - 1, gid=NO_ID - 1).dir("b", mode=0, uid=65536).dir("c", mode=0o7000)
        tree = self.tree(layer.blob())
        self.assertEqual((tree[b"/a"]["mode"], tree[b"/a"]["owner"]), ("7777", f"{NO_ID - 1}:{NO_ID - 1}"))
        self.assertEqual((tree[b"/b"]["mode"], tree[b"/b"]["owner"], tree[b"/c"]["mode"]), ("0000", "65536:0", "7000"))

    # --- ACLs, capabilities, attributes ---

    def test_acls_are_stored_and_give_the_mode_as_the_kernel_does(self):
        layer = Layer().add("a", mode=0o600, pax=access(ACL)).dir("d", mode=0o750, pax=default(ACL))
        layer.add("minimal", mode=0o777, pax=access(acl((USER_OBJ, 6, NO_ID), (GROUP_OBJ, 4, NO_ID), (OTHER, 0, NO_ID))))
        tree = self.tree(layer.blob())
        self.assertEqual(tree[b"/a"]["xattrs"], "system.posix_acl_access=" + ACL.hex())
        self.assertEqual(tree[b"/a"]["mode"], "0674")
        self.assertEqual((tree[b"/d"]["xattrs"], tree[b"/d"]["mode"]), ("system.posix_acl_default=" + ACL.hex(), "0750"))
        self.assertEqual((tree[b"/minimal"]["xattrs"], tree[b"/minimal"]["mode"]), ("-", "0640"))

    def test_acls_as_text_are_stored_too(self):
        layer = Layer().add("a", mode=0o674, pax={"SCHILY.acl.access": "user::rw-,group:70000:--x,user:1000:rwx,group::r--,mask::rwx,other::r--"})
        layer.add("ids", pax={"SCHILY.acl.access": "user::rw-\nuser:lisa:rwx:1000\ngroup::r--\ngroup:staff:--x:70000\nmask::rwx\nother::r--"})
        layer.dir("d", mode=0o751, pax={"SCHILY.acl.default": "user::rw-,user:1000:rwx,group::r--,group:70000:--x,mask::rwx,other::r--"})
        layer.add("plain", mode=0o640, pax={"SCHILY.acl.access": "user::rw-,group::r--,other::---"})
        tree = self.tree(layer.blob())
        for name in b"/a", b"/ids":
            self.assertEqual((tree[name]["xattrs"], tree[name]["mode"]), ("system.posix_acl_access=" + ACL.hex(), "0674"), name)
        self.assertEqual((tree[b"/d"]["xattrs"], tree[b"/d"]["mode"]), ("system.posix_acl_default=" + ACL.hex(), "0751"))
        self.assertEqual((tree[b"/plain"]["xattrs"], tree[b"/plain"]["mode"]), ("-", "0640"))

    def test_acls_that_linux_cannot_have_are_refused(self):
        u, g, o = (USER_OBJ, 6, NO_ID), (GROUP_OBJ, 4, NO_ID), (OTHER, 4, NO_ID)
        broken = {"no other": (u, g), "twice": (u, u, g, o), "a user without a mask": (u, (USER, 7, 9), g, o), "order": (o, g, u),
                  "an unknown tag": (u, g, o, (64, 0, 0)), "permissions": ((USER_OBJ, 99, NO_ID), g, o), "nobody": (u, (USER, 7, NO_ID), g, (MASK, 7, 0), o)}
        for words, entries in broken.items():
            with self.subTest(words):
                self.refuse([Layer().add("x", pax=access(acl(*entries))).blob()], "not a valid POSIX ACL: x")
        for value in b"\2\0\0\0\1", b"\1\0\0\0", b"", ACL[:-1]:
            self.refuse([Layer().add("x", pax=access(value)).blob()], "not a valid POSIX ACL: x")
        self.refuse([Layer().symlink("x", "y", pax=access(ACL)).blob()], "a POSIX ACL on a symbolic link: x")
        self.refuse([Layer().add("x", pax=default(ACL)).blob()], "a default ACL on what is not a directory: x")
        named = "user::rw-,user:lisa:rwx,group::r--,mask::rwx,other::r--"
        self.refuse([Layer().add("x", pax={"SCHILY.acl.access": named}).blob()], "a POSIX ACL that names \"lisa\" without a number: x")

    def test_a_malformed_capability_is_refused(self):
        tree = self.tree(Layer().add("v2", pax={"SCHILY.xattr.security.capability": text(CAPS)})
                         .add("v3", pax={"SCHILY.xattr.security.capability": text(b"\1\0\0\3" + CAPS[4:] + struct.pack("<I", 100000))}).blob())
        self.assertEqual(tree[b"/v2"]["xattrs"], "security.capability=" + CAPS.hex())
        for value in b"", b"xx", CAPS[:-1], CAPS + b"\0", b"\1\0\0\4" + CAPS[4:], b"\1\0\0\1" + CAPS[4:]:
            self.refuse([Layer().add("x", pax={"SCHILY.xattr.security.capability": text(value)}).blob()], "not valid file capabilities: x")

    def test_user_attributes_where_linux_has_none_are_left_out(self):
        both = {"SCHILY.xattr.user.a": "1", "SCHILY.xattr.trusted.a": "1"}
        layer = Layer().symlink("link", "y", pax=both).add("pipe", tarfile.FIFOTYPE, pax=both).add("null", tarfile.CHRTYPE, dev=(1, 3), pax=both)
        tree = self.tree(layer.dir("dir", pax=both).add("file", pax=both).blob())
        self.assertEqual([tree[b"/" + n]["xattrs"] for n in (b"link", b"pipe", b"null")], ["trusted.a=31"] * 3)
        self.assertEqual([tree[b"/" + n]["xattrs"] for n in (b"dir", b"file")], ["trusted.a=31,user.a=31"] * 2)

    def test_attributes_are_the_last_entrys(self):
        one = Layer().dir("d", pax={"SCHILY.xattr.user.low": "1"}).add("f", pax={"SCHILY.xattr.user.low": "1"})
        two = Layer().dir("d", mode=0o700, pax={"SCHILY.xattr.user.\u00e9": "2"}).add("f", pax={"SCHILY.xattr.user.x": "3"}).hardlink("g", "f", pax={
            "SCHILY.xattr.user.ignored": "x", "SCHILY.xattr.security.capability": "ignored too"})
        tree = self.tree(one.blob(), two.blob())
        self.assertEqual((tree[b"/d"]["xattrs"], tree[b"/d"]["mode"]), ("user.%C3%A9=32", "0700"))
        self.assertEqual(tree[b"/g"]["xattrs"], "user.x=33")

    # --- archives ---

    def test_what_is_cut_short_is_no_empty_layer(self):
        for how in "gzip", "zstd":
            nothing, something = compress(b"", how).data, compress(os.urandom(5000), how).data
            for data in [nothing[:n] for n in range(5, len(nothing))] + [something[:n] for n in range(5, 40)]:
                with self.subTest(how=how, data=data):
                    self.refuse([Blob(data)], "damaged or truncated " + how)

    def test_headers_that_are_no_files(self):
        pax = b"20 comment=hello wor\n"[:20]
        blob = raw(header(b"volume", b"V"), header(b"global", b"g", len(pax)), pax.ljust(512, b"\0"), header(b"after"))
        self.assertEqual(sorted(self.tree(blob)), [b"/", b"/after", b"/lost+found"])
        self.refuse([raw(header(b"part", b"M"))], "an entry of unknown type: part")

    def test_directories_of_the_oldest_format(self):
        tree = self.tree(raw(header(b"dir/", b"0", magic=b"\0" * 8), header(b"dir/f", b"\0", magic=b"\0" * 8)))
        self.assertEqual((tree[b"/dir"]["type"], tree[b"/dir/f"]["type"]), ("dir", "file"))

    def test_names_are_bytes(self):
        odd = [b"raw\xff\xfe", "e\u0301\u0301".encode(), b"\xc3\xa9", b"new\nline", b" ", b"\x01", b"\\", b"n" * 255, b"-", b"..."]
        for form in tarfile.PAX_FORMAT, tarfile.GNU_FORMAT:
            layer = Layer(form)
            for i, name in enumerate(odd):
                layer.add(text(name), data=b"%d" % i).symlink(f"to{i}", text(name)).hardlink(f"hard{i}", text(name))
            tree = self.tree(layer.blob())
            for i, name in enumerate(odd):
                self.assertEqual(urllib.parse.unquote_to_bytes(tree[b"/to%d" % i]["content"]), name)
                self.assertEqual(tree[b"/" + name]["names"], tuple(sorted((b"/" + name, b"/hard%d" % i))))

    def test_long_paths_and_deep_trees(self):
        deep = "/".join(["d"] * 255)
        longest = "/".join(["p" * 254] * 16)  # 4079 bytes
        for form in tarfile.PAX_FORMAT, tarfile.GNU_FORMAT:
            tree = self.tree(Layer(form).add(deep + "/f").add(longest).symlink("s", "t" * 4095).hardlink("h", longest).blob())
            self.assertEqual(tree[b"/" + deep.encode() + b"/f"]["type"], "file")
            self.assertEqual(tree[b"/h"]["names"], tuple(sorted((b"/h", b"/" + longest.encode()))))
            self.assertEqual(len(tree[b"/s"]["content"]), 4095)

    # --- hard links ---

    def test_groups_of_links_across_layers(self):
        one = Layer().add("a", data=b"one").hardlink("b", "a").hardlink("c", "b").hardlink("d", "a").add("alone", data=b"x")
        two = Layer().add("b", data=b"two").whiteout("c").hardlink("low", "d").hardlink("alone2", "alone").whiteout("alone")
        three = Layer().hardlink("a", "b")
        tree = self.tree(one.blob(), two.blob(), three.blob())
        self.assertEqual(tree[b"/a"]["names"], (b"/a", b"/b"))
        self.assertEqual(tree[b"/d"]["names"], (b"/d", b"/low"))
        self.assertEqual((tree[b"/alone2"]["names"], tree[b"/alone2"]["links"]), ((b"/alone2",), "1"))
        self.assertNotIn(b"/c", tree)

    def test_too_many_links_to_one_file(self):
        links = b"".join(header(b"l%d" % i, b"1", link=b"f") for i in range(65000))
        self.refuse([compress(header(b"f") + links + END, "zstd")], "more than 65000 hard links to one file")
        image = Image([compress(header(b"f") + links[:-512] + END, "zstd")]).check()
        self.assertEqual(imagelib.tree_of_ext4(image.path)[b"/f"]["links"], "65000")

    # --- sparse files ---

    def sparse(self, args, pieces, size):
        with tempfile.TemporaryDirectory() as d:
            with open(d + "/s", "wb") as f:
                for at, data in pieces:
                    f.seek(at)
                    f.write(data)
                f.truncate(size)
            tar = subprocess.run(["tar", "-C", d, "--sparse", *args, "-cf", "-", "s"], stdout=subprocess.PIPE, check=True).stdout
            self.assertLess(len(tar), 3 << 20)
            image = Image([compress(tar, "gzip")]).check()
            tree = imagelib.tree_of_ext4(image.path)
            self.assertEqual(tree[b"/s"]["size"], str(size))
            self.assertEqual(tree[b"/s"]["content"], imagelib.tree_of_directory(d)[b"/s"]["content"])
            blocks = [l for l in image.stat("/s").splitlines() if "Blockcount" in l][0]
            self.assertLess(int(blocks.split("Blockcount:")[1]) * 512, sum(len(x) + 8192 for _, x in pieces) + 16384)

    def test_holes_stay_holes_in_every_format(self):
        many = [(i * 100_000, b"piece %d" % i * 100) for i in range(300)]
        for args in (["--format=gnu"], ["--format=oldgnu"], *(["--format=pax", "--sparse-version=" + v] for v in ("0.0", "0.1", "1.0"))):
            for pieces, size in ((many, 40_000_001), ([], 5_000_000), ([(0, b"first")], 1_000_000), ([(999_990, b"last bytes")], 1_000_000)):
                with self.subTest(args=args, size=size, n=len(pieces)):
                    self.sparse(args, pieces, size)

    def pax_sparse(self, body, records, size):
        record = b""
        for key, value in records:
            line = b" %s=%s\n" % (key, value)
            n = len(line) + 1
            while len(b"%d" % n) + len(line) != n:
                n = len(b"%d" % n) + len(line)
            record += b"%d" % n + line
        padded = record.ljust((len(record) + 511) // 512 * 512, b"\0")
        return raw(header(b"x", b"x", len(record)), padded, header(b"s", b"0", size), body.ljust((len(body) + 511) // 512 * 512, b"\0"))

    def test_sparse_maps_that_lie(self):
        one = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"s"), (b"GNU.sparse.realsize", b"1000")]
        good = b"1\n100\n5\n".ljust(512, b"\0") + b"hello"
        tree = self.tree(self.pax_sparse(good, one, len(good)))
        self.assertEqual(tree[b"/s"]["size"], "1000")
        for what, head in {"backwards": b"2\n500\n5\n100\n5\n", "beyond the size": b"1\n100000\n5\n", "overlapping": b"2\n100\n5\n102\n5\n", "no number": b"x\n1\n",
                           "huge": b"1\n100\n99999999999999999999\n", "too few": b"9\n100\n5\n"}.items():
            with self.subTest(what):
                body = head.ljust(512, b"\0") + b"hello" * 2
                words = "s: data of a file goes backwards" if what in ("backwards", "overlapping") else "damaged tar archive"
                self.refuse([self.pax_sparse(body, one, len(body))], words)

    def test_a_sparse_map_without_end_does_not_eat_memory(self):
        """A map of millions of pieces, each a list element in libarchive: ends at the limit for memory, in words."""
        n = 24_000_000
        head = b"%d\n" % n + b"0\n0\n" * n
        one = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"s"), (b"GNU.sparse.realsize", b"1000")]
        size = (len(head) + 511) // 512 * 512
        blob = compress(self.pax_sparse(head, one, size).data, "zstd")
        if sanitized():
            return
        self.refuse([blob], "read the archive: Cannot allocate memory", ERESOURCE)
        self.assertLess(Image.peak_kib, 800 << 10)

    # --- limits ---

    def test_too_many_layers(self):
        blob = Layer().add("a").blob()
        self.refuse([blob] * 1001, "request", EINVALID)
        self.assertIn(b"/a", self.tree(*[blob] * 200))

    def test_too_many_attributes(self):
        self.refuse([Layer().add("x", pax={f"SCHILY.xattr.user.x{i}": "" for i in range(257)}).blob()], "more than 256 extended attributes")
        self.refuse([Layer().add("x", pax={"SCHILY.xattr.user." + "n" * 251: "1"}).blob()], "longer than 255 bytes")
        self.refuse([Layer().add("x", pax={"SCHILY.xattr.user.x": "v" * 4097}).blob()], "4 KiB")

    def test_no_file_grows_beyond_what_was_allowed(self):
        limits = Image([Layer().add("a", data=b"data" * (16 << 20)).blob("plain")], max_size=2 << 30, watch_limits=True).limits
        self.assertLessEqual(limits["Max file size"], 5 << 30)
        if not sanitized():
            self.assertLessEqual(limits["Max data size"], 2 << 30)
        self.assertEqual(limits["Max open files"], 0)


if __name__ == "__main__":
    unittest.main()
