#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boxlite-pull: which documents of a registry lead to an image, and which are refused."""
import json

from pulllib import *
from registry import *

AMD, ARM = "linux/" + ARCHITECTURE, "linux/mips64le"


def odd(reg, tag="1", layers=(b"one", b"two"), **kw):
    return reg.image("library/odd", tag, list(layers), **kw)


def test_an_image_is_pulled_whole(store):
    with FaultyRegistry() as reg:
        image = odd(reg, layers=[os.urandom(300000), b"second", b""])
        result = expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        store.check(*all_of(image))
        assert result.words("from") == [[reg.host]]
        assert result.words("manifest") == [[image.digest, str(os.path.getsize(store.blob(image.digest)))]]
        assert [w[0] + w[3] for w in result.words("layer")] == ["0fetch", "1fetch", "2fetch"]
        assert sorted(w[0] for w in result.words("done")) == ["0", "1", "2"]
        assert result.words("progress")[-1][0] in "012" and ["0", "300000"] in result.words("progress")
        assert result.words("config")[0][2] == "fetch"
        assert result.lines[-1] == f"ok {image.digest} {image.digest}"


def test_a_known_image_is_one_request(store):
    with FaultyRegistry() as reg:
        image = odd(reg)
        top = reg.index("library/odd", "multi", [(image.digest, AMD)])
        expect_ok(store.pull(reg.host, "library/odd", "multi"), image)
        reg.forget()
        result = expect_ok(store.pull(reg.host, "library/odd", "multi"), image)
        assert [r.path for r in reg.requests] == ["/v2/library/odd/manifests/multi"], reg.requests
        assert [w[3] for w in result.words("layer")] == ["have", "have"] and result.words("config")[0][2] == "have"
        assert result.lines[-1] == f"ok {top} {image.digest}"


def test_a_known_digest_asks_nobody(store):
    with FaultyRegistry() as reg:
        image = odd(reg)
        expect_ok(store.pull(reg.host, "library/odd", digest=image.digest), image)
        assert reg.matching("GET", "manifests")[0].path.endswith(image.digest)
    expect_ok(store.pull(reg.host, "library/odd", digest=image.digest), image)


def test_a_known_blob_of_another_image_is_not_fetched(store):
    with FaultyRegistry() as reg:
        first = odd(reg)
        expect_ok(store.pull(reg.host, "library/odd", "1"))
        second = odd(reg, "2", [b"one", b"new"])
        reg.forget()
        result = expect_ok(store.pull(reg.host, "library/odd", "2"), second)
        assert [w[3] for w in result.words("layer")] == ["have", "fetch"]
        assert reg.count("GET", first.layers[0]) == 0
        store.check(*all_of(first), *all_of(second))


def test_a_blob_of_the_wrong_size_is_fetched_again(store):
    with FaultyRegistry() as reg:
        image = odd(reg)
        expect_ok(store.pull(reg.host, "library/odd", "1"))
        for digest in (image.layers[0], image.config, image.digest):
            os.unlink(store.blob(digest))
            with open(store.blob(digest), "wb") as f:
                f.write(b"short")
        expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        store.check(*all_of(image))


def test_a_spoilt_manifest_in_the_store_is_fetched_again(store):
    with FaultyRegistry() as reg:
        image = odd(reg)
        expect_ok(store.pull(reg.host, "library/odd", "1"))
        data = open(store.blob(image.digest), "rb").read()
        os.unlink(store.blob(image.digest))
        with open(store.blob(image.digest), "wb") as f:
            f.write(data.replace(b"layers", b"LAYERS"))
        expect_ok(store.pull(reg.host, "library/odd", digest=image.digest), image)
        store.check(*all_of(image))


def test_docker_schema_2_is_pulled(store):
    with FaultyRegistry() as reg:
        image = odd(reg, docker=True)
        top = reg.index("library/odd", "list", [(odd(reg, "other", [b"x"], docker=True).digest, ARM), (image.digest, AMD)], docker=True)
        result = expect_ok(store.pull(reg.host, "library/odd", "list"), image)
        assert result.lines[-1] == f"ok {top} {image.digest}"
        store.check(top, *all_of(image))


def test_layers_may_be_packed_in_every_known_way(store):
    with FaultyRegistry() as reg:
        for number, kind in enumerate(("oci.image.layer.v1.tar", "oci.image.layer.v1.tar+gzip", "oci.image.layer.v1.tar+zstd",
                                       "docker.image.rootfs.diff.tar.gzip", "docker.image.rootfs.diff.tar.zstd")):
            image = odd(reg, str(number), [b"%d" % number], media_type="application/vnd." + kind)
            expect_ok(store.pull(reg.host, "library/odd", str(number)), image)


def test_an_index_gives_the_platform_with_its_variant(store):
    with FaultyRegistry() as reg:
        config = {"architecture": "arm", "os": "linux"}
        images = {v: odd(reg, v, [v.encode()], config={**config, "variant": v}) for v in ("v5", "v6", "v7")}
        reg.index("library/odd", "all", [(odd(reg, "amd", [b"amd"]).digest, AMD)] +
                  [(i.digest, "linux/arm/" + v) for v, i in images.items()])
        for v, image in [*images.items(), ("v8", images["v7"]), ("", images["v5"])]:
            expect_ok(store.pull(reg.host, "library/odd", "all", arch="arm", variant=v), image)
        expect_error(store.pull(reg.host, "library/odd", "all", arch="arm", variant="v4"), "image", "linux/arm/v4", "linux/arm/v5")


def test_an_index_without_the_platform_says_what_it_has(store):
    with FaultyRegistry() as reg:
        reg.index("library/odd", "all", [(odd(reg).digest, "linux/s390x"), (odd(reg).digest, "windows/amd64")])
        expect_error(store.pull(reg.host, "library/odd", "all"), "image", AMD, "linux/s390x, windows/amd64")


def test_a_nested_index_leads_to_the_image(store):
    with FaultyRegistry() as reg:
        image = odd(reg)
        inner = reg.index("library/odd", None, [(image.digest, AMD)])
        top = reg.index("library/odd", "nested", [(inner, None)])
        result = expect_ok(store.pull(reg.host, "library/odd", "nested"), image)
        assert result.lines[-1] == f"ok {top} {image.digest}"
        store.check(top, inner, *all_of(image))


def test_indexes_are_followed_to_a_limit(store):
    with FaultyRegistry() as reg:
        digest = odd(reg).digest
        for _ in range(6):
            digest = reg.index("library/odd", "deep", [(digest, None)])
        expect_error(store.pull(reg.host, "library/odd", "deep"), "image", "levels")
        assert reg.count("GET") <= 5


def test_schema_1_is_refused_with_the_reason(store):
    with FaultyRegistry() as reg:
        old = {"schemaVersion": 1, "name": "library/odd", "tag": "1", "architecture": "amd64",
               "fsLayers": [{"blobSum": reg.blob(b"layer")}], "history": [{"v1Compatibility": "{}"}], "signatures": []}
        reg.manifest("library/odd", old, DOCKER + "distribution.manifest.v1+prettyjws", "old")
        expect_error(store.pull(reg.host, "library/odd", "old"), "image", "schema 1", "push it again")


def test_an_image_without_layers_is_refused(store):
    with FaultyRegistry() as reg:
        odd(reg, layers=[])
        expect_error(store.pull(reg.host, "library/odd", "1"), "image", "no layers")


def test_the_same_layer_twice_is_fetched_once(store):
    with FaultyRegistry() as reg:
        image = odd(reg, layers=[b"same" * 1000, b"other", b"same" * 1000])
        result = expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        assert reg.count("GET", image.layers[0]) == 1
        assert sorted(w[0] for w in result.words("done")) == ["0", "1", "2"]


def test_many_layers_are_pulled(store):
    with FaultyRegistry() as reg:
        image = odd(reg, layers=[b"layer %d" % i for i in range(120)])
        expect_ok(store.pull(reg.host, "library/odd", "1", concurrent=8), image)
        store.check(*all_of(image))


def test_no_address_of_a_manifest_is_followed(store):
    with FaultyRegistry() as reg, FaultyRegistry() as elsewhere:
        image = odd(reg, media_type=DOCKER + "image.rootfs.foreign.diff.tar.gzip")
        expect_error(store.pull(reg.host, "library/odd", "1"), "image", "foreign", "only the registry that was named")
        assert not store.has(image.layers[0])
        odd(reg, "nondist", media_type=OCI + "layer.nondistributable.v1.tar+gzip")
        expect_error(store.pull(reg.host, "library/odd", "nondist"), "image", "nondistributable")
        # an ordinary layer that names addresses is fetched from the registry all the same
        image = odd(reg, "urls")
        document = json.loads(reg.manifests["library/odd", image.digest][0])
        for layer in document["layers"]:
            layer["urls"] = [f"{elsewhere.url}/v2/library/odd/blobs/{layer['digest']}"]
        reg.manifest("library/odd", document, tag="urls")
        expect_ok(store.pull(reg.host, "library/odd", "urls"))
        assert elsewhere.requests == [] and reg.count("GET", "/blobs/") > 0


def test_what_is_no_image_is_refused_by_name(store):
    with FaultyRegistry() as reg:
        chart = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
                 "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": reg.blob(b"{}"), "size": 2},
                 "layers": [{"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "digest": reg.blob(b"c"), "size": 1}]}
        reg.manifest("library/chart", chart, tag="1")
        expect_error(store.pull(reg.host, "library/chart", "1"), "image", "application/vnd.cncf.helm.config.v1+json", "not an image")
        odd(reg, "enc", media_type=OCI + "layer.v1.tar+gzip+encrypted")
        expect_error(store.pull(reg.host, "library/odd", "enc"), "image", "+encrypted")
        for number, text in enumerate((b"[]", b"{}", b"null", b"not json", b'{"schemaVersion":2}', b"\x00" * 100, b"")):
            reg.manifest("library/odd", text, OCI + "manifest.v1+json", f"bad{number}")
            expect_error(store.pull(reg.host, "library/odd", f"bad{number}"), "image")
        assert reg.count("GET", "/blobs/") == 0


def test_a_document_that_is_index_and_manifest_is_neither(store):
    with FaultyRegistry() as reg:
        image = odd(reg)
        document = json.loads(reg.manifests["library/odd", image.digest][0])
        document["manifests"] = []
        reg.manifest("library/odd", document, tag="both")
        expect_error(store.pull(reg.host, "library/odd", "both"), "image", "both index and manifest")


def test_an_image_that_is_too_large_is_refused_before_it_is_fetched(store):
    with FaultyRegistry() as reg:
        image = odd(reg, layers=[b"x" * 5000])
        expect_error(store.pull(reg.host, "library/odd", "1", max_bytes=5000), "resource", "5000", "allowed")
        assert reg.count("GET", "/blobs/") == 0
        document = json.loads(reg.manifests["library/odd", image.digest][0])
        document["layers"] = [{**document["layers"][0], "size": 1 << 41, "digest": "sha256:" + "%064x" % i} for i in range(500)]
        reg.manifest("library/odd", document, tag="huge")
        expect_error(store.pull(reg.host, "library/odd", "huge", max_bytes=(1 << 63) - 1), "storage", "free")
        expect_error(store.pull(reg.host, "library/odd", "huge"), "resource", "allowed")
        document["layers"] = document["layers"][:1] * 2
        document["layers"][1] = {**document["layers"][1], "size": 7}
        reg.manifest("library/odd", document, tag="twice")
        expect_error(store.pull(reg.host, "library/odd", "twice", max_bytes=(1 << 63) - 1), "image", "two sizes")
        assert reg.count("GET", "/blobs/") == 0


def test_an_image_of_another_machine_is_refused(store):
    with FaultyRegistry() as reg:
        odd(reg, config={"architecture": "s390x", "os": "linux", "rootfs": {"diff_ids": []}})
        expect_error(store.pull(reg.host, "library/odd", "1"), "image", "tells of 0")
        odd(reg, "2", config={"architecture": "s390x", "os": "linux"})
        expect_error(store.pull(reg.host, "library/odd", "2"), "image", "linux/s390x")
        expect_error(store.pull(reg.host, "library/odd", "2"), "image", "linux/s390x")  # with the configuration in the store
        odd(reg, "3", config=b"not json")
        expect_error(store.pull(reg.host, "library/odd", "3"), "image", "configuration")


def test_a_repository_or_tag_that_is_not_there_says_so(store):
    with FaultyRegistry() as reg:
        odd(reg)
        text = expect_error(store.pull(reg.host, "library/odd", "2", name="odd:2"), "image", "odd:2: ", reg.host, "404", "manifest unknown")
        assert "tried" not in text
        expect_error(store.pull(reg.host, "library/odd", digest="sha256:" + "0" * 64), "image", "404")


def test_a_plan_that_makes_no_sense_is_refused(store):
    for change in ({"version": 2}, {"repository": "../../x"}, {"unknown": 1}, {"endpoints": []}):
        result = store.run({**plan("127.0.0.1:1", "library/odd", "1"), **change})
        assert result.code == 2 and result.lines == [] and b"plan" in result.stderr, result


main(globals())
