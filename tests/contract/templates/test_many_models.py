"""Which jobs a change of examples/penguins has: its own .gitlab-ci.yml, evaluated by a pipeline engine."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mlops_local.base import paths
from mlops_local.pipelines.variables import PipelineTrigger

EXAMPLE = paths.checkout() / "examples" / "penguins"
MODELS = ("species", "body-mass")
CHECKS = ("lint", "test")
CHAIN = (*CHECKS, "containerize", "train", "evaluate", "deploy", "notify")
MERGE_REQUEST = PipelineTrigger(kind="merge_request", ref="topic", merge_request=42)


def configuration() -> dict[str, Any]:
    """The example's pipeline, with this checkout's templates."""
    document: dict[str, Any] = yaml.safe_load((EXAMPLE / ".gitlab-ci.yml").read_text())
    for include in document["include"]:
        assert (include.pop("project"), include.pop("ref")) == ("platform/ml-ops", "1")
        include["local"] = "/" + include.pop("file")
    return document


def test_the_documentation_shows_this_file() -> None:
    document = (paths.checkout() / "docs" / "guides" / "many-models.md").read_text(encoding="utf-8")

    assert f"```yaml\n{(EXAMPLE / '.gitlab-ci.yml').read_text()}```" in document


def test_the_documented_number_of_includes_is_right(templates: Any) -> None:
    """GitLab counts files included twice twice: https://gitlab.com/gitlab-org/gitlab/-/merge_requests/111726."""
    one = 1 + len(templates["model-pipeline"].filled()["include"])
    document = " ".join(
        (paths.checkout() / "docs" / "guides" / "many-models.md").read_text(encoding="utf-8").split()
    )

    words = {9: "nine", 10: "ten", 11: "eleven"}
    assert f"a model takes {words[one]}: more than {(150 - 1) // one} models" in document


def jobs_of(model: str, names: tuple[str, ...] = CHAIN) -> set[str]:
    return {f"{model}:{name}" for name in names}


BOTH = jobs_of("species") | jobs_of("body-mass")


@pytest.mark.parametrize(
    ("changed", "trigger", "expected"),
    [
        (["species/train.py"], PipelineTrigger(), jobs_of("species")),
        (["body_mass/data/a/deep/file.csv"], PipelineTrigger(), jobs_of("body-mass")),
        (["penguins/columns.py"], PipelineTrigger(), BOTH),
        (["mlops.yml"], PipelineTrigger(), BOTH),
        (["species/model.py", "body_mass/model.py"], PipelineTrigger(), BOTH),
        (["README.md", "data/README.md"], PipelineTrigger(), set()),
        ([], PipelineTrigger(), set()),
        (["body_mass/model.py"], MERGE_REQUEST, jobs_of("body-mass", (*CHECKS, "containerize"))),
        (["species/model.py"], PipelineTrigger(ref="topic"), jobs_of("species", CHECKS)),
        (["species/model.py"], PipelineTrigger(kind="tag", ref="species/v1.0.0"), set()),
    ],
    ids=[
        "one model",
        "a folder of the other",
        "what both share",
        "the manifest",
        "both models",
        "documentation",
        "nothing",
        "a merge request",
        "a branch",
        "a tag",
    ],
)
def test_only_models_whose_paths_changed_have_jobs(
    planner: Any, changed: list[str], trigger: PipelineTrigger, expected: set[str]
) -> None:
    assert set(planner(configuration(), trigger, changed)) == expected


def test_a_models_jobs_need_each_other_alone_whichever_are_there(planner: Any) -> None:
    for changed in (["species/model.py"], ["penguins/columns.py"]):
        jobs = planner(configuration(), PipelineTrigger(), changed)
        for name, job in jobs.items():
            model = name.split(":")[0]
            assert {need.split(":")[0] for need in job.needs or ()} <= {model}
        found = [need for need in jobs["species:evaluate"].needs if need in jobs]
        assert found == ["species:containerize", "species:train"]


def test_notify_reads_the_variables_of_its_own_model(templates: Any) -> None:
    """Both models have a MODEL_VERSION: without this, the last one's would be all that a notify job sees."""
    (include,) = [
        one
        for one in templates["model-pipeline"].filled(job_prefix="species:")["include"]
        if one["local"] == "/ci-templates/notify.yml"
    ]
    ours = {name.replace("-", "_"): value for name, value in include["inputs"].items()}
    job = templates["notify"].filled(**ours)["species:notify"]

    assert {f"species:{name}" for name in ("containerize", "train", "evaluate", "deploy")} <= set(
        job["dependencies"]
    )
    assert all(name.startswith("species:") for name in job["dependencies"])
    assert '--job-prefix "species:"' in job["script"][0]


def test_what_a_push_to_the_default_branch_changed_is_never_stopped(templates: Any) -> None:
    """The next push builds only what it changed itself, so it is not a substitute for the one before."""
    workflow = templates["workflow"].filled()["workflow"]
    (main,) = [rule for rule in workflow["rules"] if "== $CI_DEFAULT_BRANCH" in rule["if"]]

    assert main["auto_cancel"] == {"on_new_commit": "none"}
    assert workflow["auto_cancel"] == {"on_new_commit": "interruptible"}
