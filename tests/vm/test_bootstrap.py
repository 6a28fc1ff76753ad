# SPDX-License-Identifier: Apache-2.0
"""`boxlite bootstrap`: an image of the host's packages. Twice with the real mmdebstrap; what can go wrong is tried with made-up tools."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
import mkimage

TINY = "base-files"  # essential anyway: the smallest there is
NOBODY = 65534


def make_home():
    home = boxtest.Home()
    home.work = os.path.join(home.path, "made")
    os.mkdir(home.work)
    home.image = {}  # ID by who made it
    return home


def listed(home):
    return [f"{i['Repository']}:{i['Tag']}" for i in json.loads(home.ok("images", "--format", "json").text)]


def inspect(home, name):
    return json.loads(home.ok("image", "inspect", name).text)[0]


def clean(home):
    assert os.listdir(os.path.join(home.path, "tmp")) == []


def bootstrap(home, *args, temporary, **kw):
    """With a temporary directory of its own, in which nothing may stay."""
    os.makedirs(temporary, exist_ok=True)
    os.chmod(temporary, 0o777)
    r = home.run("bootstrap", "debian", "--packages", TINY, *args, env={"TMPDIR": temporary}, timeout=400, **kw)
    if b"Temporary failure resolving" in r.err or b"Could not connect" in r.err or b"E: mmdebstrap: no" in r.err:
        raise boxtest.Skip("the host's package sources cannot be reached")
    assert os.listdir(temporary) == [], os.listdir(temporary)
    return r


def real_tools():
    if not shutil.which("mmdebstrap") or not shutil.which("zstd"):
        raise boxtest.Skip("no mmdebstrap, or no zstd")


# --- the real one ---

def test_an_image_of_the_hosts_packages_runs(home):
    real_tools()
    r = bootstrap(home, temporary=os.path.join(home.work, "tmp"))
    assert r.code == 0 and b"Made: docker.io/library/debian:slim" in r.out, r
    image = inspect(home, "debian:slim")
    assert image["Config"]["Cmd"] == ["bash"] and image["Config"]["Env"][0].startswith("PATH=/usr/local/sbin:"), image
    home.image[os.geteuid()] = image["Manifest"]
    out = home.ok("run", "--rm", "debian:slim", "bash", "-c", ". /etc/os-release && echo $ID && id -u && ls -A /dev /etc/apt 2>&1 | grep -c apt").text
    assert out == "debian\n0\n1\n", out
    clean(home)


def test_an_ordinary_user_makes_the_same_image(home):
    real_tools()
    if os.geteuid() != 0:
        raise boxtest.OtherHardware("the test before was run by an ordinary user")
    if not shutil.which("newuidmap"):
        raise boxtest.Skip("no newuidmap (uidmap)")
    # Subordinate ids for nobody, in a mount namespace of our own.
    ids = os.path.join(home.work, "ids")
    with open(ids, "w", encoding="ascii") as f:
        f.write("nobody:200000:65536\n")
    script = f"mount --bind {ids} /etc/subuid && mount --bind {ids} /etc/subgid && exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=-all \"$@\""
    theirs = boxtest.Home(prefix=("unshare", "-m", "sh", "-c", script, "sh"))
    try:
        os.chown(theirs.path, NOBODY, NOBODY)
        os.chmod(home.path, 0o755)
        temporary = os.path.join(home.work, "tmp-of-nobody")
        os.makedirs(temporary)
        r = bootstrap(theirs, "--name", "theirs:1", temporary=temporary)
        assert r.code == 0, r
        assert inspect(theirs, "theirs:1")["Manifest"] == home.image[0]
    finally:
        theirs.close()


# --- made-up tools ---

def tools(home, name, **scripts):
    """A directory with programs that go before the host's."""
    path = os.path.join(home.work, name)
    shutil.rmtree(path, ignore_errors=True)
    os.mkdir(path)
    for tool, script in scripts.items():
        file = os.path.join(path, tool.replace("_", "-"))
        with open(file, "w", encoding="ascii") as f:
            f.write("#!/bin/bash\n" + script)
        os.chmod(file, 0o755)
    return {"PATH": path + ":" + os.environ["PATH"]}


def a_tar(home):
    path = os.path.join(home.work, "root.tar")
    with open(path, "wb") as f:
        f.write(mkimage.tar([mkimage.directory("./"), mkimage.file("./etc-name", b"x\n")]))
    return path


SOURCES = r"""
[ "$1" = indextargets ] || exit 1
cat <<'END'
Debian|http://mirror.example/debian/|bookworm|main|bookworm
Debian|http://mirror.example/debian/|bookworm|main|bookworm
Debian|http://mirror.example/debian/|bookworm|contrib|bookworm
Debian|http://mirror.example/debian/|bookworm-updates|main|bookworm-updates
Debian|http://mirror.example/security/|bookworm-security|main|bookworm-security
Debian|http://mirror.example/debug/|bookworm-debug|main|bookworm-debug
Other|http://other.example/|bookworm|main|bookworm
END
"""


def apt_config(lists):
    return f"""
case $1 in
shell) echo "L='{lists}/'" ;;
dump) echo 'Acquire::http::Proxy "http://proxy.example:3128";'; echo 'APT::Other "x";' ;;
esac
"""


def recorded(home, *args, env=None):
    """What mmdebstrap would have been asked for."""
    lists = os.path.join(home.work, "lists")
    os.makedirs(lists, exist_ok=True)
    for name, origin, date in (("a_InRelease", "Debian", "Sat, 01 Mar 2025 10:00:00 UTC"), ("b_InRelease", "Debian", "Sun, 02 Mar 2025 10:00:00 UTC"),
                               ("c_InRelease", "Other", "Mon, 03 Mar 2025 10:00:00 UTC")):
        with open(os.path.join(lists, name), "w", encoding="ascii") as f:
            f.write(f"Origin: {origin}\nSuite: x\nDate: {date}\n")
    said = os.path.join(home.work, "said")
    made = tools(home, "record", apt_get=SOURCES, apt_config=apt_config(lists),
                 mmdebstrap=f'printf "%s\\n" "$SOURCE_DATE_EPOCH" "$@" >{said}; cat {a_tar(home)}\n')
    home.ok("bootstrap", "debian", "-q", *args, env={**made, **(env or {})})
    with open(said, encoding="utf-8") as f:
        epoch, *argv = f.read().split("\n")
    return int(epoch), argv


def test_the_hosts_own_debian_sources_and_dates_are_used(home):
    epoch, argv = recorded(home, "--suite", "bookworm", "--name", "asked:1")
    assert epoch == 1740909600, epoch  # of the newest Debian archive
    assert "--include=python3,ca-certificates" in argv and "--variant=essential" in argv, argv
    assert '--aptopt=Acquire::http::Proxy "http://proxy.example:3128";' in argv and not any("Other" in a for a in argv), argv
    at = argv.index("bookworm")
    assert argv[at + 1] == "-" and set(filter(None, argv[at + 2:])) == {
        "deb http://mirror.example/debian/ bookworm main", "deb http://mirror.example/debian/ bookworm-updates main",
        "deb http://mirror.example/security/ bookworm-security main"}, argv
    epoch, argv = recorded(home, "--suite", "trixie", "--packages", "nodejs,npm", "--name", "asked:2", env={"SOURCE_DATE_EPOCH": "1700000000"})
    assert epoch == 1700000000 and "--include=nodejs,npm" in argv, argv
    assert [a for a in argv if a.startswith("deb ")] == ["deb http://mirror.example/debian/ trixie main"], argv
    assert inspect(home, "asked:1")["Config"]["Cmd"] == ["python3"] and inspect(home, "asked:2")["Config"]["Cmd"] == ["bash"]


def test_the_name_says_what_it_is_for(home):
    for packages, name in (((), "python:slim-debian"), (("--packages", "curl"), "debian:slim"), (("--packages", "curl,python3-numpy"), "python:slim-debian")):
        with contextlib.suppress(Exception):
            home.ok("rmi", name)
        recorded(home, *packages)
        assert name in listed(home), (packages, listed(home))


def test_what_fails_at_its_end_makes_no_image(home):
    names = listed(home)
    for script in (f"cat {a_tar(home)}; exit 3", f"head -c 700 {a_tar(home)}; exit 3", "exit 3", f"cat {a_tar(home)}; kill -9 $$"):
        r = home.run("bootstrap", "debian", "--name", "bad:1", env=tools(home, "fails", mmdebstrap=script + "\n", apt_get=SOURCES))
        assert r.code == 125 and (b"could not be made" in r.err or b"Killed" in r.err), r
    r = home.run("bootstrap", "debian", "--name", "bad:1", env=tools(home, "fails", apt_get=SOURCES, mmdebstrap="echo I: trying >&2; echo E: no such package >&2; echo more >&2; exit 100\n"))
    assert r.code == 125 and b"E: no such package\nError: " in r.err and b"trying" not in r.err, r
    r = home.run("bootstrap", "debian", "--name", "bad:1", env=tools(home, "fails", mmdebstrap=f"head -c 700 {a_tar(home)}\n", apt_get=SOURCES))
    assert r.code == 125 and b"tar archive" in r.err, r  # it said that all was well
    assert listed(home) == names
    clean(home)


def test_what_is_missing_is_said(home):
    bare = os.path.join(home.work, "bare")
    shutil.rmtree(bare, ignore_errors=True)
    os.mkdir(bare)
    r = home.run("bootstrap", "debian", env={"PATH": bare})
    assert r.code == 125 and r.err == b"Error: mmdebstrap is missing: install it with `apt-get install mmdebstrap`\n", r
    tools(home, "bare", mmdebstrap="exit 1\n")
    r = home.run("bootstrap", "debian", env={"PATH": bare})
    assert r.code == 125 and b"zstd is missing" in r.err, r
    for arguments, code, words in (([], 2, b"which distribution"), (["fedora"], 2, b"only of debian"), (["debian", "--suite", "a b"], 125, b"no suite"),
                                   (["debian", "--packages", "a b"], 125, b"no packages"), (["debian", "--packages", "./x.deb"], 125, b"no packages"),
                                   (["debian", "--packages", ""], 125, b"no packages"), (["debian", "--packages", "--x"], 125, b"no packages"),
                                   (["debian", "--name", "bad//name"], 125, b"reference")):
        r = home.run("bootstrap", *arguments)
        assert r.code == code and words in r.err, (arguments, r)


def test_an_ordinary_user_without_subordinate_ids_is_told_what_to_do(home):
    if os.geteuid() != 0:
        raise boxtest.OtherHardware("only root can be another user")
    if shutil.which("fakechroot"):
        raise boxtest.OtherHardware("fakechroot is installed, and does without")
    empty = os.path.join(home.work, "none")
    with open(empty, "w", encoding="ascii"):
        pass
    script = f"mount --bind {empty} /etc/subuid && exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=-all \"$@\""
    theirs = boxtest.Home(prefix=("unshare", "-m", "sh", "-c", script, "sh"))
    try:
        os.chown(theirs.path, NOBODY, NOBODY)
        os.chmod(home.path, 0o755)
        r = theirs.run("bootstrap", "debian", env=tools(home, "user", mmdebstrap="exit 1\n"))
        assert r.code == 125 and b"nobody has no subordinate ids" in r.err and b"--add-subuids" in r.err, r
    finally:
        theirs.close()


def test_what_is_interrupted_is_tidied_up_before_the_command_ends(home):
    names = listed(home)
    for sign in (signal.SIGTERM, signal.SIGINT):
        mark, tidy = os.path.join(home.work, "mark"), os.path.join(home.work, "tidy")
        with contextlib.suppress(OSError):
            os.unlink(tidy)
        slow = f"trap 'rm {mark}; : >{tidy}; exit 1' TERM\n: >{mark}\nhead -c 700 {a_tar(home)}\nread -t 60 <><(:)\nexit 0\n"
        p = home.popen("bootstrap", "debian", "--name", "bad:1", env=tools(home, "slow", mmdebstrap=slow, apt_get=SOURCES))
        boxtest.wait_for(lambda: os.path.exists(mark), "it has begun")
        p.send_signal(sign)
        out, err = p.communicate(timeout=60)
        assert p.returncode == 128 + sign, (p.returncode, out, err)
        assert os.path.exists(tidy) and not os.path.exists(mark)
        home.wait_no_processes()
    assert listed(home) == names
    clean(home)


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
