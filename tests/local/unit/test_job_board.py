"""What becomes of jobs that ran, that did not, and that wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_local.gitlab import pipelines
from mlops_local.gitlab.projects import create_project
from mlops_local.pipelines.gitlab_ci_local import STATE, Checkout, Event, PlannedJob, behind_manual
from mlops_local.pipelines.job_board import JobBoard

TRAIN = PlannedJob(name="train", stage="train", when="on_success", needs=())
EVALUATE = PlannedJob(
    name="evaluate", stage="evaluate", when="on_success", exit_codes=(40,), needs=("train",)
)
DEPLOY = PlannedJob(name="deploy", stage="deploy", when="manual", may_fail=True, needs=("train", "evaluate"))
NOTIFY = PlannedJob(name="notify", stage=".post", when="on_failure")
PLANNED = (TRAIN, EVALUATE, DEPLOY, NOTIFY)


class Desk:
    """A board of a pipeline in a folder."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "gitlab"
        project = create_project(self.home, "models/spam")
        self.pipeline = pipelines.create(
            self.home, project, ref="main", sha="a" * 40, source="push", tag=False, created_at="t"
        )
        self.checkout = Checkout(folder=folder / "source", variables_file=folder / "variables.json")
        self.board = JobBoard(self.home, self.pipeline, PLANNED, self.checkout)

    def ended(self, **codes: int) -> None:
        for name, code in codes.items():
            self.board.note(Event(job=name))
            self.board.note(Event(job=name, exit_code=code, seconds=1.5))

    def states(self) -> dict[str, str]:
        return {job.name: job.state for job in self.board.finish()}

    def shown(self) -> dict[str, str]:
        found = pipelines.find(self.home, self.pipeline.id)
        assert found is not None
        return {"": found.status, **{job.name: job.status for job in found.jobs}}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_the_server_shows_each_step(desk: Desk) -> None:
    shown = [desk.shown()["train"]]
    desk.board.note(Event(job="train"))
    shown.append(desk.shown()["train"])
    desk.board.note(Event(job="train", exit_code=0, seconds=1.0))
    shown.append(desk.shown()["train"])

    assert shown == ["created", "running", "success"]


def test_all_went_well(desk: Desk) -> None:
    desk.ended(train=0, evaluate=0)

    assert desk.board.forgotten() == []
    assert desk.states() == {
        "train": "success",
        "evaluate": "success",
        "deploy": "manual",
        "notify": "skipped",
    }
    assert desk.shown()[""] == "success"


def test_a_code_that_is_allowed_is_a_warning(desk: Desk) -> None:
    desk.ended(train=0, evaluate=40)

    assert desk.board.forgotten() == []
    assert (desk.states()["evaluate"], desk.states()["deploy"]) == ("warning", "manual")
    assert (desk.shown()["evaluate"], desk.shown()[""]) == ("failed", "success")


def test_another_code_is_a_failure_that_must_be_announced(desk: Desk) -> None:
    desk.ended(train=0, evaluate=31)

    assert desk.board.forgotten() == ["notify"]
    desk.ended(notify=0)
    assert desk.board.forgotten() == []
    assert (desk.states()["evaluate"], desk.states()["deploy"]) == ("failed", "skipped")
    assert desk.shown()[""] == "failed"


def test_what_is_skipped_holds_back_what_needs_it(desk: Desk) -> None:
    desk.ended(train=1)

    assert (desk.states()["evaluate"], desk.states()["deploy"]) == ("skipped", "skipped")


def test_a_pipeline_that_is_stopped(desk: Desk) -> None:
    desk.ended(train=0)
    desk.board.note(Event(job="evaluate"))

    desk.board.cancel()

    assert desk.shown() == {
        "": "canceled",
        "train": "success",
        "evaluate": "canceled",
        "deploy": "canceled",
        "notify": "canceled",
    }


def test_a_later_board_knows_what_ran_before(desk: Desk) -> None:
    desk.ended(train=0, evaluate=40)
    before = desk.board.finish()

    desk.board = JobBoard(desk.home, desk.pipeline, PLANNED, desk.checkout, before)
    desk.ended(deploy=41)

    after = desk.board.finish()
    assert after[:2] == before[:2]
    assert (after[2].state, after[2].exit_code, after[2].seconds) == ("warning", 41, 1.5)


def test_variables_of_a_job(desk: Desk) -> None:
    folder = desk.checkout.folder / STATE / "artifacts" / "train" / ".gitlab-ci-reports" / "dotenv"
    folder.mkdir(parents=True)
    (folder / "train.env").write_text("MODEL_VERSION=1.0.0+retrain.0\nURL=http://a?b=c\nEMPTY=\n")

    assert desk.board.finish()[0].variables == {
        "MODEL_VERSION": "1.0.0+retrain.0",
        "URL": "http://a?b=c",
        "EMPTY": "",
    }


def test_each_job_has_its_own_number_and_folder(desk: Desk) -> None:
    overlay = desk.board.overlay("http://127.0.0.1:1")

    numbers = [job["variables"]["CI_JOB_ID"] for job in overlay.values()]
    assert numbers == ["1001", "1002", "1003", "1004"]
    assert overlay["train"]["variables"]["CI_JOB_URL"] == "http://127.0.0.1:1/models/spam/-/jobs/1001"
    assert len({job["variables"]["CI_PROJECT_DIR"] for job in overlay.values()}) == 4
    assert pipelines.find_by_job(desk.home, 1002) is not None
    assert pipelines.find_by_job(desk.home, 1009) is None


RELEASE = PlannedJob(name="release", stage="release", when="manual", may_fail=True, needs=("train",))
PUBLISH = PlannedJob(name="publish", stage="publish", when="on_success", needs=("release",))
ANNOUNCE = PlannedJob(name="announce", stage="publish", when="on_success", needs=("publish",))


def test_what_needs_a_manual_job_waits_for_it_and_so_does_all_behind() -> None:
    assert behind_manual((*PLANNED, ANNOUNCE, PUBLISH, RELEASE)) == {"publish", "announce"}
    assert behind_manual(PLANNED) == frozenset()


def test_jobs_behind_a_manual_one_are_skipped_until_it_succeeded(desk: Desk) -> None:
    planned = (TRAIN, RELEASE, PUBLISH, ANNOUNCE)
    desk.board = JobBoard(desk.home, desk.pipeline, planned, desk.checkout)
    desk.ended(train=0)
    first = desk.board.finish()
    assert [job.state for job in first] == ["success", "manual", "skipped", "skipped"]
    desk.board = JobBoard(desk.home, desk.pipeline, planned, desk.checkout, first)
    assert desk.board.released() == ""
    desk.ended(release=0)
    assert desk.board.released() == "publish"
    desk.ended(publish=1)
    assert desk.board.released() == ""
    assert desk.states() == {
        "train": "success",
        "release": "success",
        "publish": "failed",
        "announce": "skipped",
    }
