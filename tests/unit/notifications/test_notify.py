from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from mlops.base.errors import GitLabError, NotificationError, StorageError
from mlops.clients.gitlab.project import FailedJob
from mlops.contracts.evidence import FAILURE, Failure
from mlops.contracts.message import Message
from mlops.contracts.platform_settings import Channel as Target
from mlops.contracts.platform_settings import PlatformSettings
from mlops.contracts.runs import TRAINING_DAG, Notifications
from mlops.notifications.delivery_log import DeliveryLog, folder_of, of_failure
from mlops.notifications.notify import (
    ReportedPipeline,
    Route,
    _About,
    _about,
    _all_channels,
    _channels,
    _failures,
    check_channels,
    failures_of_runs,
    notify,
)
from tests.unit.world import MODEL, PROJECT, World, pipeline

EVIDENCE = "s3://ml-ops-test/web-safety/phishing-url/1.3.0_retrain.0/"
RUN = "phishing-url-1-3-0.0123456789.1"
VARIABLES = {"MODEL_VERSION": "1.3.0+retrain.0", "DAG_RUN_ID": RUN, "DEPLOYMENT_RUN_ID": ""}


@dataclass
class Box:
    """A channel that keeps what it gets, or refuses it."""

    name: str
    refuses: bool = False
    way: Literal["email", "slack"] = "email"
    messages: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> None:
        self.messages.append(message)
        if self.refuses:
            raise NotificationError(
                f"{self.name} did not take it", cause="HTTP 500", next_step=f"Mend {self.name}."
            )

    def channel(self) -> Route:
        return Route(self.name, self.way, self.send)


@dataclass
class Jobs:
    """A pipeline's failed jobs."""

    failed: Sequence[FailedJob] = ()
    refuses: bool = False
    logs: str = "ModuleNotFoundError: No module named 'pandas'"

    def failed_jobs(self, pipeline_id: str) -> list[FailedJob]:
        assert pipeline_id == "12"
        if self.refuses:
            raise GitLabError("GitLab does not let us list the jobs", cause="401")
        return list(self.failed)

    def end_of_log(self, job_id: int) -> str:
        if not self.logs:
            raise GitLabError(f"GitLab did not show the log of job {job_id}", cause="403")
        return self.logs


def failed(name: str, allowed: bool = False) -> FailedJob:
    return FailedJob(
        name=name,
        stage="s",
        url=f"https://gitlab.example/job/{name}",
        reason="script_failure",
        allowed=allowed,
    )


def records_of(world: World, teller: str = "pipeline 7/12") -> Callable[[str], DeliveryLog]:
    return lambda model: DeliveryLog(world.storage, folder_of("ml-ops-test", PROJECT, model), teller)


def about(**facts: Any) -> ReportedPipeline:
    whole: dict[str, Any] = {"project": PROJECT, "model": MODEL, "pipeline": pipeline()}
    return ReportedPipeline(**whole | facts)


def send(
    world: World, jobs: Jobs | None, subject: ReportedPipeline | None = None, slack: Box | None = None
) -> tuple[Box, Box, Any]:
    email, slack = Box("e-mail"), slack or Box("Slack", way="slack")
    outcome = notify(subject or about(), [email.channel(), slack.channel()], jobs, records_of(world))
    return email, slack, outcome


def test_failed_jobs_are_named_with_their_log_and_what_it_ends_with(world: World) -> None:
    email, slack, outcome = send(world, Jobs([failed("test"), failed("containerize")]))
    assert email.messages == slack.messages
    assert [message.subject for message in email.messages] == [
        "phishing-url: job test FAILED",
        "phishing-url: job containerize FAILED",
    ]
    assert "https://gitlab.example/job/test" in email.messages[0].body
    assert "script_failure" in email.messages[0].body
    assert "No module named 'pandas'" in email.messages[0].body
    assert "https://gitlab.example/job/1" not in email.messages[0].body
    assert outcome.data["channels"] == {"e-mail": "ok", "Slack": "ok"}


def test_a_log_that_may_not_be_read_keeps_no_message_back(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    email, _, _ = send(world, Jobs([failed("test")], logs=""))
    assert "script_failure" in email.messages[0].body
    assert "did not show the log" in capsys.readouterr().err


def test_jobs_that_may_fail_are_no_failure_of_the_pipeline(world: World) -> None:
    email, _, _ = send(world, Jobs([failed("lint", allowed=True), failed("test")]))
    assert [message.subject for message in email.messages] == ["phishing-url: job test FAILED"]


@pytest.mark.parametrize("jobs", [None, Jobs(refuses=True), Jobs([])])
def test_without_a_list_of_jobs_the_pipeline_is_named(world: World, jobs: Jobs | None) -> None:
    email, slack, _ = send(world, jobs)
    assert [message.subject for message in email.messages] == ["phishing-url: pipeline FAILED"]
    assert len(slack.messages) == 1


def test_a_hundred_failed_jobs_are_a_handful_of_messages(world: World) -> None:
    email, _, outcome = send(world, Jobs([failed(f"test{number}") for number in range(100)]))
    assert len(email.messages) == 5
    assert len(outcome.data["jobs"]) == 100


@pytest.mark.parametrize("jobs", [None, Jobs([failed("evaluate")]), Jobs([failed("a-model-evaluate")])])
def test_what_a_dag_has_announced_is_not_told_twice(world: World, jobs: Jobs | None) -> None:
    failure = _failure(world, RUN)
    dag = DeliveryLog(world.storage, folder_of("ml-ops-test", PROJECT, MODEL), f"{TRAINING_DAG}/{RUN}")
    identity = of_failure(failure, pipeline().origin, dag)
    for way in ("email", "slack"):
        assert dag.claim(identity, "default", way, "failed")
        dag.sent(identity, "default", way, "failed")
    email, slack, outcome = send(world, jobs, about(failures={"evaluate": failure}))
    assert not email.messages
    assert not slack.messages
    assert "already" in outcome.summary


def test_what_slack_refused_of_the_dag_is_told_by_the_pipeline(world: World) -> None:
    failure = _failure(world, RUN)
    dag = DeliveryLog(world.storage, folder_of("ml-ops-test", PROJECT, MODEL), f"{TRAINING_DAG}/{RUN}")
    identity = of_failure(failure, pipeline().origin, dag)
    assert dag.claim(identity, "default", "email", "failed")
    dag.sent(identity, "default", "email", "failed")
    assert dag.claim(identity, "default", "slack", "failed")
    dag.refused(identity, "default", "slack", "failed")
    email, slack, _ = send(world, Jobs([failed("evaluate")]), about(failures={"evaluate": failure}))
    assert not email.messages
    assert [message.subject for message in slack.messages] == [
        "phishing-url 1.3.0+retrain.0: model_training FAILED at train"
    ]


def test_what_failed_besides_the_run_is_told(world: World) -> None:
    failure = _failure(world, RUN)
    jobs = Jobs([failed("evaluate"), failed("docs")])
    email, _, _ = send(world, jobs, about(failures={"evaluate": failure}))
    assert [message.subject for message in email.messages] == [
        "phishing-url 1.3.0+retrain.0: model_training FAILED at train",
        "phishing-url: job docs FAILED",
    ]


def test_a_retried_job_tells_nobody_twice(world: World) -> None:
    jobs = Jobs([failed("test")])
    assert len(send(world, jobs)[0].messages) == 1
    email, slack, outcome = send(world, jobs)
    assert (email.messages, slack.messages) == ([], [])
    assert "already" in outcome.summary


def test_a_channel_that_refuses_keeps_no_other_from_the_message_and_gets_it_by_a_retry(world: World) -> None:
    slack, email = Box("Slack", refuses=True, way="slack"), Box("e-mail")
    channels = [slack.channel(), email.channel()]
    jobs = Jobs([failed("test"), failed("lint")])
    with pytest.raises(NotificationError, match="Slack did not take it") as caught:
        notify(about(), channels, jobs, records_of(world))
    assert len(email.messages) == 2
    assert len(slack.messages) == 1
    assert "notified all the same: e-mail" in caught.value.cause
    assert caught.value.next_step == "Mend Slack."
    slack.refuses = False
    notify(about(), channels, jobs, records_of(world, "pipeline 7/13"))
    assert len(email.messages) == 2
    assert len(slack.messages) == 3


def test_a_schedule_tells_once_until_a_commit_or_a_success(world: World) -> None:
    def night(number: int, commit: str = "abc") -> int:
        nightly = replace(pipeline(), kind="schedule", pipeline_id="12", commit_sha=commit)
        email, _, _ = send(world, Jobs([failed("retrain")]), about(pipeline=nightly))
        del number
        return len(email.messages)

    assert [night(1), night(2), night(3)] == [1, 0, 0]
    assert [night(4, "def"), night(5, "def")] == [1, 0]
    records_of(world)(MODEL).succeeded("retrain", "night 6")
    assert [night(7, "def"), night(8, "def")] == [1, 0]


def test_of_two_models_each_hears_of_its_own_jobs_and_one_of_what_they_share(world: World) -> None:
    jobs = Jobs([failed("wine:train"), failed("cars:test"), failed("docs")])
    wine, _, _ = send(world, jobs, about(model="wine", prefix="wine:"))
    cars, _, _ = send(world, jobs, about(model="cars", prefix="cars:"))
    assert [one.subject for one in wine.messages] == [
        "wine: job wine:train FAILED",
        "pipeline: job docs FAILED",
    ]
    assert [one.subject for one in cars.messages] == ["cars: job cars:test FAILED"]


def test_a_model_whose_jobs_did_not_fail_hears_nothing(world: World) -> None:
    email, _, outcome = send(world, Jobs([failed("wine:train")]), about(model="cars", prefix="cars:"))
    assert not email.messages
    assert "No job of this model failed" in outcome.summary


def test_channels_that_the_manifest_switches_off_get_nothing(world: World) -> None:
    outcome = notify(about(), [], Jobs([failed("test")]), records_of(world))
    assert "switches off" in outcome.summary


def test_a_test_says_how_each_channel_did(capsys: pytest.CaptureFixture[str]) -> None:
    email, slack = Box("e-mail"), Box("Slack")
    outcome = check_channels([email.channel(), slack.channel()], pipeline())
    assert outcome.data["channels"] == {"e-mail": "ok", "Slack": "ok"}
    slack.refuses = True
    with pytest.raises(NotificationError, match="Slack"):
        check_channels([slack.channel(), email.channel()], pipeline())
    assert capsys.readouterr().err.splitlines()[-2:] == ["✗ Slack: Slack did not take it", "✓ e-mail"]


def _failure(world: World, run_id: str) -> Failure:
    failure = Failure(
        schema_version=1,
        project=PROJECT,
        model=MODEL,
        model_version="1.3.0+retrain.0",
        dag_id=TRAINING_DAG,
        run_id=run_id,
        task_id="train",
        cause="crash",
        log_url="",
        next_step="-",
    )
    world.storage.write_record(failure, EVIDENCE + FAILURE)
    return failure


def test_a_run_that_left_its_failure_has_announced_it(world: World) -> None:
    assert failures_of_runs(EVIDENCE, VARIABLES, world.storage) == {}
    failure = _failure(world, RUN)
    assert failures_of_runs(EVIDENCE, VARIABLES, world.storage) == {"evaluate": failure}
    assert failures_of_runs(
        EVIDENCE, VARIABLES | {"DEPLOYMENT_RUN_ID": RUN, "DAG_RUN_ID": ""}, world.storage
    ) == {"deploy": failure}


def test_the_failure_of_an_earlier_run_is_not_this_pipelines(world: World) -> None:
    _failure(world, "phishing-url-1-3-0.9876543210.1")
    assert failures_of_runs(EVIDENCE, VARIABLES, world.storage) == {}


@dataclass
class Closed:
    """S3 that does not tell."""

    def exists(self, uri: str) -> bool:
        raise StorageError(f"Cannot look at {uri}")

    def read_record(self, record: type[Failure], uri: str) -> Failure:
        raise AssertionError((record, uri))


ABOUT = _About(project=PROJECT, model=MODEL, notifications=Notifications())


@pytest.mark.parametrize("variables", [VARIABLES, VARIABLES | {"MODEL_VERSION": "oops"}])
def test_when_nobody_knows_it_is_told_rather_twice_than_never(
    variables: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _failures(ABOUT, "ml-ops-test", variables, Closed()) == {}
    assert "cannot see whether" in capsys.readouterr().err


def test_a_pipeline_that_failed_before_train_or_without_a_manifest_has_no_run() -> None:
    assert _failures(ABOUT, "ml-ops-test", {}, Closed()) == {}
    assert _failures(replace(ABOUT, project=""), "ml-ops-test", VARIABLES, Closed()) == {}


SETTINGS = PlatformSettings(
    environment="test",
    region="eu-west-1",
    bucket="ml-ops-test",
    execution_role_arn="",
    topic_arn="arn:aws:sns:eu-west-1:123456789012:ml-ops-notifications",
    trigger_function="",
    airflow_environment="",
    slack_secret="airflow/connections/slack",
    channels={
        "fraud": Target(
            topic_arn="arn:aws:sns:eu-west-1:123456789012:ml-ops-notifications-fraud",
            slack_secret="airflow/connections/slack_fraud",
        )
    },
)
MANIFEST = """
project: web-safety
models:
  wine: {notifications: {channel: fraud, slack: false}}
  cars: {training: {chanels: {train: data/}}, notifications: {channel: fraud}}
"""


def _arguments(path: Path, **more: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"manifest": str(path), "environment": "", "model": "cars"} | more)


def test_a_broken_manifest_still_leads_to_the_models_channel(tmp_path: Path) -> None:
    path = tmp_path / "mlops.yml"
    path.write_text(MANIFEST)
    found = _about(_arguments(path))
    assert (found.project, found.model, found.notifications.channel) == ("web-safety", "cars", "fraud")
    path.write_text("project: [")
    found = _about(_arguments(path))
    assert (found.project, found.model, found.notifications.channel) == ("", "cars", "default")
    found = _about(_arguments(tmp_path / "none.yml"))
    assert (found.project, found.notifications.channel) == ("", "default")


def test_a_models_channel_is_where_its_messages_go() -> None:
    names = [(one.name, one.channel) for one in _channels(SETTINGS, Notifications(channel="fraud"))]
    assert names == [("e-mail of fraud", "fraud"), ("Slack of fraud", "fraud")]


def test_a_channel_that_there_is_not_is_the_default_one_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [(one.name, one.channel) for one in _channels(SETTINGS, Notifications(channel="frod"))]
    assert names == [("e-mail", "default"), ("Slack", "default")]
    assert "asks for the channel 'frod'" in capsys.readouterr().err


def test_without_a_manifest_all_channels_of_the_platform_are_tested(tmp_path: Path) -> None:
    found = _all_channels(SETTINGS, _arguments(tmp_path / "none.yml"))
    assert [one.name for one in found] == ["e-mail", "Slack", "e-mail of fraud", "Slack of fraud"]
