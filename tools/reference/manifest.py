"""The keys of `mlops.yml`, section by section, as the manifest's schema has them."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MaxLen
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from mlops.manifest import schema
from mlops.manifest.schema import Section
from tools.reference.markdown import code, sentence, table

SECTIONS: dict[str, type[Section]] = {
    "document": schema.Document,
    "image": schema.ImageSection,
    "training": schema.TrainingSection,
    "evaluation": schema.EvaluationSection,
    "metric": schema.MetricSection,
    "retraining": schema.RetrainingSection,
    "monitoring": schema.MonitoringSection,
    "thresholds": schema.DriftThresholdsSection,
    "deployment": schema.DeploymentSection,
    "smoke-test": schema.SmokeTestSection,
    "notifications": schema.NotificationsSection,
}
# What makes a type of pydantic's our own is its validator.
_WORDS = [
    (marker, word)
    for alias, word in ((schema.Duration, "time"), (schema.RelativePath, "path"), (schema.DataPath, "data"))
    for marker in get_args(alias)
    if isinstance(marker, BeforeValidator)
]
_NAMES = {
    str: "text",
    int: "number",
    float: "number",
    bool: "true or false",
    dict: "mapping",
    list: "list",
    Any: "text, mapping or list",
}


def keys() -> dict[str, str]:
    """Return the table of keys by the section's name."""
    head = ("key", "type", "default", "meaning")
    return {
        f"keys-of-{name}": table(head, [_row(key, field) for key, field in section.model_fields.items()])
        for name, section in SECTIONS.items()
    }


def known_goals() -> str:
    """Return the metrics whose goal a manifest need not give."""
    rows = [
        (code(goal), ", ".join(code(name) for name, known in schema.KNOWN_GOALS.items() if known == goal))
        for goal in get_args(schema.Goal)
    ]
    return table(("goal", "metrics"), rows)


def _row(key: str, field: FieldInfo) -> tuple[str, str, str, str]:
    kind, limits = _kind(field)
    return code(key), f"{kind}{limits}", _default(field, kind), sentence(field.description or "")


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield what a type consists of, without the wrappers that only carry limits; None is left out."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        yield from _parts(inner)
        yield from metadata
    elif get_origin(annotation) in (Union, types.UnionType):
        for one in get_args(annotation):
            if one is not types.NoneType:
                yield from _parts(one)
    else:
        yield annotation


def _kind(field: FieldInfo) -> tuple[str, str]:
    """Return what a person writes for a key, and within which limits."""
    kind, *metadata = (*_parts(field.annotation), *field.metadata)
    flat = [one for item in metadata for one in (item.metadata if isinstance(item, FieldInfo) else [item])]
    word = next((word for marker, word in _WORDS if any(one is marker for one in flat)), "") or _word(kind)
    return word, _limits(flat, schema.duration if word == "time" else str)


def _word(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(code, get_args(kind)))
    if isinstance(kind, type) and issubclass(kind, Section):
        return "section"
    return _NAMES[get_origin(kind) or kind]


def _limits(metadata: list[Any], shown: Any) -> str:
    low = next((shown(one.ge) for one in metadata if isinstance(one, Ge)), "")
    high = next((shown(one.le) for one in metadata if isinstance(one, Le)), "")
    above = next((shown(one.gt) for one in metadata if isinstance(one, Gt)), "")
    most = next((str(one.max_length) for one in metadata if isinstance(one, MaxLen)), "")
    if low and high:
        return f", {low} to {high}"
    if above:
        return f", above {above}" + (f", at most {high}" if high else "")
    limits = [
        f"at least {low}" if low else "",
        f"at most {high}" if high else "",
        f"at most {most}" if most else "",
    ]
    return "".join(f", {limit}" for limit in limits if limit)


def _default(field: FieldInfo, kind: str) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is None or value in ({}, []):
        return ""
    if isinstance(value, Section):
        return "as below"
    if isinstance(value, bool):
        return code(str(value).lower())
    return code(schema.duration(value) if kind == "time" else str(value))
