"""One local AWS for all these tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .airflow_double import AirflowDouble
from .harness import LocalAws, start, stop


@pytest.fixture(scope="session")
def airflow() -> Iterator[AirflowDouble]:
    with AirflowDouble() as double:
        yield double


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory, airflow: AirflowDouble) -> Iterator[LocalAws]:
    running = start(tmp_path_factory.mktemp("stack") / "aws", airflow.url)
    yield running
    stop(running)


@pytest.fixture(scope="session")
def client(aws: LocalAws) -> Callable[..., Any]:
    """`client("s3")`: a checked client of the session's local AWS."""
    made: dict[str, Any] = {}

    def make(service: str, **options: Any) -> Any:
        key = service + repr(options)
        if key not in made:
            made[key] = aws.client(service, **options)
        return made[key]

    return make
