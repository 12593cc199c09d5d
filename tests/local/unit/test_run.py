"""What `mlops local run --deploy` clicks, and how it ends when a model was not deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_local.command.run import not_deployed
from mlops_local.pipelines import pipeline
from mlops_local.pipelines.gitlab_ci_local import PlannedJob
from mlops_local.pipelines.job_board import JobResult
from mlops_local.pipelines.pipeline import PipelineRun
from mlops_local.pipelines.trigger_jobs import State
from mlops_local.pipelines.variables import PipelineTrigger

LOG = """\
$ mlops deploy --model iris
- asking for the deployment
✗ Deployment of iris 1.2.0+retrain.0 failed
  why: did not pass the ping health check
"""


def _run(folder: Path, **jobs: tuple[State, int | None]) -> PipelineRun:
    """A pipeline whose jobs ended so; those that end in `go` deploy a model."""
    results = []
    for name, (state, code) in jobs.items():
        log = folder / f"{name}.log"
        log.write_text(LOG)
        results.append(
            JobResult(
                name=name,
                stage="s",
                state=state,
                exit_code=code,
                seconds=1.0,
                artifacts=folder,
                log=log,
                variables={},
            )
        )
    return PipelineRun(
        id=1,
        iid=1,
        project="models/iris",
        url="http://127.0.0.1/1",
        commit="a" * 40,
        trigger=PipelineTrigger(),
        jobs=tuple(results),
        folder=folder,
        planned=tuple(
            PlannedJob(name=name, stage="s", when="manual", deploys=name.endswith("go")) for name in jobs
        ),
        settings={},
    )


def test_only_jobs_that_deploy_a_model_are_clicked(tmp_path: Path) -> None:
    done = _run(tmp_path, go=("manual", None), infra_deploy=("manual", None), deploy=("manual", None))

    assert pipeline.deploy_jobs(done) == ("go",)


@pytest.mark.parametrize(
    ("jobs", "code", "said"),
    [
        ({"go": ("success", 0)}, 0, ()),
        # GitLab's colour of a deploy job that failed is a warning: the job may fail.
        ({"go": ("warning", 31)}, 31, ("go ended with exit code 31", "ping health check", "go.log")),
        ({"evaluate": ("warning", 40), "go": ("warning", 41)}, 41, ("go ended with exit code 41",)),
        ({"evaluate": ("failed", 31), "go": ("skipped", None)}, 1, ("not offered", "because of evaluate")),
        ({"a_go": ("success", 0), "b_go": ("warning", 31)}, 31, ("b_go ended",)),
        ({"test": ("success", 0)}, 2, ("no job of this pipeline deploys a model",)),
        ({"test": ("failed", 1)}, 1, ("no job of this pipeline deploys a model",)),
    ],
)
def test_a_model_that_was_not_deployed(
    tmp_path: Path, jobs: dict[str, tuple[State, int | None]], code: int, said: tuple[str, ...]
) -> None:
    ended, lines = not_deployed(_run(tmp_path, **jobs))

    text = "\n".join(lines)
    assert (ended, bool(lines)) == (code, bool(code))
    assert all(words in text for words in said)
    assert "asking for the deployment" not in text
