"""Records that several processes write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlops_local.gitlab import pipelines, records
from mlops_local.gitlab.projects import create_project

COUNT = """
import sys
from pathlib import Path
from mlops_local.gitlab import records
for _ in range(50):
    with records.edit(Path(sys.argv[1])) as document:
        document["count"] = document.get("count", 0) + 1
"""


def test_what_several_processes_write_is_not_lost(tmp_path: Path) -> None:
    file = tmp_path / "records" / "count.json"
    command = [sys.executable, "-c", COUNT, str(file)]
    writers = [subprocess.Popen(command) for _ in range(3)]

    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert records.read(file) == {"count": 150}


def test_an_error_leaves_the_old_record(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    with records.edit(file) as document:
        document["a"] = 1

    with pytest.raises(RuntimeError), records.edit(file) as document:
        document["a"] = 2
        raise RuntimeError

    assert records.read(file) == {"a": 1}
    assert records.read(tmp_path / "none.json") == {}


def test_pipelines_count_over_all_projects_and_in_their_own(tmp_path: Path) -> None:
    spam, phishing = create_project(tmp_path, "models/spam"), create_project(tmp_path, "models/phishing-url")
    made = [
        pipelines.create(tmp_path, project, ref="main", sha="a", source="push", tag=False, created_at="t")
        for project in (spam, phishing, spam)
    ]

    assert [(one.id, one.iid) for one in made] == [(1, 1), (2, 1), (3, 2)]
    assert pipelines.find(tmp_path, 2) == made[1]
    assert pipelines.find(tmp_path, 4) is None


@pytest.mark.parametrize(
    ("jobs", "status"),
    [
        ((), "created"),
        ((("created", False), ("created", False)), "created"),
        ((("success", False), ("running", False)), "running"),
        ((("success", False), ("failed", False)), "failed"),
        ((("success", False), ("failed", True), ("manual", True)), "success"),
        ((("success", False), ("canceled", False)), "canceled"),
        ((("success", False), ("manual", False), ("skipped", False)), "manual"),
        ((("failed", False), ("manual", False)), "manual"),
        ((("success", False), ("created", False)), "running"),
        ((("skipped", False), ("manual", True)), "skipped"),
        ((("skipped", False), ("failed", True)), "success"),
    ],
)
def test_the_status_of_a_pipeline(jobs: tuple[tuple[pipelines.Status, bool], ...], status: str) -> None:
    pipeline = pipelines.StoredPipeline(
        id=1,
        iid=1,
        project_id=1,
        project_path="a/b",
        ref="main",
        sha="a",
        source="push",
        created_at="t",
        jobs=tuple(
            pipelines.PipelineJob(id=number, name=str(number), stage="s", status=one, allow_failure=allowed)
            for number, (one, allowed) in enumerate(jobs)
        ),
    )

    assert pipeline.status == status
