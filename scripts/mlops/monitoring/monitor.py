"""`mlops monitor`: compare an endpoint's requests with its training data now, and show the result."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mlops.base import console
from mlops.base.errors import MonitoringError, UsageError
from mlops.base.result import Outcome
from mlops.base.strict_json import encode
from mlops.contracts.evidence import DriftReport, monitoring_key
from mlops.contracts.runs import MONITORING_DAG, SCHEMA_VERSION, MonitoringConf, Occurrence
from mlops.notifications.messages import drift_table
from mlops.runs import airflow_runs
from mlops.runs.platform import Platform

if TYPE_CHECKING:
    from mlops.manifest.reader import Model


def run(arguments: argparse.Namespace) -> Outcome:
    """Start a run for the window that ends now, or as given, and wait for it.

    Raises:
        MlopsError: of many kinds; see `monitor`.
    """
    from mlops.manifest import reader

    model = reader.load(arguments.manifest, arguments.environment).model(arguments.model)
    end = window_end(arguments.window_end, datetime.now(UTC))

    from mlops.clients.aws.session import explained

    with explained():
        return monitor(model, end, Platform.connect(), arguments.timeout)


def window_end(asked: str, now: datetime) -> str:
    """The end of the window: the next second, so that all until now is in it, or as asked for.

    Raises:
        UsageError: when what was asked for is not a time, has no time zone, or is to come.
    """
    if not asked:
        return (now.replace(microsecond=0) + timedelta(seconds=1)).isoformat()
    try:
        end = datetime.fromisoformat(asked)
    except ValueError as error:
        raise UsageError(
            f"--window-end {asked!r} is not a valid time", next_step="Write 2026-03-01T00:00:00Z."
        ) from error
    if end.tzinfo is None or end > now:
        problem = "has no time zone" if end.tzinfo is None else "is still to come"
        raise UsageError(
            f"--window-end {asked!r} {problem}", next_step="Write a past time, such as 2026-03-01T00:00:00Z."
        )
    return end.astimezone(UTC).isoformat(timespec="seconds")


def monitor(model: Model, end: str, platform: Platform, timeout: float) -> Outcome:
    """Have Airflow compare the window, and report what it found.

    Raises:
        UsageError: when the manifest asks for no monitoring.
        TriggerError, RunTimeoutError: when Airflow does not take the run, or it takes too long.
        RunFailedError: with its cause.
        MonitoringError: when there was nothing to compare.
        StorageError: when S3 does not answer.
    """
    if model.monitoring is None:
        raise UsageError(
            f"{model.name} is not monitored",
            cause="its mlops.yml has no section `monitoring`, so its endpoint keeps no requests",
            next_step="Add `monitoring: {}`, train and deploy; docs/guides/monitoring.md explains it.",
        )
    runs, storage = platform.runs, platform.storage
    prefix = f"s3://{platform.bucket}/{model.project}/{model.name}/"
    uri = prefix + monitoring_key(end)
    answer = airflow_runs.start_or_join(runs, _work(model, end, prefix), lambda: storage.exists(uri))
    if answer.run_url:
        console.say(f"Airflow run: {answer.run_url}")
    answer = airflow_runs.wait(runs, MONITORING_DAG, answer.run_id, timeout, platform.clock)
    if answer.state == "failed":
        raise airflow_runs.run_failed(storage, f"{prefix}monitoring/", answer, f"Monitoring of {model.name}")
    if not storage.exists(uri):
        raise MonitoringError(
            f"There was nothing to compare for {model.name}",
            cause="it has no release, nothing of it is deployed, or its endpoint keeps no requests yet",
            next_step="The log of the task `validate` says which; train and deploy with this mlops.yml.",
            link=answer.run_url,
        )
    report = storage.read_record(DriftReport, uri)
    lines = [drift_table(report), *report.notes]
    lines += [f"{column.name}: {column.reason}" for column in report.drifted()]
    return Outcome(
        summary="\n".join([*lines, f"Report: {uri}"]),
        data=encode(report),
        next_steps=("mlops retrain",) if report.state == "drifted" else (),
    )


def _work(model: Model, end: str, prefix: str) -> airflow_runs.Work:
    return airflow_runs.Work(
        dag_id=MONITORING_DAG,
        label=model.name,
        identity=f"{MONITORING_DAG}|{model.project}|{model.name}|{end}|by hand",
        conf=MonitoringConf(
            schema_version=SCHEMA_VERSION,
            project=model.project,
            model=model.name,
            window_end=end,
            occurrence=Occurrence(
                id=f"{model.project}/{model.name}/{end}",
                source="mlops",
                detail_type="mlops monitor",
                time=end,
                summary="started by hand",
            ),
        ),
        spill_uri=f"{prefix}monitoring/conf.json",
    )
