# SPDX-License-Identifier: Apache-2.0
"""A box that takes all it can: processes, memory, disk, files, output, processors. It stays within its bounds and answers (or is ended
cleanly), and so does a neighbour while it lasts. Nothing here is judged by time but by the deadlines of commands."""
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest

IMAGE = "busybox:test"


def make_home():
    home = boxtest.Home()
    home.ok("load", boxtest.busybox_image(), "--name", IMAGE)
    box(home, "neighbour")
    return home


def box(home, name, *options):
    home.ok("run", "-d", "--memory", "256", "--name", name, *options, IMAGE, "sleep", "100000")


def answers(home, *names):
    for name in names:
        assert home.ok("exec", name, "--", "echo", "here").out == b"here\n"


def rage(home, name, script):
    """A command that goes on; its output is not read."""
    return home.popen("exec", name, "--", "sh", "-c", script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def end(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def full(home):
    """Does the box refuse another process? It answers even so."""
    r = home.run("exec", "forks", "--", "sh", "-c", "(true) 2>/dev/null || echo none; true")
    return r.code != 0 or b"none" in r.out


def test_a_fork_bomb_is_bounded_and_ended(home):
    box(home, "forks", "--ulimit", "nproc=100")
    bomb = rage(home, "forks", "f() { f | f & }; while :; do f 2>/dev/null; done")
    boxtest.wait_for(lambda: full(home), "the bomb to meet its limit", 60)
    answers(home, "neighbour")
    end(bomb)  # its client: the tree goes with it
    boxtest.wait_for(lambda: home.run("exec", "forks", "--", "true").code == 0, "the box to have room again", 60)
    answers(home, "forks", "neighbour")
    home.ok("rm", "-f", "forks")


def test_a_memory_bomb_is_killed_and_the_box_stays(home):
    box(home, "memory")
    r = home.run("exec", "memory", "--", "sh", "-c", "exec tail /dev/zero")
    assert r.code == 137, r
    answers(home, "memory", "neighbour")
    home.ok("rm", "-f", "memory")


def test_a_memory_bomb_of_many_processes_leaves_the_agent_alone(home):
    box(home, "crowd")
    home.run("exec", "crowd", "--", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do tail /dev/zero & done; wait")
    answers(home, "crowd", "neighbour")
    home.ok("rm", "-f", "crowd")


def test_a_disk_filler_meets_the_end_of_its_disk(home):
    box(home, "disk")
    script = ("set -- $(df -k / | tail -1); fallocate -l $(($4 - 65536))K /most || exit 3; cat /dev/zero >/rest; echo rest $(stat -c %s /rest); "
              "fallocate -l 1G /more")
    r = home.run("exec", "disk", "--", "sh", "-c", script)
    assert r.code == 1 and r.err.count(b"No space left") == 2 and r.text.startswith("rest "), r
    answers(home, "disk", "neighbour")
    assert home.ok("exec", "disk", "--", "sh", "-c", "rm /most /rest; echo again >/again; cat /again").out == b"again\n"
    home.ok("rm", "-f", "disk")


def test_a_temporary_file_system_is_bounded_too(home):
    box(home, "shm")
    r = home.run("exec", "shm", "--", "sh", "-c", "cat /dev/zero >/dev/shm/big; stat -c %s /dev/shm/big")
    assert b"No space left" in r.err and int(r.text) <= 64 << 20, r
    answers(home, "shm", "neighbour")
    home.ok("rm", "-f", "shm")


def test_a_hog_of_descriptors_meets_its_limit(home):
    box(home, "files", "--security", "maximum")
    r = home.run("exec", "files", "--", "sh", "-c", "ulimit -n; i=10; while [ $i -lt 3000 ]; do eval \"exec $i</dev/null\" || exit 3; i=$((i+1)); done")
    assert r.text == "1024\n" and r.code != 0, r
    answers(home, "files", "neighbour")
    home.ok("rm", "-f", "files")


def test_a_flood_of_output_stops_its_writer_alone(home):
    box(home, "flood")
    floods = [rage(home, "flood", "cat /dev/zero") for _ in range(3)]  # claimed and not read
    answers(home, "flood", "neighbour")
    for f in floods:
        assert f.poll() is None
        end(f)
    home.ok("exec", "-d", "flood", "--", "sh", "-c", "cat /dev/zero")  # claimed by nobody
    answers(home, "flood", "neighbour")
    home.ok("rm", "-f", "flood")


def test_spinners_keep_no_command_out(home):
    box(home, "spin")
    home.ok("exec", "-d", "spin", "--", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do while :; do :; done & done; wait")
    for _ in range(5):
        answers(home, "spin", "neighbour")
    home.ok("stop", "spin")
    answers(home, "neighbour")
    home.ok("rm", "-f", "spin")


if __name__ == "__main__":
    boxtest.main(globals(), make_home)
