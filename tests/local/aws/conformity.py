"""Checks every response of a boto3 client against the service's own model, which boto3 itself does not."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import Any

OURS = {"sagemaker", "sagemaker-runtime", "mwaa"}
# Errors that every AWS service may answer; models do not repeat them.
COMMON = {
    "AccessDeniedException",
    "InternalFailure",
    "SerializationException",
    "ThrottlingException",
    "ValidationException",
}

_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (datetime.datetime,),
}


def problems(shape: Any, value: Any, where: str = "") -> Iterator[str]:
    """What a value of a response has that its shape does not allow."""
    kind = shape.type_name
    if getattr(shape, "is_document_type", False):
        return
    if kind == "structure":
        for name in shape.required_members:
            if name not in value:
                yield f"{where}.{name} is missing"
        for name, item in value.items():
            if name in shape.members:
                yield from problems(shape.members[name], item, f"{where}.{name}")
            elif name != "ResponseMetadata":
                yield f"{where}.{name} is unknown"
    elif kind == "list":
        yield from _size(shape, len(value), where)
        for index, item in enumerate(value):
            yield from problems(shape.member, item, f"{where}[{index}]")
    elif kind == "map":
        yield from _size(shape, len(value), where)
        for key, item in value.items():
            yield from problems(shape.key, key, f"{where} key")
            yield from problems(shape.value, item, f"{where}.{key}")
    elif kind in _KINDS:
        if not isinstance(value, _KINDS[kind]):
            yield f"{where} is {value!r}, no {kind}"
        elif isinstance(value, str):
            yield from _string(shape, value, where)
        elif isinstance(value, (int, float)) and kind != "boolean":
            yield from _size(shape, value, where)


def _string(shape: Any, value: str, where: str) -> Iterator[str]:
    yield from _size(shape, len(value), where)
    if shape.enum and value not in shape.enum:
        yield f"{where} is {value!r}, none of {shape.enum[:20]}"
    pattern = shape.metadata.get("pattern")
    if pattern and "\\p{" not in pattern and not re.fullmatch(pattern, value):
        yield f"{where} is {value!r}, which does not match {pattern}"


def _size(shape: Any, size: float, where: str) -> Iterator[str]:
    if size < shape.metadata.get("min", size):
        yield f"{where}: {size} is below {shape.metadata['min']}"
    if size > shape.metadata.get("max", size):
        yield f"{where}: {size} is above {shape.metadata['max']}"


def check_responses(client: Any) -> None:
    """Fail the test in which a response of one of our services does not fit its model."""
    if client.meta.service_model.service_name not in OURS:
        return

    def check(http_response: Any, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        if http_response.status_code < 300:
            found = list(problems(model.output_shape, parsed)) if model.output_shape else []
            assert not found, f"{model.name}: {found}"
            return
        code = parsed["Error"]["Code"]
        named = {shape.error_code for shape in model.error_shapes} | {
            shape.name for shape in model.error_shapes
        }
        assert code in named | COMMON, f"{model.name} has no error {code}"

    client.meta.events.register("after-call", check)
