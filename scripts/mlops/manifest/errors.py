"""What is wrong with a manifest, for the person who wrote it: line, key, what was found, what is allowed."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from mlops.base.errors import ManifestError
from mlops.manifest.schema import KNOWN_GOALS, Document, in_unit_of
from mlops.manifest.source import Place

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

GUIDE = "docs/reference/manifest.md describes every key."

_ALLOWED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "text that is not empty",
    "too_short": "at least {min_length} entry",
    "too_long": "at most {max_length} entries",
}
_BOUNDS = {"greater_than_equal", "less_than_equal"}
_PATTERNS = {
    r"^ml\.": "an instance type such as ml.m5.large",
    "^[a-z0-9]+(-": "lower-case letters and digits, with single hyphens between them",
    r"^[A-Za-z0-9._-]{1,64}": "at most 64 letters, digits, dots, hyphens and underscores",
    "^[A-Za-z_]": "a metric's name: letters, digits, `_`, `.` and `-`, at most 64",
    "^[a-z]+/": "a media type such as application/json",
    "^[a-z][a-z0-9-]": "lower-case letters, digits and hyphens, beginning with a letter, at most 30",
}


@dataclass(frozen=True, kw_only=True)
class ManifestProblem:
    """One thing to change in a manifest; `key` is the whole way to it, such as `models.a.training.spot`."""

    place: Place
    line: int
    what: str
    found: str = ""
    allowed: str = ""
    hint: str = ""

    @property
    def key(self) -> str:
        """The way to the value, as a person writes it."""
        text = ""
        for part in self.place:
            text += f"[{part}]" if isinstance(part, int) else f".{part}"
        return text.lstrip(".") or "the manifest"


def manifest_error(path: Path, problems: Iterable[ManifestProblem]) -> ManifestError:
    """One error with all problems, in the order of their lines."""
    found = sorted(problems, key=lambda problem: problem.line)
    if len(found) == 1:
        (problem,) = found
        facts = [f"found {problem.found}"] * bool(problem.found) + [f"allowed: {problem.allowed}"] * bool(
            problem.allowed
        )
        return ManifestError(
            f"{path}:{problem.line}: {problem.key} {problem.what}",
            cause="; ".join(facts),
            next_step=problem.hint or f"Change it; {GUIDE}",
        )
    lines = []
    for problem in found:
        facts = [
            problem.found and f"found {problem.found}",
            problem.allowed and f"allowed: {problem.allowed}",
        ]
        detail = "; ".join(fact for fact in (*facts, problem.hint) if fact)
        lines.append(
            f"{path}:{problem.line}: {problem.key} {problem.what}" + (f" ({detail})" if detail else "")
        )
    return ManifestError(
        f"{path} has {len(found)} problems",
        cause="\n".join(lines),
        next_step=f"Change these keys; {GUIDE}",
    )


def problems_of(error: ValidationError) -> list[tuple[Place, dict[str, str]]]:
    """Each problem of a validation: its place, and the fields of a `ManifestProblem` that pydantic knows."""
    details = error.errors(include_url=False)
    misspelt = {
        (*detail["loc"][:-1], near)
        for detail in details
        if detail["type"] == "extra_forbidden"
        for near in _nearest(detail["loc"])
    }
    return [
        (_place(detail), _describe(detail))
        for detail in details
        # a key that is only misspelt is not missing as well
        if detail["type"] != "missing" or detail["loc"] not in misspelt
    ]


def _place(detail: ErrorDetails) -> Place:
    return tuple(part for part in detail["loc"] if part != "[key]")


def _describe(detail: ErrorDetails) -> dict[str, str]:
    if detail["type"] == "missing":
        return {"what": "is missing"}
    if detail["type"] == "extra_forbidden":
        near = _nearest(detail["loc"])
        return {
            "what": "is not a manifest key",
            "allowed": ", ".join(allowed_keys(detail["loc"][:-1])),
            "hint": f"Did you mean '{near[0]}'?" if near else "",
        }
    if detail["type"] == "metric":
        return _describe_metric(detail["input"]["name"], detail["msg"])
    facts: Mapping[str, Any] = detail.get("ctx", {})
    near = (
        get_close_matches(str(detail["input"]), ("maximize", "minimize"), n=1)
        if detail["type"] == "literal_error"
        else []
    )
    return {
        "what": "is not valid",
        "found": _shown(detail["input"]),
        "allowed": _allowed(detail["type"], facts, detail["input"]) or detail["msg"],
        "hint": f"Did you mean '{near[0]}'?" if near else "",
    }


def _describe_metric(name: str, allowed: str) -> dict[str, str]:
    near = get_close_matches(name, KNOWN_GOALS, n=1)
    hint = f"Did you mean '{near[0]}'? If not, say" if near else "Say"
    return {
        "what": "is not a metric whose goal is known",
        "found": _shown(name),
        "allowed": allowed,
        "hint": f"{hint} `goal: maximize` or `goal: minimize`.",
    }


def _allowed(kind: str, facts: Mapping[str, Any], found: object) -> str:
    if kind == "string_pattern_mismatch":
        pattern = str(facts["pattern"])
        known = (words for start, words in _PATTERNS.items() if pattern.startswith(start))
        return next(known, f"text that matches {pattern}")
    if kind in _BOUNDS and isinstance(found, str):  # a time, which is written as text
        facts = {name: in_unit_of(found, value) for name, value in facts.items()}
    return _ALLOWED.get(kind, "").format(**facts)


def _shown(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def _nearest(place: tuple[str | int, ...]) -> list[str]:
    return get_close_matches(str(place[-1]), allowed_keys(place[:-1]), n=1)


def allowed_keys(place: tuple[str | int, ...]) -> list[str]:
    """The keys that the section at a place may have; none when it is not a section."""
    kind: Any = Document
    for part in place:
        kind = _plain(kind)
        if _is_section(kind):
            field = kind.model_fields.get(str(part))
            kind = field.annotation if field else None
        else:
            arguments = typing.get_args(kind)
            kind = arguments[-1 if typing.get_origin(kind) is dict else 0] if arguments else None
    kind = _plain(kind)
    return list(kind.model_fields) if _is_section(kind) else []


def _plain(kind: Any) -> Any:
    """A type without its `Annotated` and its `| None`."""
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        kind = next(one for one in typing.get_args(kind) if one is not types.NoneType)
    return kind


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
