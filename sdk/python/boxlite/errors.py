# SPDX-License-Identifier: Apache-2.0
"""What can go wrong.

Failures of boxes, images and the runtime are NativeError, a RuntimeError whose text begins with its class ("box not found: web"). The
classes here are of what is written in Python: SimpleBox, CodeBox and InteractiveBox.
"""
from __future__ import annotations

from .boxlite import NativeError

__all__ = ["BoxliteError", "ExecError", "NativeError", "ParseError", "TimeoutError"]


class BoxliteError(Exception):
    """The base of the errors of SimpleBox, CodeBox and InteractiveBox."""


class ExecError(BoxliteError):
    """A command failed: `command`, its `exit_code`, and what it wrote to stderr."""

    def __init__(self, command: str, exit_code: int, stderr: str) -> None:
        super().__init__(f"command '{command}' failed with exit code {exit_code}: {stderr}")
        self.command = command
        self.exit_code = exit_code
        self.stderr = stderr

    def __reduce__(self) -> tuple[type[ExecError], tuple[str, int, str]]:
        return type(self), (self.command, self.exit_code, self.stderr)


class TimeoutError(BoxliteError):  # the name that programs know
    """Something did not end in the time it was given."""


class ParseError(BoxliteError):
    """What came out of a box is not what it should be."""


def unsupported(what: str) -> NativeError:
    from . import boxlite as native

    return native._native_error("unsupported", what)
