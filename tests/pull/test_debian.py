#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boxlite-pull and Debian's docker-registry, with images that skopeo put there."""
import json

from pulllib import *
import mkimage
from registry import *


class Here:
    """A directory with an image of several packings, and what the registries need."""

    def __init__(self):
        missing = DebianRegistry.missing()
        if missing:
            raise Skip(missing)
        self.path = tempfile.mkdtemp(prefix="bxpull-debian-")
        self.ca = Authority(os.path.join(self.path, "ca"))
        self.layout = os.path.join(self.path, "layout")
        layers = [[mkimage.file("a", os.urandom(500000))], [mkimage.file("b", b"b")], [mkimage.file("c", b"c")]]
        mkimage.oci_layout(self.layout, "odd:1", layers, compression=["gzip", "zstd", ""])
        self.gzip = os.path.join(self.path, "gzip")
        mkimage.oci_layout(self.gzip, "odd:1", layers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


def oracle(reg, repository, tag, *options):
    """The digests of the manifest, the configuration and the layers, as skopeo sees them."""
    raw = subprocess.run(["skopeo", "inspect", "--raw", "--tls-verify=false", *options, f"docker://{reg.host}/{repository}:{tag}"],
                         check=True, stdout=subprocess.PIPE).stdout
    document = json.loads(raw)
    return [digest_of(raw), document["config"]["digest"], *[layer["digest"] for layer in document["layers"]]]


def test_a_plain_registry(store):
    with Here() as here, DebianRegistry(here.path + "/r") as reg:
        reg.put(f"oci:{here.layout}:odd:1", "deep/path/of/odd", "1")
        result = expect_ok(store.pull(reg.host, "deep/path/of/odd", "1"))
        digests = oracle(reg, "deep/path/of/odd", "1")
        assert result.lines[-1] == f"ok {digests[0]} {digests[0]}"
        store.check(*digests)
        expect_error(store.pull(reg.host, "deep/path/of/odd", "2"), "image", "404", "manifest unknown")
        expect_error(store.pull(reg.host, "nothing", "1"), "image", "404")
        expect_ok(store.pull(reg.host, "deep/path/of/odd", digest=digests[0]))


def test_docker_schema_2(store):
    with Here() as here, DebianRegistry(here.path + "/r") as reg:
        reg.put(f"oci:{here.gzip}:odd:1", "odd", "docker", "--format=v2s2")
        expect_ok(store.pull(reg.host, "odd", "docker"))
        store.check(*oracle(reg, "odd", "docker"))
        manifest = json.load(open(store.blob(oracle(reg, "odd", "docker")[0]), "rb"))
        assert "docker.distribution" in manifest["mediaType"]


def test_tls_with_a_private_authority_and_a_password(store):
    with Here() as here, DebianRegistry(here.path + "/r", tls=here.ca, auth=Basic("user", "secret")) as reg:
        reg.put(f"oci:{here.layout}:odd:1", "odd", "1")
        end = endpoint(reg.host, plain_http=False, ca_pem=here.ca.text, username="user", password="secret")
        expect_ok(store.pull(end, "odd", "1"))
        store.check(*oracle(reg, "odd", "1", "--creds=user:secret"))
        expect_error(store.pull({**end, "password": "no"}, "odd", "1"), "image", "does not accept")
        expect_error(store.pull({**end, "username": None}, "odd", "1"), "image", "none was given")
        expect_error(store.pull({**end, "ca_pem": None}, "odd", "1"), "network", "certificate")


def test_tokens(store):
    with Here() as here, TokenService({"user": "secret"}, anonymous=False, identity_tokens={"refresh"}, authority=here.ca) as service:
        with DebianRegistry(here.path + "/r", auth=Bearer(service)) as reg:
            reg.put(f"oci:{here.layout}:odd:1", "odd", "1")
            expect_ok(store.pull(endpoint(reg.host, username="user", password="secret"), "odd", "1"))
            store.check(*oracle(reg, "odd", "1", "--creds=user:secret"))
            shutil.rmtree(os.path.join(store.path, "sha256"))
            expect_ok(store.pull(endpoint(reg.host, identity_token="refresh"), "odd", "1"))
            expect_error(store.pull(endpoint(reg.host, username="user", password="no"), "odd", "1"), "image", "incorrect username")


def test_a_registry_that_is_killed_in_the_middle(store):
    with Here() as here, DebianRegistry(here.path + "/r") as reg:
        big = os.path.join(here.path, "big")
        mkimage.oci_layout(big, "big:1", [[mkimage.file("a", os.urandom(64 << 20))]], compression="")
        reg.put(f"oci:{big}:big:1", "big", "1")
        digests = oracle(reg, "big", "1")
        with store.start(plan(reg.host, "big", "1", retries=0)) as p:
            p.read_until("progress 0 ")
            reg.stop()
            result = p.wait()
        if not result.ok:  # it may have been quicker
            expect_error(result, "network")
            reg.start()
            expect_ok(store.pull(reg.host, "big", "1"))
        store.check(*digests)


main(globals())
