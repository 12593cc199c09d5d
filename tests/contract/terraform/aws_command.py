"""The part of the AWS CLI that documents and messages use, by the same description of the services: botocore's.

An option that a call does not know ends it, as there. `install` puts it into a folder as the command `aws`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import boto3
import jmespath  # type: ignore[import-untyped]
from botocore import xform_name


def install(folder: Path) -> Path:
    """Make the folder one for PATH."""
    command = folder / "aws"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return folder


def _members(shape: Any, words: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """What goes to the service, and the options every command has."""
    known = {f"--{xform_name(name, '-')}": name for name in shape.members}
    given: dict[str, Any] = {}
    common: dict[str, str] = {}
    while words:
        option = words.pop(0)
        name = known.get(option)
        if name and shape.members[name].type_name == "boolean":
            given[name] = True
        elif name:
            given[name] = words.pop(0)
        elif option in ("--region", "--query", "--output"):
            common[option] = words.pop(0)
        else:
            raise SystemExit(f"Unknown options: {option}")
    return given, common


def main(service: str, command: str, *words: str) -> None:
    """Carry out one command."""
    model = boto3.Session()._session.get_service_model(service)
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    if command not in operations:
        raise SystemExit(f"{service} has no {command}")
    shape = model.operation_model(operations[command]).input_shape
    given, common = _members(shape, list(words))
    client: Any = boto3.client(service, region_name=common["--region"])  # type: ignore[call-overload]
    method = xform_name(operations[command])
    if client.can_paginate(method):
        answer = client.get_paginator(method).paginate(**given).build_full_result()
    else:
        answer = getattr(client, method)(**given)
    if "--query" in common:
        assert common.get("--output") == "text"
        sys.stdout.write("\t".join(jmespath.search(common["--query"], answer)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
