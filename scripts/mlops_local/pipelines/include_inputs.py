"""Whether included files take the inputs they are given; gitlab-ci-local drops what they do not declare.

GitLab creates no pipeline then: `lib/gitlab/ci/config/interpolation/`. Files of this project and of others
are looked at, at every level. Templates of GitLab's own, remote files and components are not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from mlops_local.pipelines import trigger_jobs

_INPUT = re.compile(r"\$\[\[\s*inputs\.([\w-]+)\s*(?:\|[^\]]*)?\]\]")

Rules = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class InputProblem:
    """An include that GitLab refuses, where its rules and those of the includes around it let it in."""

    text: str
    rules: tuple[Rules, ...] = ()


class _Loader(yaml.CSafeLoader):  # pylint: disable=too-many-ancestors  # PyYAML's own
    """Reads CI files; `!reference` and other tags stand for their content.

    With libyaml: PyYAML's own reader takes half a second for a pipeline of ours.
    """


def _any_tag(loader: _Loader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return node.value


_Loader.add_multi_constructor("!", _any_tag)


def problems(
    root: Path, fetched: Path, inputs: Mapping[str, Any], variables: Mapping[str, str]
) -> list[InputProblem]:
    """What is wrong with inputs below `.gitlab-ci.yml`.

    Args:
        root: The project's files.
        fetched: Where those of other projects are, as `HOST/PROJECT/REF/FILE`.
        inputs: Those of the pipeline.
        variables: What `include` may use in names of files.
    """
    return list(_below(root / ".gitlab-ci.yml", root, inputs, _Place(fetched, variables), ()))


@dataclass(frozen=True)
class _Place:
    fetched: Path
    variables: Mapping[str, str]
    above: tuple[Path, ...] = ()
    """The files that led here: with rules, a file may include itself."""

    def files(self, include: Mapping[str, Any], root: Path) -> Iterator[tuple[Path, Path]]:
        """The files of an include that are on this machine, each with its project's folder."""
        names = include.get("local", include.get("file", ()))
        if "project" in include:
            project, ref = self._word(include["project"]), self._word(include.get("ref", "HEAD"))
            roots = _matches(self.fetched, f"*/{project}/{ref}")
        else:
            roots = [root] if "local" in include else []
        for folder in roots:
            for name in [names] if isinstance(names, str) else names:
                path = self._word(name).lstrip("/")
                found = _matches(folder, path) if path and ".." not in path else []
                yield from ((file, folder) for file in found if file.is_file())

    def _word(self, value: Any) -> str:
        return trigger_jobs.expand(str(value), self.variables, unknown="")


def _matches(folder: Path, pattern: str) -> list[Path]:
    """What a pattern of GitLab's finds, in which `**` may be a part of a name; nothing if it is none."""
    try:
        return sorted(folder.glob(re.sub(r"(?<![^/])\*\*(?=[^/])", "**/*", pattern)))
    except ValueError:  # the engine judges it
        return []


def _below(
    file: Path, root: Path, given: Mapping[str, Any], place: _Place, rules: tuple[Rules, ...]
) -> Iterator[InputProblem]:
    header, content = _documents(file)
    for include in _includes(_filled(content.get("include"), {**_defaults(header), **given})):
        own = include.get("rules")
        inside = (*rules, tuple(own)) if isinstance(own, list) and own else rules
        passed = include["inputs"] if isinstance(include.get("inputs"), dict) else {}
        for found, folder in place.files(include, root):
            for text in _refused(found, passed):
                yield InputProblem(f"`{found.relative_to(folder).as_posix()}`: {text}", inside)
            if found not in place.above:
                yield from _below(found, folder, passed, replace(place, above=(*place.above, found)), inside)


def _refused(file: Path, given: Mapping[str, Any]) -> Iterator[str]:
    header, _ = _documents(file)
    unknown = [str(name) for name in given if name not in _declared(header)]
    if unknown and not header:
        yield "Given inputs not defined in the `spec` section of the included configuration file"
    elif unknown:
        yield f"unknown input arguments: {', '.join(unknown)}"


def _declared(header: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = header.get("spec")
    inputs = spec.get("inputs") if isinstance(spec, dict) else None
    return inputs if isinstance(inputs, dict) else {}


def _defaults(header: Mapping[str, Any]) -> dict[str, Any]:
    declared = _declared(header).items()
    return {name: one.get("default", "") if isinstance(one, dict) else "" for name, one in declared}


def _documents(file: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The header, empty if the file has none, and the configuration."""
    try:
        # The loader makes plain values only.
        found = list(yaml.load_all(file.read_text(encoding="utf-8"), _Loader))
    except (OSError, ValueError, yaml.YAMLError):
        return {}, {}  # the engine says what is wrong with it
    documents = [one if isinstance(one, dict) else {} for one in found]
    if len(documents) > 1 and "spec" in documents[0]:
        return documents[0], documents[1]
    return {}, documents[0] if documents else {}


def _includes(value: Any) -> Iterator[Mapping[str, Any]]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str) and "://" not in one:
            yield {"local": one}
        elif isinstance(one, dict):
            yield one


def _filled(value: Any, inputs: Mapping[str, Any]) -> Any:
    """A part of a CI file with its inputs filled in."""
    if isinstance(value, dict):
        return {key: _filled(one, inputs) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, inputs) for one in value]
    if not isinstance(value, str):
        return value
    whole = _INPUT.fullmatch(value)
    if whole and whole[1] in inputs:
        return inputs[whole[1]]
    return _INPUT.sub(lambda match: _text(inputs.get(match[1], match[0])), value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def all_rules(found: Sequence[InputProblem]) -> list[Rules]:
    """The different rules that decide about these includes."""
    return list({json.dumps(one, default=str): one for problem in found for one in problem.rules}.values())
