"""`python -m mlops_local.aws --home DIRECTORY --port PORT`: the local AWS alone, until ^C or SIGTERM."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from mlops_local.aws.server import serve
from mlops_local.base.config import ACCESS_KEY, LocalAwsConfig


def main() -> None:
    """Serve until a signal to stop."""
    parser = argparse.ArgumentParser(prog="mlops_local.aws")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--region", default="eu-west-1")
    parser.add_argument("--account", default="123456789012")
    parser.add_argument("--engine", choices=("process", "docker"), default="process")
    parser.add_argument("--airflow-url", default="http://127.0.0.1:8080")
    parser.add_argument(
        "--airflow-passwords", type=Path, default=Path("passwords.json"), help="Airflow's file"
    )
    parser.add_argument("--airflow-environment", default="ml-ops-local")
    parser.add_argument("--lambda-python", type=Path, default=Path(sys.executable))
    parser.add_argument("--health-check-seconds", type=float, default=60.0)
    parser.add_argument("--access-key", default=ACCESS_KEY, help="the ID of the account's own access key")
    parser.add_argument("--gitlab", default="", help="host and port of the GitLab whose jobs take roles")
    parser.add_argument("--snapshot", type=Path, help="a snapshot of an account to begin with")
    parser.add_argument("--enforce", action="store_true", help="refuse what a caller's role does not allow")
    arguments = parser.parse_args()
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    given = vars(arguments) | {
        "home": arguments.home.resolve(),
        # not resolved: the link is what makes it the interpreter of its environment
        "lambda_python": arguments.lambda_python.absolute(),
    }
    config = LocalAwsConfig(**given)
    with serve(config):
        print(f"AWS answers at {config.endpoint}", file=sys.stderr, flush=True)  # noqa: T201
        stopping.wait()


if __name__ == "__main__":
    main()
