"""Reads hyperparameters.json, whose values SageMaker always writes as strings."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from penguins.container import ModelError

Parameters = TypeVar("Parameters")


def read(path: Path, kind: type[Parameters]) -> Parameters:
    """The values for a dataclass of numbers, all above 0; those not given keep its default.

    Raises:
        ModelError: when a name is unknown or a value is not of its type.
    """
    document: Any = {}
    if path.exists():
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"{path.name} is no valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise ModelError(f"{path.name} must hold one object of strings")
    types = {field.name: int if field.type == "int" else float for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: _number(name, text, types) for name, text in document.items()})


def _number(name: str, text: object, types: dict[str, type[int] | type[float]]) -> float:
    if name not in types:
        near = get_close_matches(name, types, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "allowed: " + ", ".join(types)
        raise ModelError(f"Unknown hyper-parameter '{name}'; {hint}")
    wanted = "a whole number above 0" if types[name] is int else "a number above 0"
    try:
        value = types[name](str(text))
    except ValueError as error:
        raise ModelError(f"Hyper-parameter '{name}' is {text!r}; it must be {wanted}") from error
    if not (math.isfinite(value) and value > 0):
        raise ModelError(f"Hyper-parameter '{name}' is {text!r}; it must be {wanted}")
    return value
