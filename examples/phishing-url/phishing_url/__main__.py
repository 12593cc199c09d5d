"""The image's entry point: `python -m phishing_url train | evaluate | serve`."""

from __future__ import annotations

import argparse
import logging
import sys

from phishing_url.container import Identity, ModelError, Paths

# SageMaker keeps the first 1,024 characters of a failure.
FAILURE_LIMIT = 1024

logger = logging.getLogger(__name__)


def run(verb: str, paths: Paths) -> None:
    # pylint: disable=import-outside-toplevel  # serving need not wait for what only training imports
    if verb == "train":
        from phishing_url.train import train

        train(paths, Identity.from_environment())
    elif verb == "evaluate":
        from phishing_url.evaluate import evaluate

        evaluate(paths)
    else:
        from phishing_url.serve import serve

        serve(paths)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m phishing_url")
    parser.add_argument("verb", choices=("train", "evaluate", "serve"))
    verb = parser.parse_args().verb
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    paths = Paths.from_environment()
    try:
        run(verb, paths)
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


if __name__ == "__main__":
    sys.exit(main())
