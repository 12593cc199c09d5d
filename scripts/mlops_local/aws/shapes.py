"""Requests and answers against botocore's own description of a service.

Errors read as the service's own: `2 validation errors detected: Value 'a_b' at 'modelName' failed to satisfy
constraint: Member must satisfy regular expression pattern: ...`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from mlops_local.base.wire import ServiceError

if TYPE_CHECKING:
    from botocore.model import ServiceModel, Shape

_PYTHON: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "boolean": bool,
    "timestamp": (int, float),
}
# What the models' patterns use and Python's re does not know. Where a class is a little wider than Unicode's
# property, a name that AWS refuses would have to hold an exotic letter.
_PROPERTIES = {
    r"\p{L}": r"\w",
    r"\p{N}": r"\d",
    r"\p{M}": r"\u0300-\u036f",
    r"\p{P}": r"!-/:-@\[-`{-~",
    r"\p{S}": r"$+<=>^`|~",
    r"\p{Z}": r"\s",
    # An end that is repeated is an end.
    "${1,128}": "$",
    "${1,256}": "$",
    r"\p{ASCII}": r"[\x00-\x7f]",
    r"\p{Print}": ".",
}


@cache
def service_model(service: str) -> ServiceModel:
    """The description of a service's API."""
    import botocore.session

    return botocore.session.get_session().get_service_model(service)


def read(shape: Shape | None, document: object) -> dict[str, Any]:
    """A request's parameters: checked, timestamps as datetimes, members the service does not know left out.

    Raises:
        ServiceError: `ValidationException` or `SerializationException`.
    """
    if shape is None:
        return {}
    problems: list[str] = []
    parameters: dict[str, Any] = _read(shape, document, "", problems)
    if problems:
        count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected"
        raise ServiceError("ValidationException", f"{count}: {'; '.join(problems)}")
    return parameters


def write(shape: Shape | None, value: Any) -> Any:
    """An answer as JSON: only members of the shape, none that is None, times as seconds since the epoch."""
    return {} if shape is None else _write(shape, value)


def _write(shape: Any, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    if getattr(shape, "is_document_type", False):
        return value
    if shape.type_name == "structure":
        return {
            name: _write(shape.members[name], item)
            for name, item in value.items()
            if name in shape.members and item is not None
        }
    if shape.type_name == "list":
        return [_write(shape.member, item) for item in value]
    if shape.type_name == "map":
        return {key: _write(shape.value, item) for key, item in value.items()}
    return value


def _read(shape: Any, value: Any, where: str, problems: list[str]) -> Any:
    if getattr(shape, "is_document_type", False):
        return value
    if shape.type_name == "structure":
        return _read_structure(shape, value, where, problems)
    if shape.type_name == "list":
        _expect(value, list, where)
        _check_size(shape, len(value), value, where, problems)
        steps = enumerate(value, 1)
        return [_read(shape.member, item, f"{where}.{number}.member", problems) for number, item in steps]
    if shape.type_name == "map":
        _expect(value, dict, where)
        _check_size(shape, len(value), value, where, problems)
        for key in value:
            _read(shape.key, key, where, problems)
        return {key: _read(shape.value, one, f"{where}.{key}.member", problems) for key, one in value.items()}
    return _read_scalar(shape, value, where, problems)


def _read_scalar(shape: Any, value: Any, where: str, problems: list[str]) -> Any:
    kind = _PYTHON.get(shape.type_name)
    if kind is None:
        return value
    _expect(value, kind, where)
    if isinstance(value, bool) and shape.type_name != "boolean":
        raise ServiceError("SerializationException", f"BOOLEAN is not expected at '{where}'")
    if shape.type_name == "timestamp":
        return datetime.fromtimestamp(value, UTC)
    if shape.type_name == "string":
        _check_string(shape, value, where, problems)
    elif shape.type_name != "boolean":
        _check_size(shape, value, value, where, problems)
    return value


def _read_structure(shape: Any, value: Any, where: str, problems: list[str]) -> dict[str, Any]:
    _expect(value, dict, where)
    prefix = f"{where}." if where else ""
    parameters = {}
    for name, member in shape.members.items():
        path = prefix + name[:1].lower() + name[1:]
        if value.get(name) is not None:
            parameters[name] = _read(member, value[name], path, problems)
        elif name in shape.required_members:
            problems.append(_failed("null", path, "Member must not be null"))
    return parameters


def _check_string(shape: Any, value: str, where: str, problems: list[str]) -> None:
    _check_size(shape, len(value), value, where, problems)
    if shape.enum and value not in shape.enum:
        allowed = f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
        problems.append(_failed(f"'{value}'", where, allowed))
    pattern = shape.metadata.get("pattern")
    if pattern and not _compiled(pattern).fullmatch(value):
        problems.append(
            _failed(f"'{value}'", where, f"Member must satisfy regular expression pattern: {pattern}")
        )


def _check_size(shape: Any, size: float, value: Any, where: str, problems: list[str]) -> None:
    what = "value" if isinstance(value, (int, float)) else "length"
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        problems.append(
            _failed(f"'{value}'", where, f"Member must have {what} greater than or equal to {low}")
        )
    if high is not None and size > high:
        problems.append(_failed(f"'{value}'", where, f"Member must have {what} less than or equal to {high}"))


def _failed(value: str, where: str, constraint: str) -> str:
    return f"Value {value} at '{where}' failed to satisfy constraint: {constraint}"


def _expect(value: Any, kind: type | tuple[type, ...], where: str) -> None:
    if not isinstance(value, kind):
        raise ServiceError(
            "SerializationException", f"{type(value).__name__} cannot be converted at '{where or 'request'}'"
        )


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    for theirs, ours in _PROPERTIES.items():
        pattern = pattern.replace(theirs, ours)
    return re.compile(pattern)
