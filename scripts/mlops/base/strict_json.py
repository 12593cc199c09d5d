"""Strict decoding of JSON into frozen dataclasses. Standard library only: the Lambda carries this module.

Unknown keys, missing keys and wrong types are errors that name the path of the key, because Airflow
takes any `conf` and a misspelt key would otherwise surface only when a task misses it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from mlops.base.errors import ContractError

Record = TypeVar("Record")

_NONE = type(None)
_HALF = re.compile(r"[\ud800-\udfff]")
_SCALARS: dict[type, str] = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


def decode(record: type[Record], document: object, where: str) -> Record:
    """Read `document`, as `json.loads` gives it, as a `record`.

    Args:
        record: A dataclass whose fields are scalars, other dataclasses, or lists, tuples and string-keyed
            dicts of these; `| None` is allowed.
        document: What was parsed.
        where: The name a message begins with, such as `comparison.json` or `conf`.

    Raises:
        ContractError: naming the path of the key, what was found and what is allowed.
    """
    return typing.cast(Record, _decode(record, document, where))


def encode(record: object) -> Any:
    """The JSON document of a dataclass, ready for `json.dumps`; the inverse of `decode`."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {field.name: encode(getattr(record, field.name)) for field in dataclasses.fields(record)}
    if isinstance(record, Mapping):
        return {str(key): encode(value) for key, value in record.items()}
    if isinstance(record, (list, tuple)):
        return [encode(value) for value in record]
    return record


class _Repeated(dict[str, Any]):
    """An object that had `key` more than once; JSON leaves open which value counts (RFC 8259, section 4)."""

    key: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    repeated = _Repeated(found)
    names = [key for key, _ in pairs]
    repeated.key = next(key for index, key in enumerate(names) if key in names[:index])
    return repeated


def loads(record: type[Record], text: str | bytes, where: str, *, foreign: bool = False) -> Record:
    """`decode` of a JSON text. NaN and infinities, which JSON does not have, are errors.

    With `foreign`, of a text that another program wrote, so are a key that is there twice and half of a
    character, as Python writes for the name of a file that is not UTF-8.

    Raises:
        ContractError: when the text is not JSON or not this record.
    """

    def refuse(constant: str) -> float:
        raise ContractError(
            f"{where} holds {constant}, which is not a number", next_step="Write only finite numbers."
        )

    try:
        document = json.loads(text, parse_constant=refuse, object_pairs_hook=_object if foreign else None)
    except (ValueError, RecursionError) as error:  # what is not UTF-8 is a ValueError too
        raise ContractError(f"{where} is not valid JSON", cause=str(error)) from error
    if foreign:
        _check_foreign(document, where)
    return decode(record, document, where)


def dumps(record: object) -> str:
    """The JSON text of a dataclass: sorted, indented, without NaN."""
    return json.dumps(encode(record), indent=2, sort_keys=True, allow_nan=False) + "\n"


def _check_foreign(document: object, where: str) -> None:
    waiting: list[tuple[str, object]] = [(where, document)]
    while waiting:  # not recursive: another program decides how deep it goes
        place, value = waiting.pop()
        if isinstance(value, str) and _HALF.search(value):
            raise _broken_text(place, value)
        if isinstance(value, list):
            waiting += ((f"{place}[{index}]", item) for index, item in enumerate(value))
        if isinstance(value, dict):
            half = next(filter(_HALF.search, value), None)
            if half is not None:
                raise _broken_text(place, half)
            if isinstance(value, _Repeated):
                raise ContractError(f"{place} has the key '{value.key}' twice")
            waiting += ((f"{place}.{key}", item) for key, item in value.items())


def _broken_text(place: str, text: str) -> ContractError:
    return ContractError(
        f"{place} holds half of a character", cause=f"found {json.dumps(text)[:120]}; allowed: text in UTF-8"
    )


def _decode(kind: Any, value: object, where: str) -> object:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _decode_record(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and _NONE in arguments:
            return None
        return _decode(next(one for one in arguments if one != _NONE), value, where)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise _wrong(where, value, "one of " + ", ".join(map(str, arguments)))
    if origin is not None:
        return _decode_container(origin, arguments, value, where)
    return value if kind is Any else _decode_scalar(kind, value, where)


def _decode_container(origin: Any, arguments: tuple[Any, ...], value: object, where: str) -> object:
    if origin in (list, tuple):
        if not isinstance(value, list):
            raise _wrong(where, value, "a list")
        items = [_decode(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value)]
        return items if origin is list else tuple(items)
    if not isinstance(value, dict):
        raise _wrong(where, value, "an object")
    return {str(key): _decode(arguments[1], item, f"{where}.{key}") for key, item in value.items()}


def _decode_scalar(kind: type, value: object, where: str) -> object:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise _wrong(where, "a number of hundreds of digits", "a finite number") from None
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise _wrong(where, value, _SCALARS[kind])
    if isinstance(value, float) and not math.isfinite(value):
        raise _wrong(where, value, "a finite number")
    return value


def _decode_record(record: type, value: object, where: str) -> object:
    if not isinstance(value, dict):
        raise _wrong(where, value, "an object")
    kinds = typing.get_type_hints(record)
    fields = {field.name: field for field in dataclasses.fields(record)}
    for key in value:
        if key not in fields:
            near = get_close_matches(str(key), fields, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else "Allowed: " + ", ".join(fields)
            raise ContractError(f"{where} has an unknown key '{key}'", next_step=hint)
    arguments: dict[str, object] = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = _decode(kinds[name], value[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ContractError(f"{where} lacks the key '{name}'")
    return record(**arguments)


def _wrong(where: str, value: object, allowed: str) -> ContractError:
    found = json.dumps(value, default=str)
    return ContractError(f"{where} must be {allowed}", cause=f"found {found[:120]}")
