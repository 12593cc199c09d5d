"""Read `mlops.yml` as data that remembers the line of every key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mlops.base.errors import ManifestError
from mlops.contracts.runs import UNSTORABLE

SIZE_LIMIT = 256 * 1024
# Aliases make a small file a huge document: https://en.wikipedia.org/wiki/Billion_laughs_attack
NODE_LIMIT = 20_000
DEPTH_LIMIT = 30
# The longest number that a float can hold has 309 digits.
DIGIT_LIMIT = 400

Place = tuple[str | int, ...]
"""The way to a value: keys, and indexes of lists."""


_TAG = "tag:yaml.org,2002:"
_NUMBERS = {f"{_TAG}int", f"{_TAG}float"}
# What JSON has too; what else YAML has, such as !!binary and !!set, fits into no conf.
_SCALARS = {f"{_TAG}str", f"{_TAG}bool", f"{_TAG}null", *_NUMBERS}


class _TooDeepError(Exception):
    """PyYAML composes recursively, and would end in a RecursionError without a line."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _Loader(yaml.SafeLoader):  # pylint: disable=too-many-ancestors
    """YAML's safe subset without dates: `2026-01-31` stays the string that was written."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """PyYAML's own, down to a limit."""
        if self._depth > DEPTH_LIMIT:
            raise _TooDeepError(self.get_mark().line + 1)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class ManifestSource:
    """A manifest as written: `lines` has the line of every key and list item, from 1."""

    path: Path
    data: dict[str, Any]
    lines: Mapping[Place, int]

    def line(self, place: Place) -> int:
        """The line of a place, or of the nearest one around it that was written."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read(path: Path) -> ManifestSource:
    """Read a manifest's text.

    Raises:
        ManifestError: when there is no such file, or it is not a YAML mapping with unique keys.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError as error:
        raise ManifestError(
            f"There is no manifest {path}",
            next_step="Write one (docs/reference/manifest.md has a minimal one), or name it with --manifest.",
        ) from error
    except OSError as error:
        raise ManifestError(f"{path} cannot be read", cause=str(error)) from error
    if len(raw) > SIZE_LIMIT:
        raise ManifestError(f"{path} is larger than {SIZE_LIMIT // 1024} KB")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ManifestError(
            f"{path}:{line}: this is not text in UTF-8",
            cause=f"byte 0x{raw[error.start]:02x} at position {error.start}: {error.reason}",
            next_step="Save the file in UTF-8.",
        ) from error
    return parse(text, path)


def parse(text: str, path: Path) -> ManifestSource:
    """What `read` does with the text of a file.

    Raises:
        ManifestError: when it is not a YAML mapping with unique keys.
    """
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        raise ManifestError(
            f"{path}:{_line_at(text, error.position)}: this is not valid YAML",
            cause=f"it holds the character U+{ord(text[error.position]):04X}, which no YAML may hold",
            next_step="Take it out.",
        ) from error
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise ManifestError(f"{path}:1: the manifest must be a mapping that begins with `project:`")
        walk = _Walk(path, loader)
        walk.visit(root, ())
        data = loader.construct_document(root)
    except _TooDeepError as error:
        raise _too_deep(path, error.line) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ManifestError(
            f"{path}:{mark.line + 1 if mark else 1}: this is not valid YAML",
            cause=error.problem or error.context or "",
            next_step=_LOOK,
        ) from error
    except (ValueError, OverflowError) as error:  # an escape of no character, which PyYAML does not catch
        raise ManifestError(
            f"{path}:{loader.get_mark().line + 1}: this is not valid YAML", cause=str(error), next_step=_LOOK
        ) from error
    return ManifestSource(path, data, walk.lines)


_LOOK = "Look at the indentation and the quotes of this line and the one above."


def _line_at(text: str, position: int) -> int:
    return len(re.findall(r"\r\n?|\n", text[:position])) + 1


def _too_deep(path: Path, line: int) -> ManifestError:
    return ManifestError(
        f"{path}:{line}: too many levels or repetitions",
        next_step="Write it with fewer levels and YAML aliases.",
    )


class _Walk:
    """Notes the line of every place, and refuses what no manifest can hold.

    That is: a key that is not text or is there twice, a type that JSON does not have, a value that is not of
    its type, and a character that Airflow cannot keep.
    """

    def __init__(self, path: Path, loader: _Loader) -> None:
        self.lines: dict[Place, int] = {}
        self._path = path
        self._loader = loader
        self._nodes = 0

    def visit(self, node: yaml.Node, place: Place, depth: int = 0) -> None:
        self._nodes += 1
        if self._nodes > NODE_LIMIT or depth > DEPTH_LIMIT:
            raise _too_deep(self._path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            self._visit_scalar(node)
        elif isinstance(node, yaml.SequenceNode):
            self._check_type(node, {f"{_TAG}seq"})
            for index, item in enumerate(node.value):
                self.lines.setdefault((*place, index), item.start_mark.line + 1)
                self.visit(item, (*place, index), depth + 1)
        elif isinstance(node, yaml.MappingNode):
            self._check_type(node, {f"{_TAG}map"})
            self._visit_mapping(node, place, depth)

    def _check_type(self, node: yaml.Node, tags: set[str]) -> None:
        if node.tag in tags:
            return
        raise self._invalid(
            node,
            f"a manifest has no values of the type {_type(node)}",
            "Put text in quotes; leave out a type before a value.",
        )

    def _invalid(self, node: yaml.Node, cause: str, next_step: str) -> ManifestError:
        return ManifestError(
            f"{self._path}:{node.start_mark.line + 1}: this is not valid YAML",
            cause=cause,
            next_step=next_step,
        )

    def _visit_scalar(self, node: yaml.ScalarNode) -> None:
        self._check_type(node, _SCALARS)
        self._check_text(node)
        if node.tag in _NUMBERS and len(node.value) > DIGIT_LIMIT:
            raise ManifestError(
                f"{self._path}:{node.start_mark.line + 1}: this number is too long",
                cause=f"it has {len(node.value)} characters; allowed: {DIGIT_LIMIT}",
                next_step="Put it in quotes if it is text.",
            )
        try:
            self._loader.construct_object(node)
        except (ArithmeticError, LookupError, ValueError) as error:  # !!int abc, !!bool abc, !!int ""
            raise self._invalid(
                node,
                f"{node.value[:40]!r} is not a value of the type {_type(node)}",
                "Correct it, or leave out the type before it.",
            ) from error

    def _check_text(self, node: yaml.ScalarNode) -> None:
        """JSON writes a character in two escapes, such as \\ud83d\\ude00: PyYAML reads two halves."""
        whole = node.value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        bad = UNSTORABLE.search(whole)
        if bad:
            what = "U+0000" if bad[0] == "\0" else f"half of a character, U+{ord(bad[0]):04X}"
            raise ManifestError(
                f"{self._path}:{node.start_mark.line + 1}: this text cannot be kept",
                cause=f"it holds {what}",
                next_step="Take it out, or write the whole character as it is.",
            )
        node.value = whole

    def _visit_mapping(self, node: yaml.MappingNode, place: Place, depth: int) -> None:
        written: dict[str, int] = {}
        merged = [value for key, value in node.value if key.tag == f"{_TAG}merge"]
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                continue
            line = key.start_mark.line + 1
            if key.tag != f"{_TAG}str" or not isinstance(key, yaml.ScalarNode):
                raise ManifestError(
                    f"{self._path}:{line}: the key {getattr(key, 'value', '')!s:.40} is not text",
                    next_step="Put it in quotes.",
                )
            self._check_text(key)
            if key.value in written:
                raise ManifestError(
                    f"{self._path}:{line}: the key '{key.value}' is there twice",
                    cause=f"line {written[key.value]} has it too; only one of them would count",
                    next_step="Remove one.",
                )
            written[key.value] = line
            self.lines.setdefault((*place, key.value), line)
            self.visit(value, (*place, key.value), depth + 1)
        for value in merged:  # after the keys written here, which win
            for mapping in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                self.visit(mapping, place, depth + 1)


def _type(node: yaml.Node) -> str:
    return str(node.tag).replace(_TAG, "!!")
