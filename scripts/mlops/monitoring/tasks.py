"""What the tasks of the DAG `model_monitoring` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mlops.base.errors import ContractError, EvidenceError, MlopsError, MonitoringError
from mlops.clients.aws.parameter_store import read_settings
from mlops.clients.aws.sagemaker import describe_endpoint_config, find_champion
from mlops.clients.aws.sagemaker_requests import VARIANT
from mlops.contracts.evidence import (
    CHALLENGER,
    MONITORING_LATEST,
    RECIPE,
    ColumnDrift,
    DriftReport,
    EvaluationReport,
    Recipe,
    monitoring_key,
)
from mlops.contracts.locations import capture_uri, evidence_uri
from mlops.contracts.platform_settings import PlatformSettings
from mlops.contracts.runs import (
    MONITORING_DAG,
    SCHEMA_VERSION,
    Monitoring,
    MonitoringConf,
    Notifications,
    is_to_come,
)
from mlops.contracts.versions import ModelVersion, endpoint_name
from mlops.monitoring import baseline, captured_requests, drift
from mlops.runs.conf import read_conf

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_ssm import SSMClient

    from mlops.clients.aws.s3 import Storage


@dataclass(frozen=True, kw_only=True)
class MonitoringPlan:
    """What the first task found out, for all others: it travels as XCom."""

    conf: MonitoringConf
    settings: PlatformSettings
    run_id: str
    notifications: Notifications
    monitoring: Monitoring | None
    model_version: str
    """In production; empty if nothing is."""
    window_start: str
    skip: str = ""
    """Why there is nothing to compare; empty when there is."""


def prepare(
    conf: Mapping[str, Any], run_id: str, *, ssm: SSMClient, storage: Storage, sagemaker: SageMakerClient
) -> MonitoringPlan:
    """Find out what the endpoint serves, and what its requests are to be compared with.

    Raises:
        SettingsError, ContractError, VersionError: when the conf is not one to run.
        EvidenceError: when the endpoint serves what is not a version of this model.
        StorageError: when S3 does not answer.
    """
    settings = read_settings(ssm)
    parsed = read_conf(MONITORING_DAG, conf, storage, settings)
    if not isinstance(parsed, MonitoringConf):
        raise ContractError("conf is not a request for a monitoring run")
    end = moment(parsed.window_end, "conf.window_end")
    if is_to_come(end):  # its report would be the newest until then, whatever is measured
        raise ContractError(
            "conf.window_end lies in the future",
            cause=f"found {parsed.window_end}",
            next_step="Start the run again with a time that is over.",
        )
    recipe = _recipe(storage, model_uri(settings.bucket, parsed) + RECIPE)
    monitoring = recipe.monitoring if recipe else None
    champion = find_champion(sagemaker, parsed.project, parsed.model)
    skip = ""
    if recipe is None:
        skip = "no release of it was ever trained here"
    elif monitoring is None:
        skip = "its mlops.yml has no section `monitoring`"
    elif champion is None:
        skip = "nothing is in production"
    elif not _captures(sagemaker, champion.endpoint_config):
        skip = (
            "its endpoint keeps no requests: it was deployed before mlops.yml asked for it; deploy it again"
        )
    window = timedelta(seconds=monitoring.window_seconds if monitoring else 0)
    return MonitoringPlan(
        conf=parsed,
        settings=settings,
        run_id=run_id,
        notifications=recipe.notifications if recipe else Notifications(),
        monitoring=monitoring,
        model_version=champion.version if champion else "",
        window_start=(end - window).isoformat(timespec="seconds"),
        skip=skip,
    )


def measure(plan: MonitoringPlan, storage: Storage, created_at: str) -> tuple[DriftReport, bool]:
    """Compare the window with the baseline, keep the report, and say whether it is news.

    It is when something drifted that had not in the window before: a drift that lasts is reported once.

    Raises:
        StorageError: when S3 does not answer.
        MonitoringError: when requests and baseline cannot be compared.
    """
    prefix = model_uri(plan.settings.bucket, plan.conf)
    before = _before(storage, prefix + MONITORING_LATEST)
    report = _compared(plan, storage, before, created_at)
    storage.write_record(report, prefix + monitoring_key(plan.conf.window_end))
    known = {column.name for column in before.drifted()} if before else set()
    return report, any(column.name not in known for column in report.drifted())


def conclude(plan: MonitoringPlan, report: DriftReport, storage: Storage) -> None:
    """Make this the newest report, unless there is one of a later window.

    Too few rows conclude nothing, so what was concluded before them stands: a quiet night is not a reason to
    report a drift anew, nor to forget which columns requests used to have.

    It comes last, so that a retry finds the one before.

    Raises:
        StorageError: when S3 does not answer.
    """
    uri = model_uri(plan.settings.bucket, plan.conf) + MONITORING_LATEST
    now = _before(storage, uri)
    if now is not None and report.state == "too_few_rows" != now.state:
        return
    if now is None or moment(now.window_end, uri) <= moment(report.window_end, "report"):
        storage.write_record(report, uri)


def model_uri(bucket: str, conf: MonitoringConf) -> str:
    """The prefix of all that belongs to a model."""
    return f"s3://{bucket}/{conf.project}/{conf.model}/"


def moment(text: str, where: str) -> datetime:
    """A time of a document, in UTC.

    Raises:
        ContractError: when it is none, or has no time zone.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ContractError(f"{where} is not a time", cause=f"found {text!r}, allowed is ISO 8601") from error
    if time.tzinfo is None:
        raise ContractError(f"{where} has no time zone", cause=f"found {text!r}", next_step="Give it in UTC.")
    return time.astimezone(UTC)


@dataclass(frozen=True, kw_only=True)
class _Material:
    """What there is to compare."""

    monitoring: Monitoring
    training: baseline.Baseline
    found: captured_requests.Captured
    rows: Sequence[Mapping[str, object]]

    @property
    def enough(self) -> bool:
        return len(self.rows) >= self.monitoring.min_rows

    @property
    def asked(self) -> set[str]:
        """The columns that requests have."""
        return {name for row in self.rows for name in row}


def _read(plan: MonitoringPlan, storage: Storage) -> _Material:
    monitoring, conf = plan.monitoring, plan.conf
    if monitoring is None:
        raise MonitoringError(
            f"{conf.model} is not monitored", next_step="Add `monitoring` to its mlops.yml."
        )
    training = baseline.read(storage, monitoring.baseline, monitoring.ignored_columns)
    prefix = capture_uri(plan.settings.bucket, conf.project, conf.model)
    found = captured_requests.read(
        storage,
        f"{prefix}{endpoint_name(conf.project, conf.model)}/{VARIANT}/",
        moment(plan.window_start, "window_start"),
        moment(conf.window_end, "conf.window_end"),
        plan.model_version,
    )
    rows, misfits = captured_requests.named(found.rows, training.order)
    _check_readable(found, len(rows), misfits, training.order)
    return _Material(monitoring=monitoring, training=training, found=found, rows=rows)


def _compared(
    plan: MonitoringPlan, storage: Storage, before: DriftReport | None, created_at: str
) -> DriftReport:
    material = _read(plan, storage)
    columns: list[ColumnDrift] = []
    if material.enough:
        names = [name for name in material.training.rows.columns if name in material.asked]
        columns = _vanished(before, names, plan.model_version) + drift.compare(
            material.training.rows,
            baseline.table(list(material.rows), names),
            material.monitoring.thresholds,
            _predictions(plan, storage, material.found, material.monitoring.min_rows),
        )
    predictions = next((one for one in columns if one.name == drift.PREDICTION), None)
    drifted = any(one.drifted for one in columns)
    return DriftReport(
        schema_version=SCHEMA_VERSION,
        project=plan.conf.project,
        model=plan.conf.model,
        model_version=plan.model_version,
        state="too_few_rows" if not material.enough else "drifted" if drifted else "stable",
        window_start=plan.window_start,
        window_end=plan.conf.window_end,
        rows=len(material.rows),
        baseline_rows=material.training.rows.count,
        columns=tuple(one for one in columns if one.name != drift.PREDICTION),
        predictions=predictions,
        notes=tuple(_notes(material, predictions)),
        dag_run_id=plan.run_id,
        created_at=created_at,
    )


def _check_readable(found: captured_requests.Captured, rows: int, misfits: int, order: Sequence[str]) -> None:
    if rows:
        return
    if found.unreadable:
        raise MonitoringError(
            f"None of {found.unreadable} captured requests can be read",
            cause=found.trouble,
            next_step="docs/guides/monitoring.md lists the forms of requests that can be compared.",
        )
    if misfits:
        raise MonitoringError(
            "The requests' rows have no names, and fit no column",
            cause=f"the training data have {len(order)} columns that are not ignored: "
            + ", ".join(order)[:500],
            next_step="Name the label and all else that no request has in monitoring.ignored_columns.",
        )


def _predictions(
    plan: MonitoringPlan, storage: Storage, found: captured_requests.Captured, enough: int
) -> tuple[Sequence[drift.Value], Sequence[drift.Value]] | None:
    version = ModelVersion.parse(plan.model_version)
    uri = evidence_uri(plan.settings.bucket, plan.conf.project, plan.conf.model, version) + CHALLENGER
    try:
        expected = baseline.predictions(storage.read_record(EvaluationReport, uri))
    except MlopsError:  # an old or a foreign evaluation is not a reason not to look at the requests
        return None
    if not expected:
        return None
    given = captured_requests.matched(found.predictions, labels=any(isinstance(one, str) for one in expected))
    return (expected, given) if len(given) >= enough else None


def _vanished(before: DriftReport | None, names: Sequence[str], version: str) -> list[ColumnDrift]:
    """Columns that the window before had and no request has any more. The label never was in one."""
    if before is None or before.model_version != version:
        return []
    return [
        ColumnDrift(
            name=one.name,
            kind=one.kind,
            drifted=True,
            psi=0.0,
            ks=None,
            p_value=0.0,
            missing=1.0,
            baseline_missing=one.baseline_missing,
            unseen=0.0,
            reason="no request has this column any more",
        )
        for one in before.columns
        if one.name not in names
    ]


def _notes(material: _Material, predictions: ColumnDrift | None) -> list[str]:
    notes, found, monitoring = list(material.training.notes), material.found, material.monitoring
    count, known = len(material.rows), material.training.rows.columns
    if not material.enough:
        notes.append(f"{count} rows were captured; below {monitoring.min_rows} nothing is concluded.")
    if found.sampled:
        notes.append(f"The window is a sample of {count} rows.")
    if found.unreadable:
        notes.append(f"{found.unreadable} requests could not be read: {found.trouble}")
    absent = [name for name in known if name not in material.asked]
    if absent and count:
        notes.append(f"No request has: {', '.join(absent)[:300]}.")
    unknown = captured_requests.unknown_columns(material.rows, [*known, *monitoring.ignored_columns])
    if unknown:
        notes.append(f"Training never saw these columns of requests: {', '.join(unknown)[:300]}.")
    if material.enough and predictions is None:
        notes.append(
            "Predictions were not compared: evaluation.json or the answers do not say enough of them."
        )
    return notes


def _before(storage: Storage, uri: str) -> DriftReport | None:
    """The newest report; None if there is none that can be read, or its window is still to come."""
    if not storage.exists(uri):
        return None
    try:
        found = storage.read_record(DriftReport, uri)
        return None if is_to_come(moment(found.window_end, uri)) else found
    except (ContractError, EvidenceError):
        return None


def _recipe(storage: Storage, uri: str) -> Recipe | None:
    return storage.read_record(Recipe, uri) if storage.exists(uri) else None


def _captures(sagemaker: SageMakerClient, config: str) -> bool:
    found = describe_endpoint_config(sagemaker, config) or {}
    return bool((found.get("DataCaptureConfig") or {}).get("EnableCapture"))
