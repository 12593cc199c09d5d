from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from mlops.clients.gitlab import Job
from mlops.contract import TRAINING_DAG
from mlops.errors import GitLabError, NotificationError, StorageError
from mlops.evidence import FAILURE, Failure
from mlops.messages import Message
from mlops.notify import Channel, Subject, _told, check_channels, notify, told_by_runs

from .world import MODEL, PROJECT, World, pipeline

EVIDENCE = "s3://ml-ops-test/web-safety/phishing-url/1.3.0_retrain.0/"
RUN = "phishing-url-1-3-0.0123456789.1"
VARIABLES = {"MODEL_VERSION": "1.3.0+retrain.0", "DAG_RUN_ID": RUN, "DEPLOYMENT_RUN_ID": ""}


@dataclass
class Box:
    """A channel that keeps what it gets, or refuses it."""

    name: str
    refuses: bool = False
    messages: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> None:
        self.messages.append(message)
        if self.refuses:
            raise NotificationError(
                f"{self.name} did not take it", cause="HTTP 500", next_step=f"Mend {self.name}."
            )

    def channel(self) -> Channel:
        return Channel(self.name, self.send)


@dataclass
class Jobs:
    """A pipeline's failed jobs."""

    failed: Sequence[Job] = ()
    refuses: bool = False

    def failed_jobs(self, pipeline_id: str) -> list[Job]:
        assert pipeline_id == "12"
        if self.refuses:
            raise GitLabError("GitLab does not let us list the jobs", cause="401")
        return list(self.failed)


def failed(name: str, allowed: bool = False) -> Job:
    return Job(
        name=name,
        stage="s",
        url=f"https://gitlab.example/job/{name}",
        reason="script_failure",
        allowed=allowed,
    )


def send(
    jobs: Jobs | None, told: frozenset[str] = frozenset(), slack: Box | None = None
) -> tuple[Box, Box, Any]:
    email, slack = Box("e-mail"), slack or Box("Slack")
    subject = Subject(model=MODEL, pipeline=pipeline(), told=told)
    outcome = notify(subject, [email.channel(), slack.channel()], jobs)
    return email, slack, outcome


def test_failed_jobs_are_named_with_their_log() -> None:
    email, slack, outcome = send(Jobs([failed("test"), failed("containerize")]))
    assert email.messages == slack.messages
    assert [message.subject for message in email.messages] == [
        "phishing-url: job test FAILED",
        "phishing-url: job containerize FAILED",
    ]
    assert "https://gitlab.example/job/test" in email.messages[0].body
    assert "script_failure" in email.messages[0].body
    assert "https://gitlab.example/job/1" not in email.messages[0].body
    assert outcome.data["channels"] == {"e-mail": "ok", "Slack": "ok"}


def test_jobs_that_may_fail_are_no_failure_of_the_pipeline() -> None:
    email, _, _ = send(Jobs([failed("lint", allowed=True), failed("test")]))
    assert [message.subject for message in email.messages] == ["phishing-url: job test FAILED"]


@pytest.mark.parametrize("jobs", [None, Jobs(refuses=True), Jobs([])])
def test_without_a_list_of_jobs_the_pipeline_is_named(jobs: Jobs | None) -> None:
    email, slack, _ = send(jobs)
    assert [message.subject for message in email.messages] == ["phishing-url: pipeline FAILED"]
    assert len(slack.messages) == 1


def test_a_hundred_failed_jobs_are_a_handful_of_messages() -> None:
    email, _, outcome = send(Jobs([failed(f"test{number}") for number in range(100)]))
    assert len(email.messages) == 5
    assert len(outcome.data["jobs"]) == 100


@pytest.mark.parametrize("jobs", [None, Jobs([failed("evaluate")]), Jobs([failed("a-model-evaluate")])])
def test_what_a_dag_has_announced_is_not_told_twice(jobs: Jobs | None) -> None:
    email, slack, outcome = send(jobs, told=frozenset({"evaluate"}))
    assert not email.messages
    assert not slack.messages
    assert "already" in outcome.summary


def test_what_failed_besides_the_run_is_told() -> None:
    email, _, _ = send(Jobs([failed("evaluate"), failed("docs")]), told=frozenset({"evaluate"}))
    assert [message.subject for message in email.messages] == ["phishing-url: job docs FAILED"]


def test_a_channel_that_refuses_keeps_no_other_from_the_message() -> None:
    slack = Box("Slack", refuses=True)
    email = Box("e-mail")
    subject = Subject(model=MODEL, pipeline=pipeline())
    with pytest.raises(NotificationError, match="Slack did not take it") as caught:
        notify(subject, [slack.channel(), email.channel()], Jobs([failed("test"), failed("lint")]))
    assert len(email.messages) == 2
    assert len(slack.messages) == 1
    assert "told all the same: e-mail" in caught.value.cause
    assert caught.value.next_step == "Mend Slack."


def test_channels_that_the_manifest_switches_off_get_nothing() -> None:
    outcome = notify(Subject(model=MODEL, pipeline=pipeline()), [], Jobs([failed("test")]))
    assert "switches off" in outcome.summary


def test_a_test_says_how_each_channel_did(capsys: pytest.CaptureFixture[str]) -> None:
    email, slack = Box("e-mail"), Box("Slack")
    outcome = check_channels([email.channel(), slack.channel()], pipeline())
    assert outcome.data["channels"] == {"e-mail": "ok", "Slack": "ok"}
    slack.refuses = True
    with pytest.raises(NotificationError, match="Slack"):
        check_channels([slack.channel(), email.channel()], pipeline())
    assert capsys.readouterr().err.splitlines()[-2:] == ["✗ Slack: Slack did not take it", "✓ e-mail"]


def _failure(world: World, run_id: str) -> None:
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


def test_a_run_that_left_its_failure_has_announced_it(world: World) -> None:
    assert told_by_runs(EVIDENCE, VARIABLES, world.storage) == frozenset()
    _failure(world, RUN)
    assert told_by_runs(EVIDENCE, VARIABLES, world.storage) == {"evaluate"}
    assert told_by_runs(
        EVIDENCE, VARIABLES | {"DEPLOYMENT_RUN_ID": RUN, "DAG_RUN_ID": ""}, world.storage
    ) == {"deploy"}


def test_the_failure_of_an_earlier_run_is_not_this_pipelines(world: World) -> None:
    _failure(world, "phishing-url-1-3-0.9876543210.1")
    assert told_by_runs(EVIDENCE, VARIABLES, world.storage) == frozenset()


@dataclass
class Closed:
    """S3 that does not tell."""

    def exists(self, uri: str) -> bool:
        raise StorageError(f"Cannot look at {uri}")

    def read_record(self, record: type[Failure], uri: str) -> Failure:
        raise AssertionError((record, uri))


@pytest.mark.parametrize("variables", [VARIABLES, VARIABLES | {"MODEL_VERSION": "oops"}])
def test_when_nobody_knows_it_is_told_rather_twice_than_never(
    variables: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    model: Any = SimpleNamespace(project=PROJECT, name=MODEL)
    assert _told(model, "ml-ops-test", variables, Closed()) == frozenset()
    assert "cannot see whether" in capsys.readouterr().err


def test_a_pipeline_that_failed_before_train_or_without_a_manifest_has_no_run() -> None:
    model: Any = SimpleNamespace(project=PROJECT, name=MODEL)
    assert _told(model, "ml-ops-test", {}, Closed()) == frozenset()
    assert _told(None, "ml-ops-test", VARIABLES, Closed()) == frozenset()
