# SPDX-License-Identifier: Apache-2.0
"""Drives boxlite-unpack as libboxlite does: descriptors, a request, status lines. Makes layers with tarfile."""
import gzip
import hashlib
import io
import os
import subprocess
import tarfile
import tempfile

UNPACK = os.environ.get("BOXLITE_UNPACK", "build/boxlite-unpack")
PEAK = os.environ.get("BX_TEST_PEAK")


def sanitized():
    """Built with AddressSanitizer, whose shadow memory leaves no room for limits of memory: the program then sets none."""
    with open(UNPACK, "rb") as f:
        return b"__asan_init" in f.read()


UUID = "00112233445566778899aabbccddeeff"


class Failed(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def tool(*argv, ok=(0,)):
    env = dict(os.environ, PATH="/usr/sbin:/sbin:" + os.environ.get("PATH", ""), TZ="UTC")
    p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
    out = p.stdout.decode(errors="replace")
    assert p.returncode in ok, f"{argv}: {p.returncode}: {out}"
    return out


class Blob:
    """Bytes of a layer; what its digests are said to be can be overridden."""

    def __init__(self, data, diff=None):
        self.data = data
        self.digest = hashlib.sha256(data).hexdigest()
        self.diff_id = hashlib.sha256(diff).hexdigest() if diff is not None else "-"


def compress(tar, how):
    if how == "gzip":
        return Blob(gzip.compress(tar, 5, mtime=0), tar)
    if how == "zstd":
        return Blob(subprocess.run(["zstd", "-q", "-c"], input=tar, stdout=subprocess.PIPE, check=True).stdout, tar)
    return Blob(tar, tar)


class Layer:
    """Collects entries; .blob() gives the compressed layer."""

    def __init__(self, format=tarfile.PAX_FORMAT):
        self.file = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.file, mode="w", format=format, encoding="utf-8",
                                errors="surrogateescape")

    def add(self, name, type=tarfile.REGTYPE, data=b"", mode=0o644, uid=0, gid=0, mtime=1700000000, link="",
            dev=(0, 0), pax=None):
        t = tarfile.TarInfo(name)
        t.type, t.mode, t.uid, t.gid, t.mtime, t.linkname = type, mode, uid, gid, mtime, link
        t.devmajor, t.devminor = dev
        t.size = len(data) if type == tarfile.REGTYPE else 0
        t.pax_headers = pax or {}
        self.tar.addfile(t, io.BytesIO(data))
        return self

    def dir(self, name, mode=0o755, **kw):
        return self.add(name, tarfile.DIRTYPE, mode=mode, **kw)

    def symlink(self, name, target, **kw):
        return self.add(name, tarfile.SYMTYPE, link=target, mode=0o777, **kw)

    def hardlink(self, name, target, **kw):
        return self.add(name, tarfile.LNKTYPE, link=target, **kw)

    def whiteout(self, name):
        head, tail = os.path.split(name)
        return self.add(os.path.join(head, ".wh." + tail))

    def raw(self):
        if not self.tar.closed:
            self.tar.close()
        return self.file.getvalue()

    def blob(self, how="gzip"):
        return compress(self.raw(), how)


def run(mode, args, fds, before=(), on_line=None):
    """Runs the program with status on a pipe; gives the status lines, raises Failed for an error line. before: words before the program's
    own. on_line(pid) is called at the first line."""
    r, w = os.pipe()
    argv = [*before, UNPACK, mode] + [str(w) if a == "status" else str(a) for a in args]
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, pass_fds=list(fds) + [w], stderr=subprocess.PIPE)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        first = f.readline() if on_line else b""
        if on_line:
            on_line(p.pid)
        lines = (first + f.read()).decode().splitlines()
    stderr = p.communicate()[1].decode(errors="replace")
    code = p.returncode
    last = lines[-1].split(" ", 2) if lines else ["nothing"]
    if last[0] == "error":
        assert code == 1
        raise Failed(int(last[1]), last[2])
    assert last[0] == "ok" and code == 0, f"{argv}: exit {code}, last line {lines[-1:]}, {stderr}"
    return lines


class Image:
    """A converted image; removed with the object."""
    peak_kib = None  # of the last conversion, also one that failed

    def __init__(self, blobs, size=1 << 30, max_size=8 << 30, free=8 << 30, scratch=True, watch_limits=False, **limits):
        self.dir = tempfile.TemporaryDirectory(prefix="boxlite-unpack-test.")
        self.path = os.path.join(self.dir.name, "image")
        out = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fds = [out]
        req = ["boxlite-unpack 1", f"output {out}", f"size {size}", f"max-size {max_size}", f"free {free}",
               f"uuid {UUID}", "time 1700000000"]
        if scratch:
            with tempfile.TemporaryFile(dir=self.dir.name) as f:
                fds.append(os.dup(f.fileno()))
            req.append(f"scratch {fds[-1]}")
        req += [f"{k.replace('_', '-')} {v}" for k, v in limits.items()]
        for b in blobs:
            if hasattr(b, "path"):
                fds.append(os.open(b.path, os.O_RDONLY | os.O_CLOEXEC))
            else:
                with tempfile.TemporaryFile(dir=self.dir.name) as f:
                    f.write(b.data)
                    f.flush()
                    fds.append(os.dup(f.fileno()))
            req.append(f"layer {fds[-1]} {b.digest} {b.diff_id}")
        req.append("end\n")
        rfd = os.memfd_create("request", os.MFD_CLOEXEC)
        os.write(rfd, "\n".join(req).encode())
        os.lseek(rfd, 0, os.SEEK_SET)
        peak = os.path.join(self.dir.name, "peak")
        before = [PEAK, peak] if PEAK and not watch_limits else []
        try:
            self.lines = run("convert", [rfd, "status"], fds + [rfd], before, self.note_limits if watch_limits else None)
        finally:
            if os.path.exists(peak):
                with open(peak, encoding="ascii") as f:
                    Image.peak_kib = int(f.read())
            for fd in fds + [rfd]:
                os.close(fd)
        self.ok = [int(x) for x in self.lines[-1].split()[1:]]

    def note_limits(self, pid):
        """limits: of the running program, by the kernel's names."""
        with open(f"/proc/{pid}/limits", encoding="ascii") as f:
            soft = {line[:26].strip(): line[26:47].strip() for line in f}
        self.limits = {k: int(v) for k, v in soft.items() if v.isdigit()}

    def check(self):
        tool("e2fsck", "-fn", self.path)
        return self

    def debugfs(self, request):
        return tool("debugfs", "-R", request, self.path)

    def ls(self, path):
        """Names in a directory, without . and .."""
        out = self.debugfs(f'ls -p "{path}"')
        names = [l.split("/")[5] for l in out.splitlines() if l.startswith("/")]
        return sorted(n for n in names if n not in (".", "..", "lost+found"))

    def read(self, path):
        with tempfile.NamedTemporaryFile() as f:
            self.debugfs(f'dump "{path}" {f.name}')
            return f.read()

    def stat(self, path):
        return self.debugfs(f'stat "{path}"')

    def sha256(self):
        h = hashlib.sha256()
        with open(self.path, "rb") as f:
            while chunk := f.read(1 << 20):
                h.update(chunk)
        return h.hexdigest()
