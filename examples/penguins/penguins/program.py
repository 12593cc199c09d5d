"""The entry point of every image: `python -m <model> train | evaluate | serve`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from penguins import artifact, server
from penguins.columns import Row, inputs_of, read_examples
from penguins.container import Identity, ModelError, Paths

# SageMaker keeps the first 1,024 characters of a failure.
FAILURE_LIMIT = 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Program:
    """What one model does; everything else is the same for all of them."""

    name: str
    label: str
    """The column it predicts."""
    train: Callable[[list[Row], Paths, Identity], artifact.Model]
    report: Callable[[artifact.Model, list[Row]], dict[str, Any]]
    """evaluation.json, schema version 1."""
    predict: Callable[[artifact.Model, list[Row]], Iterable[dict[str, Any]]]
    """The answers to requests, in their order."""

    def run(self, verb: str, paths: Paths) -> None:
        """Do what SageMaker asks.

        Raises:
            ModelError: when data, model, hyper-parameters or a port do not allow it.
        """
        if verb == "train":
            model = self.train(
                read_examples(paths.training_data), paths, Identity.from_environment(self.name)
            )
            artifact.save(model, paths.model)
        elif verb == "evaluate":
            model = artifact.load_archive(paths.model_archive)
            document = self.report(model, read_examples(paths.test_data))
            paths.evaluation.parent.mkdir(parents=True, exist_ok=True)
            paths.evaluation.write_text(
                json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8"
            )
            for name, value in document["metrics"].items():
                logger.info("test:%s=%.4f", name, value)
        else:
            model = artifact.load(paths.model)
            server.serve(server.Application(model, inputs_of(self.label), self.predict))


def main(program: Program) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=("train", "evaluate", "serve"))
    verb = parser.parse_args().verb
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    paths = Paths.from_environment()
    try:
        program.run(verb, paths)
        return 0
    except ModelError as error:
        reason = str(error)
        logger.error("error: %s", reason)
    except Exception as error:  # pylint: disable=broad-exception-caught  # whatever it is, the job must say so
        reason = f"{type(error).__name__}: {error}"
        logger.exception("unexpected error")
    if verb != "serve":
        note = paths.failure if verb == "train" else paths.message
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(reason[:FAILURE_LIMIT], encoding="utf-8")
    return 1
