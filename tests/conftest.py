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

pytest_plugins = ("tests.ending", "tests.cost", "tests.needs")

_LOOPBACK = ("127.", "::1", "localhost")

# Files that share a stack, so that one process runs them; any other file is a group of its own.
_SHARED = {
    "tests/contract/airflow_runs/": "one Airflow",
    "tests/contract/terraform/test_boundary.py": "one plan of each environment",
    "tests/contract/terraform/test_planned_policies.py": "one plan of each environment",
    "tests/contract/terraform/test_corrections.py": "one local AWS",
    "tests/contract/terraform/test_metric_streams.py": "one local AWS",
    "tests/contract/terraform/test_repeats.py": "one local AWS",
    "tests/contract/terraform/test_snapshots.py": "one local AWS",
    "tests/contract/terraform/test_web_identity.py": "one local AWS",
    "tests/e2e/test_demo.py": "one demo",
    "tests/e2e/test_many_models.py": "one demo",
    "tests/e2e/test_monitoring.py": "one demo",
    "tests/e2e/test_retraining.py": "one demo",
}
# What takes longest starts first.
_LONG = (
    "tests/e2e/test_demo.py",  # with all that shares its stack
    "tests/e2e/test_install.py",  # most of it waits, while others compute
    "tests/contract/airflow_runs/",
    "tests/e2e/",
    "tests/contract/kills/",
    "tests/contract/terraform/",
    "tests/house/",
)


def group(nodeid: str) -> str:
    """Which tests run in one process, one after another."""
    file = nodeid.partition("::")[0]
    return next((name for start, name in _SHARED.items() if file.startswith(start)), file)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(
        key=lambda item: next(
            (n for n, start in enumerate(_LONG) if item.nodeid.startswith(start)), len(_LONG)
        )
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out whole groups, in the order above.

    `--dist loadgroup` hands out single tests: pytest 9.2 does not read the name that xdist 3.8 writes a group into.
    """
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class Groups(LoadScopeScheduling):  # type: ignore[misc]
        """By `group`."""

        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    config.option.loadscopereorder = False  # else by the number of tests
    return Groups(config, log)


@pytest.fixture(scope="session", autouse=True)
def _descriptions_are_read_once() -> Iterator[None]:
    """Let all sessions share what botocore reads of a service; each test still has clients of its own.

    A session reads it anew, and that takes longer than most tests: 0.1 s for SageMaker. Clients of one
    session share it too, so nothing writes to it.
    """
    import botocore.loaders
    import botocore.session

    loader = botocore.loaders.create_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", lambda _search_path=None: loader)
        yield


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
    if "/unit/" in str(request.path):
        connect = socket.socket.connect

        def guarded(self: socket.socket, address: Any) -> None:
            if self.family != socket.AF_UNIX and not str(address[0]).startswith(_LOOPBACK):
                raise AssertionError(f"a unit test tried to reach {address}")
            connect(self, address)

        monkeypatch.setattr(socket.socket, "connect", guarded)
    yield
