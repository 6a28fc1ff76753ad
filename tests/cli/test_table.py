#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table of verbs makes help, completion and manual pages: each verb and option is in all of them."""
import json
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import boxtest
from boxtest import BUILD, SOURCE, Skip

MAN = os.path.join(BUILD, "tools", "man")


def table(home):
    return json.loads(home.ok("help", "--format", "json").text)


def rows(options):
    return [o for o in options if o["kind"] != "group"]


def spellings(option):
    return [s for s in (option["short"] and "-" + option["short"], option["long"] and "--" + option["long"]) if s]


def candidates(home, *words):
    lines = home.ok("__complete", "--", *words).text.split("\n")[:-1]
    assert lines[-1] in (":none", ":files", ":dirs"), lines
    return [line.split("\t")[0] for line in lines[:-1]], lines[-1]


def need(program):
    path = shutil.which(program)
    if not path:
        raise Skip(f"{program} is not installed")
    return path


def shell(argv, **kw):
    r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, timeout=60, **kw)
    assert r.returncode == 0 and r.stderr == "", (argv, r)
    return r.stdout


# ---- help ----


def test_every_verb_is_in_the_overview_and_has_its_help(home):
    overview = home.ok("help").text
    for v in table(home)["verbs"]:
        assert re.search(rf"^  {v['name']} +{re.escape(v['summary'])}$", overview, re.M), v["name"]
        for words in ([*v["name"].split(), "--help"], ["help", *v["name"].split()], *([*a.split(), "-h"] for a in v["aliases"])):
            text = home.ok(*words).text
            assert text.startswith(f"Usage: boxlite {v['name']}"), (words, text)
        assert len(v["summary"]) <= 80, v


def test_every_option_is_in_the_help_of_its_verb(home):
    t = table(home)
    for v in t["verbs"]:
        text = home.ok(*v["name"].split(), "--help").text
        for o in rows(v["options"]) + rows(t["options"]):
            assert re.search(rf"^ +{re.escape(', '.join(spellings(o)))}[ \n]", text, re.M), (v["name"], o)
            assert o["help"] in text, (v["name"], o)


def test_no_verb_has_two_options_of_one_spelling(home):
    t = table(home)
    for v in t["verbs"]:
        all_of_them = [s for o in rows(v["options"]) + rows(t["options"]) for s in spellings(o)]
        assert len(all_of_them) == len(set(all_of_them)), (v["name"], sorted(all_of_them))


def test_the_first_word_of_two_is_a_verb_that_lists_them(home):
    for v in table(home)["verbs"]:
        if " " in v["name"]:
            r = home.run(v["name"].split()[0])
            assert r.code == 2 and v["name"] in r.err.decode(), (v["name"], r)


# ---- completion ----


def test_every_verb_is_completed(home):
    words = [v["name"] for v in table(home)["verbs"]]
    offered, _ = candidates(home, "")
    for name in words:
        assert name.split()[0] in offered, name
        if " " in name:
            assert name.split()[1] in candidates(home, name.split()[0], "")[0], name
    assert not [w for w in offered if w.startswith("_")]
    assert set(candidates(home, "image", "")[0]) >= {"pull", "rmi", "inspect"}
    assert candidates(home, "insp")[0] == ["inspect"]


def test_every_option_is_completed(home):
    t = table(home)
    for v in t["verbs"]:
        offered, _ = candidates(home, *v["name"].split(), "-")
        for o in rows(v["options"]) + rows(t["options"]):
            for s in spellings(o):
                assert s in offered, (v["name"], s)
    assert "--home" in candidates(home, "--ho")[0]


def test_values_are_completed(home):
    home.ok("create", "--name", "here", "alpine")
    assert candidates(home, "run", "--engine", "") == (["auto", "kvm", "tcg"], ":none")
    assert candidates(home, "run", "--engine=k") == (["--engine=kvm"], ":none")
    assert candidates(home, "ps", "--format", "y") == (["yaml"], ":none")
    assert candidates(home, "--home", "") == ([], ":dirs")
    assert candidates(home, "run", "--rootfs", "x") == ([], ":dirs")
    assert candidates(home, "load", "") == ([], ":files")
    assert candidates(home, "exec", "-w", "/tmp", "h") == (["here"], ":none")
    assert candidates(home, "rm", "x", "h") == (["here"], ":none")
    assert candidates(home, "cp", "h") == (["here:"], ":files")
    assert candidates(home, "completion", "") == (["bash", "zsh", "fish"], ":none")
    assert candidates(home, "help", "insp") == (["inspect"], ":none")
    # What belongs to the box's command is not ours.
    assert candidates(home, "run", "alpine", "ls", "-") == ([], ":none")
    assert candidates(home, "exec", "here", "--", "-") == ([], ":none")
    # An unknown verb, nonsense, and a line that is only its beginning.
    assert candidates(home, "nonsense", "-") == ([], ":none")
    assert candidates(home, "run", "--nonsense", "--name", "") == ([], ":none")
    home.remove_all()


def test_typing_makes_no_home(home):
    nowhere = home.path + "-nowhere"
    assert candidates(home, "--home", nowhere, "exec", "") == ([], ":none")
    assert candidates(home, "--home=" + nowhere, "exec", "") == ([], ":none")
    assert not os.path.exists(nowhere)


def in_shell(home):
    """An environment in which `boxlite` is ours."""
    return {**home.env, "PATH": BUILD + ":" + os.environ["PATH"], "TERM": "dumb"}


def test_bash_completes(home):
    bash = need("bash")
    home.ok("create", "--name", "here", "alpine")
    script = 'source <("$1" completion bash); COMP_LINE=$2; COMP_POINT=${#2}; _boxlite; printf "%s\\n" "${COMPREPLY[@]}"'

    def ask(line):
        return shell([bash, "--norc", "-c", script, "bash", os.path.join(BUILD, "boxlite"), line], env=in_shell(home), cwd=home.path).split("\n")[:-1]

    assert ask("boxlite inspe") == ["inspect"]
    assert ask("boxlite run --deta") == ["--detach"]
    assert ask("boxlite run --engine=t") == ["tcg"]  # bash replaces what is behind the =
    assert ask("boxlite exec ") == ["here"]
    assert ask("boxlite cp here:/a tm") == ["tmp"]
    assert "complete -F _boxlite boxlite" in shell([bash, "--norc", "-c", 'source <("$1" completion bash); complete -p boxlite', "bash",
                                                  os.path.join(BUILD, "boxlite")])
    home.remove_all()


def test_zsh_completes(home):
    zsh = need("zsh")
    home.ok("create", "--name", "here", "alpine")
    # What _describe is given is what zsh would show.
    script = ('autoload -U compinit; compinit -u -D; source <(boxlite completion zsh); '
              '[[ $_comps[boxlite] == _boxlite ]] || exit 3; '
              '_describe() { print -rl -- "${choices[@]}" }; _files() { print -r -- "files $*" }; '
              'words=("$@"); CURRENT=$#words; _boxlite')

    def ask(*words):
        return shell([zsh, "-f", "-c", script, "zsh", *words], env=in_shell(home)).split("\n")[:-1]

    assert ask("boxlite", "inspe") == ["inspect:show all there is to know of boxes"]
    assert [c.split(":")[0] for c in ask("boxlite", "run", "--deta")] == ["--detach"]
    assert ask("boxlite", "exec", "") == ["here:configured, alpine"]
    assert ask("boxlite", "cp", "h")[0].startswith("here\\::")
    assert ask("boxlite", "run", "--rootfs", "") == ["files -/"]
    home.remove_all()


def test_fish_completes(home):
    fish = need("fish")
    home.ok("create", "--name", "here", "alpine")
    env = {**in_shell(home), "HOME": home.path}

    def ask(line):
        text = shell([fish, "--no-config", "-c", 'boxlite completion fish | source; complete -C "$argv[1]"', line], env=env)
        return [c.split("\t")[0] for c in text.split("\n")[:-1]]

    assert ask("boxlite inspe") == ["inspect"]
    assert ask("boxlite run --deta") == ["--detach"]
    assert ask("boxlite exec ") == ["here"]
    shutil.rmtree(os.path.join(home.path, ".config"), ignore_errors=True)
    shutil.rmtree(os.path.join(home.path, ".local"), ignore_errors=True)
    home.remove_all()


# ---- manual pages ----


def plain(page):
    """The text of a page, without its markup."""
    text = open(os.path.join(MAN, page)).read()
    return re.sub(r"\\f[BIR]|\\&", "", text).replace("\\-", "-").replace("\\(aq", "'").replace("\\(ti", "~")


def test_every_verb_and_option_has_its_place_in_the_manual(home):
    t = table(home)
    overview = plain("boxlite.1")
    for o in rows(t["options"]):
        assert re.search(rf"^{re.escape(', '.join(spellings(o)))}( |$)", overview, re.M), o
    for v in t["verbs"]:
        name = "boxlite-" + v["name"].replace(" ", "-")
        page = plain(name + ".1")
        assert f".BR {name} (1)" in overview, name
        for alias in v["aliases"]:
            assert f"boxlite {alias}" in page, (name, alias)
        for o in rows(v["options"]):
            assert re.search(rf"^{re.escape(', '.join(spellings(o)))}( |$)", page, re.M), (name, o)


def test_every_verb_has_prose(home):
    names = {v["name"].replace(" ", "-") for v in table(home)["verbs"]} | {"boxlite", "config"}
    there = {n[:-4] for n in os.listdir(os.path.join(SOURCE, "docs", "man"))}
    assert names == there, f"docs/man: missing {sorted(names - there)}, of no verb {sorted(there - names)}"


def test_every_key_of_the_configuration_has_its_place_in_the_manual(home):
    page = plain("boxlite-config.5")
    keys = table(home)["config"]
    assert {"home_dir", "image_registries", "host", "auth"} <= {k["key"] for k in keys}
    for k in keys:
        assert re.search(rf"^{k['key']} \(", page, re.M), k
    # The example of the page is a configuration.
    example = re.search(r"\.nf\n(.*?)\.fi", page, re.S).group(1)
    path = os.path.join(home.path, "example.json")
    with open(path, "w") as f:
        f.write(example.replace("/etc/ssl/harbor.pem", "/etc/passwd"))
    home.ok("ps", "--config", path)
    os.unlink(path)


def test_manual_pages_are_clean(home):
    pages = [os.path.join(MAN, n) for n in sorted(os.listdir(MAN))]
    assert len(pages) > 20
    mandoc = need("mandoc")
    r = subprocess.run([mandoc, "-Tlint", *pages], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert r.stdout == "" and r.returncode == 0, r.stdout


def test_groff_formats_the_manual_pages(home):
    man = need("man")
    need("groff")
    for name in ("boxlite.1", "boxlite-run.1", "boxlite-config.5"):
        r = subprocess.run([man, "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-P", "cat", os.path.join(MAN, name)], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"})
        assert r.returncode == 0 and r.stderr == "" and "DESCRIPTION" in re.sub(".\b", "", r.stdout), (name, r)


if __name__ == "__main__":
    boxtest.main(globals())
