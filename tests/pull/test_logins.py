#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boxlite-pull: who it speaks to, what it shows them, whom it believes."""
import socketserver
import urllib.parse

from pulllib import *
from registry import *

USER = {"username": "user", "password": "secret"}


def odd(reg, tag="1"):
    return reg.image("library/odd", tag, [b"one" * 1000, b"two"])


def emptied(store):
    shutil.rmtree(os.path.join(store.path, "sha256"))
    return store


def with_authorization(server, pattern=""):
    return [r.path for r in server.requests if "Authorization" in r.headers and re.search(pattern, r.path)]


# --- basic authentication ---

def test_basic_authentication_is_answered(store):
    with FaultyRegistry(auth=Basic("user", "secret")) as reg:
        image = odd(reg)
        expect_ok(store.pull(endpoint(reg.host, **USER), "library/odd", "1"), image)
        assert reg.requests[0].status == 401 and "Authorization" not in reg.requests[0].headers, "shown before it was asked for"
        assert len([r for r in reg.requests if r.status == 401]) == 1


def test_a_wrong_password_is_said(store):
    with FaultyRegistry(auth=Basic("user", "secret")) as reg:
        odd(reg)
        expect_error(store.pull(endpoint(reg.host, username="user", password="wrong"), "library/odd", "1"), "image", reg.host,
                     "does not accept the user name and password")
        assert reg.count("GET") == 2
        expect_error(store.pull(reg.host, "library/odd", "1"), "image", "asks for a user name and password, and none was given")


def test_an_odd_password_survives(store):
    password = "p\u00e4ss:w\u00f6rd \"'\\%&="
    with FaultyRegistry(auth=Basic("us\u00e9r", password)) as reg:
        image = odd(reg)
        expect_ok(store.pull(endpoint(reg.host, username="us\u00e9r", password=password), "library/odd", "1"), image)


# --- tokens ---

def test_an_anonymous_token_is_fetched_once(store):
    with TokenService() as service, FaultyRegistry(auth=Bearer(service)) as reg:
        image = odd(reg)
        expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        assert [urllib.parse.unquote(r.path) for r in service.requests] == \
            ["/token?service=registry.test&scope=repository:library/odd:pull"]
        assert with_authorization(service) == []


def test_a_login_is_shown_to_the_token_service_only(store):
    with TokenService({"user": "secret"}, anonymous=False) as service, FaultyRegistry(auth=Bearer(service)) as reg:
        image = odd(reg)
        expect_ok(store.pull(endpoint(reg.host, **USER), "library/odd", "1"), image)
        assert len(with_authorization(service, "account=user")) == 1
        assert not any(r.headers.get("Authorization", "").startswith("Basic") for r in reg.requests)
        expect_error(store.pull(endpoint(reg.host, username="user", password="no"), "library/odd", "1"), "image", "log in to " + reg.host,
                     "401")
        expect_error(store.pull(reg.host, "library/odd", "1"), "image", "without a user name", "no anonymous tokens")


def test_an_identity_token_is_posted(store):
    with TokenService(anonymous=False, identity_tokens={"refresh +&me"}) as service, FaultyRegistry(auth=Bearer(service)) as reg:
        image = odd(reg)
        expect_ok(store.pull(endpoint(reg.host, identity_token="refresh +&me"), "library/odd", "1"), image)
        assert service.count("POST", "^/token$") == 1 and service.count("GET") == 0
        expect_error(store.pull(endpoint(reg.host, identity_token="other"), "library/odd", "1"), "image", "log in to")


def test_a_given_bearer_token_is_sent_as_it_is(store):
    with TokenService() as service, FaultyRegistry(auth=Bearer(service)) as reg:
        image = odd(reg)
        service.tokens["my.token"] = (["repository:library/odd:pull"], time.monotonic() + 60)
        expect_ok(store.pull(endpoint(reg.host, bearer_token="my.token"), "library/odd", "1"), image)
        assert service.requests == [] and all(r.status != 401 for r in reg.requests)
        expect_error(store.pull(endpoint(reg.host, bearer_token="other"), "library/odd", "1"), "image", "does not accept the token")


def test_a_token_that_expires_is_renewed(store):
    with TokenService() as service, FaultyRegistry(auth=Bearer(service)) as reg:
        image = reg.image("library/odd", "1", [b"layer %d" % i for i in range(12)])

        def expire(handler, answer):
            service.revoke()
            handler.answer(answer)
        for layer in (image.layers[3], image.layers[7]):
            reg.fault("/blobs/" + layer, expire, times=1)
        expect_ok(store.pull(reg.host, "library/odd", "1"), image)
        assert 3 <= service.count("GET") <= 6


def test_a_token_that_is_never_accepted_ends_the_pull(store):
    with TokenService() as service, FaultyRegistry(auth=Bearer(service)) as reg:
        odd(reg)
        service.allows = lambda token, scope: False
        expect_error(store.pull(reg.host, "library/odd", "1"), "image", "401", "login")
        assert service.count("GET") == 2


def test_nonsense_of_a_token_service_is_refused(store):
    with TokenService() as service, FaultyRegistry(auth=Bearer(service)) as reg:
        odd(reg)
        for body in (b"", b"[]", b"{}", b'{"token": 1}', b'{"token": "a\\r\\nX-Evil: 1"}', b'{"token": ""}', b"x" * 1000):
            service.fault("/token", status(200, {}, body), times=1)
            expect_error(store.pull(reg.host, "library/odd", "1"), "invalid", "token", "log in to")
        service.fault("/token", endless(), times=1)
        expect_error(store.pull(reg.host, "library/odd", "1"), "image", "65536")
        service.fault("/token", redirect(reg.url + "/v2/"), times=1)
        expect_error(store.pull(reg.host, "library/odd", "1"), "image", "log in to")


def test_a_login_does_not_follow_a_redirect_of_the_token_service(store):
    with TokenService({"user": "secret"}) as service, FaultyRegistry() as thief, FaultyRegistry(auth=Bearer(service)) as reg:
        odd(reg)
        service.fault("/token", redirect(thief.url + "/token"))
        expect_error(store.pull(endpoint(reg.host, **USER), "library/odd", "1"), "image", "404")
        assert thief.count("GET") == 1 and with_authorization(thief) == []
        thief.forget()
        expect_error(store.pull(endpoint(reg.host, identity_token="t"), "library/odd", "1"), "network", "not followed")
        assert thief.requests == []


def test_challenges_nobody_can_answer_are_refused(store):
    for challenge, word in (("Negotiate", "not known"), ("", "not known"), ("Bearer", "not known"), ('Bearer realm="ftp://x/"', "not followed"),
                            ('Bearer realm="/token"', "not followed"), ('Bearer realm="file:///etc/passwd"', "not followed"),
                            ('Bearer realm="http://user:pw@127.0.0.1/"', "not followed"), ("Bearer realm=" + "x" * 3000, "too long"),
                            ('Bearer realm="https://127.0.0.1:1/"', "log in to"), ("\x80\xff", "not known")):
        with FaultyRegistry() as reg:
            reg.fault("", status(401, {"WWW-Authenticate": challenge}))
            result = store.pull(reg.host, "library/odd", "1", retries=0)
            assert result.code == 1 and word in result.error()[1], (challenge, result)
            assert reg.count("GET") == 1


# --- redirects ---

def test_a_redirect_to_another_host_gets_no_credentials(store):
    with FaultyRegistry(auth=Basic("user", "secret")) as reg, FaultyRegistry() as storage:
        image = odd(reg)
        storage.blobs.update(reg.blobs)
        reg.fault("/blobs/", lambda h, a: (h.answer(a) if a.status == 401 else redirect(storage.url + h.path + "?signature=x#y")(h, a)))
        expect_ok(store.pull(endpoint(reg.host, **USER), "library/odd", "1"), image)
        assert storage.count("GET", "signature=x$") == 3 and with_authorization(storage) == []
        assert with_authorization(reg, "/blobs/")


def test_a_redirect_within_the_registry_keeps_the_login(store):
    with FaultyRegistry(auth=Basic("user", "secret")) as reg:
        image = odd(reg)
        reg.manifests["library/moved", image.digest] = reg.manifests["library/odd", image.digest]
        reg.tags["library/moved", "1"] = image.digest
        reg.fault("library/moved", lambda h, a: redirect(h.path.replace("moved", "odd"))(h, a))
        expect_ok(store.pull(endpoint(reg.host, **USER), "library/moved", "1"), image)
        reg.forget()
        reg.fault("library/moved", lambda h, a: redirect(f"http://localhost:{reg.port}" + h.path.replace("moved", "odd"))(h, a))
        expect_error(emptied(store).pull(endpoint(reg.host, **USER), "library/moved", "1"), "image", "localhost", "401")


def test_redirects_end_somewhere(store):
    with FaultyRegistry() as reg:
        odd(reg)
        reg.fault("/manifests/", redirect(lambda path: path))
        expect_error(store.pull(reg.host, "library/odd", "1"), "network", "redirects without end")
        assert reg.count("GET") <= 12
        for location in ("file:///etc/passwd", "gopher://x/", "http://user:pw@127.0.0.1/", "", "http://", "//", "http://[", "\x01", "x" * 40000):
            reg.forget()
            reg.fault("/manifests/", redirect(location))
            result = store.pull(reg.host, "library/odd", "1", retries=0)
            assert result.code == 1 and reg.count("GET") <= 2, (location, result)


# --- TLS ---

def test_a_private_authority_is_trusted_where_it_is_named(store):
    ca = Authority(os.path.join(store.path, "..", os.path.basename(store.path) + "-ca"))
    try:
        other = Authority(ca.directory + "/other", "another")
        with FaultyRegistry(tls=ca) as reg:
            image = odd(reg)
            secure = {"plain_http": False}
            text = expect_error(store.pull(endpoint(reg.host, **secure), "library/odd", "1"), "network", "certificate", "authority")
            assert "tried" not in text
            expect_error(store.pull(endpoint(reg.host, ca_pem=other.text, **secure), "library/odd", "1"), "network", "certificate")
            assert reg.requests == []
            expect_ok(store.pull(endpoint(reg.host, ca_pem=ca.text, **secure), "library/odd", "1"), image)
            expect_ok(emptied(store).pull(endpoint(reg.host, ca_pem=other.text + ca.text, **secure), "library/odd", "1"), image)
            expect_ok(emptied(store).pull(endpoint(reg.host, skip_verify=True, **secure), "library/odd", "1"), image)
            expect_error(store.pull(endpoint(reg.host, ca_pem="nonsense", **secure), "library/odd", "x"), "network", reg.host)
        with FaultyRegistry(certificate=ca.issue("registry.example")) as reg:
            expect_error(store.pull(endpoint(reg.host, ca_pem=ca.text, **secure), "library/odd", "1"), "network", reg.host)
        with FaultyRegistry(certificate=ca.issue("127.0.0.1", days=-1)) as reg:
            expect_error(store.pull(endpoint(reg.host, ca_pem=ca.text, **secure), "library/odd", "1"), "network", "expired")
    finally:
        shutil.rmtree(ca.directory)


def test_plain_and_encrypted_are_not_mixed_up(store):
    ca = Authority(os.path.join(store.path, "ca"))
    with FaultyRegistry() as plain, FaultyRegistry(tls=ca) as secure:
        odd(plain)
        text = expect_error(store.pull(endpoint(plain.host, plain_http=False), "library/odd", "1"), "network", "plain http, say so")
        assert "tried" not in text
        assert plain.requests == []
        expect_error(store.pull(secure.host, "library/odd", "1", retries=0), "network", secure.host)
        # what was reached by https leads nowhere without it
        image = odd(secure)
        plain.blobs.update(secure.blobs)
        secure.fault("/blobs/", redirect(lambda path: plain.url + path))
        expect_error(store.pull(endpoint(secure.host, plain_http=False, ca_pem=ca.text), "library/odd", "1"), "network",
                     "without encryption")
        secure.forget()
        secure.fault("/manifests/", status(401, {"WWW-Authenticate": f'Bearer realm="{plain.url}/token"'}))
        expect_error(store.pull(endpoint(secure.host, plain_http=False, ca_pem=ca.text, **USER), "library/odd", "1"), "network",
                     "without encryption")
        assert plain.requests == [] and not store.has(*image.layers)


def test_the_authority_also_holds_for_where_the_registry_sends_us(store):
    ca = Authority(os.path.join(store.path, "ca"))
    with FaultyRegistry(tls=ca) as reg, FaultyRegistry(tls=ca) as storage:
        with TokenService({"user": "secret"}, tls=ca) as service:
            reg.auth = Bearer(service)
            image = odd(reg)
            storage.blobs.update(reg.blobs)
            reg.fault("/blobs/", lambda h, a: h.answer(a) if a.status == 401 else redirect(storage.url + h.path)(h, a))
            expect_ok(store.pull(endpoint(reg.host, plain_http=False, ca_pem=ca.text, **USER), "library/odd", "1"), image)
            assert with_authorization(storage) == []


# --- several endpoints ---

def test_mirrors_are_asked_first(store):
    with FaultyRegistry() as mirror, FaultyRegistry() as reg:
        image = mirror.image("cache/library/odd", "1", [b"one"])
        result = expect_ok(store.pull([endpoint(mirror.host, prefix="cache"), endpoint(reg.host)], "library/odd", "1"), image)
        assert reg.requests == [] and result.words("from") == [[mirror.host]]


def test_the_next_endpoint_is_asked_when_one_has_not_the_image(store):
    with FaultyRegistry() as empty, FaultyRegistry(auth=Basic("a", "b")) as closed, FaultyRegistry() as broken, FaultyRegistry() as reg:
        broken.fault("", status(503))
        image = odd(reg)
        dead = f"127.0.0.1:{free_port()}"
        hosts = [dead, empty.host, closed.host, broken.host, reg.host]
        result = expect_ok(store.pull(hosts, "library/odd", "1"), image)
        assert result.words("from") == [[reg.host]]
        assert broken.count("GET") == 2 and empty.count("GET") == 1 and closed.count("GET") == 1


def test_when_no_endpoint_has_it_each_says_why(store):
    with FaultyRegistry() as empty, FaultyRegistry(auth=Basic("a", "b")) as closed:
        dead = f"127.0.0.1:{free_port()}"
        expect_error(store.pull([closed.host, dead, empty.host], "library/odd", "1", retries=0), "image", "asks for a user name", dead,
                     "Failed to connect", f"{empty.host} answers 404")


def test_a_blob_that_the_mirror_lacks_comes_from_the_registry(store):
    with FaultyRegistry() as mirror, FaultyRegistry() as reg:
        image = odd(reg)
        odd(mirror)
        del mirror.blobs[image.layers[0]]
        mirror.fault("/blobs/" + image.layers[1], status(403))
        expect_ok(store.pull([mirror.host, reg.host], "library/odd", "1"), image)
        assert reg.count("GET", "/manifests/") == 0 and reg.count("GET", "/blobs/") == 2
        store.check(*all_of(image))


def test_the_login_of_one_endpoint_is_not_shown_to_another(store):
    with FaultyRegistry(auth=Basic("user", "secret")) as mirror, FaultyRegistry(auth=Basic("other", "word")) as reg:
        image = odd(reg)
        ends = [endpoint(mirror.host, **USER), endpoint(reg.host, username="other", password="word")]
        expect_ok(store.pull(ends, "library/odd", "1"), image)
        assert {r.headers.get("Authorization") for r in reg.requests} == {None, reg.auth.header}
        assert {r.headers.get("Authorization") for r in mirror.requests} == {None, mirror.auth.header}


# --- proxies ---

class Proxy(socketserver.ThreadingTCPServer):
    """Takes CONNECT and absolute addresses; names are resolved here: every one is 127.0.0.1."""
    daemon_threads, allow_reuse_address = True, True

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError):
                self.serve()

        def serve(self):
            method, target, _ = self.rfile.readline().decode().split()
            lines = []
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                lines.append(line)
            self.server.seen.append((method, target, b"".join(lines).decode()))
            url = urllib.parse.urlsplit(target if "//" in target else "//" + target)
            with socket.create_connection(("127.0.0.1", url.port)) as there:
                if method == "CONNECT":
                    self.wfile.write(b"HTTP/1.1 200 go\r\n\r\n")
                else:
                    there.sendall(f"{method} {url.path} HTTP/1.1\r\nConnection: close\r\n".encode() + b"".join(lines) + b"\r\n")
                threading.Thread(target=self.copy, args=(self.connection, there), daemon=True).start()
                self.copy(there, self.connection)

        @staticmethod
        def copy(a, b):
            with contextlib.suppress(OSError):
                while data := a.recv(65536):
                    b.sendall(data)
                b.shutdown(socket.SHUT_WR)

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.seen = []
        self.url = f"http://user:word@127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


def test_proxies_of_the_plan_are_used(store):
    ca = Authority(os.path.join(store.path, "ca"))
    with Proxy() as proxy, FaultyRegistry() as plain, FaultyRegistry(certificate=ca.issue("registry.test")) as secure:
        image = odd(plain)
        odd(secure)
        ends = endpoint(f"registry.test:{plain.port}")
        expect_ok(store.pull(ends, "library/odd", "1", http_proxy=proxy.url), image)
        assert proxy.seen and all(m == "GET" and "Proxy-Authorization: Basic" in h for m, _, h in proxy.seen), proxy.seen
        assert not any("Proxy-Authorization" in r.headers for r in secure.requests)
        proxy.seen.clear()
        ends = endpoint(f"registry.test:{secure.port}", plain_http=False, ca_pem=ca.text)
        expect_ok(emptied(store).pull(ends, "library/odd", "1", https_proxy=proxy.url), image)
        assert proxy.seen and all(m == "CONNECT" for m, _, _ in proxy.seen), proxy.seen
        assert not any("User-Agent: boxlite" in h and "Accept:" in h for _, _, h in proxy.seen)
        proxy.seen.clear()
        # not for this machine, not for who is excepted, and not because the environment says so
        expect_ok(emptied(store).pull(plain.host, "library/odd", "1", http_proxy=proxy.url), image)
        result = store.pull(f"registry.invalid:{plain.port}", "library/odd", "x", http_proxy=proxy.url, no_proxy=".invalid", retries=0)
        expect_error(result, "network", "registry.invalid")
        with store.start(plan(f"registry.invalid:{plain.port}", "library/odd", "x", retries=0), env={"http_proxy": proxy.url}) as p:
            expect_error(p.wait(), "network", "registry.invalid")
        assert proxy.seen == []


main(globals())
