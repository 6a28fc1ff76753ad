# SPDX-License-Identifier: Apache-2.0
"""An Internet of the test's own: a host in one network namespace, servers behind a wire in another. Nothing of it is reachable from
outside, nothing outside is reachable from it.

    world.enter(__file__)        first thing in a test file: the whole test runs again in namespaces of its own
    with world.World() as w: ... servers are up, /etc/resolv.conf of this mount namespace names their DNS

    host   203.0.113.1/24  (the boxes' host; what boxlite-net guards)      10.77.0.1/24 a private network of the host
    world  203.0.113.2/24, 198.51.100.x and 192.0.2.x on its loopback, 10.77.0.2/24 on the private network
"""
import contextlib
import hashlib
import http.server
import os
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import tempfile
import threading

DNS = "198.51.100.53"
OTHER_DNS = "198.51.100.54"
ZONE = {
    "web.example": ["198.51.100.10"], "two.example": ["198.51.100.10"], "secure.example": ["198.51.100.11"],
    "other.example": ["198.51.100.12"], "a.wild.example": ["198.51.100.10"], "rebind.example": ["127.0.0.1"],
    "metadata.example": ["169.254.169.254"], "private.example": ["10.77.0.2"], "mixed.example": ["127.0.0.1", "198.51.100.10"],
    "deaf.example": ["198.51.100.99"], "denied.example": ["198.51.100.12"],
    "turn.example": ["198.51.100.10"],  # the first time; then the address of the cloud's metadata
}
WORLD = ["198.51.100.%d" % n for n in (10, 11, 12, 53, 54, 99)] + ["192.0.2.7", "169.254.169.254", "100.100.100.200"]
BIG = int(os.environ.get("BOXLITE_TEST_DOWNLOAD_MB", "64")) * 1024 * 1024


def enter(file):
    """Runs the calling program again in namespaces of its own; returns in the second run only."""
    if os.environ.get("BX_WORLD"):
        return
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    os.environ["BX_WORLD"] = "1"
    os.execvp("unshare", ["unshare", *user, "--net", "--mount", "--propagation", "private", "--", sys.executable, os.path.abspath(file),
                          *sys.argv[1:]])


def sh(script):
    subprocess.run(["sh", "-ec", script], check=True)


def big_chunks():
    seed = b"boxlite"
    for _ in range(BIG // 65536):
        seed = hashlib.sha256(seed).digest()
        yield seed * 2048


def big_digest():
    h = hashlib.sha256()
    for chunk in big_chunks():
        h.update(chunk)
    return h.hexdigest()


# --- servers, in the world's namespace ---

class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/big":
            self.send_response(200)
            self.send_header("Content-Length", str(BIG))
            self.end_headers()
            for chunk in big_chunks():
                self.wfile.write(chunk)
            return
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "http://other.example/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = f"{self.headers.get('Host')} {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Reverse(socketserver.StreamRequestHandler):
    """Reads to the end, then answers: works only when each direction ends by itself."""

    def handle(self):
        data = self.rfile.read()
        self.wfile.write(data[::-1])


class Farewell(socketserver.BaseRequestHandler):
    """Says how much the one before has sent, ends its own direction, and then reads to the end."""

    before = 0

    def handle(self):
        self.request.sendall(b"%d" % Farewell.before)
        self.request.shutdown(socket.SHUT_WR)
        got = 0
        while data := self.request.recv(65536):
            got += len(data)
        Farewell.before = got


class Talker(socketserver.BaseRequestHandler):
    """Speaks first, as SSH and mail servers do; then echoes."""

    def handle(self):
        self.request.sendall(b"hello, who is there?\n")
        while True:
            data = self.request.recv(65536)
            if not data:
                return
            self.request.sendall(data)


class Names(socketserver.BaseRequestHandler):
    asked = []  # every name that reached a server of the world

    def handle(self):
        data, sock = self.request
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1:at + 1 + data[at]].decode())
            at += data[at] + 1
        kind = struct.unpack(">H", data[at + 1:at + 3])[0]
        name = ".".join(labels).lower()
        Names.asked.append(name)
        question = data[12:at + 5]
        if name == "silent.example":
            return
        found = ZONE.get(name)
        if name == "turn.example" and Names.asked.count(name) > 1:
            found = ["169.254.169.254"]
        answers = b""
        count = 0
        if found and kind == 1:
            for ip in found:
                answers += b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x02\x00\x04" + socket.inet_aton(ip)
                count += 1
        elif kind == 16 and found:
            answers, count = b"\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x02\x00\x03\x02hi", 1
        elif name == "asked.example":  # tells what was asked for, to the tests
            text = " ".join(Names.asked).encode()[-250:]
            answers = b"\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x02" + struct.pack(">HB", len(text) + 1, len(text)) + text
            count = 1
        flags = 0x8180 if found is not None or count else 0x8183
        sock.sendto(data[:2] + struct.pack(">HHHHH", flags, 1, count, 0, 0) + question + answers, self.client_address)


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        sock.sendto(b"echo " + data, self.client_address)


class Quiet:
    def handle_error(self, request, client_address):
        pass  # resets are what some tests want


class Threads(Quiet, socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 1024


class Datagrams(socketserver.ThreadingMixIn, socketserver.UDPServer):
    daemon_threads = True


def tls_context(folder):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(folder, "server.pem"), os.path.join(folder, "server.key"))
    return context


def serve(folder):
    """The world's process: moved onto the wire by its parent, then it serves until its stdin ends."""
    print("ready", flush=True)
    sys.stdin.readline()
    sh("ip link set lo up; ip link set bxw1 up; ip link set bxp1 up; ip addr add 203.0.113.2/24 dev bxw1;"
       "ip addr add 10.77.0.2/24 dev bxp1; ip route add default via 203.0.113.1;" +
       "".join(f"ip addr add {ip}/32 dev lo;" for ip in WORLD))
    servers = [Datagrams((ip, 53), Names) for ip in (DNS, OTHER_DNS)] + [Datagrams((ip, 7), Echo) for ip in ("192.0.2.7", "198.51.100.10")]
    for ip in ("198.51.100.10", "198.51.100.12", "192.0.2.7", "169.254.169.254", "100.100.100.200", "10.77.0.2"):
        servers.append(Threads((ip, 80), Web))
    servers += [Threads(("198.51.100.10", 8080), Web), Threads(("198.51.100.10", 9), Reverse), Threads(("198.51.100.10", 22), Talker),
                Threads(("198.51.100.10", 10), Farewell)]
    secure = Threads(("198.51.100.11", 443), Web)
    secure.socket = tls_context(folder).wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
    servers.append(secure)
    deaf = socket.create_server(("198.51.100.99", 80), backlog=64)  # accepted by the kernel, never by us
    for s in servers:
        threading.Thread(target=s.serve_forever, daemon=True).start()
    print("up", flush=True)
    sys.stdin.readline()
    deaf.close()


class World:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="bxw-")
        os.chmod(self.folder, 0o755)

    def __enter__(self):
        self.certificates()
        self.process = subprocess.Popen(["unshare", "--net", "--", sys.executable, os.path.abspath(__file__), self.folder],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        pid = self.process.pid
        sh("ip link set lo up; ip link add bxw0 type veth peer name bxw1; ip link add bxp0 type veth peer name bxp1;"
           f"ip link set bxw1 netns {pid}; ip link set bxp1 netns {pid};"
           "ip link set bxw0 up; ip link set bxp0 up; ip addr add 203.0.113.1/24 dev bxw0; ip addr add 10.77.0.1/24 dev bxp0;"
           "ip route add default via 203.0.113.2; ip route add unreachable 198.51.100.200/32")
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "up\n"
        self.resolv(DNS)
        return self

    def resolv(self, server):
        """The host's resolv.conf from now on."""
        path = os.path.join(self.folder, "etc")
        if not os.path.isdir(path):
            subprocess.run(["cp", "-a", "/etc", path], check=False, stderr=subprocess.DEVNULL)
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(path, "resolv.conf"))
            sh(f"mount --bind {path} /etc")
        with open("/etc/resolv.conf.new", "w") as f:
            f.write(f"search nowhere.example\nnameserver {server}\n")
        os.replace("/etc/resolv.conf.new", "/etc/resolv.conf")

    def certificates(self):
        d = self.folder
        sh(f"""cd {d}
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj '/CN=test authority' 2>/dev/null
openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj '/CN=secure.example' 2>/dev/null
printf 'subjectAltName=DNS:secure.example,DNS:fronted.example' > ext
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile ext 2>/dev/null""")

    def __exit__(self, *why):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait(10)
        sh("umount /etc")
        subprocess.run(["rm", "-rf", self.folder], check=False)


if __name__ == "__main__":
    serve(sys.argv[1])
