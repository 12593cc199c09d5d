"""`mlops local down`: stop every process a stack started."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from mlops.base.errors import LocalStackError
from mlops.base.result import Outcome
from mlops_local.base import paths
from mlops_local.stack.stack import FILE, Stack, find, names

if TYPE_CHECKING:
    import psutil

# Each names a folder of the stack in the environment of a process it started.
_MARKS = ("AIRFLOW_HOME", "SAGEMAKER_BASE_DIR", "LAMBDA_TASK_ROOT")


def down(name: str, *, every: bool) -> Outcome:
    """Stop one stack, or all of this checkout. Stopping what is not there is a success."""
    stopped = []
    for one in list(names()) if every else [name]:
        stack = find(one)
        if stack is not None:
            stop_stack(stack)
            stopped.append(one)
    summary = f"Stopped: {', '.join(stopped)}" if stopped else "Nothing was running"
    return Outcome(summary=summary, data={"stopped": stopped})


def stop_stack(stack: Stack, *, keep_logs: bool = False) -> None:
    """Stop the supervisor, its servers, Airflow, and the jobs and endpoints they started.

    Raises:
        LocalStackError: when a process of the stack survives even SIGKILL.
    """
    from mlops_local.base import processes

    if stack.running():
        import psutil

        processes.stop([psutil.Process(stack.pid)])
    survivors = leftovers(stack)
    if survivors:
        processes.stop(survivors)
        survivors = leftovers(stack)
    if survivors:
        raise LocalStackError(
            f"Parts of the local stack '{stack.name}' would not stop",
            next_step="End them by hand: kill -9 " + " ".join(str(process.pid) for process in survivors),
        )
    (paths.home(stack.name) / FILE).unlink(missing_ok=True)
    if not keep_logs:
        shutil.rmtree(paths.home(stack.name) / "aws", ignore_errors=True)


def leftovers(stack: Stack) -> list[psutil.Process]:
    """Processes whose environment says they work for this stack: what a killed supervisor left."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            variables = process.environ()
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if any(variables.get(name, "").startswith(stack.home + "/") for name in _MARKS):
            found.append(process)
    return found
