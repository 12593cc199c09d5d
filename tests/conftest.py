"""What holds for every test: nothing real is touched by accident."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and nothing about the product.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

_LOOPBACK = ("127.", "::1", "localhost")

# Files that share a stack, so that one process runs them; any other file is a group of its own.
_SHARED = {
    "tests/contract/airflow_runs/": "one Airflow",
    "tests/e2e/test_demo.py": "one demo",
    "tests/e2e/test_monitoring.py": "one demo",
}
# What takes longest starts first.
_LONG = ("tests/e2e/", "tests/contract/airflow_runs/", "tests/contract/kills/", "tests/contract/terraform/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests belong to one process, and begin with those that take longest."""
    for item in items:
        file = item.nodeid.partition("::")[0]
        group = next((name for start, name in _SHARED.items() if file.startswith(start)), file)
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(
        key=lambda item: next((n for n, start in enumerate(_LONG) if item.nodeid.startswith(start)), 9)
    )


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds the credentials, the pipeline or the settings of the person who runs it."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "CI_", "GITLAB_", "MLOPS_", "TF_VAR_", "SLACK_")) or name == "CI":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A unit test that leaves the machine fails, wherever it went."""
    if "tests/unit/" in str(request.path):
        connect = socket.socket.connect

        def guarded(self: socket.socket, address: Any) -> None:
            if self.family != socket.AF_UNIX and not str(address[0]).startswith(_LOOPBACK):
                raise AssertionError(f"a unit test tried to reach {address}")
            connect(self, address)

        monkeypatch.setattr(socket.socket, "connect", guarded)
    yield
