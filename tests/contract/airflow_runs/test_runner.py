"""Airflow's processes: which there are, and that they end together.

That a request to stop leaves no process is asked of each stack at its end (conftest.py), and what happens without
the web server of the one in tests/contract/kills.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml

from mlops.base.errors import LocalStackError
from mlops_local.airflow import environment as airflow
from mlops_local.base import paths, processes

from .stack import checkout_dags, free_port


@dataclass(frozen=True)
class Started:
    process: subprocess.Popen[bytes]
    log: Path

    def wait_for(self, line: str, times: int = 1) -> None:
        deadline = time.monotonic() + 60
        while self.log.read_text().count(line) < times and time.monotonic() < deadline:
            time.sleep(0.1)
        assert self.log.read_text().count(line) == times

    def left(self) -> list[psutil.Process]:
        """Who of the group still lives, once those that were sent a SIGKILL had the time to go."""
        deadline = time.monotonic() + 20
        while (members := processes.group_members(self.process.pid)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return members


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    home = tmp_path / "airflow"
    home.mkdir()
    log = tmp_path / "airflow.log"
    environment = airflow.environment(home, free_port(), f"http://127.0.0.1:{free_port()}", checkout_dags())
    with log.open("wb") as output:
        process = subprocess.Popen(
            airflow.command(), env=environment, stdout=output, stderr=output, start_new_session=True
        )
    yield Started(process, log)
    processes.stop_group(process.pid)
    process.wait(10)


def test_a_component_that_is_killed_is_started_again_until_it_does_not_live(started: Started) -> None:
    started.wait_for("components forked")
    for number in range(1, 4):
        newest(started).kill()
        started.wait_for("triggerer ended with exit code -9", number)
        assert started.process.poll() is None
    newest(started).kill()
    started.process.wait(20)
    lines = [line for line in started.log.read_text().splitlines() if "triggerer ended" in line]
    assert [line.endswith("started again") for line in lines] == [True, True, True, False]
    assert started.left() == []


def newest(started: Started) -> psutil.Process:
    """The component that was started last."""
    return max(psutil.Process(started.process.pid).children(), key=lambda child: child.pid)


def test_every_option_is_one_that_airflow_knows() -> None:
    known = yaml.safe_load((_packages() / "airflow/config_templates/config.yml").read_text())
    extra = {
        "core": {"simple_auth_manager_all_admins", "simple_auth_manager_passwords_file"},
        "mlops": {"check_interval"},  # of our DAGs
    }
    options = airflow.environment(Path("/home"), 1, "http://127.0.0.1:2", Path("/dags"))
    for name in options:
        if name.startswith("AIRFLOW__"):
            _, section, key = name.lower().split("__")
            assert key in known.get(section, {}).get("options", {}) or key in extra.get(section, set()), name


def test_airflow_gets_nothing_of_the_callers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "x")
    monkeypatch.setenv("CI_JOB_TOKEN", "secret")
    options = airflow.environment(Path("/home"), 1, "http://127.0.0.1:2", Path("/dags"))
    assert not {"AWS_PROFILE", "AIRFLOW__CORE__FERNET_KEY", "CI_JOB_TOKEN"} & set(options)
    assert options["AIRFLOW__API__HOST"] == "127.0.0.1"


def test_waiting_ends_with_what_was_seen_last(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(LocalStackError, match="not ready within 0 seconds") as caught:
        airflow.wait_ready(url, tmp_path, 0.3)
    assert "refused" in caught.value.cause
    with pytest.raises(LocalStackError, match="ended while it was starting"):
        airflow.wait_ready(url, tmp_path, 60, lambda: False)


def _packages() -> Path:
    return next((paths.airflow_python().parents[1] / "lib").glob("python3*")) / "site-packages"
