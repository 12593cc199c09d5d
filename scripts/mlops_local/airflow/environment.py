"""A real Apache Airflow on this machine, in an environment of its own: how it is configured and started.

It runs with `.venv-airflow`, which holds the versions that Amazon MWAA offers. `runner.py` is the
program; this module only describes and asks it, so it imports nothing of Airflow.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Collection
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener, urlopen

from mlops.base.errors import LocalStackError
from mlops.contracts.runs import DEPLOYMENT_DAG, MONITORING_DAG, NOTICE_DAG, RETRAINING_DAG, TRAINING_DAG
from mlops_local.base import paths
from mlops_local.base.config import AIRFLOW_KEY

DAGS = (TRAINING_DAG, DEPLOYMENT_DAG, RETRAINING_DAG, MONITORING_DAG, NOTICE_DAG)

# The one user of the local Airflow, who may do everything.
USER = "admin"
PASSWORDS = "passwords.json"

RUNNER = Path(__file__).with_name("runner.py")

# Airflow's parallelism of 2 lets tasks wait for seconds on two cores; tasks here mostly wait for AWS.
PARALLELISM = 8


def command() -> list[str]:
    """The command line; start it in a session of its own, with `environment()`.

    Raises:
        LocalStackError: when Airflow is not installed in this checkout.
    """
    # -P: this folder's airflow.py must not stand in for Airflow
    return [str(paths.airflow_python()), "-P", str(RUNNER)]


def environment(  # pylint: disable=too-many-arguments
    home: Path,
    port: int,
    aws_endpoint: str,
    dags_folder: Path,
    region: str = "eu-west-1",
    *,
    look_seconds: int = 3600,
    access_key: str = AIRFLOW_KEY,
) -> dict[str, str]:
    """The variables Airflow runs with; nothing of the caller's environment but PATH, HOME and locale.

    Args:
        home: Where database, logs and passwords go; below the stack's home.
        port: Of the web server and REST API, on the loopback interface.
        aws_endpoint: The local AWS, such as `http://127.0.0.1:4566`.
        dags_folder: The checkout's `dags/`, or where MWAA puts its own.
        region: The one region there is.
        look_seconds: Between two looks for files that are new or changed.
        access_key: What the local AWS knows Airflow by.
    """
    home = home.resolve()
    # The tokens Airflow's parts show each other; they live as long as this process.
    jwt_secret, api_secret = secrets.token_urlsafe(64), secrets.token_urlsafe(64)
    base_url = f"http://127.0.0.1:{port}"
    options = {
        "CORE__DAGS_FOLDER": str(dags_folder.resolve()),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": str(PARALLELISM),
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{_free_port()}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / PASSWORDS),
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "API__BASE_URL": base_url,
        "API__WORKERS": "1",
        "API__SECRET_KEY": api_secret,
        "API_AUTH__JWT_SECRET": jwt_secret,
        # Airflow's default, since its API wakes the scheduler (scheduler_pause.py).
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
        "SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        # About every second skipped task is reported only after this time, by default 5 s: the supervisor
        # waits on sockets that the task has closed already (supervisor.py, _monitor_subprocess).
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
        # Airflow's default, unless all looks are rare. A file that has changed is parsed with the next look.
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": str(max(look_seconds, 30)),
        "DAG_PROCESSOR__REFRESH_INTERVAL": str(look_seconds),
        "DAG_PROCESSOR__PRINT_STATS_INTERVAL": "0",
        # The DAGs' own (dags/run_tasks.py). Jobs take seconds here, not minutes.
        "MLOPS__CHECK_INTERVAL": "0.1",
        "LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "LOGGING__LOGGING_LEVEL": "INFO",
        # As on MWAA: connections come from Secrets Manager, here from the local one.
        "SECRETS__BACKEND": "airflow.providers.amazon.aws.secrets.secrets_manager.SecretsManagerBackend",
        "SECRETS__BACKEND_KWARGS": json.dumps(
            {"connections_prefix": "airflow/connections", "variables_prefix": None, "config_prefix": None}
        ),
    }
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return (
        inherited
        | {f"AIRFLOW__{name}": value for name, value in options.items()}
        | {
            "AIRFLOW_HOME": str(home),
            "AWS_ENDPOINT_URL": aws_endpoint,
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            # the session of the MWAA environment's role, as far as the local AWS knows one
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "PYTHONUNBUFFERED": "1",
            # macOS: a forked child may not touch its frameworks otherwise
            "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
        }
    )


def make_password(home: Path) -> Path:
    """Give the user of Airflow a password, which stays for a next start; return the file that holds it.

    Only the owner reads the file. Airflow would make one itself, and print it.
    https://airflow.apache.org/docs/apache-airflow/3.2.1/core-concepts/auth-manager/simple/index.html

    Args:
        home: As for `environment`.
    """
    home.mkdir(parents=True, exist_ok=True)
    file = home / PASSWORDS
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as sink:
            json.dump({USER: secrets.token_urlsafe(24)}, sink)
    return file


def log_in(url: str, passwords: Path, timeout: float = 10.0) -> str:
    """A token for Airflow's REST API, of its one user.

    Args:
        url: Of Airflow's web server.
        passwords: The file of `make_password`.
        timeout: In seconds.

    Raises:
        OSError: when Airflow or the file is not there, or the password is wrong.
    """
    password = json.loads(passwords.read_text(encoding="utf-8"))[USER]
    body = json.dumps({"username": USER, "password": password}).encode()
    request = Request(f"{url}/auth/token", body, {"Content-Type": "application/json"})  # noqa: S310  # our own loopback URL
    # the stack's own traffic never goes through a proxy of the person who started it
    with build_opener(ProxyHandler({})).open(request, timeout=timeout) as answer:
        return str(json.load(answer)["access_token"])


def wait_ready(
    url: str,
    passwords: Path,
    timeout: float,
    alive: Callable[[], bool] = lambda: True,
    dags: Collection[str] = DAGS,
) -> None:
    """Return once every part of Airflow is healthy and the DAGs are parsed.

    Args:
        url: Of Airflow's web server.
        passwords: The file of `make_password`.
        timeout: In seconds.
        alive: Answers whether Airflow still runs.
        dags: Their names.

    Raises:
        LocalStackError: when it is not ready within `timeout` seconds, or is not `alive` any more.
    """
    deadline = time.monotonic() + timeout
    seen = "no answer yet"
    while time.monotonic() < deadline:
        if not alive():
            raise LocalStackError(
                "Airflow ended while it was starting", cause=seen, next_step="Run: mlops local logs"
            )
        try:
            with urlopen(f"{url}/api/v2/monitor/health", timeout=5) as answer:  # noqa: S310  # our own loopback URL
                health = json.load(answer)
            seen = ", ".join(
                f"{part} {state['status']}" for part, state in health.items() if state.get("status")
            )
            if all(health[part]["status"] == "healthy" for part in health):
                missing = set(dags) - _parsed_dags(url, passwords)
                if not missing:
                    return
                seen = f"not parsed yet: {', '.join(sorted(missing))}"
        except (URLError, OSError, ValueError) as error:
            seen = str(error)
        time.sleep(0.1)
    raise LocalStackError(
        f"Airflow was not ready within {timeout:.0f} seconds",
        cause=seen,
        next_step="Run: mlops local logs",
    )


def _parsed_dags(url: str, passwords: Path) -> set[str]:
    token = log_in(url, passwords, 5)
    request = Request(f"{url}/api/v2/dags?limit=100", headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    with urlopen(request, timeout=5) as answer:  # noqa: S310
        return {dag["dag_id"] for dag in json.load(answer)["dags"]}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
