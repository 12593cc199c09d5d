"""Runs Airflow: imported once, then one forked process a component. Executed by `.venv-airflow`'s Python.

Four `airflow` commands would each import Airflow and its providers, which takes two cores some 15 seconds.
Here the children, the executor's workers and every task's process share what this process has imported.
A scheduler, triggerer or DAG processor that was killed is started again, as MWAA does. Everything ends on
a signal, or when a component ends otherwise: Airflow without its scheduler looks alive and does nothing.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
from contextlib import closing
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, NoReturn
from urllib.parse import urlsplit
from urllib.request import urlopen

# What workers talk to, in a process of its own: they do not wait while people look at pages.
EXECUTION_API = os.environ["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]

WEB = {
    "api-server": ["api-server", "--apps", "core"],
    "execution-api": ["api-server", "--apps", "execution", "--port", str(urlsplit(EXECUTION_API).port)],
}
REST = {
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}

# What both web servers need, and for the workers' API within them the DAG processor and the triggerer.
SERVED = (
    "airflow.api_fastapi.app",
    "airflow.api_fastapi.core_api.routes.public",
    "airflow.api_fastapi.core_api.routes.ui",
    "airflow.cli.cli_parser",
    "airflow.cli.commands.api_server_command",
    "airflow.migrations.db_types",
    "alembic.config",
    "argcomplete",
    "pydantic.v1",
    "tabulate",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_impl",
    "uvloop",
)

# What the components and the tasks' processes need. Imported by name, since type checkers and linters look at
# this file from the other environment, which has no Airflow.
PRELOADED = (
    "airflow.cli.commands.dag_processor_command",
    "airflow.cli.commands.scheduler_command",
    "airflow.cli.commands.triggerer_command",
    "airflow.dag_processing.bundles.local",
    "airflow.dag_processing.manager",
    "airflow.executors.local_executor",
    "airflow.jobs.scheduler_job_runner",
    "airflow.providers.amazon.aws.hooks.sns",
    "airflow.providers.amazon.aws.operators.sagemaker",
    "airflow.providers.amazon.aws.operators.sns",
    "airflow.providers.amazon.aws.secrets.secrets_manager",
    "airflow.providers.amazon.aws.sensors.sagemaker",
    "airflow.providers.amazon.aws.triggers.sagemaker",
    "airflow.providers.common.compat.standard.operators",
    "airflow.providers.slack.operators.slack_webhook",
    "airflow.providers.standard.decorators.python",
    "airflow.providers.standard.decorators.sensor",
    "airflow.providers.standard.operators.empty",
    "airflow.providers.standard.operators.trigger_dagrun",
    "airflow.providers.standard.sensors.external_task",
    "airflow.providers.standard.triggers.temporal",
    "airflow.sdk",
    "airflow.sdk.definitions.asset.metadata",
    "airflow.sdk.definitions.decorators.condition",
    "airflow.sdk.definitions.decorators.setup_teardown",
    "airflow.sdk.execution_time.task_runner",
    "airflow.sdk.execution_time.timeout",
    "airflow.sdk.serde",
    "airflow.utils.operator_helpers",
    "airflow.utils.serve_logs",
    "anyio._backends._asyncio",
    "boto3",
    "jinja2.ext",
    "packaging.requirements",
    # The tasks' own. A change of these reaches tasks with the next start; one of `dags/` at once.
    "mlops.notifications.run_notifier",
    "mlops.deployment.approval",
    "mlops.clients.aws.alarms",
    "mlops.clients.aws.metrics",
    "mlops.clients.aws.s3",
    "mlops.contracts.runs",
    "mlops.base.strict_json",
    "mlops.deployment.tasks",
    "mlops.notifications.delivery_log",
    "mlops.notifications.messages",
    "mlops.monitoring.tasks",
    "mlops.training.retraining_tasks",
    "mlops.notifications.failure_cause",
    "mlops.training.tasks",
)

_STARTED = time.monotonic()
_PATIENCE_SECONDS = 3.0
# A component that is killed more often than this within a minute does not live.
_LIVES = 3


def say(line: str) -> None:
    print(f"[{time.monotonic() - _STARTED:5.1f} s] {line}", flush=True)  # noqa: T201


def prepare_database(home: Path) -> None:
    """Give a new home the tables, in SQLite: a copy of those a first start made, which saves a second."""
    database = home / "airflow.db"
    if database.exists():
        return
    # Beside the packages, so a new set of packages makes a new one.
    template = Path(sys.prefix) / f"airflow-{version('apache-airflow-core')}.db"
    if not template.exists():
        import_module("airflow.utils.db").initdb()
        close_database()
        draft = template.with_name(f"{template.name}.{os.getpid()}")
        shutil.copyfile(database, draft)
        draft.replace(template)
    else:
        shutil.copyfile(template, database)


def close_database() -> None:
    """Close the database in this process: a forked child must not share a connection."""
    import_module("airflow.settings").dispose_orm(do_log=False)


def fork(name: str, words: list[str], home: Path, bell: Any) -> int:
    """Start a component, whose output goes to `<name>.log`, and return its process id.

    Args:
        name: Of the component.
        words: The `airflow` command's.
        home: Of Airflow.
        bell: By which the web servers wake the scheduler, a `scheduler_pause.Bell`.
    """
    pid = os.fork()
    if not pid:
        _become(home / f"{name}.log", words, bell)
    return pid


def _become(log: Path, words: list[str], bell: Any) -> NoReturn:
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        output = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        settings: Any = import_module("airflow.settings")
        if words[0] != "api-server":
            # The API gives up a locked SQLite after five seconds, and is asked again. These would end.
            settings.SQL_ALCHEMY_CONN += "?timeout=60"
        settings.configure_orm()
        # Half of what building the routes makes is looked at again and again, and none of it is garbage.
        gc.freeze()
        gc.set_threshold(100_000, 50, 50)
        gc.enable()
        if words[0] == "api-server":
            stand_before(words, bell)
        elif words[0] == "scheduler":
            wake_by(bell)
            tell_parts_of_a_second()
        sys.argv = ["airflow", *words]
        import_module("airflow.__main__").main()
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:  # pylint: disable=broad-exception-caught  # a forked child must never return
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def stand_before(words: list[str], bell: Any) -> None:
    """Put the check of `loopback.py` and the scheduler's bell before what `airflow api-server` will serve."""
    os.environ["AIRFLOW_API_APPS"] = words[words.index("--apps") + 1]  # as the command sets it
    port = words[words.index("--port") + 1] if "--port" in words else os.environ["AIRFLOW__API__PORT"]
    served: Any = import_module("airflow.api_fastapi.main")
    ringing = import_module("mlops_local.airflow.scheduler_pause").ringing(served.app, bell)
    served.app = import_module("mlops_local.base.loopback").own_pages_only(ringing, int(port))


def wake_by(bell: Any) -> None:
    """Have the scheduler's loop wait for the bell where it would sleep, for which alone it imports `time`.

    How long depends on what the round wrote to the database.
    """
    pause = import_module("mlops_local.airflow.scheduler_pause").Pause(bell)
    loop: Any = import_module("airflow.jobs.scheduler_job_runner")
    loop.time = SimpleNamespace(**{**vars(time), "sleep": pause.sleep})
    runner, begins = loop.SchedulerJobRunner, "_do_scheduling"
    schedule = getattr(runner, begins)

    def do_scheduling(self: Any, session: Any) -> Any:
        pause.begin_round()
        return schedule(self, session)

    setattr(runner, begins, do_scheduling)

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        pause.note(statement)

    engine = import_module("sqlalchemy.engine").Engine
    import_module("sqlalchemy.event").listen(engine, "before_cursor_execute", note)


def end(running: dict[int, str], code: int) -> NoReturn:
    """End the children, then whatever is left of the process group, this process included."""
    for pid in running:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while running and time.monotonic() < deadline:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        running.pop(pid, None)
        if not pid:
            time.sleep(0.05)
    say("stopped" if not running else f"stopped by force: {', '.join(running.values())}")
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    os._exit(code)


def forget_schedulers(home: Path) -> None:
    """Say in the database that no scheduler lives, so the next one takes over its tasks at once.

    Airflow itself waits for half a minute without a heartbeat, since it cannot know; we do.
    """
    statement = "UPDATE job SET state = 'failed' WHERE job_type = 'SchedulerJob' AND state = 'running'"
    with closing(sqlite3.connect(home / "airflow.db", timeout=30)) as database:
        database.execute(statement)
        database.commit()


def tell_parts_of_a_second() -> None:
    """Have SQLite's now() return them, as PostgreSQL's does on MWAA: a run starts once now() is later.

    https://docs.sqlalchemy.org/en/20/core/compiler.html
    """
    compiles: Any = import_module("sqlalchemy.ext.compiler").compiles

    @compiles(import_module("sqlalchemy.sql.functions").now, "sqlite")  # type: ignore[untyped-decorator]
    def exact(_element: object, _compiler: object, **_more: object) -> str:
        return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


def watch(running: dict[int, str], home: Path, bell: Any) -> NoReturn:
    """Start again what is killed; end with the first component that ends otherwise."""
    killed: list[float] = []
    while True:
        pid, status = os.wait()
        name, code = running.pop(pid), os.waitstatus_to_exitcode(status)
        killed = [*(at for at in killed if at > time.monotonic() - 60), time.monotonic()]
        ended = f"{name} ended with exit code {code}; see {home / (name + '.log')}"
        if name not in REST or code >= 0 or len(killed) > _LIVES:
            say(ended)
            end(running, 1)
        if name == "scheduler":
            forget_schedulers(home)
        running[fork(name, REST[name], home, bell)] = name
        say(f"{ended}; started again")


def warm_up() -> None:
    """One request, or the first task of the first run would wait four seconds for the routes of its API."""
    while True:
        try:
            with urlopen(f"{EXECUTION_API}health", timeout=60):  # noqa: S310  # our own loopback URL
                say("workers' API answers")
                return
        except OSError:
            time.sleep(0.1)


def main() -> None:
    home = Path(os.environ["AIRFLOW_HOME"])
    gc.disable()
    import_module("airflow.settings")
    say("Airflow imported")
    running: dict[int, str] = {}

    def stop(_number: int, _frame: FrameType | None) -> None:
        end(running, 0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    prepare_database(home)
    bell = import_module("mlops_local.airflow.scheduler_pause").Bell()
    routes = import_module("mlops_local.airflow.routes")
    routes.build_when_used()
    for module in SERVED:
        import_module(module)
    routes.serve_newest_version()
    warm = import_module("mlops_local.airflow.warm")
    warm.prepare_tables()
    # First, because all else waits for them; the rest is imported meanwhile.
    for name, words in WEB.items():
        running[fork(name, words, home, bell)] = name
    for module in PRELOADED:
        import_module(module)
    warm.prepare_messages()
    warm.prepare_clients()
    say("database and imports ready")
    close_database()
    gc.collect()
    gc.freeze()  # children do not copy pages only because the collector looks at them
    for name, words in REST.items():
        running[fork(name, words, home, bell)] = name
    say("components forked")
    threading.Thread(target=warm_up, daemon=True).start()
    watch(running, home, bell)


if __name__ == "__main__":
    main()
