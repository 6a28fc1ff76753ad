# SPDX-License-Identifier: Apache-2.0
"""The programs of examples/python do what they say: each is run as it is, and prints what its last comment says."""
import glob
import os
import subprocess
import sys

import pyworld
from pyworld import boxtest

EXAMPLES = os.path.join(boxtest.SOURCE, "examples", "python")


def promised(path):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    assert "\n# Prints:\n" in text, f"{path} does not say what it prints"
    return [line[2:] for line in text.split("\n# Prints:\n")[1].splitlines()]


def runs(name):
    def test(world):
        path = os.path.join(EXAMPLES, name + ".py")
        environment = {**os.environ, "PYTHONPATH": pyworld.PACKAGE, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([sys.executable, path], stdin=subprocess.DEVNULL, capture_output=True, env=environment, text=True,
                              timeout=pyworld.DEADLINE, check=False)
        assert done.returncode == 0 and done.stdout.splitlines() == promised(path), (done.returncode, done.stdout, done.stderr)
    return test


for _path in sorted(glob.glob(os.path.join(EXAMPLES, "*.py"))):
    _name = os.path.basename(_path)[:-3]
    globals()[f"test_the_example_{_name}"] = runs(_name)
