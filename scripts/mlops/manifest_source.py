"""Read `mlops.yml` as data that remembers the line of every key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mlops.errors import ManifestError

SIZE_LIMIT = 256 * 1024
# Aliases make a small file a huge document: https://en.wikipedia.org/wiki/Billion_laughs_attack
NODE_LIMIT = 20_000
DEPTH_LIMIT = 30

Place = tuple[str | int, ...]
"""The way to a value: keys, and indexes of lists."""


class _Loader(yaml.SafeLoader):  # pylint: disable=too-many-ancestors
    """YAML's safe subset without dates: `2026-01-31` stays the string that was written."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Source:
    """A manifest as written: `lines` has the line of every key and list item, from 1."""

    path: Path
    data: dict[str, Any]
    lines: Mapping[Place, int]

    def line(self, place: Place) -> int:
        """The line of a place, or of the nearest one around it that was written."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read(path: Path) -> Source:
    """Read a manifest's text.

    Raises:
        ManifestError: when there is no such file, or it is no YAML mapping with unique keys.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(SIZE_LIMIT + 1)
        text = raw.decode()
    except FileNotFoundError as error:
        raise ManifestError(
            f"There is no manifest {path}",
            next_step="Write one (docs/manifest.md has a minimal one), or name it with --manifest.",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} cannot be read", cause=str(error)) from error
    if len(raw) > SIZE_LIMIT:
        raise ManifestError(f"{path} is larger than {SIZE_LIMIT // 1024} KB")
    return parse(text, path)


def parse(text: str, path: Path) -> Source:
    """What `read` does with the text of a file.

    Raises:
        ManifestError: when it is no YAML mapping with unique keys.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise ManifestError(f"{path}:1: the manifest must be a mapping that begins with `project:`")
        walk = _Walk(path)
        walk.visit(root, ())
        data = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ManifestError(
            f"{path}:{mark.line + 1 if mark else 1}: this is no valid YAML",
            cause=error.problem or error.context or "",
            next_step="Look at the indentation and the quotes of this line and the one above.",
        ) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ManifestError(f"{path} is no valid YAML", cause=str(error)) from error
    return Source(path, data, walk.lines)


class _Walk:
    """Notes the line of every place, and refuses keys that are no text or there twice."""

    def __init__(self, path: Path) -> None:
        self.lines: dict[Place, int] = {}
        self._path = path
        self._nodes = 0

    def visit(self, node: yaml.Node, place: Place, depth: int = 0) -> None:
        self._nodes += 1
        if self._nodes > NODE_LIMIT or depth > DEPTH_LIMIT:
            raise ManifestError(
                f"{self._path}:{node.start_mark.line + 1}: too many levels or repetitions",
                next_step="Write it with fewer YAML aliases.",
            )
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.lines.setdefault((*place, index), item.start_mark.line + 1)
                self.visit(item, (*place, index), depth + 1)
        elif isinstance(node, yaml.MappingNode):
            self._visit_mapping(node, place, depth)

    def _visit_mapping(self, node: yaml.MappingNode, place: Place, depth: int) -> None:
        written: dict[str, int] = {}
        merged = [value for key, value in node.value if key.tag == "tag:yaml.org,2002:merge"]
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if key.tag != "tag:yaml.org,2002:str":
                raise ManifestError(
                    f"{self._path}:{line}: the key {getattr(key, 'value', '')!s:.40} is no text",
                    next_step="Put it in quotes.",
                )
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
