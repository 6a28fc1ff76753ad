# SPDX-License-Identifier: Apache-2.0
"""`boxlite cp`: trees in and out of real boxes, and what a hostile box cannot do to the host."""
import hashlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
from boxtest import wait_for

IMAGE = "busybox:test"
BOX = "files"
ROOT = os.geteuid() == 0


def make_home():
    home = boxtest.Home()
    home.ok("load", boxtest.busybox_image(), "--name", IMAGE)
    home.ok("run", "-d", "--name", BOX, IMAGE, "sleep", "100000")
    return home


def sh(home, script, code=0):
    r = home.run("exec", BOX, "--", "sh", "-c", script)
    assert r.code == code, (script, r)
    return r.text


class Folder:
    """A temporary folder of the host, with what the tests need."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="bxf-")
        return self

    def __exit__(self, *unused):
        subprocess.run(["chmod", "-R", "u+rwX", self.path], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.path)

    def at(self, *names):
        return os.path.join(self.path, *names)

    def write(self, name, data=b"", mode=0o644):
        path = self.at(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
        os.chmod(path, mode)
        return path


def tree(path, owners=False):
    """What is there, as one text for each entry: kind, mode, time, size or target, content."""
    found = {}
    for folder, dirs, files in os.walk(path):
        for name in dirs + files:
            full = os.path.join(folder, name)
            st = os.lstat(full)
            what = [stat.S_IFMT(st.st_mode), int(st.st_mtime)]
            if stat.S_ISLNK(st.st_mode):
                what.append(os.readlink(full))
            else:
                what.append(oct(stat.S_IMODE(st.st_mode)))
            if stat.S_ISREG(st.st_mode):
                with open(full, "rb") as f:
                    what += [st.st_size, hashlib.sha256(f.read()).hexdigest()]
            if owners:
                what += [st.st_uid, st.st_gid]
            found[os.path.relpath(full, path)] = what
    return found


def sha256(path):
    """Piece by piece: what a test has in memory counts as its children's."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while piece := f.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def fill(folder):
    folder.write("t/plain", b"content\n", 0o640)
    folder.write("t/empty", b"", 0o444)
    folder.write("t/program", b"#!/bin/sh\n", 0o755)
    folder.write("t/deep/er/and deeper/f", os.urandom(200_000))
    with open(os.path.join(os.fsencode(folder.at("t")), b"odd \xff\n name"), "wb") as f:
        f.write(b"odd")
    os.makedirs(folder.at("t/void"))
    os.symlink("plain", folder.at("t/link"))
    os.symlink("../plain", folder.at("t/deep/up"))
    os.symlink("nowhere", folder.at("t/dangling"))
    for i in range(300):
        folder.write(f"t/many/{i}", str(i).encode())
    os.chmod(folder.at("t/void"), 0o711)
    os.utime(folder.at("t/plain"), (1234567890, 1234567890))
    os.utime(folder.at("t/void"), (1234567890, 1234567890))


def test_a_tree_goes_in_and_comes_out_as_it_was(home):
    with Folder() as f:
        fill(f)
        home.ok("cp", f.at("t"), f"{BOX}:/root/t")
        assert sh(home, "cd /root/t; stat -c '%a %u:%g %Y' plain; readlink deep/up; ls many | wc -l; stat -c %a void") == \
            "640 0:0 1234567890\n../plain\n300\n711\n"
        home.ok("cp", f"{BOX}:/root/t", f.at("back"))
        assert tree(f.at("t")) == tree(f.at("back"))
        sh(home, "rm -rf /root/t")


def test_destinations_are_those_of_docker(home):
    with Folder() as f:
        f.write("d/in", b"in")
        f.write("file", b"file")
        home.ok("cp", f.at("d"), f"{BOX}:/dst")          # it is not there: it becomes the folder
        home.ok("cp", f.at("d"), f"{BOX}:/dst")          # it is: into it
        home.ok("cp", f.at("d") + "/.", f"{BOX}:/dst2")  # the content
        home.ok("cp", f.at("file"), f"{BOX}:/dst")
        home.ok("cp", f.at("file"), f"{BOX}:/new/way/")
        home.ok("cp", f.at("file"), f"{BOX}:other")      # from the root
        assert sh(home, "find /dst /dst2 /new /other -type f | sort") == \
            "/dst/d/in\n/dst/file\n/dst/in\n/dst2/in\n/new/way/file\n/other\n"
        home.ok("cp", f"{BOX}:/dst", f.at("out"))
        home.ok("cp", f"{BOX}:/dst", f.at("out"))
        home.ok("cp", f"{BOX}:/dst/d/.", f.at("out2"))
        assert sorted(tree(f.at("out"))) == ["d", "d/in", "dst", "dst/d", "dst/d/in", "dst/file", "dst/in", "file", "in"]
        assert sorted(tree(f.at("out2"))) == ["in"]
        sh(home, "rm -rf /dst /dst2 /new /other")


def test_a_large_sparse_file_stays_sparse(home):
    with Folder() as f:
        path = f.at("sparse")
        with open(path, "wb") as s:
            s.truncate(1 << 30)
            s.seek(700_000_000)
            s.write(b"here")
        home.ok("cp", path, f"{BOX}:/root/sparse")
        assert sh(home, "stat -c %s /root/sparse; test $(du -k /root/sparse | cut -f1) -lt 1024 && echo small; "
                        "dd if=/root/sparse bs=1 skip=700000000 count=4 2>/dev/null") == "1073741824\nsmall\nhere"
        home.ok("cp", f"{BOX}:/root/sparse", f.at("back"))
        st = os.stat(f.at("back"))
        assert st.st_size == 1 << 30 and st.st_blocks * 512 < 1 << 20, st
        with open(f.at("back"), "rb") as s:
            s.seek(700_000_000)
            assert s.read(5) == b"here\0"
        sh(home, "rm /root/sparse")


def test_a_large_file_arrives_whole_in_bounded_memory(home):
    with Folder() as f:
        data = os.urandom(1 << 20)
        with open(f.at("big"), "wb") as big:
            for i in range(40):
                big.write(data[i:] + data[:i])
        digest = sha256(f.at("big"))
        for args in (["cp", f.at("big"), f"{BOX}:/root/big"], ["cp", f"{BOX}:/root/big", f.at("back")]):
            p = home.popen(*args)
            _, status, usage = os.wait4(p.pid, 0)
            p.returncode = os.waitstatus_to_exitcode(status)
            assert p.returncode == 0, p.stderr.read()
            assert usage.ru_maxrss < 64 * 1024, usage  # KiB
        assert sha256(f.at("back")) == digest
        sh(home, "rm /root/big")


def test_owners_are_the_boxes_unless_they_are_kept(home):
    with Folder() as f:
        f.write("t/f", b"x", 0o4755)
        if ROOT:
            os.chown(f.at("t/f"), 1234, 5678)
            os.chmod(f.at("t/f"), 0o4755)
        st = os.stat(f.at("t/f"))
        home.ok("cp", f.at("t"), f"{BOX}:/o1")
        home.ok("cp", "-a", f.at("t"), f"{BOX}:/o2")
        sh(home, "mkdir -m 777 /o3")
        home.ok("cp", "-u", "1000:1001", f.at("t"), f"{BOX}:/o3")
        assert sh(home, "stat -c '%u:%g %a' /o1/f /o2/f /o3/t/f") == \
            f"0:0 755\n{st.st_uid}:{st.st_gid} 4755\n1000:1001 755\n"
        home.ok("cp", f"{BOX}:/o2/f", f.at("mine"))
        mine = os.stat(f.at("mine"))
        assert (mine.st_uid, stat.S_IMODE(mine.st_mode)) == (os.geteuid(), 0o755)
        r = home.run("cp", "-a", f"{BOX}:/o3/t/f", f.at("theirs"))
        if ROOT:
            theirs = os.stat(f.at("theirs"))
            assert (theirs.st_uid, theirs.st_gid, stat.S_IMODE(theirs.st_mode)) == (1000, 1001, 0o755)
        else:
            assert r.code != 0 and b"not permitted" in r.err and not os.path.exists(f.at("theirs")), r
        sh(home, "rm -rf /o1 /o2 /o3")


def test_a_hostile_box_writes_nothing_outside(home):
    """Links that lead out, and the same names as folders and files, in what is copied twice over one place."""
    with Folder() as f:
        f.write("victim/file", b"safe")
        os.makedirs(f.at("out"))
        victim = f.at("victim")
        sh(home, f"""mkdir -p /h/sub /h/deep; cd /h; ln -s {victim} abs; ln -s ../victim rel; ln -s ../../victim sub/up
                     ln -s /etc/passwd passwd; ln -s sub inside; mkfifo pipe; mknod null c 1 3
                     echo x > suid; chmod 6777 suid; chmod 1777 deep""")
        r = home.ok("cp", f"{BOX}:/h", f.at("out"))
        assert b"Left out: 6" in r.err, r
        assert sorted(os.listdir(f.at("out/h"))) == ["deep", "inside", "sub", "suid"]
        assert stat.S_IMODE(os.stat(f.at("out/h/suid")).st_mode) == 0o777
        assert stat.S_IMODE(os.stat(f.at("out/h/deep")).st_mode) == 0o777
        # All links, as asked; then folders and files of the same names: they are not written through.
        home.ok("cp", "--all-links", f"{BOX}:/h", f.at("out"))
        assert os.readlink(f.at("out/h/abs")) == victim
        sh(home, "cd /h; rm abs rel; mkdir abs; echo hacked > abs/file; echo hacked > rel")
        r = home.run("cp", f"{BOX}:/h", f.at("out"))
        assert r.code != 0 and b"no folder" in r.err, r
        sh(home, "cd /h; rm -r abs")
        home.ok("cp", f"{BOX}:/h", f.at("out"))
        assert open(f.at("out/h/rel")).read() == "hacked\n" and not os.path.islink(f.at("out/h/rel"))
        assert tree(victim) == tree(victim) and open(f.at("victim/file")).read() == "safe" and os.listdir(victim) == ["file"]
        sh(home, "rm -rf /h")


def test_a_path_in_the_box_leads_nowhere_else(home):
    with Folder() as f:
        f.write("f", b"in the box")
        sh(home, "ln -s ../../../../../../../../tmp /up; ln -s /proc/1/root /proc1; ln -s /proc/self/fd /fds; mkdir -p /sub")
        home.ok("cp", f.at("f"), f"{BOX}:/up/f")
        home.ok("cp", f.at("f"), f"{BOX}:../../../../sub/g")
        assert sh(home, "cat /tmp/f /sub/g") == "in the box" * 2
        for way in ("/proc1/init", "/proc/self/root/etc/passwd", "/fds/0/x"):
            r = home.run("cp", f"{BOX}:{way}", f.at("got"))
            assert r.code != 0 and not os.path.exists(f.at("got")), (way, r)
        sh(home, "rm -rf /up /proc1 /fds /sub /tmp/f")


def test_an_endless_box_is_cut_where_the_user_says(home):
    with Folder() as f:
        sh(home, "dd if=/dev/zero of=/huge bs=1 seek=1099511627776 count=1 2>/dev/null; mkdir /m; head -c 3000000 /dev/zero > /m/f")
        home.ok("cp", f"{BOX}:/huge", f.at("huge"))
        assert os.stat(f.at("huge")).st_blocks < 100
        r = home.run("cp", "--max-size", "1m", f"{BOX}:/m", f.at("m"))
        assert r.code != 0 and b"1048576" in r.err, r
        assert not os.path.exists(f.at("m/f")), os.listdir(f.at("m"))
        sh(home, "rm -rf /huge /m")


def test_errors_are_clear_and_leave_no_half(home):
    with Folder() as f:
        f.write("f", b"new")
        f.write("d/x", b"x")
        sh(home, "mkdir -p /e/dir; echo -n old > /e/f; mount -o remount,ro /e 2>/dev/null; true")
        cases = [
            (["cp", f.at("none"), f"{BOX}:/e"], b"not found"),
            (["cp", f"{BOX}:/none", f.at("got")], b"not found"),
            (["cp", "-n", f.at("f"), f"{BOX}:/e/f"], b"already exists"),
            (["cp", f.at("f"), f"{BOX}:/e/f/x"], b"/e/f"),
            (["cp", f.at("d"), f"{BOX}:/e/f"], b"no folder"),
            (["cp", f.at("f"), f"{BOX}:/proc/x"], b"/proc"),
            (["cp", f.at("f"), f"{BOX}:/sys/x"], b"Read-only"),
            (["cp", f.at("f"), "nobox:/x"], b"nobox"),
            (["cp", f.at("f"), f.at("g")], b"BOX:PATH"),
            (["cp", f"{BOX}:/e", f"{BOX}:/g"], b"both"),
        ]
        for args, needle in cases:
            r = home.run(*args)
            assert r.code != 0 and needle in r.err, (args, r)
        assert sh(home, "cat /e/f; ls -A /e") == "olddir\nf\n"
        assert not os.path.exists(f.at("got"))
        if not ROOT:
            os.makedirs(f.at("closed"))
            os.chmod(f.at("closed"), 0o500)
            r = home.run("cp", f"{BOX}:/e/f", f.at("closed/f"))
            assert r.code != 0 and b"Permission denied" in r.err, r
        sh(home, "rm -rf /e")


def test_a_full_disk_is_said_and_leaves_what_was_there(home):
    with Folder() as f:
        f.write("big", os.urandom(6_000_000))
        sh(home, "mkdir /dev/shm/d; echo -n old > /dev/shm/d/big; dd if=/dev/zero of=/dev/shm/filler bs=1M count=60 2>/dev/null")  # of 64 MiB
        r = home.run("cp", f.at("big"), f"{BOX}:/dev/shm/d/big")
        assert r.code != 0 and b"No space left" in r.err and b"in the box" in r.err, r
        assert sh(home, "cat /dev/shm/d/big; ls -A /dev/shm/d; rm -rf /dev/shm/d /dev/shm/filler") == "oldbig\n"
        if not ROOT:
            return
        os.makedirs(f.at("small"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", f.at("small")], check=True)
        try:
            sh(home, "head -c 5000000 /dev/urandom > /root/five")
            with open(f.at("small/five"), "w") as old:
                old.write("old")
            r = home.run("cp", f"{BOX}:/root/five", f.at("small/five"))
            assert r.code != 0 and b"No space left" in r.err and b"on the host" in r.err, r
            assert os.listdir(f.at("small")) == ["five"] and open(f.at("small/five")).read() == "old"
        finally:
            subprocess.run(["umount", f.at("small")], check=True)
        sh(home, "rm /root/five")


def test_commands_run_while_files_are_copied(home):
    with Folder() as f:
        with open(f.at("big"), "wb") as big:
            big.truncate(0)
            for _ in range(16):
                big.write(os.urandom(1 << 20))
        copies = [home.popen("cp", f.at("big"), f"{BOX}:/root/big{i}") for i in range(3)]
        for i in range(10):
            assert sh(home, f"echo {i}") == f"{i}\n"
        for p in copies:
            out, err = p.communicate(timeout=boxtest.DEADLINE)
            assert p.returncode == 0, err
        assert sh(home, "cmp /root/big0 /root/big1 && cmp /root/big0 /root/big2 && echo same") == "same\n"
        home.ok("cp", f"{BOX}:/root/big0", f.at("back"))
        assert sha256(f.at("back")) == sha256(f.at("big"))
        sh(home, "rm /root/big?")


def test_a_broken_off_copy_leaves_no_process_and_no_half(home):
    with Folder() as f:
        sh(home, "mkdir -p /c; head -c 1000 /dev/zero > /c/small")
        # In: our end of a pipe never ends.
        read_end, write_end = os.pipe()
        p = home.popen("cp", "/dev/stdin", f"{BOX}:/c/half", stdin=read_end)
        os.close(read_end)
        os.write(write_end, os.urandom(60000))
        wait_for(lambda: sh(home, "grep -l boxlite-files /proc/*/comm 2>/dev/null | wc -l") == "1\n", "work in the box")
        p.send_signal(signal.SIGINT)
        assert p.wait(timeout=20) == 128 + signal.SIGINT
        os.close(write_end)
        wait_for(lambda: sh(home, "grep -l boxlite-files /proc/*/comm 2>/dev/null | wc -l") == "0\n", "no work in the box")
        assert sh(home, "ls /c") == "small\n"
        # Out: killed, in front of a reader who does not read.
        sh(home, "dd if=/dev/zero of=/c/big bs=1M count=16 2>/dev/null")
        os.mkfifo(f.at("fifo"))
        hold = os.open(f.at("fifo"), os.O_RDWR)
        p = home.popen("cp", f"{BOX}:/c/big", f.at("fifo"))
        wait_for(lambda: sh(home, "grep -l boxlite-files /proc/*/comm 2>/dev/null | wc -l") == "1\n", "work in the box")
        p.kill()
        p.wait()
        wait_for(lambda: sh(home, "grep -l boxlite-files /proc/*/comm 2>/dev/null | wc -l") == "0\n", "no work in the box")
        os.close(hold)
        os.makedirs(f.at("o"))
        p = home.popen("cp", f"{BOX}:/c/big", f.at("o/big"))
        p.kill()
        p.wait()
        wait_for(lambda: os.listdir(f.at("o")) in ([], ["big"]), "no half of a file")
        sh(home, "rm -rf /c")
    wait_for(lambda: "boxlite-files" not in [open(f"/proc/{p}/comm").read().strip() for p in os.listdir("/proc")
                                             if p.isdigit() and is_ours(p)], "boxlite-files has ended")


def is_ours(pid):
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid() and \
            os.readlink(f"/proc/{pid}/exe").startswith(boxtest.BUILD) and os.path.exists(f"/proc/{pid}/comm")
    except OSError:
        return False


def test_a_workload_that_stops_the_work_harms_itself_alone(home):
    """Root in the box sees the work's process and may kill it: the copy says so."""
    read_end, write_end = os.pipe()
    p = home.popen("cp", "/dev/stdin", f"{BOX}:/victim", stdin=read_end)
    os.close(read_end)
    wait_for(lambda: sh(home, "grep -l boxlite-files /proc/*/comm 2>/dev/null | wc -l") == "1\n", "work in the box")
    sh(home, "kill -9 $(grep -l boxlite-files /proc/*/comm | cut -d/ -f3)")
    out, err = p.communicate(timeout=30)
    os.close(write_end)
    assert p.returncode == 125 and b"was ended in the box" in err, (p.returncode, err)
    assert sh(home, "ls /victim 2>&1; echo still here").endswith("still here\n")


def test_bytes_of_a_file_go_through_pipes(home):
    data = os.urandom(3_000_000)
    home.ok("cp", "/dev/stdin", f"{BOX}:/root/piped", input=data)
    r = home.ok("cp", f"{BOX}:/root/piped", "/dev/stdout")
    assert hashlib.sha256(r.out).digest() == hashlib.sha256(data).digest(), len(r.out)
    r = home.run("cp", f"{BOX}:/root", "/dev/stdout")
    assert r.code != 0 and b"only a file" in r.err, r
    sh(home, "rm /root/piped")


def test_special_files_of_the_host_stay_there(home):
    with Folder() as f:
        f.write("t/f", b"f")
        os.mkfifo(f.at("t/pipe"))
        s = socket.socket(socket.AF_UNIX)
        s.bind(f.at("t/sock"))
        s.close()
        r = home.ok("cp", f.at("t"), f"{BOX}:/special")
        assert b"Left out: 2" in r.err and sh(home, "ls -A /special; rm -r /special") == "f\n", r
        r = home.run("cp", f.at("t/pipe"), f"{BOX}:/special")
        assert r.code != 0 and b"pipe" in r.err, r


def test_the_whole_root_comes_out_without_proc_and_sys(home):
    with Folder() as f:
        home.ok("cp", "-q", f"{BOX}:/", f.at("root"))
        names = os.listdir(f.at("root"))
        assert "etc" in names and "bin" in names, names
        assert "proc" not in names and "sys" not in names, names


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
