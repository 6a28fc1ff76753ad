# SPDX-License-Identifier: Apache-2.0
"""Writes OCI image layouts (https://github.com/opencontainers/image-spec): blobs named by their digest, and an index that names images.

The same layers and configuration give the same bytes.
"""
import gzip
import hashlib
import json
import os
import subprocess
import tempfile

MEDIA = "application/vnd.oci.image."
COMPRESSIONS = {"": "", "gzip": "+gzip", "zstd": "+zstd"}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def canonical(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


class Hashed:
    """A file-like writer that hashes what passes through it."""

    def __init__(self, file):
        self.file, self.sha, self.size = file, hashlib.sha256(), 0

    def write(self, data):
        self.sha.update(data)
        self.size += len(data)
        return self.file.write(data)

    def flush(self):
        self.file.flush()

    @property
    def digest(self):
        return "sha256:" + self.sha.hexdigest()


class Layout:
    """An image layout in a directory, made if missing."""

    def __init__(self, directory):
        self.directory = directory
        self.manifests = []
        self.blobs = os.path.join(directory, "blobs", "sha256")
        os.makedirs(self.blobs, exist_ok=True)
        with open(os.path.join(directory, "oci-layout"), "wb") as f:
            f.write(canonical({"imageLayoutVersion": "1.0.0"}))

    def blob(self, data, media_type):
        """Stores bytes and gives their descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(self.blobs, digest), "wb") as f:
            f.write(data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    def layer(self, read, compression="zstd"):
        """Stores a layer: read(n) gives its tar, piece by piece. Gives its descriptor and the digest of the tar (diff id)."""
        with tempfile.NamedTemporaryFile(dir=self.blobs, prefix="tmp", delete=False) as f:
            if compression == "zstd":
                diff_id = zstd(read, f)
            elif compression == "gzip":
                with gzip.GzipFile(filename="", fileobj=f, mode="wb", compresslevel=1, mtime=0) as z:
                    diff_id = copy(read, z)
            elif compression == "":
                diff_id = copy(read, f)
            else:
                raise ValueError(f"unknown compression {compression!r}")
        with open(f.name, "rb") as g:
            digest = hashlib.file_digest(g, "sha256").hexdigest()
            size = g.seek(0, os.SEEK_END)
        os.chmod(f.name, 0o644)
        os.replace(f.name, os.path.join(self.blobs, digest))
        media = MEDIA + "layer.v1.tar" + COMPRESSIONS[compression]
        return {"mediaType": media, "digest": "sha256:" + digest, "size": size}, diff_id

    def image(self, name, layers, config, created="1970-01-01T00:00:00Z", machine=None, annotations=None):
        """Adds an image of [(descriptor, diff id)] under a name; config is the "config" object of an image configuration."""
        architecture = ARCHITECTURES[machine or os.uname().machine]
        document = {"architecture": architecture, "os": "linux", "created": created, "config": config,
                    "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
                    "history": [{"created": created, "created_by": "boxlite"} for _ in layers]}
        manifest = {"schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json",
                    "config": self.blob(canonical(document), MEDIA + "config.v1+json"),
                    "layers": [descriptor for descriptor, _ in layers]}
        descriptor = self.blob(canonical(manifest), MEDIA + "manifest.v1+json")
        descriptor["platform"] = {"architecture": architecture, "os": "linux"}
        descriptor["annotations"] = {"org.opencontainers.image.ref.name": name, **(annotations or {})}
        self.manifests.append(descriptor)
        index = {"schemaVersion": 2, "mediaType": MEDIA + "index.v1+json", "manifests": self.manifests}
        with open(os.path.join(self.directory, "index.json"), "wb") as f:
            f.write(canonical(index))
        return descriptor


def copy(read, out):
    hashed = Hashed(out)
    while data := read(1 << 20):
        hashed.write(data)
    return hashed.digest


def zstd(read, out):
    process = subprocess.Popen(["zstd", "-q", "-T0", "-3", "-c"], stdin=subprocess.PIPE, stdout=out)
    try:
        diff_id = copy(read, process.stdin)
        process.stdin.close()
    finally:
        if process.wait() != 0:
            raise OSError(f"zstd failed (exit {process.returncode})")
    return diff_id
