# SPDX-License-Identifier: Apache-2.0
"""Registries for tests: one that can be told to misbehave, and Debian's real docker-registry. Both on a free port of 127.0.0.1.

    with FaultyRegistry() as reg:                        # threads of this process; plain http without a login
        image = reg.image("library/odd", "1", [b"layer", b"another"])       # layers are blobs as they are: no tar is needed
        reg.layout("/dir/of/oci-layout", "library/real", "latest")          # or all of an OCI layout (mkimage.oci_layout)
        reg.fault("/blobs/" + image.layers[0], cut(1000), times=1)          # the first fetch breaks after 1000 bytes
        ...  reg.host == "127.0.0.1:12345"
        reg.requests, reg.count("GET", "/manifests/"), reg.sent("/blobs/")  # what was asked, and bytes of bodies that were sent

    FaultyRegistry(tls=ca)                               # ca = Authority(dir): ca.pem is the file (ca.text the text) to be trusted
    FaultyRegistry(auth=Basic("user", "secret"))
    FaultyRegistry(auth=Bearer(service))                 # service = TokenService(users={"user": "secret"}); it is a server of its own

    with DebianRegistry(dir, tls=ca, auth=Basic("user", "secret")) as reg:  # or auth=Bearer(TokenService(..., authority=ca))
        reg.put("oci:/dir/of/oci-layout:name", "library/real", "latest")    # by skopeo

A fault is a function of the handler and its Answer; the first one whose pattern (a regular expression, searched in the path) matches and
that has not been used up takes the place of the ordinary answer. See cut, stall, drip, endless, status, redirect, corrupt and the others
below. All waiting inside faults ends when the registry is stopped.
"""
import base64
import collections
import contextlib
import hashlib
import http.server
import json
import os
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import warnings

import boxtest

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]

Request = collections.namedtuple("Request", "method path headers status sent body")
Image = collections.namedtuple("Image", "digest manifest config layers media_type")


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# --- logins ---

class Basic:
    """A user and a password at the registry itself."""

    def __init__(self, user, password):
        self.user, self.password = user, password
        self.header = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def refusal(self, headers, _path):
        """None, or the headers of the 401."""
        if headers.get("Authorization") == self.header:
            return None
        return {"WWW-Authenticate": 'Basic realm="test registry"'}


class Bearer:
    """Tokens of a TokenService. anonymous: may be had without a login for pulling."""

    def __init__(self, service, name="registry.test"):
        self.service, self.name = service, name

    def refusal(self, headers, path):
        match = re.match(r"/v2/(?P<name>.+)/(manifests|blobs|tags|referrers)/", path)
        scope = f"repository:{match['name']}:pull" if match else ""
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and self.service.allows(token, scope):
            return None
        challenge = f'Bearer realm="{self.service.url}/token",service="{self.name}"'
        return {"WWW-Authenticate": challenge + (f',scope="{scope}"' if scope else "")}


class Authority:
    """A certificate authority in a directory: ca.pem to be trusted, issue() for servers."""

    def __init__(self, directory, name="BoxLite test authority"):
        os.makedirs(directory, exist_ok=True)
        self.directory, self.serial = directory, 1
        self.pem, self.key = os.path.join(directory, "ca.pem"), os.path.join(directory, "ca.key")
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650", "-subj",
                      "/CN=" + name, "-keyout", self.key, "-out", self.pem)
        with open(self.pem, encoding="ascii") as f:
            self.text = f.read()

    def _openssl(self, *args, **kw):
        return subprocess.run(["openssl", *args], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw).stdout

    def issue(self, *names, days=365):
        """Files (certificate, key) for these names and addresses."""
        self.serial += 1
        base = os.path.join(self.directory, f"server-{self.serial}")
        cert, key, request, extensions = (base + end for end in (".pem", ".key", ".csr", ".ext"))
        kinds = [("IP:" if re.fullmatch(r"[0-9.]+", n) else "DNS:") + n for n in names]
        with open(extensions, "w", encoding="ascii") as f:
            f.write("basicConstraints=CA:FALSE\nsubjectAltName=" + ",".join(kinds) + "\n")
        self._openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=" + names[0],
                      "-keyout", key, "-out", request)
        self._openssl("x509", "-req", "-in", request, "-CA", self.pem, "-CAkey", self.key, "-set_serial", str(self.serial), "-days",
                      str(days), "-extfile", extensions, "-out", cert)
        return cert, key

    def sign(self, data):
        """An ECDSA signature as JWT wants it: r and s, 32 bytes each."""
        der = self._openssl("dgst", "-sha256", "-sign", self.key, input=data)
        at, numbers = 2, []
        for _ in range(2):
            length = der[at + 1]
            numbers.append(der[at + 2:at + 2 + length].lstrip(b"\0").rjust(32, b"\0"))
            at += 2 + length
        return b"".join(numbers)


# --- answers, and ways to go wrong ---

class Answer:
    """What the registry would say: body is bytes or the path of a file."""

    def __init__(self, status, headers=None, body=b""):
        self.status, self.headers, self.body = status, dict(headers or {}), body
        self.start = 0

    def size(self):
        return len(self.body) if isinstance(self.body, bytes) else os.path.getsize(self.body)

    def read(self):
        if isinstance(self.body, bytes):
            return self.body
        with open(self.body, "rb") as f:
            return f.read()


def status(code, headers=None, body=b"", pause=0):
    def fault(handler, _answer):
        handler.pause(pause)
        handler.answer(Answer(code, headers, body))
    return fault


def too_many(retry_after, code=429):
    """Come back later: retry_after is seconds, or a whole header value."""
    return status(code, {"Retry-After": str(retry_after)})


def redirect(to, code=307):
    """to: a location, or a function of the path."""
    def fault(handler, _answer):
        handler.answer(Answer(code, {"Location": to(handler.path) if callable(to) else to}))
    return fault


def cut(after):
    """Breaks the connection after so many bytes of the body."""
    def fault(handler, answer):
        handler.head(answer)
        handler.some(answer, after)
        handler.drop()
    return fault


def stall(after):
    """Says nothing more after so many bytes of the body, and keeps the connection."""
    def fault(handler, answer):
        handler.head(answer)
        handler.some(answer, after)
        handler.pause(3600)
        handler.drop()
    return fault


def silent():
    """Takes the request and never answers."""
    def fault(handler, _answer):
        handler.pause(3600)
        handler.drop()
    return fault


def drip(after=0, pause=1.0, piece=1):
    """After so many bytes, one piece every pause seconds."""
    def fault(handler, answer):
        handler.head(answer)
        handler.some(answer, after)
        data = answer.read()[answer.start + after:]
        for at in range(0, len(data), piece):
            if handler.pause(pause):
                break
            handler.put(data[at:at + piece])
        handler.drop()
    return fault


def endless(headers=None, code=200):
    """A body without length or end."""
    def fault(handler, answer):
        answer = Answer(code, {**answer.headers, **(headers or {}), "Connection": "close"})
        handler.head(answer, length=False)
        with contextlib.suppress(OSError):
            while not handler.server.stopping.is_set():
                handler.put(b"x" * 65536)
        handler.drop()
    return fault


def endless_headers():
    def fault(handler, _answer):
        with contextlib.suppress(OSError):
            handler.put(b"HTTP/1.1 200 OK\r\n", count=False)
            while not handler.server.stopping.is_set():
                handler.put(b"X-Filler: " + b"x" * 4000 + b"\r\n", count=False)
        handler.drop()
    return fault


def corrupt(at=0):
    """One byte of the body is another one."""
    def fault(handler, answer):
        data = bytearray(answer.read())
        data[at] ^= 0xff
        answer.body = bytes(data)
        handler.answer(answer)
    return fault


def resized(by):
    """The body is longer or shorter than it should be, and its Content-Length says so."""
    def fault(handler, answer):
        data = answer.read()
        answer.body = data + b"y" * by if by > 0 else data[:by]
        handler.answer(answer)
    return fault


def replaced(body):
    def fault(handler, answer):
        answer.body, answer.start, answer.status = body, 0, 200
        answer.headers.pop("Content-Range", None)
        handler.answer(answer)
    return fault


def no_range():
    """Answers 200 with everything, whatever range was asked for."""
    def fault(handler, answer):
        answer.status, answer.start = 200, 0
        answer.headers.pop("Content-Range", None)
        handler.answer(answer)
    return fault


def headers(**values):
    """The ordinary answer with these headers set (None: removed); _ stands for -."""
    def fault(handler, answer):
        for key, value in values.items():
            answer.headers.pop(key.replace("_", "-"), None)
            if value is not None:
                answer.headers[key.replace("_", "-")] = value
        handler.answer(answer)
    return fault


def hold(event, after=0):
    """The ordinary answer; after so many bytes it waits for a threading.Event."""
    def fault(handler, answer):
        if after == 0:
            handler.wait(event)
            handler.answer(answer)
            return
        handler.head(answer)
        handler.some(answer, after)
        handler.wait(event)
        handler.some(answer, None, skip=after)
    return fault


def garbage(data=b"\x16\x03\x01\x02nonsense\r\n\r\n"):
    """What is no HTTP."""
    def fault(handler, _answer):
        handler.put(data, count=False)
        handler.drop()
    return fault


def disconnect():
    def fault(handler, _answer):
        handler.drop()
    return fault


# --- servers ---

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "test-registry", ""

    def log_message(self, *_args):
        pass

    def setup(self):
        context = self.server.context
        if context:  # here and not where connections are accepted: a client that does not speak must not stop the others
            self.request.settimeout(20)
            self.request = context.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self):
        with contextlib.suppress(OSError):
            super().handle()

    def do_GET(self):
        self.status, self.sent, self.request_body = 0, 0, b""
        self.close_connection = False
        length = int(self.headers.get("Content-Length") or 0)
        if length:
            self.request_body = self.rfile.read(length)
        try:
            answer = self.server.owner.ordinary(self)
            fault = self.server.owner.take_fault(self.path)
            if fault:
                fault(self, answer)
            else:
                self.answer(answer)
        except OSError:
            self.close_connection = True
        finally:
            if self.headers.get("Connection", "").lower() == "close":
                self.close_connection = True
            self.server.owner.record(Request(self.command, self.path, dict(self.headers.items()), self.status, self.sent,
                                             self.request_body))

    do_HEAD = do_POST = do_PUT = do_GET

    # what answers are made of

    def pause(self, seconds):
        """True when the registry is being stopped."""
        return seconds > 0 and self.server.stopping.wait(seconds)

    def wait(self, event):
        while not event.wait(0.05) and not self.server.stopping.is_set():
            pass

    def put(self, data, count=True):
        self.wfile.write(data)
        if count:
            self.sent += len(data)

    def head(self, answer, length=True):
        self.status = answer.status
        self.send_response(answer.status)
        for key, value in answer.headers.items():
            self.send_header(key, value)
        if length and "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(answer.size() - answer.start))
        self.end_headers()

    def some(self, answer, n, skip=0):
        """n bytes of the body (None: all) from skip on."""
        if self.command == "HEAD":
            return
        if isinstance(answer.body, bytes):
            data = memoryview(answer.body)[answer.start + skip:]
            data = data if n is None else data[:n]
            for at in range(0, len(data), 262144):
                self.put(data[at:at + 262144])
            return
        with open(answer.body, "rb") as f:
            f.seek(answer.start + skip)
            left = n if n is not None else answer.size()
            while left > 0 and (data := f.read(min(left, 262144))):
                self.put(data)
                left -= len(data)

    def answer(self, answer):
        self.head(answer)
        self.some(answer, None)

    def drop(self):
        """Ends the connection at once."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class HttpServer(http.server.ThreadingHTTPServer):
    daemon_threads, block_on_close, request_queue_size = True, False, 64

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Server:
    """What all servers of this file share: starting, stopping, faults, and a record of what was asked."""

    def __init__(self, tls=None, names=("127.0.0.1", "localhost"), certificate=None):
        self.http = HttpServer(("127.0.0.1", 0), Handler)
        self.http.owner, self.http.stopping, self.http.context = self, threading.Event(), None
        if tls or certificate:
            self.http.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.http.context.load_cert_chain(*(certificate or tls.issue(*names)))
        self.port = self.http.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = ("https://" if self.http.context else "http://") + self.host
        self.requests, self.faults, self.lock = [], [], threading.Lock()
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def stop(self):
        self.http.stopping.set()
        self.http.shutdown()
        self.http.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def fault(self, pattern, action, times=None, after=0):
        """action answers requests whose path matches pattern: the first `times` of them (None: all), once `after` have passed."""
        with self.lock:
            self.faults.append([re.compile(pattern), action, times, after])

    def take_fault(self, path):
        with self.lock:
            for fault in self.faults:
                if not fault[0].search(path) or fault[2] == 0:
                    continue
                if fault[3] > 0:
                    fault[3] -= 1
                    continue
                if fault[2] is not None:
                    fault[2] -= 1
                return fault[1]
        return None

    def record(self, request):
        with self.lock:
            self.requests.append(request)

    def matching(self, method, pattern=""):
        with self.lock:
            return [r for r in self.requests if r.method == method and re.search(pattern, r.path)]

    def count(self, method, pattern=""):
        return len(self.matching(method, pattern))

    def sent(self, pattern=""):
        """Bytes of bodies sent in answer to matching GETs that have ended."""
        return sum(r.sent for r in self.matching("GET", pattern))

    def forget(self):
        with self.lock:
            self.requests.clear()
            self.faults.clear()

    def ordinary(self, handler):
        return Answer(404)


class FaultyRegistry(Server):
    """See the top of this file."""

    def __init__(self, auth=None, **kw):
        self.auth = auth
        self.blobs, self.manifests, self.tags = {}, {}, {}
        super().__init__(**kw)

    # what it holds

    def blob(self, data):
        """data: bytes, or a path. Any repository has it."""
        if isinstance(data, bytes):
            digest = digest_of(data)
        else:
            with open(data, "rb") as f:
                digest = "sha256:" + hashlib.file_digest(f, "sha256").hexdigest()
        self.blobs[digest] = data
        return digest

    def manifest(self, repository, document, media_type=None, tag=None):
        """A document (or bytes) as a manifest. Gives its digest."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        if not media_type:
            media_type = document["mediaType"]
        digest = digest_of(data)
        self.manifests[repository, digest] = (data, media_type)
        if tag:
            self.tags[repository, tag] = digest
        return digest

    def descriptor(self, repository, digest, platform=None):
        """Of a manifest that is there, for an index. platform: "os/architecture[/variant]"."""
        data, media_type = self.manifests[repository, digest]
        found = {"mediaType": media_type, "digest": digest, "size": len(data)}
        if platform:
            found["platform"] = dict(zip(("os", "architecture", "variant"), platform.split("/")))
        return found

    def image(self, repository, tag, layers, config=None, docker=False, media_type=None, annotations=None):
        """An image whose layers are these blobs (bytes, or paths of files); gives an Image."""
        types = {False: (OCI + "manifest.v1+json", OCI + "config.v1+json", OCI + "layer.v1.tar+gzip"),
                 True: (DOCKER + "distribution.manifest.v2+json", DOCKER + "container.image.v1+json",
                        DOCKER + "image.rootfs.diff.tar.gzip")}[docker]
        digests = [self.blob(layer) for layer in layers]
        document = config if config is not None else {"architecture": ARCHITECTURE, "os": "linux", "config": {},
                                                      "rootfs": {"type": "layers", "diff_ids": digests}}
        text = document if isinstance(document, bytes) else json.dumps(document).encode()
        manifest = {"schemaVersion": 2, "mediaType": types[0],
                    "config": {"mediaType": types[1], "digest": self.blob(text), "size": len(text)},
                    "layers": [{"mediaType": media_type or types[2], "digest": d, "size": Answer(200, body=layer).size()}
                               for d, layer in zip(digests, layers)]}
        if annotations:
            manifest["annotations"] = annotations
        digest = self.manifest(repository, manifest, tag=tag)
        return Image(digest, manifest, manifest["config"]["digest"], digests, types[0])

    def index(self, repository, tag, images, docker=False):
        """An index of [(digest of a manifest, "os/architecture[/variant]")]."""
        kind = DOCKER + "distribution.manifest.list.v2+json" if docker else OCI + "index.v1+json"
        return self.manifest(repository, {"schemaVersion": 2, "mediaType": kind,
                                          "manifests": [self.descriptor(repository, d, p) for d, p in images]}, tag=tag)

    def layout(self, directory, repository, tag):
        """The first image of an OCI layout. Gives its digest."""
        blobs = os.path.join(directory, "blobs", "sha256")
        for name in os.listdir(blobs):
            self.blobs["sha256:" + name] = os.path.join(blobs, name)
        with open(os.path.join(directory, "index.json"), encoding="utf-8") as f:
            top = json.load(f)["manifests"][0]
        pending = [top]
        while pending:
            found = pending.pop()
            with open(os.path.join(blobs, found["digest"].removeprefix("sha256:")), "rb") as f:
                data = f.read()
            self.manifests[repository, found["digest"]] = (data, found["mediaType"])
            pending += json.loads(data).get("manifests", [])
        self.tags[repository, tag] = top["digest"]
        return top["digest"]

    # what it says

    def ordinary(self, handler):
        path = urllib.parse.unquote(urllib.parse.urlsplit(handler.path).path)
        refused = self.auth and self.auth.refusal(handler.headers, path)
        if refused:
            return Answer(401, refused, self.error("UNAUTHORIZED", "authentication required"))
        if path == "/v2/":
            return Answer(200, {}, b"{}")
        match = re.fullmatch(r"/v2/(?P<name>.+)/(?P<what>manifests|blobs)/(?P<id>[^/]+)", path)
        if not match:
            return Answer(404, {}, self.error("NAME_UNKNOWN", "no such path"))
        if match["what"] == "blobs":
            return self.answer_blob(handler, match["id"])
        digest = self.tags.get((match["name"], match["id"]), match["id"])
        found = self.manifests.get((match["name"], digest))
        if not found:
            return Answer(404, {}, self.error("MANIFEST_UNKNOWN", "manifest unknown"))
        return Answer(200, {"Content-Type": found[1], "Docker-Content-Digest": digest}, found[0])

    def answer_blob(self, handler, digest):
        body = self.blobs.get(digest)
        if body is None:
            return Answer(404, {}, self.error("BLOB_UNKNOWN", "blob unknown to registry"))
        answer = Answer(200, {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest, "Accept-Ranges": "bytes"}, body)
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        if asked:
            size = answer.size()
            if int(asked[1]) >= size:
                return Answer(416, {"Content-Range": f"bytes */{size}"})
            answer.status, answer.start = 206, int(asked[1])
            answer.headers["Content-Range"] = f"bytes {answer.start}-{size - 1}/{size}"
        return answer

    @staticmethod
    def error(code, message):
        return json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()


class TokenService(Server):
    """Gives tokens: GET with basic authentication or none, POST with a refresh token (its identity tokens). With an Authority the tokens
    are JWT that DebianRegistry believes."""

    def __init__(self, users=None, anonymous=True, identity_tokens=(), authority=None, name="registry.test", expires_in=300, **kw):
        self.users, self.anonymous, self.identity_tokens = users or {}, anonymous, set(identity_tokens)
        self.authority, self.name, self.expires_in = authority, name, expires_in
        self.tokens = {}
        super().__init__(**kw)

    def allows(self, token, scope):
        with self.lock:
            granted, until = self.tokens.get(token, (None, 0))
        return granted is not None and time.monotonic() < until and (not scope or scope in granted)

    def revoke(self):
        with self.lock:
            self.tokens.clear()

    def ordinary(self, handler):
        url = urllib.parse.urlsplit(handler.path)
        if url.path != "/token":
            return Answer(404)
        if handler.command == "POST":
            asked = urllib.parse.parse_qs(handler.request_body.decode())
            subject = "identity"
            if asked.get("grant_type") == ["password"]:
                if self.users.get(asked.get("username", [""])[0]) != asked.get("password", [None])[0]:
                    return Answer(401, {}, b'{"details": "wrong password"}')
            elif asked.get("grant_type") != ["refresh_token"] or asked.get("refresh_token", [""])[0] not in self.identity_tokens:
                return Answer(401, {}, b'{"details": "incorrect refresh token"}')
        else:
            asked = urllib.parse.parse_qs(url.query)
            login = handler.headers.get("Authorization")
            subject = ""
            if login:
                kind, _, encoded = login.partition(" ")
                subject, _, password = base64.b64decode(encoded).decode().partition(":") if kind == "Basic" else ("", "", "")
                if not subject or self.users.get(subject) != password:
                    return Answer(401, {}, b'{"details": "incorrect username or password"}')
            elif not self.anonymous:
                return Answer(401, {}, b'{"details": "no anonymous tokens"}')
        if asked.get("service") != [self.name]:
            return Answer(400, {}, b'{"details": "unknown service"}')
        scopes = " ".join(asked.get("scope", [])).split()
        token = self.make(subject, scopes)
        with self.lock:
            self.tokens[token] = (scopes, time.monotonic() + self.expires_in)
        key = "access_token" if handler.command == "POST" else "token"
        return Answer(200, {"Content-Type": "application/json"}, json.dumps({key: token, "expires_in": self.expires_in}).encode())

    def make(self, subject, scopes):
        if not self.authority:
            return secrets.token_urlsafe(24)
        chain = [base64.b64encode(ssl.PEM_cert_to_DER_cert(self.authority.text)).decode()]
        access = [dict(zip(("type", "name", "actions"), (kind, name, actions.split(","))))
                  for kind, name, actions in (s.split(":", 2) for s in scopes)]
        now = int(time.time())
        claims = {"iss": self.name, "sub": subject, "aud": self.name, "exp": now + self.expires_in, "nbf": now - 10, "iat": now,
                  "jti": secrets.token_hex(8), "access": access}
        parts = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=")
                 for p in ({"typ": "JWT", "alg": "ES256", "x5c": chain}, claims)]
        signature = self.authority.sign(b".".join(parts))
        return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


class DebianRegistry:
    """The docker-registry program of Debian's package, with its files in a directory."""

    PROGRAM = "/usr/bin/docker-registry"

    @classmethod
    def missing(cls):
        """What is not installed, or None."""
        for program in (cls.PROGRAM, "/usr/bin/skopeo"):
            if not os.access(program, os.X_OK):
                return f"{program} is not installed (Debian: {os.path.basename(program)})"
        return None

    def __init__(self, directory, tls=None, auth=None):
        os.makedirs(directory, exist_ok=True)
        self.directory, self.tls, self.auth = os.path.abspath(directory), tls, auth
        self.process, self.port, self.host = None, None, None
        self.storage, self.log = os.path.join(self.directory, "storage"), os.path.join(self.directory, "log")
        self.start()

    def _configuration(self):
        http_part = {"addr": self.host, "secret": "not secret"}
        if self.tls:
            cert, key = self.tls.issue("127.0.0.1", "localhost")
            http_part["tls"] = {"certificate": cert, "key": key}
        config = {"version": 0.1, "log": {"level": "info", "accesslog": {"disabled": True}}, "http": http_part,
                  "storage": {"filesystem": {"rootdirectory": self.storage}, "delete": {"enabled": True}}}
        if isinstance(self.auth, Basic):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import crypt
            hashed = crypt.crypt(self.auth.password, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))
            users = os.path.join(self.directory, "htpasswd")
            with open(users, "w", encoding="utf-8") as f:
                f.write(f"{self.auth.user}:{hashed}\n")
            config["auth"] = {"htpasswd": {"realm": "test", "path": users}}
        elif isinstance(self.auth, Bearer):
            service = self.auth.service
            config["auth"] = {"token": {"realm": service.url + "/token", "service": service.name, "issuer": service.name,
                                        "rootcertbundle": service.authority.pem}}
        path = os.path.join(self.directory, "config.yml")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(config, f)  # JSON is YAML
        return path

    def start(self):
        """Starts it (again: with its images, on another port perhaps) and waits until it answers."""
        for _ in range(5):
            self.port = free_port()
            self.host = f"127.0.0.1:{self.port}"
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen([self.PROGRAM, "serve", self._configuration()], stdin=subprocess.DEVNULL, stdout=log,
                                                stderr=log, env={"PATH": "/usr/bin:/bin", "OTEL_TRACES_EXPORTER": "none"})
            if boxtest.wait_for(self._settled, "docker-registry answers or ends") == "answers":
                return
            self.stop()  # the port was taken meanwhile
        with open(self.log, encoding="utf-8", errors="replace") as f:
            raise AssertionError("docker-registry does not start: " + f.read()[-2000:])

    def _settled(self):
        if self.process.poll() is not None:
            return "ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return "answers"
        return None

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def remove(self):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def put(self, source, repository, tag="latest", *options):
        """Copies an image there: source as skopeo names it ("oci:/dir:name"). options: "--all", "--format=v2s2", ..."""
        argv = ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", *options]
        user, password = None, None
        if isinstance(self.auth, Basic):
            user, password = self.auth.user, self.auth.password
        elif self.auth:
            user, password = next(iter(self.auth.service.users.items()))
        if user:
            argv.append(f"--dest-creds={user}:{password}")
        done = subprocess.run([*argv, source, f"docker://{self.host}/{repository}:{tag}"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, f"skopeo: {done.stdout.decode(errors='replace')}"
