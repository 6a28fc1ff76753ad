#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boxlite-pull against registries that break, lie, and have no end."""
import email.utils
import json

from pulllib import *
from registry import *

BIG = 6 << 20


def odd(reg, tag="1", layers=None, **kw):
    return reg.image("library/odd", tag, layers or [b"one" * 1000, b"two"], **kw)


def big(reg):
    return odd(reg, layers=[os.urandom(BIG)])


def elapsed(began):
    return time.monotonic() - began


# --- what passes ---

def test_too_many_requests_is_waited_for_as_long_as_it_says(store):
    with FaultyRegistry() as reg:
        image = odd(reg)
        reg.fault("/manifests/", too_many(1), times=1)
        began = time.monotonic()
        result = expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        assert elapsed(began) >= 1 and int(result.words("retry")[0][1]) == 1000 and result.words("retry")[0][0] == "-"
        when = email.utils.formatdate(time.time() + 2, usegmt=True)
        reg.fault("/manifests/", too_many(when, code=503), times=1)
        result = expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        assert 1000 <= int(result.words("retry")[0][1]) <= 2000, result


def test_nobody_is_waited_for_longer_than_minutes(store):
    with FaultyRegistry() as reg:
        odd(reg)
        for value in ("3600", "99999999999999999999999", email.utils.formatdate(time.time() + 86400, usegmt=True)):
            reg.fault("/manifests/", too_many(value), times=1)
            expect_error(store.pull(reg.host, "library/odd", "1"), "network", "429", "too many requests", "come back in")
        reg.fault("/manifests/", too_many("soon"), times=1)
        expect_ok(store.pull(reg.host, "library/odd", "1"))


def test_errors_of_the_server_pass_or_are_told(store):
    with FaultyRegistry() as reg:
        image = odd(reg)
        for code in (500, 502, 503, 504, 408):
            reg.fault("/manifests/", status(code), times=1)
            expect_ok(store.pull(reg.host, "library/odd", "1", retries=1), image)
        reg.forget()
        reg.fault("/blobs/", status(500, {}, b'{"errors": [{"message": "the disk\\u001b[31m is on fire"}]}'))
        text = expect_error(emptied(store).pull(reg.host, "library/odd", "1", retries=1), "network", "500", "is on fire", "tried 2 times",
                            ": 127.0.0.1", "sha256:")
        assert "\x1b" not in text


def emptied(store):
    shutil.rmtree(os.path.join(store.path, "sha256"))
    return store


def test_a_broken_blob_goes_on_where_it_broke(store):
    with FaultyRegistry() as reg:
        image = big(reg)
        reg.fault("/blobs/" + image.layers[0], cut(BIG // 2), times=1)
        result = expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        ranges = [r.headers.get("Range") for r in reg.matching("GET", image.layers[0])]
        assert ranges[0] is None and 0 < int(ranges[1][6:-1]) <= BIG // 2, ranges
        assert reg.sent(image.layers[0]) < BIG + (1 << 20)
        assert result.words("retry")[0][0] == "0"
        store.check(*all_of(image))


def test_a_bad_line_is_got_through_while_it_gets_on(store):
    with FaultyRegistry() as reg:
        image = big(reg)
        reg.fault("/blobs/" + image.layers[0], cut(BIG // 4), times=4)
        expect_ok(store.pull(reg.host, "library/odd", "1", retries=1), image)
        store.check(*all_of(image))


def test_a_server_that_knows_no_ranges_starts_again(store):
    with FaultyRegistry() as reg:
        image = big(reg)
        reg.fault("/blobs/" + image.layers[0], cut(BIG // 2), times=1)
        reg.fault("/blobs/" + image.layers[0], no_range(), times=1)
        expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        assert reg.count("GET", image.layers[0]) == 2
        store.check(*all_of(image))


def test_a_wrong_range_is_not_believed(store):
    with FaultyRegistry() as reg:
        image = big(reg)
        for value in (f"bytes 0-{BIG - 1}/{BIG}", f"bytes {BIG // 2 - 1}-{BIG - 1}/{BIG}", "bytes 5-1/9", None):
            reg.forget()
            reg.fault("/blobs/" + image.layers[0], cut(BIG // 2), times=1)
            reg.fault("/blobs/" + image.layers[0], headers(Content_Range=value), times=1)
            expect_ok(emptied(store).pull(reg.host, "library/odd", "1") if store.has(image.digest) else
                      store.pull(reg.host, "library/odd", "1"), image)
            asked = [r.headers.get("Range") for r in reg.matching("GET", image.layers[0])]
            assert len(asked) == 3 and asked[1] and asked[2] is None, (value, asked)
            store.check(*all_of(image))


def test_what_is_no_longer_there_to_go_on_with_is_fetched_anew(store):
    with FaultyRegistry() as reg:
        image = big(reg)
        reg.fault("/blobs/" + image.layers[0], cut(BIG // 2), times=1)
        reg.fault("/blobs/" + image.layers[0], status(416), times=1)
        expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        store.check(*all_of(image))


def test_connections_that_end_at_once_are_tried_again(store):
    with FaultyRegistry() as reg:
        image = odd(reg)
        reg.fault("", disconnect(), times=2)
        expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        reg.fault("", disconnect())
        expect_error(store.pull(reg.host, "library/odd", "1", retries=1), "network", reg.host, "tried 2 times")


def test_nobody_listens(store):
    host = f"127.0.0.1:{free_port()}"
    expect_error(store.pull(host, "library/odd", "1", retries=1), "network", host, "connect", "tried 2 times")
    expect_error(store.pull("registry.invalid", "library/odd", "1", retries=0), "network", "registry.invalid", "resolve")


# --- what is slow ---

def test_a_stalled_blob_is_broken_off_and_goes_on(store):
    with FaultyRegistry() as reg:
        image = big(reg)
        reg.fault("/blobs/" + image.layers[0], stall(BIG // 2), times=1)
        began = time.monotonic()
        result = expect_ok(store.pull(reg.host, "library/odd", "1", stall_ms=400), image)
        assert 0.3 < elapsed(began) < 5 and "given up" in " ".join(result.words("retry")[0])
        assert int(reg.matching("GET", image.layers[0])[-1].headers["Range"][6:-1]) > 0
        store.check(*all_of(image))


def test_a_server_that_says_nothing_is_given_up(store):
    with FaultyRegistry() as reg:
        odd(reg)
        reg.fault("", silent())
        began = time.monotonic()
        expect_error(store.pull(reg.host, "library/odd", "1", stall_ms=300, retries=1), "network", "given up", "tried 2 times")
        assert elapsed(began) < 5


def test_a_byte_now_and_then_is_not_enough(store):
    with FaultyRegistry() as reg:
        odd(reg, layers=[b"drip" * 1000])
        for where in ("/manifests/", "/blobs/"):
            reg.forget()
            reg.fault(where, drip(pause=0.05))
            began = time.monotonic()
            expect_error(store.pull(reg.host, "library/odd", "1", stall_ms=400, retries=1), "network", "given up")
            assert elapsed(began) < 5


def test_all_of_it_has_a_deadline(store):
    with FaultyRegistry() as reg:
        odd(reg)
        reg.fault("/blobs/", silent())
        began = time.monotonic()
        expect_error(store.pull(reg.host, "library/odd", "1", timeout_ms=500), "network", "not here after", "kept")
        assert 0.4 < elapsed(began) < 3


# --- lies ---

def test_other_content_than_the_image_names_is_refused(store):
    with FaultyRegistry() as reg:
        image = odd(reg)
        for digest, name in ((image.layers[1], "layer"), (image.config, "configuration")):
            reg.forget()
            reg.fault("/blobs/" + digest, corrupt())
            expect_error(store.pull(reg.host, "library/odd", "1"), "image", name, digest[:19], reg.host, "other content")
            assert reg.count("GET", digest) == 1 and not store.has(digest)
            assert not os.path.exists(store.partial(digest)), "what is wrong is kept"
            reg.forget()
        expect_ok(store.pull(reg.host, "library/odd", "1"), image)


def test_another_size_than_the_image_names_is_refused(store):
    with FaultyRegistry() as reg:
        image = odd(reg)
        for by, word in ((10, "3010 bytes"), (-10, "2990 bytes")):
            reg.forget()
            reg.fault("/blobs/" + image.layers[0], resized(by))
            expect_error(store.pull(reg.host, "library/odd", "1"), "image", word, "says 3000")
            assert reg.count("GET", image.layers[0]) == 1
        assert not store.has(image.layers[0])


def test_a_blob_without_end_is_broken_off(store):
    with FaultyRegistry() as reg:
        image = odd(reg)
        reg.fault("/blobs/" + image.layers[0], endless())
        expect_error(store.pull(reg.host, "library/odd", "1"), "image", "more than the 3000 bytes")
        assert not store.has(image.layers[0]) and not os.path.exists(store.partial(image.layers[0]))


def test_other_manifests_than_were_asked_for_are_refused(store):
    with FaultyRegistry() as reg:
        image = odd(reg)
        other = odd(reg, "2", [b"other"])
        text = reg.manifests["library/odd", other.digest][0]
        reg.fault("/manifests/sha256", replaced(text))
        expect_error(store.pull(reg.host, "library/odd", digest=image.digest), "image", "sent another manifest", other.digest[:19])
        reg.fault("/manifests/1", replaced(text))
        expect_error(store.pull(reg.host, "library/odd", "1"), "image", "digest", "not the one it tells")
        reg.forget()
        top = json.dumps({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [
            {**reg.descriptor("library/odd", image.digest, "linux/" + ARCHITECTURE), "size": 17}]}).encode()
        reg.manifest("library/odd", top, OCI + "index.v1+json", "top")
        expect_error(store.pull(reg.host, "library/odd", "top"), "image", "the index says 17")
        reg.fault("/manifests/1", headers(Docker_Content_Digest=None), times=1)
        expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        reg.fault("/manifests/1", headers(Docker_Content_Digest="sha512:abc"), times=1)
        expect_ok(store.pull(reg.host, "library/odd", "1"), image)


def test_documents_and_headers_have_limits(store):
    with FaultyRegistry() as reg:
        odd(reg)
        reg.fault("/manifests/", endless(), times=1)
        expect_error(store.pull(reg.host, "library/odd", "1"), "image", "more than 4194304")
        reg.fault("/manifests/", headers(Content_Length="99999999999"), times=1)
        expect_error(store.pull(reg.host, "library/odd", "1"), "image", "99999999999")
        reg.fault("/manifests/", endless_headers(), times=1)
        expect_error(store.pull(reg.host, "library/odd", "1", retries=0), "network", "headers")
        reg.fault("/manifests/", endless(code=404), times=1)
        expect_error(store.pull(reg.host, "library/odd", "1"), "image", "404")
        reg.fault("/manifests/", endless(code=500))
        expect_error(store.pull(reg.host, "library/odd", "1", retries=1), "network", "500")
        document = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
                    "config": {"mediaType": OCI + "config.v1+json", "digest": reg.blob(b"{}"), "size": 1 << 30},
                    "layers": [{"mediaType": OCI + "layer.v1.tar", "digest": reg.blob(b"x"), "size": 1}]}
        reg.forget()
        reg.manifest("library/odd", document, tag="config")
        expect_error(store.pull(reg.host, "library/odd", "config"), "image", "configuration", "1073741824")


def test_what_is_no_http_is_refused(store):
    with FaultyRegistry() as reg:
        odd(reg)
        for data in (b"\x16\x03\x01\x02nonsense\r\n\r\n", b"SSH-2.0-x\r\n", b"HTTP/1.1 999999 x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
                     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8bxx",
                     b"HTTP/1.1 100 Continue\r\n" * 2000, b"HTTP/1.1 206 Partial\r\nContent-Length: 3\r\n\r\nabc", b"\0" * 4096):
            reg.forget()
            reg.fault("/manifests/", garbage(data))
            result = store.pull(reg.host, "library/odd", "1", retries=1)
            assert result.code == 1 and result.error()[0] in (8, 9), (data, result)
            assert reg.count("GET") <= 2


main(globals())
