"""`mlops local up`: start everything, and say what took how long."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mlops.base import console
from mlops.base.errors import EngineError, LocalStackError, MlopsError
from mlops.base.result import Outcome
from mlops_local.base import paths
from mlops_local.base.environment import QUICK, find_environment
from mlops_local.base.snapshots import Snapshot
from mlops_local.command.down import stop_stack
from mlops_local.stack import accounts
from mlops_local.stack.stack import TEMPLATES_PROJECT, Engine, Stack, find

_SUPERVISOR_SECONDS = 60
_AIRFLOW_SECONDS = 180


class Stopwatch:
    """Seconds per step, in the order they were taken."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, step: str) -> Iterator[None]:
        """Add the time spent inside to `step`."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.monotonic() - started


def up(name: str, engine: str, environment: str = QUICK, *, fresh: bool = False) -> Outcome:
    """Start the stack, or find it running.

    The account is that of a snapshot where Terraform would only make the same again, and is made by Terraform
    otherwise.

    Args:
        environment: Which of `terraform/environments` the stack plays.
        fresh: Let Terraform make it, whatever there is.

    Raises:
        LocalStackError: when a part does not start, and everything started is stopped again; when the stack
            is up and plays another environment.
    """
    played = find_environment(environment)
    stack = find(name)
    if stack is not None and stack.running() and stack.outputs:
        if stack.environment_name != environment:
            raise LocalStackError(
                f"The local stack '{name}' is up and plays the environment '{stack.environment_name}'",
                next_step=f"Run: mlops local --name {environment} up --environment {environment}",
            )
        return _outcome(stack, f"The local stack '{name}' is already up", {})
    if stack is not None:
        stop_stack(stack)
    chosen = choose_engine(engine)
    home = paths.home(name)
    # State is in memory, so a new start begins with nothing; Terraform's state of the last one would lie.
    for folder in (home, paths.runs(name)):
        shutil.rmtree(folder, ignore_errors=True)
    watch = Stopwatch()
    started = time.monotonic()
    try:
        with accounts.begin(home, played, fresh=fresh) as account:
            with watch.time("servers"):
                stack = start_servers(name, home, chosen, environment)
            stack = _furnish(stack, account, watch)
        with watch.time("airflow (rest)"):
            _wait_for_airflow(stack)
        stack.save()
    except BaseException as error:
        broken = find(name)
        if broken is not None:
            stop_stack(broken, keep_logs=True)
        if isinstance(error, MlopsError):
            raise
        raise LocalStackError(f"The local stack '{name}' did not start", cause=repr(error)) from error
    watch.seconds["total"] = time.monotonic() - started
    return _outcome(stack, f"The local stack '{name}' is up", watch.seconds, account.snapshot)


def choose_engine(wanted: str) -> Engine:
    """The engine asked for; `auto` takes Docker if it answers.

    Raises:
        EngineError: when Docker was asked for by name and does not answer.
    """
    if wanted == "process":
        return "process"
    from mlops.clients.docker import DockerDaemon

    try:
        DockerDaemon.connect(console.say)
    except EngineError:
        if wanted == "docker":
            raise
        return "process"
    return "docker"


def start_servers(name: str, home: Path, engine: Engine, environment: str) -> Stack:
    """An empty account, an empty GitLab, and an Airflow that is still starting.

    Raises:
        LocalStackError: when they do not answer; nothing of them is left.
    """
    for folder in (home, paths.runs(name)):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # keys, tokens and Terraform's state are below them
    (home / "logs").mkdir(exist_ok=True)
    options = ("--name", name, "--engine", engine, "--environment", environment)
    command = [sys.executable, "-m", "mlops_local.stack.supervisor", *options]
    with (home / "logs" / "supervisor.log").open("ab") as log:
        supervisor = subprocess.Popen(  # pylint: disable=consider-using-with  # outlives this command
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=paths.checkout(),
            start_new_session=True,
        )
    deadline = time.monotonic() + _SUPERVISOR_SECONDS
    while time.monotonic() < deadline:
        stack = find(name)
        if stack is not None:
            return stack
        if supervisor.poll() is not None:
            break
        time.sleep(0.05)
    from mlops_local.base import processes

    processes.stop_group(supervisor.pid)
    raise LocalStackError(
        "The local servers did not start",
        cause=tail(home / "logs" / "supervisor.log"),
        link=str(home / "logs" / "supervisor.log"),
    )


def _furnish(stack: Stack, account: accounts.Account, watch: Stopwatch) -> Stack:
    """Have in the local AWS what Terraform creates in a real one, and fill in what it leaves empty."""
    from mlops_local.pipelines.sources import publish_templates

    with watch.time("templates"):
        publish_templates(stack, TEMPLATES_PROJECT)
    with watch.time("terraform"):
        outputs = account.outputs(stack)
    with watch.time("secrets"):
        _put_slack_webhook(stack, str(outputs["slack_secret"]), "B000")
        for channel, secret in (outputs.get("slack_secrets") or {}).items():
            _put_slack_webhook(stack, str(secret), channel)
        _confirm_subscriptions(stack)
    _set_group_variables(stack, outputs.get("role_arns") or {})
    return stack.completed(
        {key: value if isinstance(value, str) else json.dumps(value) for key, value in outputs.items()}
    )


def _put_slack_webhook(stack: Stack, secret: str, channel: str) -> None:
    """A person puts the real webhook there once; it is never in Terraform's state."""
    from mlops_local.stack.sdk import client

    value = {
        "conn_type": "slackwebhook",
        "host": f"{stack.aws_endpoint}/slack",
        "password": f"services/T000/{channel}/local",
    }
    client(stack, "secretsmanager").put_secret_value(SecretId=secret, SecretString=json.dumps(value))


def _confirm_subscriptions(stack: Stack) -> None:
    """On AWS everybody on `email_addresses` clicks on a link once."""
    from urllib.request import Request, urlopen

    click = Request(f"{stack.aws_endpoint}/_mlops/subscriptions/confirm", method="POST")  # noqa: S310  # our own loopback URL
    with urlopen(click, timeout=10):  # noqa: S310
        pass


def _set_group_variables(stack: Stack, role_arns: Mapping[str, str]) -> None:
    """A person sets them once for the group of the model repos; their jobs take these roles."""
    from mlops_local.command.run import GROUP
    from mlops_local.gitlab import variables

    for purpose in ("build", "train", "deploy"):
        if purpose in role_arns:
            variable = {"key": f"MLOPS_{purpose.upper()}_ROLE_ARN", "value": role_arns[purpose]}
            variables.create_variable(stack.folder / "gitlab", GROUP, variable)


def _wait_for_airflow(stack: Stack) -> None:
    from mlops_local.airflow import environment as airflow

    try:
        airflow.wait_ready(stack.airflow_url, stack.airflow_passwords, _AIRFLOW_SECONDS, stack.running)
    except MlopsError as error:
        log = stack.folder / "logs" / "airflow.log"
        raise LocalStackError(
            "Airflow did not start", cause=f"{error.what}\n{tail(log)}", link=str(log)
        ) from error


def tail(log: Path, lines: int = 15) -> str:
    """The end of a log; empty when there is none."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _outcome(
    stack: Stack, first: str, seconds: dict[str, float], snapshot: Snapshot | None = None
) -> Outcome:
    how = "in containers (Docker)" if stack.engine == "docker" else "as processes (no container engine)"
    lines = [
        first + (f" after {seconds['total']:.1f} s" if seconds else ""),
        f"  jobs run  {how}",
        stack.addresses(),
    ]
    if snapshot is not None:
        lines.append(
            f"  account   from the snapshot of {snapshot.day}; `--fresh` lets Terraform make it anew"
        )
    parts = [f"{step} {value:.1f} s" for step, value in seconds.items() if step != "total"]
    if parts:
        lines.append(f"  time      {', '.join(parts)}")
    option = "" if stack.name == "default" else f"--name {stack.name} "
    return Outcome(
        summary="\n".join(lines),
        data={
            "name": stack.name,
            "engine": stack.engine,
            "aws": stack.aws_endpoint,
            "gitlab": stack.gitlab_url,
            "airflow": stack.airflow_url,
            "snapshot": snapshot.day if snapshot else None,
            "seconds": {step: round(value, 2) for step, value in seconds.items()},
        },
        next_steps=(f"mlops local {option}run examples/phishing-url --deploy", f"mlops local {option}down"),
    )
