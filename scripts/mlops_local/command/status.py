"""`mlops local status`, `env` and `logs`: looking at a stack without changing it."""

from __future__ import annotations

from mlops.base.errors import LocalStackError, UsageError
from mlops.base.result import Outcome
from mlops_local.stack.stack import find, require

_LAST_LINES = 200


def status(name: str) -> Outcome:
    """What runs, and where; not being up is an answer, not an error."""
    stack = find(name)
    if stack is None or not stack.running():
        return Outcome(summary=f"The local stack '{name}' is not up", data={"name": name, "up": False})
    import psutil

    children = psutil.Process(stack.pid).children(recursive=True)
    megabytes = sum(child.memory_info().rss for child in children) / 1e6
    ready = "up" if stack.outputs else "starting"
    return Outcome(
        summary=(
            f"The local stack '{name}' is {ready} ({stack.engine}),"
            f" {len(children)} processes, {megabytes:.0f} MB\n{stack.addresses()}"
        ),
        data={
            "name": name,
            "up": bool(stack.outputs),
            "engine": stack.engine,
            "gitlab": stack.gitlab_url,
            "aws": stack.aws_endpoint,
            "airflow": stack.airflow_url,
            "processes": len(children),
            "outputs": stack.outputs,
        },
    )


def env(name: str) -> Outcome:
    """Shell lines for `eval`: a shell that has them talks to this stack.

    Raises:
        LocalStackError: when it is not up.
    """
    variables = require(name).environment()
    return Outcome(
        summary="\n".join(f"export {key}={value}" for key, value in variables.items()), data=variables
    )


def logs(name: str, wanted: str) -> Outcome:
    """The end of one log, or the list of logs.

    Raises:
        LocalStackError: when there is no such stack.
        UsageError: when there is no such log.
    """
    stack = find(name)
    if stack is None:
        raise LocalStackError(f"There is no local stack '{name}'", next_step="Run: mlops local up")
    folders = (stack.folder / "logs", stack.folder / "aws", stack.folder / "airflow")
    found = {
        str(file.relative_to(stack.folder)): file
        for folder in folders
        for file in sorted(folder.rglob("*.log"))
        if file.is_file()
    }
    if not wanted:
        return Outcome(summary="\n".join(found) or "No logs yet", data={"logs": list(found)})
    matches = [file for key, file in found.items() if wanted in key]
    if not matches:
        raise UsageError(f"There is no log '{wanted}'", next_step="Run `mlops local logs` for the list.")
    lines = matches[0].read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    return Outcome(summary="\n".join(lines), data={"log": str(matches[0]), "lines": lines})
