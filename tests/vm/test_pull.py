# SPDX-License-Identifier: Apache-2.0
"""Images from registries, as a person at a shell gets them: names, mirrors, logins, searching, one pull for many, and what is left when
one is killed. The registries are those of tests/lib/registry.py; how boxlite-pull holds out against hostile ones is tests/pull."""
import base64
import contextlib
import ctypes
import json
import os
import re
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
import mkimage
import registry
from mkimage import directory, file

LAYERS = [[directory("etc"), file("etc/one", b"1" * 5000)], [file("etc/two", b"2" * 70000)]]


def make_home():
    home = boxtest.Home()
    home.work = os.path.join(home.path, "made")
    home.docker = os.path.join(home.path, "docker")
    home.bin = os.path.join(home.path, "bin")
    for path in (home.work, home.docker, home.bin):
        os.mkdir(path)
    home.env = {k: v for k, v in home.env.items() if not k.lower().endswith("_proxy")}
    home.env.update(DOCKER_CONFIG=home.docker, PATH=home.bin + ":" + os.environ["PATH"])
    home.env.pop("BOXLITE_CONFIG", None)
    home.layout = os.path.join(home.work, "layout")
    mkimage.oci_layout(home.layout, "odd:1", LAYERS)
    return home


def configure(home, *registries, path=None, **more):
    path = path or os.path.join(home.path, "config.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"image_registries": list(registries), **more}, f)
    return path


def plain(reg, **more):
    return {"host": reg.host, "transport": "http", **more}


def docker_config(home, text):
    path = os.path.join(home.docker, "config.json")
    if text is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return path
    with open(path, "w", encoding="utf-8") as f:
        f.write(text if isinstance(text, str) else json.dumps(text))
    return path


def references(home):
    return {i["Reference"] for i in json.loads(home.ok("images", "--format", "json").text)}


def forget(home):
    """No image, no blob."""
    home.remove_all()
    for reference in references(home):
        home.ok("rmi", reference)
    home.ok("prune", "-a")
    assert blobs(home) == set(), blobs(home)


def blobs(home):
    return set(os.listdir(os.path.join(home.path, "blobs", "sha256")))


def clean(home):
    assert home.leftovers() == [], home.leftovers()
    partial = os.path.join(home.path, "blobs", "partial")
    assert not os.path.exists(partial) or os.listdir(partial) == [], os.listdir(partial)
    home.wait_no_processes()


@contextlib.contextmanager
def serving(home, repository="library/odd", tag="1", layout=None, **kw):
    with registry.FaultyRegistry(**kw) as reg:
        reg.layout(layout or home.layout, repository, tag)
        yield reg
    docker_config(home, None)
    forget(home)
    clean(home)


def encoded(user, password):
    return base64.b64encode(f"{user}:{password}".encode()).decode()


# --- what it says and does ---

def test_a_pull_says_what_it_got_and_the_second_is_one_request(home):
    with serving(home, "team/odd") as reg:
        configure(home, plain(reg))
        r = home.ok("pull", f"{reg.host}/team/odd:1")
        lines = r.text.splitlines()
        assert lines[0] == f"Pulled: {reg.host}/team/odd:1" and re.fullmatch(r"Digest: sha256:[0-9a-f]{64}", lines[1]), r
        assert lines[2:] == ["Layers: 2"] and r.err == b"", r
        assert references(home) == {f"{reg.host}/team/odd:1"}
        assert len(blobs(home)) == 4
        reg.forget()
        again = home.ok("pull", "-q", f"{reg.host}/team/odd:1")
        assert again.text == lines[1][len("Digest: "):] + "\n", again
        assert [(q.method, q.path) for q in reg.requests] == [("GET", "/v2/team/odd/manifests/1")], reg.requests


def test_a_digest_is_pulled_and_held_to(home):
    with serving(home, "team/odd") as reg:
        configure(home, plain(reg))
        home.ok("pull", f"{reg.host}/team/odd:1")
        digest = json.loads(home.ok("image", "inspect", f"{reg.host}/team/odd:1").text)[0]["Manifest"]
        forget(home)
        r = home.ok("pull", f"{reg.host}/team/odd:whatever@{digest}")
        assert f"@{digest}" in r.text, r
        assert reg.count("GET", "/manifests/" + digest) == 1
        r = home.run("pull", f"{reg.host}/team/odd@sha256:" + "0" * 64)
        assert r.code == 125 and b"404" in r.err, r


def test_what_is_no_reference_is_said_before_anybody_is_asked(home):
    for name in ("Upper:1", "a b", "host:99999/x", "x@sha256:12", "x:"):
        r = home.run("pull", name)
        assert r.code == 125 and b"invalid image reference" in r.err, r
    assert home.run("pull").code == 2 and home.run("pull", "a", "b").code == 2


def test_layers_are_shared_and_fetched_once(home):
    with serving(home, "team/odd") as reg:
        other = os.path.join(home.work, "other")
        mkimage.oci_layout(other, "other:1", [*LAYERS, [file("etc/three", b"3")]])
        reg.layout(other, "team/other", "1")
        configure(home, plain(reg))
        home.ok("pull", f"{reg.host}/team/odd:1")
        reg.forget()
        home.ok("pull", f"{reg.host}/team/other:1")
        assert reg.count("GET", "/blobs/") == 2, reg.requests  # configuration, and the one new layer


def test_what_is_not_there_is_an_image_error(home):
    with serving(home) as reg:
        configure(home, plain(reg))
        r = home.run("pull", f"{reg.host}/library/absent:1")
        assert r.code == 125 and r.err.startswith(b"Error: images error: ") and b"404" in r.err and b"box" not in r.err, r


# --- mirrors ---

def test_a_mirror_of_docker_io_serves_and_run_pulls_by_itself(home):
    image = boxtest.busybox_image()
    with serving(home, "library/busybox", "test", image) as reg:
        configure(home, {"host": "docker.io", "mirrors": [reg.host]}, plain(reg))
        r = home.ok("run", "--rm", "busybox:test", "echo", "from a registry")
        assert r.out == b"from a registry\n" and r.err == b"", r
        assert references(home) == {"docker.io/library/busybox:test"}
        reg.forget()
        assert home.ok("run", "--rm", "busybox:test", "true").out == b""
        assert reg.requests == [], "an image that is there is not asked for"


def test_a_box_whose_image_cannot_be_had_does_not_stay(home):
    with serving(home) as reg:
        configure(home, {"host": "docker.io", "mirrors": [reg.host + "/hub"]}, plain(reg))
        r = home.run("run", f"{reg.host}/library/absent:1", "true")
        assert r.code == 125 and b"404" in r.err, r
        assert home.boxes() == []


def test_a_mirror_with_a_path_and_the_next_when_one_is_down(home):
    with serving(home, "hub/library/odd") as reg:
        configure(home, {"host": "docker.io", "mirrors": [f"127.0.0.1:{registry.free_port()}", reg.host + "/hub"]}, plain(reg))
        home.ok("pull", "odd:1")
        assert references(home) == {"docker.io/library/odd:1"}


def test_plain_http_only_where_it_is_configured(home):
    with serving(home) as reg:
        configure(home)
        r = home.run("pull", f"{reg.host}/library/odd:1")
        assert r.code == 125 and b"network error" in r.err, r
        assert reg.requests == [], reg.requests


# --- certificates ---

def test_a_private_authority_is_trusted_for_its_registry_only(home):
    authority = registry.Authority(os.path.join(home.work, "ca"))
    with serving(home, tls=authority) as reg:
        name = f"{reg.host}/library/odd:1"
        configure(home)
        r = home.run("pull", name)
        assert r.code == 125 and b"certificate" in r.err, r
        configure(home, {"host": reg.host, "ca_file": authority.pem})
        home.ok("pull", name)
        forget(home)
        configure(home, {"host": reg.host, "skip_verify": True})
        home.ok("pull", name)
        configure(home, {"host": reg.host, "ca_file": authority.pem + ".missing"})
        r = home.run("pull", name)
        assert r.code == 125 and b"ca.pem.missing" in r.err, r


# --- logins ---

def test_a_login_from_the_configuration_and_a_wrong_one(home):
    with serving(home, auth=registry.Basic("user", "secret")) as reg:
        name = f"{reg.host}/library/odd:1"
        configure(home, plain(reg))
        r = home.run("pull", name)
        assert r.code == 125 and b"user name and password" in r.err and b"none was given" in r.err, r
        configure(home, plain(reg, auth={"type": "basic", "username": "user", "password": "wrong"}))
        r = home.run("pull", name)
        assert r.code == 125 and b"does not accept" in r.err and b"wrong" not in r.err, r
        assert r.err.startswith(b"Error: images error: "), r
        configure(home, plain(reg, auth={"type": "basic", "username": "user", "password": "secret"}))
        home.ok("pull", name)


def test_dockers_configuration_logs_in(home):
    with serving(home, auth=registry.Basic("user", "secret")) as reg:
        name = f"{reg.host}/library/odd:1"
        configure(home, plain(reg))
        docker_config(home, {"auths": {reg.host: {"auth": encoded("user", "secret")}}})
        home.ok("pull", name)
        forget(home)
        configure(home, plain(reg, auth={"type": "anonymous"}))  # said here: docker's word is not asked
        assert home.run("pull", name).code == 125


def test_a_credential_helper_logs_in(home):
    asked = os.path.join(home.work, "asked")
    helper = os.path.join(home.bin, "docker-credential-test")
    with open(helper, "w", encoding="utf-8") as f:
        f.write(f'#!/bin/sh\nread -r server\necho "$1 $server" >>{asked}\n. {home.work}/answer\n')
    os.chmod(helper, 0o755)

    def answer(text):
        with open(os.path.join(home.work, "answer"), "w", encoding="utf-8") as f:
            f.write(text)

    with serving(home, auth=registry.Basic("user", "secret")) as reg:
        name = f"{reg.host}/library/odd:1"
        configure(home, plain(reg))
        path = docker_config(home, {"credHelpers": {reg.host: "test"}})
        answer("""echo '{"ServerURL":"x","Username":"user","Secret":"secret"}'""")
        home.ok("pull", name)
        with open(asked, encoding="utf-8") as f:
            assert f.read() == f"get {reg.host}\n"
        forget(home)
        answer("echo 'credentials not found in native keychain'; exit 1")
        r = home.run("pull", name)
        assert r.code == 125 and b"none was given" in r.err, r
        answer("echo 'the keyring is locked'; exit 1")
        r = home.run("pull", name)
        assert r.code == 125 and b"the keyring is locked" in r.err and b"docker-credential-test" in r.err and path.encode() in r.err, r
        docker_config(home, {"credsStore": "nowhere"})
        r = home.run("pull", name)
        assert r.code == 125 and b"docker-credential-nowhere is not in the PATH" in r.err, r


def test_a_broken_docker_configuration_matters_when_it_is_needed(home):
    with serving(home) as reg:
        path = docker_config(home, '{"auths": {')
        configure(home, plain(reg))
        r = home.run("pull", f"{reg.host}/library/odd:1")
        assert r.code == 125 and path.encode() in r.err, r
        configure(home, plain(reg, auth={"type": "anonymous"}))
        home.ok("pull", f"{reg.host}/library/odd:1")


def test_credentials_of_a_registry_do_not_go_to_its_mirror(home):
    with serving(home) as reg:
        docker_config(home, {"auths": {"https://index.docker.io/v1/": {"auth": encoded("hub", "secret")}}})
        configure(home, {"host": "docker.io", "mirrors": [reg.host]}, plain(reg))
        home.ok("pull", "odd:1")
        configure(home, {"host": "docker.io", "mirrors": [reg.host], "auth": {"type": "basic", "username": "u", "password": "p"}}, plain(reg))
        home.ok("pull", "odd:1")
        assert len(reg.requests) > 1 and not any("Authorization" in q.headers for q in reg.requests), reg.requests


def test_a_token_service_gets_the_login(home):
    with registry.TokenService(users={"user": "secret"}) as service, serving(home, auth=registry.Bearer(service)) as reg:
        configure(home, plain(reg))
        docker_config(home, {"auths": {f"http://{reg.host}/v2/": {"username": "user", "password": "secret"}}})
        home.ok("pull", f"{reg.host}/library/odd:1")


# --- searching ---

def test_names_without_a_registry_are_searched_for_in_order(home):
    with serving(home, "odd") as first, serving(home, "odd") as second:
        second.layout(home.layout, "team/only-here", "1")
        configure(home, plain(first, search=True), plain(second, search=True))
        home.ok("pull", "odd:1")
        assert references(home) == {f"{first.host}/odd:1"} and second.requests == []
        home.ok("pull", "team/only-here:1")
        assert f"{second.host}/team/only-here:1" in references(home)
        r = home.run("pull", "nowhere:1")
        assert r.code == 125 and first.host.encode() in r.err and second.host.encode() in r.err and b"docker.io" not in r.err, r


def test_a_registry_that_is_down_is_not_passed_over(home):
    with serving(home, "odd") as reg:
        configure(home, {"host": f"127.0.0.1:{registry.free_port()}", "transport": "http", "search": True}, plain(reg, search=True))
        r = home.run("pull", "odd:1")
        assert r.code == 125 and b"network error" in r.err and reg.requests == [], r


def test_registries_on_the_command_line_are_reached_as_the_file_says(home):
    with serving(home, "odd") as reg:
        path = configure(home, plain(reg), path=os.path.join(home.work, "elsewhere.json"))
        configure(home)
        home.ok("--config", path, "--registry", reg.host, "pull", "odd:1")
        home.ok("pull", "--registry", reg.host, "odd:1", env={"BOXLITE_CONFIG": path})
        assert references(home) == {f"{reg.host}/odd:1"}
        r = home.run("--registry", "http://" + reg.host, "pull", "odd:1")
        assert r.code == 125 and b"host[:port]" in r.err, r


def test_an_image_that_was_found_by_searching_is_run_by_the_same_name(home):
    image = boxtest.busybox_image()
    with serving(home, "busybox", "test", image) as reg:
        configure(home, plain(reg, search=True))
        home.ok("pull", "busybox:test")
        reg.forget()
        assert home.ok("run", "--rm", "busybox:test", "echo", "there").out == b"there\n"
        assert reg.requests == []


# --- the file ---

def test_a_key_that_is_not_known_is_refused_by_name(home):
    path = configure(home, {"host": "a.example", "mirrrors": []})
    r = home.run("images")
    assert r.code == 125 and b"mirrrors" in r.err and path.encode() in r.err, r
    configure(home, registries=[])
    assert b"registries" in home.run("ps").err
    configure(home)
    r = home.run("--config", "/nowhere.json", "ps")
    assert r.code == 125 and b"/nowhere.json" in r.err, r
    elsewhere = os.path.join(home.path, "second")
    path = configure(home, path=os.path.join(home.work, "home.json"), home_dir=elsewhere)
    env = {**home.env, "BOXLITE_CONFIG": path}
    env.pop("BOXLITE_HOME")
    outside = boxtest.Home(home.path)
    outside.env = env
    assert f"{elsewhere}" in outside.ok("info", "--format", "json").text


# --- many at once, and the end of one ---

def big_image(reg, size=3_000_000):
    return reg.image("team/big", "1", [os.urandom(size), os.urandom(size // 2)])


def test_two_programs_do_the_work_once(home):
    with serving(home) as reg:
        big_image(reg)
        configure(home, plain(reg))
        reg.fault("/blobs/", registry.drip(0, 0.05, 200_000))
        both = [home.popen("pull", "-q", f"{reg.host}/team/big:1") for _ in range(2)]
        answers = [p.communicate(timeout=boxtest.DEADLINE) for p in both]
        assert [p.returncode for p in both] == [0, 0] and answers[0][0] == answers[1][0], answers
        assert reg.count("GET", "/manifests/") == 1 and reg.count("GET", "/blobs/") == 3, reg.requests


def test_two_images_with_a_layer_in_common_fetch_it_once(home):
    with serving(home) as reg:
        shared = os.urandom(2_000_000)
        for name in ("one", "two"):
            reg.image("team/" + name, "1", [shared, name.encode() * 100])
        configure(home, plain(reg))
        reg.fault("/blobs/" + registry.digest_of(shared), registry.drip(0, 0.05, 200_000))
        both = [home.popen("pull", "-q", f"{reg.host}/team/{name}:1") for name in ("one", "two")]
        for p in both:
            assert p.communicate(timeout=boxtest.DEADLINE)[1] == b"" and p.returncode == 0
        assert reg.count("GET", "/blobs/" + registry.digest_of(shared)) == 1, reg.requests


def partial_bytes(home):
    path = os.path.join(home.path, "blobs", "partial")
    with contextlib.suppress(OSError):
        return sum(os.path.getsize(os.path.join(path, n)) for n in os.listdir(path))
    return 0


def test_a_killed_pull_leaves_nothing_wrong_and_the_next_goes_on(home):
    with serving(home) as reg:
        big = big_image(reg, 6_000_000)
        name = f"{reg.host}/team/big:1"
        configure(home, plain(reg))
        reg.fault("/blobs/" + big.layers[0], registry.stall(4_000_000), times=1)
        p = home.popen("pull", name)
        boxtest.wait_for(lambda: partial_bytes(home) >= 3_000_000, "3 MB of a layer")
        p.send_signal(signal.SIGKILL)
        p.communicate()
        home.wait_no_processes("a killed pull")
        assert references(home) == set()
        home.ok("prune")
        reg.forget()
        home.ok("pull", name)
        ranges = [q.headers.get("Range") for q in reg.matching("GET", "/blobs/" + big.layers[0])]
        assert len(ranges) == 1 and re.fullmatch(r"bytes=[0-9]{6,}-.*", ranges[0] or ""), ranges
        assert reg.sent("/blobs/" + big.layers[0]) < 3_500_000
        clean(home)


def test_an_interrupted_pull_ends_at_once_with_its_program(home):
    with serving(home) as reg:
        big = big_image(reg)
        configure(home, plain(reg))
        reg.fault("/blobs/" + big.layers[0], registry.stall(1000))
        for sent in (signal.SIGINT, signal.SIGTERM):
            p = home.popen("pull", f"{reg.host}/team/big:1")
            boxtest.wait_for(lambda: reg.count("GET", "/manifests/") > 0, "the first request")
            boxtest.wait_for(lambda: len(home.processes()) >= 2, "boxlite-pull")
            began = time.monotonic()
            p.send_signal(sent)
            p.communicate(timeout=20)
            assert p.returncode == 128 + sent and time.monotonic() - began < 10
            home.wait_no_processes("an interrupted pull")
            reg.requests.clear()
        reg.forget()
        home.ok("pull", f"{reg.host}/team/big:1")


def test_a_run_that_is_interrupted_while_it_pulls_leaves_no_box(home):
    with serving(home) as reg:
        big = big_image(reg)
        configure(home, plain(reg))
        reg.fault("/blobs/" + big.layers[0], registry.stall(1000))
        p = home.popen("run", f"{reg.host}/team/big:1", "true")
        boxtest.wait_for(lambda: reg.count("GET", "/blobs/" + big.config) > 0, "the configuration")
        boxtest.wait_for(lambda: big.config[7:] in blobs(home), "the configuration in the store")
        home.ok("prune", "-a")
        assert big.config[7:] in blobs(home), "a pull's blobs are nobody's garbage"
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=20)
        assert p.returncode == 130 and home.boxes() == [], home.boxes()


def test_boxlite_pull_that_dies_is_told_of(home):
    with serving(home) as reg:
        big = big_image(reg)
        configure(home, plain(reg))
        reg.fault("/blobs/" + big.layers[0], registry.stall(1000))
        p = home.popen("pull", f"{reg.host}/team/big:1")
        boxtest.wait_for(lambda: reg.count("GET", "/blobs/" + big.config) > 0, "the configuration")
        for pid, name in home.processes().items():
            if name == "boxlite-pull":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        _, err = p.communicate(timeout=60)
        assert p.returncode == 125 and b"boxlite-pull" in err or b"signal 9" in err, err
        reg.forget()
        home.ok("pull", f"{reg.host}/team/big:1")


def test_a_terminal_shows_layers_and_the_whole(home):
    with serving(home) as reg:
        big = big_image(reg)
        configure(home, plain(reg))
        reg.fault("/blobs/" + big.layers[0], registry.drip(0, 0.1, 150_000))
        t = boxtest.Terminal(home, "pull", f"{reg.host}/team/big:1")
        try:
            t.expect(big.layers[0][7:19].encode())
            t.expect(b" of 3.0 MB")
            t.expect(b" of 4.5 MB  ")
            t.expect(b" MB/s  ")
            t.expect(b" s left  ")
            t.expect(f"{reg.host}/team/big:1\r".encode())
            t.expect(b"Pulled: ")
            assert t.wait() == 0
        finally:
            t.close()


# --- what a program sees ---

class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("message", ctypes.c_char_p)]


class Result(ctypes.Structure):
    _fields_ = [("reference", ctypes.c_char_p), ("config_digest", ctypes.c_char_p), ("layer_count", ctypes.c_int)]


class Progress(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), *((n, ctypes.c_char_p) for n in ("box_id", "reference", "registry", "digest", "message")),
                *((n, ctypes.c_int32) for n in ("state", "layer", "layers", "reserved")), ("done", ctypes.c_uint64), ("total", ctypes.c_uint64)]


PULLED = ctypes.CFUNCTYPE(None, ctypes.POINTER(Result), ctypes.POINTER(Error), ctypes.c_void_p)
TOLD = ctypes.CFUNCTYPE(None, ctypes.POINTER(Progress), ctypes.c_void_p)
DONE = ctypes.CFUNCTYPE(None, ctypes.POINTER(Error), ctypes.c_void_p)
STOPPED, FETCHING, RETRYING, ALL_DONE = 11, 2, 3, 4
LIBRARY = os.path.join(boxtest.BUILD, "libboxlite.so.0")


class Program:
    """A program with the library inside: this one."""

    def __init__(self, home):
        self.lib = ctypes.CDLL(LIBRARY)
        self.lib.boxlite_runtime_free.argtypes = self.lib.boxlite_image_free.argtypes = [ctypes.c_void_p]
        self.rt, self.images, self.kept = ctypes.c_void_p(), ctypes.c_void_p(), []
        self.answers, self.events = [], []
        os.environ["DOCKER_CONFIG"] = home.docker
        assert self.lib.boxlite_runtime_new(home.path.encode(), None, 0, ctypes.byref(self.rt), None) == 0
        assert self.lib.boxlite_runtime_images(self.rt, ctypes.byref(self.images), None) == 0
        self.keep(TOLD(lambda p, _: self.events.append({n: getattr(p[0], n) for n, _ in Progress._fields_})),
                  lambda cb: self.lib.boxlite_runtime_on_pull_progress(self.rt, cb, None, None))

    def keep(self, callback, post):
        self.kept.append(callback)
        assert post(callback) == 0

    def pull(self, name):
        def on_pulled(result, error, _):
            self.answers.append((error[0].code, error[0].message.decode()) if error else (0, result[0].config_digest.decode()))
            if result:
                self.lib.boxlite_free_image_pull_result(result)
        self.keep(PULLED(on_pulled), lambda cb: self.lib.boxlite_image_pull(self.images, name.encode(), cb, None, None))

    def drain(self, until):
        end = time.monotonic() + 60
        while not until():
            assert self.lib.boxlite_runtime_drain(self.rt, 200, None) >= 0 and time.monotonic() < end, self.answers

    def shut_down(self):
        self.keep(DONE(lambda _e, _u: self.answers.append("down")),
                  lambda cb: self.lib.boxlite_runtime_shutdown(self.rt, 0, cb, None, None))

    def close(self):
        self.lib.boxlite_image_free(self.images)
        self.lib.boxlite_runtime_free(self.rt)


@contextlib.contextmanager
def program(home):
    p = Program(home)
    try:
        yield p
    finally:
        p.close()


def test_a_program_that_asks_twice_at_once_fetches_once_and_hears_how_far_it_is(home):
    with serving(home) as reg:
        big = big_image(reg)
        configure(home, plain(reg))
        reg.fault("/blobs/" + big.layers[0], registry.cut(1_500_000), times=1)
        reg.fault("/blobs/" + big.layers[0], registry.drip(0, 0.05, 200_000))
        with program(home) as p:
            for _ in range(2):
                p.pull(f"{reg.host}/team/big:1")
            p.drain(lambda: len(p.answers) == 2)
            assert p.answers == [(0, big.config)] * 2, p.answers
        assert reg.count("GET", "/manifests/") == 1, reg.requests
        layer = [e for e in p.events if e["layer"] == 0]
        assert {e["digest"] for e in layer} == {big.layers[0].encode()} and {e["total"] for e in layer} == {3_000_000}
        assert [e["state"] for e in layer][-1] == ALL_DONE and layer[-1]["done"] == 3_000_000
        assert any(e["state"] == RETRYING and e["message"] for e in layer), layer
        assert any(e["state"] == FETCHING and 0 < e["done"] < 3_000_000 for e in layer), layer
        whole = [e for e in p.events if e["layer"] == -1]
        ends = [e for e in whole if e["state"] == ALL_DONE]
        assert [e["layers"] for e in ends] == [2, 0], ends  # who waited for the other knows of no layer
        assert ends[0]["total"] == ends[0]["done"] == 4_500_000 and ends[0]["registry"] == reg.host.encode(), ends
        assert whole[0]["registry"] == b"", whole[0]


def test_a_shutdown_ends_pulls_and_a_freed_runtime_does_not_wait_for_them(home):
    with serving(home) as reg:
        big = big_image(reg)
        configure(home, plain(reg))
        reg.fault("/blobs/" + big.layers[0], registry.stall(1000))
        with program(home) as p:
            p.pull(f"{reg.host}/team/big:1")
            p.drain(lambda: any(e["layers"] for e in p.events))
            p.shut_down()
            p.drain(lambda: len(p.answers) == 2)
            assert p.answers[0][0] == STOPPED and p.answers[1] == "down", p.answers
        home.wait_no_processes("a runtime that was shut down")
        with program(home) as p:
            p.pull(f"{reg.host}/team/big:1")
            p.drain(lambda: any(e["layers"] for e in p.events))
        home.wait_no_processes("a runtime that was freed")
        assert p.answers == []
        reg.forget()
        home.ok("pull", f"{reg.host}/team/big:1")


def test_debians_registry_with_a_login_serves_the_image_that_make_run_makes(home):
    missing = registry.DebianRegistry.missing()
    if missing:
        raise boxtest.Skip(missing)
    made = os.path.join(boxtest.BUILD, "image")
    name, image = ("python:slim-debian", made) if os.path.exists(os.path.join(made, "index.json")) else ("busybox:test", boxtest.busybox_image())
    with registry.DebianRegistry(os.path.join(home.work, "debian"), auth=registry.Basic("user", "secret")) as reg:
        reg.put(f"oci:{image}", "library/" + name.split(":")[0], name.split(":")[1])
        configure(home, {"host": "docker.io", "mirrors": [reg.host]}, plain(reg))
        r = home.run("pull", name)
        assert r.code == 125, r
        docker_config(home, {"auths": {reg.host: {"auth": encoded("user", "secret")}}})
        assert home.ok("run", "--rm", name, "echo", "hello").out == b"hello\n"
    docker_config(home, None)
    forget(home)
    clean(home)


def loadable():
    """A sanitized library cannot be loaded into Python: there the command stands for all programs."""
    with open(LIBRARY, "rb") as f:
        return b"__asan_init" not in f.read()


if __name__ == "__main__":
    with_library = ("test_a_program_that", "test_a_shutdown_ends")
    boxtest.main({n: f for n, f in globals().items() if loadable() or not n.startswith(with_library)}, make_home)
