#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boxlite-pull on full disks and for other users: what only root can try."""
from pulllib import *
from registry import *

BIG = 6 << 20


def big(reg):
    return reg.image("library/odd", "1", [os.urandom(BIG), b"small"])


class SmallDisk:
    """A file system of a few MiB."""

    def __init__(self, size):
        if not real_root():
            raise Skip("only root can mount a small file system")
        self.path = tempfile.mkdtemp(prefix="bxpull-disk-")
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", self.path], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", self.path], check=True)
        os.rmdir(self.path)


def test_a_disk_without_room_is_said_before_anything_is_fetched(_store):
    with SmallDisk("20m") as disk, FaultyRegistry() as reg:
        store = Store(disk.path)
        big(reg)
        expect_error(store.pull(reg.host, "library/odd", "1"), "storage", "7 MiB are to be fetched", "free")
        assert reg.count("GET", "/blobs/") == 0


def test_a_disk_that_fills_is_said_and_loses_nothing(_store):
    with SmallDisk("32m") as disk, FaultyRegistry() as reg:
        store = Store(disk.path)
        image = big(reg)
        filler = os.path.join(disk.path, "filler")

        def fill(handler, answer):
            with contextlib.suppress(OSError), open(filler, "wb") as f:
                f.write(b"x" * (27 << 20))
            handler.answer(answer)
        reg.fault("/blobs/" + image.layers[0], fill, times=1)
        expect_error(store.pull(reg.host, "library/odd", "1"), "storage", "no space is left", "layer sha256:", "6 MiB", "free space")
        os.unlink(filler)
        kept = os.path.getsize(store.partial(image.layers[0]))
        assert kept > 1 << 20
        reg.forget()
        expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        assert reg.sent(image.layers[0]) <= BIG - kept
        store.check(*all_of(image))


def test_root_leaves_files_to_the_owner_of_the_store(store):
    if not real_root():
        raise Skip("only root pulls for others")
    with FaultyRegistry() as reg:
        image = big(reg)
        os.chown(store.path, 65534, 65534)
        expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        store.check(*all_of(image))
        assert os.stat(store.blob(image.digest)).st_uid == 65534
        os.chown(store.path, 0, 0)


main(globals())
