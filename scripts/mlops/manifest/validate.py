"""`mlops validate`: is `mlops.yml` right, with the overrides of every environment?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mlops.base.result import Outcome
from mlops.manifest import reader
from mlops.manifest.schema import json_schema


def run(arguments: argparse.Namespace) -> Outcome:
    """Check the manifest, or print its JSON Schema.

    Raises:
        ManifestError: with every problem.
    """
    if arguments.schema:
        schema = json_schema()
        return Outcome(summary=json.dumps(schema, indent=2), data=schema)
    return validate(Path(arguments.manifest), arguments.environment)


def validate(path: Path, environment: str = "") -> Outcome:
    """Check a manifest and say what it holds.

    Raises:
        ManifestError: with every problem.
    """
    found = reader.load(path, environment)
    names = ", ".join(found.models)
    environments = ", ".join(found.environments) or "none"
    return Outcome(
        summary=f"✓ {path} is valid. Project {found.project}; models: {names}; overrides for: {environments}",
        data={
            "manifest": str(path),
            "project": found.project,
            "environment": environment,
            "environments": list(found.environments),
            "models": {
                name: {
                    "image": model.image.model_dump(),
                    "training": model.training.model_dump(),
                    "evaluation": model.evaluation.model_dump(),
                    "retraining": model.retraining.model_dump(),
                    "deployment": model.deployment.model_dump(),
                    "notifications": model.notifications.model_dump(),
                }
                for name, model in found.models.items()
            },
        },
        next_steps=tuple(f"mlops containerize --manifest {path} --model {name}" for name in found.models),
    )
