#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Templates with an image's root mounted: made behind the first box, used by the next, never in the way, never trusted too much."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import boxtest  # noqa: E402
from boxtest import wait_for  # noqa: E402

ON = {"BOXLITE_IMAGE_TEMPLATES": "auto"}


def templates(home, kind="i"):
    """Finished templates: of images ("i") or blank ("")."""
    path = os.path.join(home.path, "templates")
    names = [n for n in os.listdir(path) if "." not in n] if os.path.isdir(path) else []
    return [n for n in names if n.rsplit("-", 1)[1].startswith("i") == (kind == "i")]


def with_template(home):
    """A home whose busybox image is loaded and has its template."""
    if not templates(home):
        home.ok("load", boxtest.busybox_image(), "--name", "busybox")
        home.ok("run", "--rm", "busybox", "true", env=ON)
        wait_for(lambda: templates(home), "the image's template", boxtest.DEADLINE)  # it gives way to every other test
        home.wait_no_processes("the maker", boxtest.DEADLINE)


def began_at_its_image(home, box):
    """Was the last start of this box from a template with its image's root mounted?"""
    with open(os.path.join(home.path, "boxes", box, "shim.log"), encoding="utf-8") as f:
        name = [line for line in f if "ready from " in line][-1].split("ready from ")[1].split(":")[0]
    return name.rsplit("-", 1)[1].startswith("i")


def test_the_first_box_of_an_image_leaves_a_template_behind_and_the_second_begins_there(home):
    with_template(home)
    box = home.ok("run", "-d", "busybox", "sleep", "1000", env=ON).text.strip()
    assert began_at_its_image(home, box)
    assert home.ok("exec", box, "--", "sh", "-c", "echo kept > /kept; cat /etc/hostname /etc/hosts; hostname").text.count(box) >= 3
    other = home.ok("run", "-d", "busybox", "sleep", "1000", env=ON).text.strip()
    seen = [home.ok("exec", b, "--", "sh", "-c", "cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | od -x").text for b in (box, other)]
    assert seen[0] != seen[1], seen
    assert home.run("exec", other, "--", "cat", "/kept").code != 0
    home.ok("stop", box)
    home.ok("start", box, env=ON)
    assert not began_at_its_image(home, box), "a box that has a disk begins at the blank template"
    assert home.ok("exec", box, "--", "cat", "/kept").text == "kept\n"
    home.remove_all()


def test_a_box_is_the_same_from_either_template(home):
    with_template(home)
    script = ("cd /; find / -xdev -path /proc -prune -o -print | sort | head -5000; mount | sed 's/,relatime//' | sort; id; pwd; env | sort;"
              "grep -E 'Cap|NoNewPrivs|Seccomp' /proc/self/status; df / | tail -1 | awk '{print $2}'; ls -l /proc/1/exe 2>&1 | wc -l")
    texts = [home.ok("run", "--rm", "--name", "same", "busybox", "sh", "-c", script, env={"BOXLITE_IMAGE_TEMPLATES": on}).text for on in ("auto", "off")]
    assert texts[0] == texts[1], "\n--- image\n".join(texts)


def test_working_directory_user_and_variables_reach_a_box_of_an_image_template(home):
    with_template(home)
    r = home.ok("run", "--rm", "-w", "/made/for me", "-u", "1234:5678", "-e", "A=b c", "busybox", "sh", "-c", "pwd; id -u; id -g; echo $A; stat -c %u .", env=ON)
    assert r.text.split("\n")[:5] == ["/made/for me", "1234", "5678", "b c", "1234"], r


def test_the_disk_of_a_box_of_an_image_template_is_clean(home):
    with_template(home)
    box = home.ok("run", "-d", "busybox", "sleep", "1000", env=ON).text.strip()
    home.ok("exec", box, "--", "sh", "-c", "for i in $(seq 200); do echo $i > /f$i; done; sync")
    home.ok("stop", box)
    raw = os.path.join(home.path, "tmp", "flat.ext4")
    base = [d for d in os.listdir(os.path.join(home.path, "disks")) if d.endswith(".ext4")][0]
    try:
        image = {"driver": "qcow2", "file": {"driver": "file", "filename": os.path.join(home.path, "boxes", box, "disk.qcow2")},
                 "backing": {"driver": "raw", "file": {"driver": "file", "filename": os.path.join(home.path, "disks", base)}}}
        subprocess.run(["qemu-img", "convert", "-O", "raw", "json:" + json.dumps(image), raw], check=True)
        r = subprocess.run(["e2fsck", "-f", "-n", raw], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert r.returncode == 0, r.stdout.decode()
    finally:
        if os.path.exists(raw):
            os.unlink(raw)
        home.remove_all()


def test_another_disk_size_begins_at_the_blank_template(home):
    with_template(home)
    box = home.ok("run", "-d", "--disk-size", "12", "busybox", "sleep", "1000", env=ON).text.strip()
    assert not began_at_its_image(home, box)
    blocks = int(home.ok("exec", box, "--", "sh", "-c", "df -k / | tail -1 | awk '{print $2}'").text)
    assert blocks > 11 * 1024 * 1024, blocks
    home.remove_all()


def test_a_damaged_image_template_is_thrown_away_and_the_box_comes_up(home):
    with_template(home)
    name = templates(home)[0]
    path = os.path.join(home.path, "templates", name, "state")
    damage = os.urandom(os.stat(path).st_size)
    os.chmod(path, 0o644)
    with open(path, "r+b") as f:
        f.write(damage)
    os.chmod(path, 0o444)
    box = home.ok("run", "-d", "busybox", "sleep", "1000", env=ON).text.strip()
    assert not began_at_its_image(home, box)

    def made_anew():
        try:
            with open(path, "rb") as f:
                return f.read() != damage
        except FileNotFoundError:
            return False
    wait_for(made_anew, "the template, made anew", boxtest.DEADLINE)
    other = home.ok("run", "-d", "busybox", "sleep", "1000", env=ON).text.strip()
    assert began_at_its_image(home, other)
    home.remove_all()


def test_off_means_that_none_is_made_and_none_is_used(home):
    with_template(home)
    box = home.ok("run", "-d", "busybox", "sleep", "1000").text.strip()
    assert not began_at_its_image(home, box)
    home.remove_all()
    r = home.run("info", env={"BOXLITE_IMAGE_TEMPLATES": "perhaps"})
    assert r.code == 125 or r.code == 1, r
    assert b"BOXLITE_IMAGE_TEMPLATES" in r.err, r


def test_a_disk_that_was_made_again_is_not_taken_for_the_old_one(home):
    with_template(home)
    disks = os.path.join(home.path, "disks")
    base = [d for d in os.listdir(disks) if d.endswith(".ext4")][0]
    subprocess.run(["cp", "--sparse=always", os.path.join(disks, base), os.path.join(disks, "copy")], check=True)
    os.rename(os.path.join(disks, "copy"), os.path.join(disks, base))
    before = set(templates(home))
    box = home.ok("run", "-d", "busybox", "sleep", "1000", env=ON).text.strip()
    assert not began_at_its_image(home, box)
    wait_for(lambda: set(templates(home)) - before, "a template of the new disk", boxtest.DEADLINE)
    home.remove_all()
    home.wait_no_processes("the maker", boxtest.DEADLINE)
    new = set(templates(home)) - before
    home.ok("prune")
    assert set(templates(home)) == new, "the old disk's template is of no use any more"


if __name__ == "__main__":
    boxtest.main(globals())
