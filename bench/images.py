#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of images: from a registry to a tree that can be used, ours beside its peers, all in this run and from one registry.

    bench/images.py [--quick] [--build DIR] [--image LAYOUT]

Debian's docker-registry serves the python image, its layers packed with gzip (what umoci can read) and with zstd. What is compared:

* pull and convert: `boxlite pull` into an empty home, then boxlite-unpack with the request that the library makes, until the disk is there and
  synced; `skopeo copy` to an OCI layout, then `umoci unpack`; `podman pull` into an empty store. The peers do not wait for the disk.
* conversion alone, beside decompressing the same layer and writing what comes out to one file that is synced.

Before each timing everything dirty is written out, and who is first changes from round to round. Writes DIR/bench-images.json.
"""
import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zlib

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(SOURCE, "bench"), os.path.join(SOURCE, "tests", "lib"), os.path.join(SOURCE, "tests", "images"),
                os.path.join(SOURCE, "tests", "unpack")]
from table import add, median_of, report  # noqa: E402

FASTER = "pull and convert, fastest peer / ours"
MEMORY = {program: f"1 GB image, most memory of {program}, MB" for program in ("boxlite", "boxlite-pull", "boxlite-unpack")}
SECOND = "second pull of a known image"
RATIOS = {packing: f"conversion / decompress and write, {packing}" for packing in ("gzip", "zstd")}
GOALS = {
    FASTER: (">=", 1.5, None),
    SECOND: ("<=", 50, None),
    "second pull, requests": ("<=", 1, None),
    **{ratio: ("<=", 1.5, None) for ratio in RATIOS.values()},
    **{memory: ("<=", 64, None) for memory in MEMORY.values()},
}


def timed(function):
    """Milliseconds. What the function gives is let go of afterwards: files that go with it take time too."""
    began = time.perf_counter()
    kept = function()
    took = (time.perf_counter() - began) * 1e3
    del kept
    return took


def run(*argv, **kw):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=300, **kw)
    if done.returncode != 0:
        raise OSError(f"{argv[0]}: exit {done.returncode}: {done.stderr.decode(errors='replace').strip()[-500:]}")
    return done.stdout


class Layer:
    """A blob as unpacklib takes it."""

    def __init__(self, path, descriptor, diff_id):
        self.path, self.digest, self.diff_id = path, descriptor["digest"].split(":")[1], diff_id.split(":")[1]
        self.packing = descriptor["mediaType"].rpartition("+")[2]


def layers(blobs, manifest_digest):
    """Of an image whose blobs are in the directory."""
    def read(digest):
        with open(os.path.join(blobs, digest.split(":")[1]), "rb") as f:
            return json.load(f)
    manifest = read(manifest_digest)
    return [Layer(os.path.join(blobs, d["digest"].split(":")[1]), d, i)
            for d, i in zip(manifest["layers"], read(manifest["config"]["digest"])["rootfs"]["diff_ids"])]


def decompress(layer, out):
    """What is packed, and nothing but that, to a file; until it is on the disk."""
    with open(out, "wb", buffering=0) as f:
        if layer.packing == "zstd":
            subprocess.run(["zstd", "-q", "-d", "-c", layer.path], stdout=f, check=True)
        else:
            unpacker = zlib.decompressobj(31)
            with open(layer.path, "rb", buffering=0) as g:
                while piece := g.read(1 << 18):
                    f.write(unpacker.decompress(piece))
        os.fsync(f.fileno())


class Images:
    def __init__(self, args):
        os.environ["BOXLITE_BUILD"] = args.build
        os.environ.pop("BX_TEST_PEAK", None)  # nothing stands between what is timed and us
        import imagelib
        import registry
        import unpacklib
        self.imagelib, self.registry, self.unpacklib = imagelib, registry, unpacklib
        self.build, self.quick, self.layout = args.build, args.quick, args.image
        self.work = tempfile.mkdtemp(prefix="bxbench-images-", dir=args.tmp)
        tempfile.tempdir = self.work  # also of unpacklib's images
        self.policy = os.path.join(self.work, "policy.json")
        with open(self.policy, "w") as f:
            json.dump({"default": [{"type": "insecureAcceptAnything"}]}, f)
        self.reg = None
        self.homes = 0

    def n(self, full, quick):
        return quick if self.quick else full

    # --- a registry with the image, and what uses it

    def serve(self):
        missing = self.registry.DebianRegistry.missing()
        if missing:
            sys.exit(f"bench: {missing}")
        self.reg = self.registry.DebianRegistry(os.path.join(self.work, "registry"))
        source = f"oci:{self.layout}:{self.imagelib.name_of(self.layout)}"
        self.reg.put(source, "bench/python", "gzip", "--dest-compress-format=gzip")
        self.reg.put(source, "bench/python", "zstd")

    def name(self, tag):
        return f"{self.reg.host}/bench/python:{tag}"

    def home(self):
        """An empty one that knows the registry."""
        self.homes += 1
        home = os.path.join(self.work, f"home-{self.homes}")
        os.mkdir(home)
        with open(os.path.join(home, "config.json"), "w") as f:
            json.dump({"image_registries": [{"host": self.reg.host, "transport": "http"}]}, f)
        return home

    def pull(self, home, image):
        return run(os.path.join(self.build, "boxlite"), "--home", home, "pull", "-q", image).decode().split()[0]

    def blobs(self, home):
        return os.path.join(home, "blobs", "sha256")

    def layers_of(self, home, image):
        shown = json.loads(run(os.path.join(self.build, "boxlite"), "--home", home, "image", "inspect", image))
        return layers(self.blobs(home), shown[0]["Manifest"])

    # --- ways to have the image

    def ours(self, tag):
        home = self.home()
        took = timed(lambda: self.pull(home, self.name(tag)))
        stored = self.layers_of(home, self.name(tag))
        took += timed(lambda: self.unpacklib.Image(stored, size=10 << 30, max_size=256 << 30))
        shutil.rmtree(home)
        return took

    def skopeo_and_umoci(self, tag):
        layout, bundle = os.path.join(self.work, "layout"), os.path.join(self.work, "bundle")

        def both():
            run("skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", f"docker://{self.name(tag)}", f"oci:{layout}:x")
            run("umoci", "unpack", *([] if os.geteuid() == 0 else ["--rootless"]), "--image", f"{layout}:x", bundle)
        try:
            return timed(both)
        finally:
            shutil.rmtree(layout, ignore_errors=True)
            shutil.rmtree(bundle, ignore_errors=True)

    def podman(self, tag):
        store = os.path.join(self.work, "podman")
        base = ["podman", "--root", store, "--runroot", store + "-run", "--cgroup-manager", "cgroupfs", "--events-backend", "none",
                "--storage-driver", "overlay"]
        try:
            return timed(lambda: run(*base, "pull", "-q", "--tls-verify=false", "--signature-policy", self.policy, self.name(tag)))
        finally:
            subprocess.run([*base, "system", "reset", "-f"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           check=False)

    # --- steps

    def pull_and_convert(self):
        for tag, ways in (("gzip", {"boxlite": self.ours, "peer: skopeo copy, umoci unpack": self.skopeo_and_umoci, "peer: podman pull": self.podman}),
                          ("zstd", {"boxlite": self.ours, "peer: podman pull": self.podman})):
            samples = self.rounds(ways, tag, self.n(9, 2))
            for way, times in samples.items():
                add(f"{way}, pull and convert, {tag}", times)
            peers = [statistics.median(t) for way, t in samples.items() if way != "boxlite" and t]
            if tag == "gzip" and peers:
                add(FASTER, [min(peers) / t for t in samples["boxlite"]], "x")

    def rounds(self, ways, tag, n):
        """One of each in every round, in turning order; the first round is not counted."""
        samples = {way: [] for way in ways}
        broken = set()
        for i in range(n + 1):
            order = list(ways)
            for way in order[i % len(order):] + order[:i % len(order)]:
                os.sync()
                if way in broken:
                    continue
                try:
                    took = ways[way](tag)
                except (OSError, subprocess.TimeoutExpired) as e:
                    if way == "boxlite":
                        raise
                    broken.add(way)
                    print(f"  {way}: left out: {e}", file=sys.stderr)
                else:
                    samples[way] += [took] if i else []
        return samples

    def requests(self):
        with open(self.reg.log, encoding="utf-8", errors="replace") as f:
            return sum("response completed" in line and "/v2/bench/" in line for line in f)

    def second_pull(self):
        home = self.home()
        self.pull(home, self.name("gzip"))
        before, n = self.requests(), self.n(30, 5)
        add(SECOND, [timed(lambda: self.pull(home, self.name("gzip"))) for _ in range(n)])
        add("second pull, requests", [(self.requests() - before) / n], "")
        shutil.rmtree(home)

    def conversion(self):
        for packing, name in RATIOS.items():
            home = self.home()
            self.pull(home, self.name(packing))
            stored = self.layers_of(home, self.name(packing))
            ours, theirs = [], []
            for i in range(self.n(15, 3) + 1):
                tasks = [(ours, lambda: self.unpacklib.Image(stored, size=10 << 30, max_size=256 << 30)),
                         (theirs, lambda: [decompress(layer, os.path.join(self.work, "out")) for layer in stored])]
                for samples, task in tasks if i % 2 else reversed(tasks):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(self.work, "out"))
                    os.sync()
                    samples.append(timed(task))
            add(f"conversion of the python image, {packing}", ours[1:])
            add(f"decompress and write it, {packing}", theirs[1:])
            add(name, [a / b for a, b in zip(ours[1:], theirs[1:])], "x")
            shutil.rmtree(home)

    def large(self):
        """What it takes to pull and to convert an image of a gigabyte; how long that takes is only told."""
        layout = self.imagelib.large()
        home = self.home()
        self.reg.put(f"oci:{layout}:{self.imagelib.name_of(layout)}", "bench/large", "1")
        name = f"{self.reg.host}/bench/large:1"
        with self.imagelib.Peaks(self.work) as peaks:
            add("1 GB image, pull", [timed(lambda: self.pull(home, name))])
            stored = self.layers_of(home, name)
            add("1 GB image, conversion", [timed(lambda: self.unpacklib.Image(stored, size=10 << 30, max_size=256 << 30))])
        for program, row in MEMORY.items():
            add(row, [peaks.most[program] / 1e6], "MB")
        shutil.rmtree(home)

    def all(self):
        try:
            self.serve()
            for step in (self.pull_and_convert, self.second_pull, self.conversion, self.large):
                print(step.__name__.replace("_", " "), file=sys.stderr, flush=True)
                step()
        finally:
            self.close()

    def close(self):
        if self.reg:
            self.reg.stop()
        tempfile.tempdir = None
        shutil.rmtree(self.work, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few runs: does it work at all")
    parser.add_argument("--build", default=os.path.join(SOURCE, "build"))
    parser.add_argument("--image", help="OCI layout of the python image")
    parser.add_argument("--tmp", default="/var/tmp", help="where homes and stores are made")
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    args.image = os.path.abspath(args.image or os.path.join(args.build, "image"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    Images(args).all()
    report(os.path.join(args.build, "bench-images.json"), GOALS)


if __name__ == "__main__":
    main()
