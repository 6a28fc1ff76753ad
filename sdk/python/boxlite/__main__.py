# SPDX-License-Identifier: Apache-2.0
"""python -m boxlite: the command `boxlite`, of the same installation as the package."""
import os
import sys
from typing import List, Optional

# Where it is seen from this file: in a wheel; in the build's folder, of whose python/ this package is.
PLACES = ("libexec/boxlite", "../../boxlite")


def command() -> Optional[str]:
    """The program's path."""
    here = os.path.dirname(os.path.abspath(__file__))
    for place in PLACES:
        path = os.path.normpath(os.path.join(here, place))
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def main(argv: Optional[List[str]] = None) -> int:
    """Becomes the command; comes back only when that cannot be."""
    path = command()
    if path is None:
        print("boxlite: the command is not beside this package: install BoxLite's wheel, or build it with `make`", file=sys.stderr)
        return 125
    os.execv(path, ["boxlite", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(main())
