# SPDX-License-Identifier: Apache-2.0
"""The network of a box, against a world of the test's own (tests/lib/world.py): every allowed path works, every denied path is shown
denied; published ports; what happens when things end or die."""
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
import world
from boxtest import wait_for

IMAGE = "python:test"

# What runs in the box: each line of its stdin is an expression, whose value it prints.
CLIENT = r"""
import hashlib, json, os, socket, ssl, sys, time, urllib.request
def tcp(host, port, timeout=10):
    try:
        s = socket.create_connection((host, port), timeout)
        return s
    except OSError as e:
        return type(e).__name__ + " " + os.strerror(e.errno) if e.errno and e.errno > 0 else type(e).__name__ + " " + str(e)
def connect(host, port, timeout=10):
    s = tcp(host, port, timeout)
    if isinstance(s, str): return s
    s.close()
    return "connected"
def get(url, timeout=20):
    try:
        return urllib.request.urlopen(url, timeout=timeout).read().decode()
    except Exception as e:
        return type(e).__name__ + " " + str(getattr(e, "reason", e))
def resolve(name):
    try: return sorted({i[4][0] for i in socket.getaddrinfo(name, 80)})
    except OSError as e: return str(e)
def raw_get(host, port, name):
    s = tcp(host, port)
    if isinstance(s, str): return s
    try:
        s.sendall(b"GET / HTTP/1.1\r\nHost: " + name.encode() + b"\r\nConnection: close\r\n\r\n")
        return s.recv(4096).decode().split("\r\n")[0] or "closed"
    except OSError as e: return os.strerror(e.errno)
def tls(host, name, ca):
    c = ssl.create_default_context(cadata=ca)
    s = tcp(host, 443)
    if isinstance(s, str): return s
    try:
        t = c.wrap_socket(s, server_hostname=name)
        t.sendall(b"GET / HTTP/1.1\r\nHost: " + name.encode() + b"\r\nConnection: close\r\n\r\n")
        return t.recv(4096).decode().split("\r\n")[0]
    except OSError as e: return type(e).__name__
def udp(host, port, data=b"x", timeout=3, server=None):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(timeout)
    try:
        s.connect((host, port)); s.send(data)
        return s.recv(65536).decode(errors="replace")
    except OSError as e: return type(e).__name__ + " " + (os.strerror(e.errno) if e.errno else "")
def query(server, name, kind, tcp_=False):
    q = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + bytes([0, 0, kind, 0, 1])
    if tcp_:
        s = socket.create_connection((server, 53), 5); s.sendall(len(q).to_bytes(2, "big") + q); a = s.recv(4096)[2:]
    else:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(30); s.sendto(q, (server, 53)); a = s.recv(4096)
    return [a[3] & 15, int.from_bytes(a[6:8], "big"), a[12 + len(q) - 12:].decode(errors="replace")]
def reverse(n):
    s = socket.create_connection(("web.example", 9), 10)
    data = os.urandom(n); s.sendall(data); s.shutdown(socket.SHUT_WR)
    got = b""
    while True:
        d = s.recv(65536)
        if not d: return got == data[::-1]
        got += d
def big():
    h = hashlib.sha256(); r = urllib.request.urlopen("http://web.example/big", timeout=60)
    while True:
        d = r.read(1 << 20)
        if not d: return h.hexdigest()
        h.update(d)
def many(n, at_once):
    done = 0
    while done < n:
        socks = [socket.create_connection(("198.51.100.10", 22), 30) for _ in range(min(at_once, n - done))]
        for i, s in enumerate(socks):
            s.sendall(b"%d\n" % i)
        for i, s in enumerate(socks):
            want = b"hello, who is there?\n%d\n" % i; got = b""
            while len(got) < len(want):
                d = s.recv(4096)
                if not d: return "short"
                got += d
            if got != want: return repr(got)
            s.close()
        done += len(socks)
    return done
def farewell(n):
    s = socket.create_connection(("198.51.100.10", 10), 10)
    said = b""
    while True:
        d = s.recv(100)
        if not d: break
        said += d
    s.sendall(b"x" * n); s.shutdown(socket.SHUT_WR)
    return int(said)
def udp6(addr):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try: s.connect((addr, 7)); s.send(b"x"); return "sent"
    except OSError as e: return os.strerror(e.errno)
def raw_udp(addr, port):
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("0.0.0.0", 0)); u.settimeout(2)
    segment = u.getsockname()[1].to_bytes(2, "big") + port.to_bytes(2, "big") + (11).to_bytes(2, "big") + b"\0\0" + b"raw"
    try:
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        s.sendto(segment, (addr, 0)); return u.recv(100).decode()
    except OSError as e: return type(e).__name__
def frames(mac=b"\xff" * 6):
    try:
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0x800))
        return s.send(mac * 2 + b"\x08\x00" + bytes(46)) and "sent"
    except OSError as e: return type(e).__name__
def established():
    return [l for l in open("/proc/net/tcp").read().splitlines()[1:] if l.split()[3] == "01"]
def flood(seconds):
    end = time.monotonic() + seconds; sent = 0
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.setblocking(False)
    while time.monotonic() < end:
        for i in range(100):
            try: u.sendto(b"x" * 1000, ("198.51.100.10", 9 + i)); sent += 1
            except OSError: pass
        s = socket.socket(); s.setblocking(False); s.connect_ex(("169.254.169.254", 80)); s.close()
    return sent
def ping(addr):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP); s.settimeout(2)
    try:
        s.sendto(b"\x08\x00\x00\x00\x00\x01\x00\x01", (addr, 1)); s.recv(100); return "answer"
    except OSError as e: return type(e).__name__
for line in sys.stdin:
    try: v = eval(line)
    except Exception as e: v = "raised " + repr(e)
    print(json.dumps(v), flush=True)
"""


class Box:
    """A box with the client in it."""

    def __init__(self, home, name, *options):
        self.home, self.name = home, name
        self.process = home.popen("run", "-i", "--name", name, *options, IMAGE, "python3", "-c", CLIENT, stdin=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.process.kill()
        self.process.wait()
        self.home.run("rm", "-f", self.name)

    def __call__(self, expression):
        self.process.stdin.write(expression.encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, (expression, self.process.stderr.read()[-2000:])
        return json.loads(line)

    def log(self):
        box = next(b["ID"] for b in self.home.boxes() if b["Names"] == self.name)
        with open(f"{self.home.path}/boxes/{box}/shim.log", encoding="utf-8") as f:
            return f.read()


def make_home():
    home = boxtest.Home()
    home.ok("load", boxtest.python_image(), "--name", IMAGE)
    home.ok("run", "--rm", IMAGE, "true")  # what a first start makes
    return home


REFUSED = "ConnectionRefusedError Connection refused"
DENIED = "OSError No route to host"


# --- without rules ---

def test_without_rules_a_box_reaches_the_world_and_not_what_is_guarded(home):
    with Box(home, "open") as box:
        assert box("get('http://web.example/')").startswith("web.example 203.0.113.1")
        assert box("get('http://198.51.100.12/')").startswith("198.51.100.12")
        assert box("resolve('web.example')") == ["198.51.100.10"]
        assert box("connect('198.51.100.10', 81)") == REFUSED  # the server's own answer
        assert box("connect('198.51.100.200', 80)") == DENIED  # unreachable for the host too
        assert "imed out" in box("connect('198.51.100.99', 80) and get('http://deaf.example/', 2)")
        for addr in ("169.254.169.254", "100.100.100.200", "10.77.0.2", "203.0.113.1", "10.77.0.1", "224.0.0.1"):
            assert box(f"connect('{addr}', 80)") in (DENIED, "OSError Network is unreachable"), addr
        assert box("connect('192.168.127.254', 80)") == DENIED
        assert box("connect('127.0.0.1', 80)") == REFUSED  # the box's own
        assert box("connect('::1', 80)").startswith("ConnectionRefused")
        assert box("connect('2001:db8::1', 80)") == "OSError Network is unreachable"  # at once: no IPv6
        assert box("udp6('2001:db8::1')") == "Network is unreachable"
        log = box.log()
        assert "tcp to 169.254.169.254:80 was refused: link-local, cloud metadata" in log, log


def test_a_name_never_leads_to_a_guarded_address(home):
    with Box(home, "rebind") as box:
        assert box("resolve('rebind.example')") == ["0.0.0.0"]
        assert box("resolve('metadata.example')") == ["0.0.0.0"]
        assert box("resolve('private.example')") == ["0.0.0.0"]
        assert box("resolve('mixed.example')") == ["198.51.100.10"]


def test_a_name_that_turns_to_a_guarded_address_is_not_followed(home):
    with Box(home, "turns", "--allow-net", "turn.example") as box:
        assert box("resolve('turn.example')") == ["198.51.100.10"]
        assert box("connect('198.51.100.10', 80)") == "connected"
        # Its address of then is dialled only as long as the name leads there.
        wait_for(lambda: box("connect('198.51.100.10', 80)") == DENIED, "its time to live is over", 30)
        assert box("resolve('turn.example')") == ["0.0.0.0"]
        assert box("connect('169.254.169.254', 80)") == DENIED


# --- names ---

def test_names_are_answered_over_udp_and_tcp(home):
    with Box(home, "names") as box:
        assert box("query('192.168.127.1', 'web.example', 1)")[:2] == [0, 1]
        assert box("query('192.168.127.1', 'web.example', 1, True)")[:2] == [0, 1]
        answer = box("query('192.168.127.1', 'web.example', 28)")
        assert answer[:2] == [0, 0], answer  # no IPv6: nobody waits for it
        assert box("query('192.168.127.1', 'web.example', 16)")[1] == 1
        assert box("query('192.168.127.1', 'missing.example', 1)")[0] == 3
        assert "Name or service" in box("resolve('missing.example')")


def test_the_hosts_name_server_is_followed_when_it_changes(home):
    try:
        with Box(home, "follow") as box:
            home.world.resolv("198.51.100.77")  # nobody
            wait_for(lambda: box("query('192.168.127.1', 'web.example', 1)")[0] == 2, "no name server", 60)
            home.world.resolv(world.OTHER_DNS)
            wait_for(lambda: box("query('192.168.127.1', 'other.example', 1)")[:2] == [0, 1], "the other name server", 60)
    finally:
        home.world.resolv(world.DNS)


# --- with rules ---

def test_with_rules_only_what_they_name_is_reached(home):
    with Box(home, "rules", "--allow-net", "web.example", "--allow-net", "*.wild.example", "--allow-net", "192.0.2.0/24:80",
             "--allow-net", "asked.example") as box:
        assert box("get('http://web.example/')").startswith("web.example")
        assert box("get('http://a.wild.example/')").startswith("a.wild.example")
        assert box("get('http://192.0.2.7/')").startswith("192.0.2.7")
        assert box("connect('192.0.2.7', 81)") == DENIED
        assert box("resolve('denied.example')") == ["0.0.0.0"]
        assert box("resolve('wild.example')") == ["0.0.0.0"]
        assert box("connect('198.51.100.12', 80)") == DENIED  # an address that no name has led to
        assert box("udp('192.0.2.7', 7)").startswith(("TimeoutError", "OSError No route"))  # the rule is for port 80
        assert box("udp('198.51.100.53', 53)") == "OSError No route to host"  # another resolver
        assert "denied.example" not in box("query('192.168.127.1', 'asked.example', 16)")[2]  # never left the host
        assert "refused" in box("get('http://web.example/redirect')").lower() or "route" in box("get('http://web.example/redirect')")
        assert "the name denied.example was refused: no rule allows it" in box.log()


def test_an_allowed_name_is_held_to_what_the_connection_asks_for(home):
    with open(os.path.join(home.world.folder, "ca.pem"), encoding="ascii") as f:
        ca = f.read()
    with Box(home, "sni", "--allow-net", "web.example:80", "--allow-net", "secure.example:443") as box:
        assert box("resolve('web.example')") == ["198.51.100.10"]
        assert box("raw_get('198.51.100.10', 80, 'web.example')") == "HTTP/1.1 200 OK"
        assert "reset" in box("raw_get('198.51.100.10', 80, 'two.example')")
        assert "reset" in box("raw_get('198.51.100.10', 80, 'secure.example')")  # allowed, but not here
        assert box("connect('198.51.100.10', 8080)") == DENIED
        assert box("resolve('secure.example')") == ["198.51.100.11"]
        assert box(f"tls('198.51.100.11', 'secure.example', {ca!r})") == "HTTP/1.1 200 OK"
        assert box(f"tls('198.51.100.11', 'fronted.example', {ca!r})") == "ConnectionResetError"
        assert "it asks for another name" in box.log()


def test_a_server_that_speaks_first_is_heard(home):
    with Box(home, "talker", "--allow-net", "web.example") as box:
        assert box("resolve('web.example')") == ["198.51.100.10"]
        assert box("tcp('web.example', 22).recv(100).decode()") == "hello, who is there?\n"
        # One that says nothing ends in order too.
        assert box("(lambda s: (s.shutdown(1), s.recv(100).decode(), s.recv(100).decode())[1:])(tcp('web.example', 22))") == \
            ["hello, who is there?\n", ""]


def test_a_guarded_address_is_reached_by_a_rule_of_its_own(home):
    with Box(home, "guarded", "--allow-net", "10.77.0.0/24", "--allow-net", "169.254.169.254") as box:
        assert box("get('http://10.77.0.2/')").startswith("10.77.0.2")
        assert box("get('http://169.254.169.254/')").startswith("169.254.169.254")
        assert box("connect('198.51.100.10', 80)") == DENIED


def test_the_host_is_reached_by_name_when_a_rule_allows_it(home):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with Box(home, "tohost", "--allow-net", f"host.boxlite.internal:{port}") as box:
            assert box("resolve('host.boxlite.internal')") == ["192.168.127.254"]
            assert box(f"connect('host.boxlite.internal', {port})") == "connected"
            assert box(f"connect('host.boxlite.internal', {port + 1 if port < 65535 else 1})") == DENIED


# --- off ---

def test_a_box_without_a_network_has_only_loopback(home):
    with Box(home, "off", "--network", "disabled") as box:
        assert box("sorted(os.listdir('/sys/class/net'))") == ["lo"]
        assert box("connect('198.51.100.10', 80)") == "OSError Network is unreachable"
        assert box("connect('192.168.127.1', 53)") == "OSError Network is unreachable"
        assert "resolution" in box("resolve('web.example')")


# --- rules that change ---

def policy(home, name, *options):
    return home.run("network", "policy", name, *options)


def inspect(home, name):
    return json.loads(home.ok("inspect", name).text)[0]["Network"]


def talk(box, name, host):
    """A connection that stays open under this name in the box."""
    assert box(f"(lambda s: (s.recv(100), globals().update({{{name!r}: s}}))[0].decode())(tcp('{host}', 22))") == "hello, who is there?\n"


def echoes(box, name):
    return box(f"({name}.settimeout(20), {name}.sendall(b'still\\n'), {name}.recv(100).decode())[2]")


def test_rules_change_while_the_box_runs(home):
    with Box(home, "live", "--allow-net", "web.example", "--allow-net", "two.example") as box:
        talk(box, "s", "web.example")
        talk(box, "t", "two.example")
        assert box("resolve('denied.example')") == ["0.0.0.0"]
        assert policy(home, "live", "--allow-net", "denied.example", "--allow-net", "two.example:22").code == 0
        assert "reset" in echoes(box, "s").lower()  # what it was made for is not allowed any more
        assert echoes(box, "t") == "still\n"        # allowed still
        assert box("get('http://denied.example/')").startswith("denied.example")
        assert box("resolve('web.example')") == ["0.0.0.0"]
        assert box("connect('198.51.100.10', 80)") == DENIED
        assert policy(home, "live").out == b"denied.example\ntwo.example:22\n"
        bad = policy(home, "live", "--allow-net", "web.example", "--allow-net", "a b")
        assert bad.code == 125 and b"a b" in bad.err, bad
        assert echoes(box, "t") == "still\n"
        assert inspect(home, "live")["AllowNet"] == ["denied.example", "two.example:22"]
        for pid in net_processes(home, "live"):
            os.kill(pid, signal.SIGKILL)
        # The new rules hold, not those of the plan that it was started with.
        wait_for(lambda: box("get('http://denied.example/')").startswith("denied.example"), "the network is there again")
        assert box("resolve('web.example')") == ["0.0.0.0"]
        assert policy(home, "live", "--no-rules").code == 0
        assert policy(home, "live").out == b""
        assert box("get('http://198.51.100.10/')").startswith("198.51.100.10")
        talk(box, "u", "198.51.100.10")
        assert policy(home, "live", "--allow-net", "198.51.100.0/24:22").code == 0
        assert echoes(box, "u") == "still\n"
        assert policy(home, "live", "--allow-net", "web.example").code == 0
        assert "reset" in echoes(box, "u").lower()  # made by an address: nobody has looked whom it asks for
        assert box("udp('192.0.2.7', 7)") == "OSError No route to host"


def test_changed_rules_hold_at_the_next_start(home):
    home.ok("run", "-d", "--name", "next", "--allow-net", "web.example", IMAGE, "sleep", "1000")
    fetch = ("exec", "next", "--", "python3", "-c", "import sys, urllib.request as u; print(u.urlopen('http://' + sys.argv[1], timeout=20).read())")
    try:
        assert policy(home, "next", "--allow-net", "other.example").code == 0
        home.ok("stop", "next")
        home.ok("start", "next")
        assert b"other.example" in home.ok(*fetch, "other.example").out
        assert home.run(*fetch, "web.example").code == 1
        home.ok("stop", "next")
        assert policy(home, "next", "--allow-net", "web.example").code == 0  # of one that does not run
        home.ok("start", "next")
        assert b"web.example" in home.ok(*fetch, "web.example").out
        assert home.run(*fetch, "other.example").code == 1
    finally:
        home.run("rm", "-f", "next")


def test_rules_of_a_box_without_a_network_do_not_change(home):
    with Box(home, "none", "--network", "disabled") as box:
        assert box("1") == 1
        r = policy(home, "none", "--allow-net", "web.example")
        assert r.code == 125 and b"disabled" in r.err, r
        assert inspect(home, "none")["AllowNet"] == []
    for args in ((), ("a", "b"), ("--no-rules", "--allow-net", "a.example", "x")):
        assert home.run("network", "policy", *args).code == 2, args
    assert policy(home, "nobody", "--no-rules").code == 125


# --- what was refused ---

def test_what_was_refused_is_shown(home):
    with Box(home, "shown", "--allow-net", "web.example") as box:
        for _ in range(3):
            assert box("connect('198.51.100.12', 81)") == DENIED
        assert box("resolve('denied.example')") == ["0.0.0.0"]
        box("udp('192.0.2.7', 9)")
        shown = inspect(home, "shown")
        assert shown["Refused"] >= 5, shown
        found = {(r["Protocol"], r["Address"], r["Port"], r["Name"], r["Reason"]): r for r in shown["Refusals"]}
        assert found["tcp", "198.51.100.12", 81, "", "no rule allows it"]["Times"] == 3, shown
        assert ("name", None, 0, "denied.example", "no rule allows it") in found, shown
        assert ("udp", "192.0.2.7", 9, "", "no rule allows it") in found, shown
        assert all(r["Time"].startswith("20") for r in shown["Refusals"]), shown
        # The guest decides how many there are: of events there are few, and the list is short.
        assert box("len([tcp('192.0.2.7', p, 5) for p in range(1000, 1200)])") == 200
        shown = inspect(home, "shown")
        assert shown["Refused"] >= 200 and len(shown["Refusals"]) == 32, shown
        events = [json.loads(line) for line in
                  home.ok("events", "--no-follow", "--filter", "box=shown", "--filter", "type=box.network_refused", "--format", "json").out.splitlines()]
        assert 3 <= len(events) <= 18, events
        assert events[0]["Message"] == "tcp to 198.51.100.12:81 was refused: no rule allows it", events


# --- other protocols ---

def test_datagrams_go_and_come(home):
    with Box(home, "udp") as box:
        assert box("udp('192.0.2.7', 7, b'abc')") == "echo abc"
        assert box("udp('198.51.100.10', 7, b'x' * 1400)") == "echo " + "x" * 1400
        assert box("udp('169.254.169.254', 7)") == "OSError No route to host"


def test_only_the_gateway_answers_a_ping(home):
    with Box(home, "ping") as box:
        assert box("ping('192.168.127.1')") == "answer"
        assert box("ping('198.51.100.10')") != "answer"
        assert box("ping('169.254.169.254')") != "answer"


def test_raw_packets_are_judged_as_all_are(home):
    with Box(home, "raw", "--allow-net", "192.0.2.0/24") as box:
        assert box("udp('192.0.2.7', 7, b'abc')") == "echo abc"
        assert not box("raw_udp('198.51.100.10', 7)").startswith("echo")
        box("frames()")  # as many as it wants
        assert box("udp('192.0.2.7', 7, b'abc')") == "echo abc"


def test_boxes_do_not_reach_each_other(home):
    port = free_port()
    with Box(home, "one", "-p", f"0.0.0.0:{port}:8000") as one, Box(home, "two") as two:
        one("globals().update(l=socket.create_server(('0.0.0.0', 8000)))")
        with socket.create_connection(("127.0.0.1", port), 10):
            assert one("(l.accept() and 1)") == 1
        for addr, p in (("192.168.127.2", 8000), ("192.168.127.3", 8000), ("127.0.0.1", 8000)):
            assert two(f"connect('{addr}', {p})") == REFUSED, addr  # its own address, and nobody's
        for addr in ("192.168.127.254", "203.0.113.1", "10.77.0.1"):
            assert two(f"connect('{addr}', {port})") == DENIED, addr


def test_a_box_starts_without_connections(home):
    with Box(home, "before") as before:
        talk(before, "s", "198.51.100.10")
        assert before("established()") != []
        with Box(home, "fresh") as fresh:
            assert fresh("established()") == []


# --- much, and ends ---

def memory(pids):
    """Resident KiB of these processes that is their own, together."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith(("Private_Dirty:", "Private_Clean:")))
    return total


def test_a_flood_harms_neither_the_box_nor_its_neighbour(home):
    with Box(home, "flood") as box, Box(home, "next") as neighbour:
        assert box("1") == 1  # it is there
        began = threading.Thread(target=lambda: box("flood(5)"))
        began.start()
        while began.is_alive():
            assert home.ok("exec", "flood", "--", "echo", "here").out == b"here\n"
            assert neighbour("get('http://web.example/')").startswith("web.example")
        began.join()
        wait_for(lambda: box("get('http://198.51.100.12/')").startswith("198.51.100.12"), "its own connections go on")
        assert memory(net_processes(home, "flood")) < 64 * 1024


def test_each_direction_ends_by_itself(home):
    with Box(home, "half") as box:
        answer = box("reverse(1)")
        assert answer is True, answer
        assert box("reverse(3000000)") is True
        box("farewell(2000000)")  # the server ends first, and reads on
        wait_for(lambda: box("farewell(2000000)") == 2000000, "all of it has come")


def test_a_large_download_is_whole(home):
    with Box(home, "big") as box:
        assert box("get('http://web.example/')").startswith("web.example")
        pids = net_processes(home, "big")
        idle, most, answer = memory(pids), [0], []
        reader = threading.Thread(target=lambda: answer.append(box("big()")))
        reader.start()
        while reader.is_alive():
            most.append(memory(pids))
            reader.join(0.2)
        assert answer == [world.big_digest()]
        assert max(most) < idle + 16 * 1024, (idle, most)  # KiB: what is under way, not what there is


def test_a_thousand_connections_and_two_hundred_at_once(home):
    with Box(home, "many") as box:
        assert box("many(1000, 50)") == 1000
        assert box("many(200, 200)") == 200


# --- published ports ---

SERVER = ("import socket\ns = socket.create_server(('127.0.0.1', 8000))\nu = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('0.0.0.0', 9000))\n"
          "import threading\ndef echo():\n  while True:\n    d, a = u.recvfrom(65536); u.sendto(b'udp ' + d, a)\n"
          "threading.Thread(target=echo, daemon=True).start()\nprint('up', flush=True)\n"
          "while True:\n  c, _ = s.accept(); c.sendall(b'hi ' + c.recv(100)); c.close()\n")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def test_published_ports_reach_what_listens_on_the_boxes_loopback(home):
    port, udp_port = free_port(), free_port()
    p = home.popen("run", "--name", "srv", "-p", f"{port}:8000", "-p", f"{udp_port}:9000/udp", IMAGE, "python3", "-c", SERVER)
    try:
        assert p.stdout.readline() == b"up\n", p.stderr.read()
        for i in range(20):
            with socket.create_connection(("127.0.0.1", port), 10) as s:
                s.sendall(b"%d" % i)
                assert s.recv(100) == b"hi %d" % i
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
            u.settimeout(10)
            u.connect(("127.0.0.1", udp_port))
            for i in range(3):
                u.send(b"%d" % i)
                assert u.recv(100) == b"udp %d" % i
        taken = home.run("run", "--rm", "-p", f"{port}:80", IMAGE, "true")
        assert taken.code == 125 and f"127.0.0.1:{port}".encode() in taken.err and b"in use" in taken.err, taken
        assert home.run("exec", "srv", "--", "true").code == 0
    finally:
        p.kill()
        p.wait()
        home.run("rm", "-f", "srv")
    with socket.create_server(("127.0.0.1", port)):
        pass  # it is free again


# --- tunnels ---

class Tunnel:
    def __init__(self, home, *args):
        self.process = home.popen("network", "tunnel", *args)
        self.address = self.process.stdout.readline().decode().strip()
        assert self.address, self.process.stderr.read()

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(20) == 130

    def connect(self):
        if self.address.startswith("/"):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(20)
            s.connect(self.address)
            return s
        host, port = self.address.rsplit(":", 1)
        return socket.create_connection((host, int(port)), 20)


def test_a_tunnel_reaches_a_box_without_a_network(home):
    path = os.path.join(home.path, "tunnel.sock")
    p = home.popen("run", "--name", "tun", "--network", "disabled", IMAGE, "python3", "-c", SERVER)
    try:
        assert p.stdout.readline() == b"up\n", p.stderr.read()
        with Tunnel(home, "tun", 8000) as t, Tunnel(home, "--listen", "unix:" + path, "tun", 8000) as u:
            for tunnel in (t, u, t):
                with tunnel.connect() as s:
                    s.sendall(b"abc")
                    assert s.recv(100) == b"hi abc"
                    assert s.recv(100) == b""
        assert not os.path.exists(path)
        with Tunnel(home, "tun", 8001) as t, t.connect() as s:  # nobody listens there
            with contextlib.suppress(ConnectionResetError):
                assert s.recv(100) == b""
        for args, why in (("tun", "0"), b"1 to 65535"), (("nobody", "80"), b"no such box"), (("--listen", "x", "tun", "80"), b"--listen"):
            r = home.run("network", "tunnel", *args)
            assert r.code in (2, 125) and why in r.err.lower(), r
    finally:
        p.kill()
        p.wait()
        home.run("rm", "-f", "tun")


def test_a_tunnel_carries_much_both_ways(home):
    echo = "import socket\ns = socket.create_server(('127.0.0.1', 7))\nprint('up', flush=True)\nwhile True:\n  c, _ = s.accept()\n  while True:\n" \
           "    d = c.recv(65536)\n    if not d: break\n    c.sendall(d)\n  c.close()\n"
    p = home.popen("run", "--name", "tun", "--network", "disabled", IMAGE, "python3", "-c", echo)
    try:
        assert p.stdout.readline() == b"up\n", p.stderr.read()
        with Tunnel(home, "tun", 7) as t, t.connect() as s:
            data = os.urandom(5_000_000)
            sender = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
            sender.start()
            got = bytearray()
            while chunk := s.recv(1 << 16):
                got += chunk
            sender.join()
            assert bytes(got) == data
    finally:
        p.kill()
        p.wait()
        home.run("rm", "-f", "tun")


# --- death ---

def net_processes(home, name):
    box = next(b["ID"] for b in home.boxes() if b["Names"] == name)
    real = os.path.realpath(f"{home.path}/boxes/{box}")
    shims = {pid for pid, comm in home.processes().items() if comm == "boxlite-shim" and
             any(os.readlink(f"/proc/{pid}/fd/{fd}").startswith(real) for fd in os.listdir(f"/proc/{pid}/fd"))}
    found, parents = {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
                fields = f.read().rsplit(") ", 1)[1].split()
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                found[int(pid)] = f.read()
        except OSError:
            continue
        parents[int(pid)] = int(fields[1])

    def below(pid):
        while pid > 1:
            pid = parents.get(pid, 0)
            if pid in shims:
                return True
        return False
    return [pid for pid, line in found.items() if b"boxlite-net\0--jailed" in line and below(pid)]


def test_a_killed_boxlite_net_is_started_again_and_the_box_stays(home):
    with Box(home, "killed") as box:
        assert box("get('http://web.example/')").startswith("web.example")
        box("globals().update(s=tcp('198.51.100.10', 22)) or s.recv(100).decode()")
        before = net_processes(home, "killed")
        assert before
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        assert "reset" in box("[s.settimeout(20)] and (lambda: s.recv(100))()").lower()
        wait_for(lambda: box("get('http://web.example/')").startswith("web.example"), "the network is there again")


def test_the_network_is_there_again_after_a_restart(home):
    home.ok("run", "-d", "--name", "again", "--allow-net", "web.example", IMAGE, "sleep", "1000")
    for _ in range(2):
        r = home.ok("exec", "again", "--", "python3", "-c", "import urllib.request as u; print(u.urlopen('http://web.example/').read())")
        assert b"web.example" in r.out
        assert home.run("exec", "again", "--", "python3", "-c", "import socket; socket.create_connection(('198.51.100.12', 80))").code == 1
        home.ok("stop", "again")
        home.ok("start", "again")
    home.ok("rm", "-f", "again")


def test_what_contradicts_is_refused(home):
    for options, why in ((("--network", "disabled", "--allow-net", "a.de"), b"exclude"), (("--network", "maybe"), b"neither"),
                         (("--allow-net", "a b"), b"a b"), (("-p", "x"), b"--publish"), (("-p", "70000:1"), b"--publish"),
                         (("-p", "1:2:3:4"), b"--publish"), (("--allow-net", "2001:db8::/32"), b"IPv6")):
        r = home.run("run", "--rm", *options, IMAGE, "true")
        assert r.code in (2, 125) and why in r.err, (options, r)


if __name__ == "__main__":
    world.enter(__file__)
    with world.World() as w:
        boxtest.Home.world = w
        boxtest.main(globals(), make_home)
