"""How long it takes to find the newest versions of fifty models, among ten thousand."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from bench.measure import Contender, Table, race
from tests.contract.retraining import crowd

ANYBODY = "test"  # the key of a local AWS on its own
LIMIT = 60

COUNT = """
import boto3
calls = []
sagemaker = boto3.client("sagemaker")
sagemaker.meta.events.register("before-call", lambda **_: calls.append(1))
names = [f"m{number:02}" for number in range(50)]
"""
OURS = f"""{COUNT}
from mlops.clients.aws.sagemaker import newest_models
found = [newest_models(sagemaker, "shop", name, "1.2.0", None).newest.version for name in names]
open("calls", "w").write(str(len(calls)))
"""
# Names in whatever place, to the end; a hundred at a time, as many as SageMaker gives, where boto3 takes ten by itself.
BY_NAME = f"""{COUNT}
pages = sagemaker.get_paginator("list_models")
for name in names:
    models = [one for page in pages.paginate(NameContains=f"shop--{{name}}--", MaxResults=100) for one in page["Models"]]
    newest = max(
        (one for one in models if one["ModelName"].startswith(f"shop--{{name}}--") and "-mr" not in one["ModelName"]),
        key=lambda one: one["CreationTime"],
    )
open("calls", "w").write(str(len(calls)))
"""
EVERYTHING = f"""{COUNT}
pages = sagemaker.get_paginator("list_models")
models = [one for page in pages.paginate(MaxResults=100) for one in page["Models"]]
for name in names:
    newest = max(
        (one for one in models if one["ModelName"].startswith(f"shop--{{name}}--") and "-mr" not in one["ModelName"]),
        key=lambda one: one["CreationTime"],
    )
open("calls", "w").write(str(len(calls)))
"""


def measure(folder: Path) -> Table:
    """Newest first, to the first true match, beside all pages there are."""
    with crowd.serve(folder) as endpoint:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": ANYBODY,
            "AWS_SECRET_ACCESS_KEY": ANYBODY,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        programs = {
            "mlops, to the first match": (OURS, 5),
            "all pages of a name": (BY_NAME, 3),
            "all pages of the account": (EVERYTHING, 1),
        }
        contenders = [
            Contender(
                name=name,
                command=[sys.executable, "-c", program],
                directory=_room(folder, number),
                environment=environment,
                runs=runs,
            )
            for number, (name, (program, runs)) in enumerate(programs.items())
        ]
        rows = race("50 models of 10,000", contenders)
    calls = {one.name: int((one.directory / "calls").read_text(encoding="utf-8")) for one in contenders}
    ours = calls[contenders[0].name]
    return Table(
        title="Retrain: the newest version of every model, whole process",
        rows=[replace(row, note=f"{calls[row.contender]:,} calls") for row in rows],
        failures=[f"{ours} calls, at most {LIMIT}"] if ours > LIMIT else [],
    )


def _room(folder: Path, number: int) -> Path:
    """A folder of a contender's own, in which it leaves the number of its calls."""
    room = folder / str(number)
    room.mkdir()
    return room
