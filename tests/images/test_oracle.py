#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What conversion makes of an image is what umoci unpacks: names, types, modes, owners, times, sizes, devices, contents, attributes, hard
links. The tree is read from the blocks of the ext4 file, and as root through the kernel too."""
import os
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import imagelib  # noqa: E402
from unpacklib import Blob, Image  # noqa: E402


def converted(layout):
    manifest, config = imagelib.manifest_of(layout)
    blobs = []
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"]):
        with open(imagelib.blob_path(layout, layer["digest"]), "rb") as f:
            blob = Blob(f.read())
        blob.diff_id = diff_id.split(":")[1]
        blobs.append(blob)
    return Image(blobs).check()


class Oracle(unittest.TestCase):
    def compare(self, make):
        if os.geteuid() != 0 and os.environ.get("BOXLITE_TEST_MUST_RUN") != "1":
            self.skipTest("owners, devices and attributes need root on the oracle's side")
        try:
            layout = make()
        except imagelib.CANNOT as why:
            if os.environ.get("BOXLITE_TEST_MUST_RUN") == "1":
                raise
            self.skipTest(str(why))
        image, began = converted(layout), int(time.time())
        with tempfile.TemporaryDirectory(prefix="boxlite-umoci-") as d:
            theirs = imagelib.tree_of_directory(imagelib.unpacked_by_umoci(imagelib.for_umoci(layout), imagelib.name_of(layout), d))
        self.assertGreater(len(theirs), 5)
        self.names = {os.fsdecode(path) for path in theirs}
        for ours in imagelib.tree_of_ext4(image.path), imagelib.tree_by_kernel(image.path):
            self.assertEqual(imagelib.differences(ours, theirs, imagelib.differs_on_purpose(theirs, began)), [])

    def test_busybox(self):
        self.compare(imagelib.alpine)

    def test_thirty_layers(self):
        self.compare(imagelib.thirty_layers)

    def test_every_odd_kind_of_file(self):
        self.compare(imagelib.odd)

    def test_the_default_image(self):
        self.compare(imagelib.python)
        self.assertIn("/usr/bin/python3", self.names)

    def test_an_image_without_python(self):
        self.compare(imagelib.node)
        self.assertIn("/usr/bin/node", self.names)
        self.assertEqual([n for n in self.names if "/bin/python" in n], [])


if __name__ == "__main__":
    unittest.main()
