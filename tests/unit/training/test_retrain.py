from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from mlops.base.errors import RetrainingError, UsageError
from mlops.base.result import Outcome
from mlops.clients.aws.alarms import AlarmState
from mlops.contracts.evidence import COMPARISON, LINEAGE, OVERRIDE, RECIPE, DriftReport, Lineage, Recipe
from mlops.contracts.locations import evidence_uri
from mlops.contracts.runs import RunProblem, TrainingConf
from mlops.contracts.versions import ModelVersion
from mlops.manifest import reader
from mlops.manifest.reader import Manifest
from mlops.notifications.delivery_log import DeliveryLog, folder_of
from mlops.training.lineage import data_fingerprint
from mlops.training.retrain import Retrainer
from tests.unit.world import BUCKET, MANIFEST, MODEL, PROJECT, World, pipeline

RULES = "    retraining: {{{rules}}}\n"
HOME = f"s3://{BUCKET}/{PROJECT}/{MODEL}/"


@dataclass
class FakeAlarms:
    """Drift alarms by model."""

    states: dict[str, AlarmState] = field(default_factory=dict)
    asked: int = 0

    def for_model(self, model: str) -> AlarmState | None:
        self.asked += 1
        return self.states.get(model)


@dataclass
class Schedule:
    """A scheduled pipeline. `later` is how far AWS's clock has moved on since models were made."""

    world: World
    folder: Path
    later: timedelta = timedelta(days=2, minutes=1)
    alarms: FakeAlarms = field(default_factory=FakeAlarms)
    calls: list[str] = field(default_factory=list)

    def run(self, rules: str = "on_new_data: false", number: str = "77", **options: Any) -> Outcome:
        models = self.manifest(rules).models.values()
        table = options.pop("table", self.folder / "retraining.md")
        source = pipeline(options.pop("kind", "schedule"), number)
        source = replace(source, origin=replace(source.origin, pipeline_source="schedule"))
        retrainer = Retrainer(
            pipeline=source,
            platform=self.world.platform,
            alarms=self.alarms,
            dry_run=bool(options.get("dry_run")),
        )
        return retrainer.retrain(models, table)

    text: str = MANIFEST + RULES

    def manifest(self, rules: str) -> Manifest:
        file = self.folder / "mlops.yml"
        file.write_text(self.text.replace("{{{rules}}}", f"{{{rules}}}"), encoding="utf-8")
        return reader.load(file)

    def line(self, rules: str = "on_new_data: false", **options: Any) -> dict[str, Any]:
        (line,) = self.run(rules, **options).data["models"]
        assert isinstance(line, dict)
        return line


@pytest.fixture
def schedule(world: World, tmp_path: Path) -> Iterator[Schedule]:
    made = Schedule(world, tmp_path)

    def tell_time(parsed: dict[str, Any], **_: object) -> None:
        headers = parsed["ResponseMetadata"]["HTTPHeaders"]
        headers["date"] = format_datetime(datetime.now(UTC) + made.later, usegmt=True)

    def count(model: Any, **_: object) -> None:
        made.calls.append(f"{model.service_model.service_name} {model.name}")

    hooks: list[tuple[str, Any]] = [("after-call.sagemaker.ListModels", tell_time), ("before-call", count)]
    for client in (world.sagemaker, world.s3, world.ecr):
        for event, hook in hooks:
            client.meta.events.register(event, hook)
    yield made
    for client in (world.sagemaker, world.s3, world.ecr):
        for event, hook in hooks:
            client.meta.events.unregister(event, hook)


def learned_from(world: World, version: str, **objects: str) -> None:
    """Put training data, and note it as what a version learned from."""
    for key, content in objects.items():
        world.s3.put_object(Bucket=BUCKET, Key=f"data/train/{key}", Body=content.encode())
    uri = evidence_uri(BUCKET, PROJECT, MODEL, ModelVersion.parse(version)) + LINEAGE
    listing = list(world.storage.listing(f"s3://{BUCKET}/data/train/"))
    lineage = world.storage.read_record(Lineage, uri)
    world.storage.write_record(replace(lineage, data_fingerprint=data_fingerprint({"train": listing})), uri)


def test_a_model_past_its_age_is_trained_under_the_next_number(
    world: World, schedule: Schedule, capsys: pytest.CaptureFixture[str]
) -> None:
    world.model("1.3.0+retrain.0")
    line = schedule.line("max_age: 1d, on_new_data: false")
    assert (line["due"], line["reason"], line["model_version"]) == (True, "age", "1.3.0+retrain.1")
    (conf,) = world.airflow.confs.values()
    assert isinstance(conf, TrainingConf)
    assert conf.image_uri == world.image("1.3.0").replace(
        "127.0.0.1:5000", "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    )
    assert (conf.image_version, conf.model_version) == ("1.3.0", "1.3.0+retrain.1")
    assert conf.origin.pipeline_source == "schedule"
    assert conf.retraining.max_age_seconds == 86400
    said = capsys.readouterr().err
    assert "phishing-url: due, 1.3.0+retrain.0 is 2 d old, at most 24 h (since " in said
    assert f"1.3.0+retrain.1 in run {line['run_id']}, started" in said


def test_a_young_model_is_left_alone_at_the_price_of_one_call_to_sagemaker(
    world: World, schedule: Schedule
) -> None:
    world.model("1.3.0+retrain.0")
    schedule.calls.clear()
    line = schedule.line("max_age: 7d, on_new_data: false", dry_run=True)
    assert (line["due"], line["why"]) == (False, "1.3.0+retrain.0 is 2 d old")
    assert schedule.calls == ["ecr DescribeImages", "sagemaker ListModels", "s3 HeadObject"]
    assert not world.airflow.runs


def test_age_decides_before_anybody_asks_for_alarms_or_data(world: World, schedule: Schedule) -> None:
    world.model("1.3.0+retrain.0")
    schedule.calls.clear()
    schedule.line("max_age: 1d, on_drift: true", dry_run=True)
    assert schedule.calls == ["ecr DescribeImages", "sagemaker ListModels", "s3 HeadObject"]
    assert schedule.alarms.asked == 0


def test_a_dry_run_starts_nothing(world: World, schedule: Schedule) -> None:
    world.model("1.3.0+retrain.0")
    outcome = schedule.run("max_age: 1d", dry_run=True)
    assert outcome.summary == "1 of 1 models due: phishing-url (nothing started: --dry-run)"
    assert not world.airflow.runs


def test_nothing_is_trained_twice_within_the_minimal_interval(world: World, schedule: Schedule) -> None:
    world.model("1.3.0+retrain.0")
    schedule.later = timedelta(hours=5, minutes=1)
    line = schedule.line()
    assert (line["due"], line["why"]) == (False, "trained 5 h ago, at most every 20 h")


@pytest.mark.parametrize("skew", [timedelta(hours=-1), timedelta(hours=1)])
def test_the_clock_of_the_runner_does_not_matter(
    world: World, schedule: Schedule, monkeypatch: pytest.MonkeyPatch, skew: timedelta
) -> None:
    from mlops.clients.aws import sagemaker
    from mlops.training import retraining_rules

    class Skewed(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Skewed:
            return cls.fromtimestamp((datetime.now(UTC) + skew).timestamp(), tz)

    for module in (retraining_rules, sagemaker):
        monkeypatch.setattr(module, "datetime", Skewed)
    world.model("1.3.0+retrain.0")
    for hours, expected in ((19.5, False), (20.5, True)):
        schedule.later = timedelta(hours=hours)
        assert schedule.line("max_age: 20h, on_new_data: false", dry_run=True)["due"] is expected


def test_a_model_without_history_is_trained_for_the_first_time(world: World, schedule: Schedule) -> None:
    world.image("1.0.0")
    line = schedule.line()
    assert (line["reason"], line["model_version"]) == ("never trained", "1.0.0+retrain.0")
    assert line["last_version"] == ""


def test_a_newer_image_without_a_model_is_trained(world: World, schedule: Schedule) -> None:
    world.model("1.3.0+retrain.4")
    world.image("1.4.0")
    line = schedule.line()
    assert (line["reason"], line["model_version"]) == ("newer image", "1.4.0+retrain.0")
    assert line["why"] == "1.4.0 was released and never trained; the last was 1.3.0+retrain.4"


def test_a_newer_image_waits_for_the_minimal_interval_too(world: World, schedule: Schedule) -> None:
    world.model("1.3.0+retrain.0")
    world.image("1.4.0")
    schedule.later = timedelta(hours=1)
    assert not schedule.line()["due"]


def test_pre_releases_of_merge_requests_are_neither_history_nor_releases(
    world: World, schedule: Schedule
) -> None:
    world.image("1.0.0")
    world.model("1.1.0-mr42.7+retrain.0")
    line = schedule.line()
    assert (line["reason"], line["model_version"]) == ("never trained", "1.0.0+retrain.0")


def test_a_merge_request_retrains_nothing(world: World, schedule: Schedule) -> None:
    world.image("1.0.0")
    with pytest.raises(UsageError, match="retrains nothing") as caught:
        schedule.run(kind="merge_request")
    assert "--dry-run" in caught.value.next_step
    assert not world.airflow.runs
    assert schedule.run(kind="merge_request", dry_run=True).data["models"][0]["due"]


def test_a_project_that_released_nothing_is_trouble(world: World, schedule: Schedule) -> None:
    world.image("1.1.0-mr42.7")
    outcome = schedule.run()
    assert outcome.exit_code == RetrainingError.exit_code
    (line,) = outcome.data["models"]
    assert line["trouble"][0] == "Nothing was released of web-safety/phishing-url yet"


def test_a_training_that_was_never_evaluated_is_tried_again_under_its_version(
    world: World, schedule: Schedule
) -> None:
    world.model("1.3.0+retrain.0")
    evidence = world.model("1.3.0+retrain.1")
    world.storage.delete(evidence + COMPARISON)
    schedule.later = timedelta(hours=1)
    line = schedule.line()
    assert (line["reason"], line["model_version"]) == ("not evaluated", "1.3.0+retrain.1")


def test_what_somebody_deployed_without_an_evaluation_is_not_made_anew(
    world: World, schedule: Schedule
) -> None:
    """It is in production: a training under its number would be refused night after night."""
    evidence = world.model("1.3.0+retrain.0")
    world.storage.delete(evidence + COMPARISON)
    world.storage.write(b"{}", evidence + OVERRIDE, "application/json")
    schedule.later = timedelta(hours=1)
    line = schedule.line()
    assert (line["reason"], line["model_version"]) == ("not evaluated", "1.3.0+retrain.1")


def test_a_failed_retraining_is_retried_by_the_next_schedule_under_its_version(
    world: World, schedule: Schedule
) -> None:
    world.model("1.3.0+retrain.0")
    first = schedule.line("max_age: 1d")
    world.airflow.runs[first["run_id"]] = "failed"
    second = schedule.line("max_age: 1d", number="78")
    assert second["model_version"] == first["model_version"] == "1.3.0+retrain.1"
    assert second["run_id"] != first["run_id"]
    assert (first["run_id"][-1], second["run_id"][-1]) == ("1", "2")


def test_two_schedules_at_once_meet_in_one_run(world: World, schedule: Schedule) -> None:
    world.model("1.3.0+retrain.0")
    first, second = schedule.line("max_age: 1d"), schedule.line("max_age: 1d", number="78")
    assert first["run_id"] == second["run_id"]
    assert (first["run_state"], second["run_state"]) == ("started", "queued")
    assert len(world.airflow.runs) == 1


def test_the_hundredth_retraining_of_a_version_is_the_hundredth(world: World, schedule: Schedule) -> None:
    for number in range(100):
        world.model(f"1.3.0+retrain.{number}")
    schedule.calls.clear()
    line = schedule.line("max_age: 1d")
    assert (line["last_version"], line["model_version"]) == ("1.3.0+retrain.99", "1.3.0+retrain.100")
    assert schedule.calls.count("sagemaker ListModels") == 1
    assert schedule.calls.count("s3 ListObjectsV2") == 1


def test_a_number_that_was_evaluated_is_never_used_again_though_its_model_was_deleted(
    world: World, schedule: Schedule
) -> None:
    world.model("1.3.0+retrain.0")
    for number in (1, 2):
        world.model(f"1.3.0+retrain.{number}")
        world.sagemaker.delete_model(ModelName=f"{PROJECT}--{MODEL}--1-3-0--r{number}")
    assert schedule.line("max_age: 1d")["model_version"] == "1.3.0+retrain.3"


def test_data_that_is_the_same_is_no_reason(world: World, schedule: Schedule) -> None:
    world.model("1.3.0+retrain.0")
    learned_from(world, "1.3.0+retrain.0", a="1", b="2")
    world.s3.put_object(Bucket=BUCKET, Key="data/train/a", Body=b"1")  # written anew with the same content
    line = schedule.line("on_new_data: true")
    assert (line["due"], line["why"]) == (False, "1.3.0+retrain.0 is 2 d old, its data is the same")


def test_new_data_is_a_reason_that_names_its_newest_object(world: World, schedule: Schedule) -> None:
    world.model("1.3.0+retrain.0")
    learned_from(world, "1.3.0+retrain.0", a="1")
    world.s3.put_object(Bucket=BUCKET, Key="data/train/2026-02.csv", Body=b"3")
    line = schedule.line("on_new_data: true")
    assert line["reason"] == "new data"


def test_data_that_was_removed_is_a_change(world: World, schedule: Schedule) -> None:
    world.model("1.3.0+retrain.0")
    learned_from(world, "1.3.0+retrain.0", a="1", b="2")
    world.s3.delete_object(Bucket=BUCKET, Key="data/train/b")
    assert schedule.line("on_new_data: true")["reason"] == "new data"


def test_the_pages_of_a_listing_are_followed_to_the_end(world: World, schedule: Schedule) -> None:
    world.model("1.3.0+retrain.0")
    store = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]  # a thousand calls take five seconds
    for number in range(1001):
        store.put_object(BUCKET, f"data/train/{number:04}", b"x")
    learned_from(world, "1.3.0+retrain.0")
    assert not schedule.line("on_new_data: true")["due"]
    world.s3.put_object(Bucket=BUCKET, Key="data/train/zzzz", Body=b"new")
    schedule.calls.clear()
    assert schedule.line("on_new_data: true", dry_run=True)["due"]
    assert schedule.calls.count("s3 ListObjectsV2") == 2


def alarm(raised: bool, since: timedelta) -> AlarmState:
    return AlarmState(raised=raised, since=datetime.now(UTC) + since, reason="Threshold Crossed")


@pytest.mark.parametrize(
    ("state", "reason", "why"),
    [
        (alarm(True, timedelta(days=1)), "drift", "its drift alarm was raised"),
        (alarm(False, timedelta(days=1)), "", "there is no drift"),
        (alarm(True, timedelta(days=-1)), "", "it is the answer to the drift of"),
        (None, "", "nothing watches for drift"),
    ],
)
def test_an_alarm_since_the_training_is_a_reason(
    world: World, schedule: Schedule, state: AlarmState | None, reason: str, why: str
) -> None:
    world.model("1.3.0+retrain.0")
    if state:
        schedule.alarms.states[MODEL] = state
    line = schedule.line("on_drift: true, on_new_data: false")
    assert line["reason"] == reason
    assert why in line["why"]


@pytest.mark.parametrize(
    ("state", "version", "reason"),
    [
        ("drifted", "1.3.0+retrain.0", "drift"),
        ("stable", "1.3.0+retrain.0", ""),
        ("too_few_rows", "1.3.0+retrain.0", ""),
        ("drifted", "1.2.0+retrain.0", ""),
    ],
)
def test_without_an_alarm_the_last_report_of_monitoring_tells(
    world: World, schedule: Schedule, state: Any, version: str, reason: str
) -> None:
    world.model("1.3.0+retrain.0")
    report = DriftReport(
        schema_version=1,
        project=PROJECT,
        model=MODEL,
        model_version=version,
        state=state,
        window_start="2026-01-01T00:00:00+00:00",
        window_end="2026-01-08T00:00:00+00:00",
        rows=100,
        baseline_rows=100,
        columns=(),
        predictions=None,
        notes=(),
        dag_run_id="run",
        created_at="2026-01-08T00:00:00+00:00",
    )
    world.storage.write_record(report, f"{HOME}monitoring/latest.json")
    assert schedule.line("on_drift: true, on_new_data: false")["reason"] == reason


def test_one_models_trouble_does_not_stop_the_others(
    world: World, schedule: Schedule, capsys: pytest.CaptureFixture[str]
) -> None:
    world.model("1.3.0+retrain.0")
    broken = schedule.text.partition("models:\n")[2].replace("phishing-url:", "absent:")
    schedule.text = schedule.text.replace("models:\n", f"models:\n{broken}")
    outcome = schedule.run("max_age: 1d")
    assert outcome.exit_code == RetrainingError.exit_code == 35
    assert outcome.summary == "1 of 2 models due: phishing-url; trouble with absent"
    assert len(world.airflow.runs) == 1
    said = capsys.readouterr().err
    assert "✗ absent: not decided: There is no repository web-safety/absent in the registry" in said
    assert "terraform/root/models.auto.tfvars" in said


def test_a_training_that_cannot_be_started_is_trouble_too(world: World, schedule: Schedule) -> None:
    world.model("1.3.0+retrain.0")
    world.airflow.problem = RunProblem(kind="dag_paused", message="paused", next_step="-", retryable=False)
    outcome = schedule.run("max_age: 1d")
    assert outcome.exit_code == RetrainingError.exit_code
    (line,) = outcome.data["models"]
    assert (line["due"], line["run_id"]) == (True, "")
    assert line["trouble"][0] == "DAG model_training: dag paused"


def test_the_table_is_an_artifact_for_people_and_for_machines(
    world: World, schedule: Schedule, tmp_path: Path
) -> None:
    world.model("1.3.0+retrain.0")
    outcome = schedule.run("max_age: 1d", table=tmp_path / "out" / "table.md")
    text = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert text.startswith("| model")
    assert "| phishing-url | yes" in text
    assert "1.3.0+retrain.1" in text
    assert json.loads((tmp_path / "out" / "table.json").read_text()) == outcome.data["models"]


def test_behind_a_crowd_of_pre_releases_the_recipe_tells_of_the_last_training(
    world: World, schedule: Schedule
) -> None:
    world.image("1.4.0")
    trained = schedule.manifest("max_age: 1d").model()
    recipe = Recipe(
        schema_version=1,
        project=PROJECT,
        model=MODEL,
        model_version="1.3.0+retrain.2",
        image_version="1.3.0",
        image_uri="x",
        training=reader.training(trained, BUCKET),
        evaluation=reader.evaluation(trained, BUCKET),
        retraining=reader.retraining(trained),
        notifications=reader.notifications(trained),
        created_at=(datetime.now(UTC) + schedule.later - timedelta(minutes=121)).isoformat(),
    )
    world.storage.write_record(recipe, HOME + RECIPE)

    def crowd(parsed: dict[str, Any], **_: object) -> None:
        parsed["NextToken"] = "more"

    world.sagemaker.meta.events.register("after-call.sagemaker.ListModels", once := Once(crowd))
    line = schedule.line()
    assert (line["due"], line["why"]) == (False, "trained 2 h ago, at most every 20 h")
    assert schedule.calls.count("sagemaker ListModels") == 2
    world.sagemaker.meta.events.unregister("after-call.sagemaker.ListModels", once)


class Once:
    """A hook that works the first time it is called."""

    def __init__(self, hook: Any) -> None:
        self._hooks = [hook]

    def __call__(self, **facts: Any) -> None:
        for hook in self._hooks:
            hook(**facts)
        self._hooks = []


def test_what_went_well_settles_an_earlier_failure_of_the_job(world: World, schedule: Schedule) -> None:
    deliveries = DeliveryLog(world.storage, folder_of(BUCKET, PROJECT, MODEL), "somebody")
    schedule.run()  # nothing was released yet
    assert deliveries.last_success("retrain") == ""
    world.model("1.3.0+retrain.0")
    schedule.run(dry_run=True)
    assert deliveries.last_success("retrain") == ""
    schedule.run(number="78")
    assert deliveries.last_success("retrain") == "78"
