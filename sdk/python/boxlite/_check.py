# SPDX-License-Identifier: Apache-2.0
"""Checks of what options are given: the wrong type is a TypeError, a value that cannot be meant a ValueError; the library judges the rest."""
from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple, Type

Check = Callable[[str, Any], Any]


def fail(name: str, wanted: str, value: object) -> TypeError:
    return TypeError(f"{name} must be {wanted}, not {type(value).__name__}")


def text(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        raise fail(name, "str", value)
    if "\0" in value:
        raise ValueError(f"{name} has a NUL in it")
    return value


def path(name: str, value: Any) -> Any:
    if not isinstance(value, (str, os.PathLike)):
        raise fail(name, "str or a path", value)
    return text(name, os.fspath(value))


def flag(name: str, value: Any) -> Any:
    if not isinstance(value, bool):
        raise fail(name, "bool", value)
    return value


def integer(low: int, high: int) -> Check:
    def check(name: str, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int):
            raise fail(name, "int", value)
        if not low <= value <= high:
            raise ValueError(f"{name} must be {low} to {high}, is {value}")
        return value
    return check


def seconds(name: str, value: Any) -> float:
    """A time limit: 0.0 for None."""
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise fail(name, "a number of seconds", value)
    if not value > 0:  # NaN too
        raise ValueError(f"{name} must be more than 0 seconds, is {value}")
    return float(value)


def instance(kind: Type[Any]) -> Check:
    def check(name: str, value: Any) -> Any:
        if not isinstance(value, kind):
            raise fail(name, kind.__name__, value)
        return value
    return check


def texts(name: str, value: Any) -> List[str]:
    """A list of str; a str alone is a mistake."""
    if isinstance(value, str) or not isinstance(value, (list, tuple)):
        raise fail(name, "a list of str", value)
    return [text(f"{name}[{i}]", item) for i, item in enumerate(value)]


def pairs(name: str, value: Any) -> List[Tuple[str, str]]:
    """An environment: a list of (name, value), or a dict."""
    if isinstance(value, Mapping):
        value = list(value.items())
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise fail(name, "a list of pairs or a dict", value)
    for pair in value:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"{name} must be a list of pairs (name, value), not of {pair!r}")
    for key, _ in value:
        if not text(f"{name} name", key) or "=" in key:
            raise ValueError(f"{name}: {key!r} is no name of a variable")
    return [(key, text(f"{name}[{key}]", v)) for key, v in value]


def optional(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


class Checked:
    """An object whose attributes are those of _checks, each checked when it is set."""

    __slots__ = ()
    _checks: Dict[str, Check] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        check = self._checks.get(name)
        if check is None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        object.__setattr__(self, name, check(name, value))

    def _values(self) -> Tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._checks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Checked) and type(other) is type(self) and other._values() == self._values()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in self._checks)})"

    def __copy__(self) -> Any:
        new = object.__new__(type(self))
        for name in self._checks:
            object.__setattr__(new, name, getattr(self, name))
        return new

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self._values())


def _rebuild(kind: Type[Any], values: Tuple[Any, ...]) -> Any:
    new = object.__new__(kind)
    for name, value in zip(kind._checks, values):
        object.__setattr__(new, name, value)
    return new
