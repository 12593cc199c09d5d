"""This repository's own pipeline: which job runs when and after which, and that it needs no secret."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops_local.base import paths
from mlops_local.pipelines.variables import PipelineTrigger

from ... import needs
from ...conftest import group
from ..templates.conftest import Template

FILE = paths.checkout() / ".gitlab-ci.yml"
TEXT = FILE.read_text(encoding="utf-8")
OWN = Template(FILE).filled()
TERRAFORM = [one for one in OWN["include"] if one["local"] == "/ci-templates/terraform.yml"]

MERGE_REQUEST = PipelineTrigger(kind="merge_request", ref="topic", merge_request=42)
LINES = r"$CI_COMMIT_BRANCH =~ /^[0-9]+(\.[0-9]+)?\.x$/ && $CI_PIPELINE_SOURCE =~ /^(push|web)$/"
CHECKS = dict.fromkeys(
    (
        "commits",
        "lint",
        "docs",
        "units",
        "pipelines",
        "images",
        "airflow",
        "kills",
        "terraform",
        "environments",
        "demo",
        "containers",
        "stack",
    ),
    "on_success",
)
PLANS = {f"terraform-plan:{name}": "on_success" for name in ("dev", "stage", "prod")}
APPLIES = {
    "terraform-apply:dev": "on_success",
    "terraform-apply:stage": "manual",
    "terraform-apply:prod": "manual",
}
RELEASES = {"release": "manual", **dict.fromkeys(("publish-image", "publish-wheel", "pages"), "on_success")}

TABLE: list[tuple[str, PipelineTrigger, dict[str, Any], dict[str, str]]] = [
    ("merge request of documents", MERGE_REQUEST, {"changed": ["docs/contribute/release.md"]}, CHECKS),
    *(
        (
            f"merge request of {path}",
            MERGE_REQUEST,
            {"changed": [path]},
            {**CHECKS, "job-image": "on_success", **PLANS},
        )
        for path in (
            "terraform/root/main.tf",
            "dags/model_training.py",
            "lambda_trigger/handler.py",
            "Dockerfile",
        )
    ),
    (
        "push to the default branch",
        PipelineTrigger(),
        {},
        {**CHECKS, "job-image": "on_success", **PLANS, **APPLIES, **RELEASES},
    ),
    (
        "started by a person",
        PipelineTrigger(),
        {"CI_PIPELINE_SOURCE": "web"},
        {**CHECKS, "job-image": "on_success", **PLANS, **APPLIES, **RELEASES},
    ),
    ("another branch", PipelineTrigger(ref="topic"), {}, CHECKS),
    ("an older line", PipelineTrigger(ref="1.2.x"), {}, {**CHECKS, "job-image": "on_success", **RELEASES}),
    ("tag of a release", PipelineTrigger(kind="tag", ref="v1.2.3"), {}, {}),
    ("schedule", PipelineTrigger(kind="schedule"), {}, CHECKS),
]


@pytest.fixture(scope="module")
def own_jobs(planner: Any) -> Any:
    """The jobs of our own pipeline, each kind of it evaluated once."""
    known: dict[str, Any] = {}

    def plan(trigger: PipelineTrigger | None = None, **variables: Any) -> Any:
        key = f"{trigger or PipelineTrigger()} {sorted(variables.items())}"
        if key not in known:
            known[key] = planner(OWN, trigger, **variables)
        return known[key]

    return plan


@pytest.mark.parametrize(
    ("trigger", "variables", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_jobs_of_a_pipeline(
    own_jobs: Any, trigger: PipelineTrigger, variables: dict[str, Any], expected: dict[str, str]
) -> None:
    jobs = own_jobs(trigger, **variables)

    assert {name: job.when for name, job in jobs.items()} == expected


@pytest.mark.parametrize(
    ("trigger", "variables", "runs"),
    [
        (MERGE_REQUEST, {}, True),
        (PipelineTrigger(), {}, True),
        (PipelineTrigger(ref="topic"), {}, True),
        (PipelineTrigger(ref="topic"), {"CI_OPEN_MERGE_REQUESTS": "platform/ml-ops!42"}, False),
        (PipelineTrigger(), {"CI_OPEN_MERGE_REQUESTS": "platform/ml-ops!42"}, True),
        (PipelineTrigger(kind="tag", ref="v1.2.3"), {}, False),
        (PipelineTrigger(kind="schedule"), {}, True),
        (PipelineTrigger(), {"CI_PIPELINE_SOURCE": "web"}, True),
        # Another project's pipeline must neither apply nor release the platform.
        (PipelineTrigger(), {"CI_PIPELINE_SOURCE": "pipeline"}, False),
        (PipelineTrigger(), {"CI_PIPELINE_SOURCE": "trigger"}, False),
        (PipelineTrigger(), {"CI_PIPELINE_SOURCE": "parent_pipeline"}, False),
        (PipelineTrigger(), {"CI_PIPELINE_SOURCE": "api"}, False),
    ],
)
def test_which_pipelines_there_are(
    planner: Any, trigger: PipelineTrigger, variables: dict[str, str], runs: bool
) -> None:
    jobs = planner({"workflow": OWN["workflow"], "probe": {"script": ["true"]}}, trigger, **variables)

    assert bool(jobs) is runs


def test_what_waits_for_what(own_jobs: Any) -> None:
    jobs = own_jobs()
    checks = tuple(CHECKS)

    assert {name: job.needs for name, job in jobs.items()} == {
        **dict.fromkeys(checks, ()),
        "job-image": (),
        **dict.fromkeys(PLANS, ("job-image",)),
        "terraform-apply:dev": ("terraform-plan:dev", *checks),
        "terraform-apply:stage": ("terraform-plan:stage", "terraform-apply:dev"),
        "terraform-apply:prod": ("terraform-plan:prod", "terraform-apply:stage"),
        "release": (*checks, "job-image"),
        "publish-image": ("release",),
        "publish-wheel": ("release",),
        "pages": ("release",),
    }


def test_a_click_that_nobody_makes_leaves_the_pipeline_green(own_jobs: Any) -> None:
    jobs = own_jobs()
    by_hand = {name for name, job in jobs.items() if job.when == "manual"}

    assert by_hand == {"terraform-apply:stage", "terraform-apply:prod", "release"}
    assert all(jobs[name].tolerates(1) for name in by_hand)
    # What comes after a click needs it, so it is skipped with it; nothing else waits for a stage.
    assert all(job.needs is not None for job in jobs.values())
    assert not any(jobs[name].tolerates(1) for name in set(jobs) - by_hand)


def test_stages_come_in_the_order_of_needs(own_jobs: Any) -> None:
    jobs = own_jobs()
    order = OWN["stages"]
    for job in jobs.values():
        for need in job.needs or ():
            assert order.index(jobs[need].stage) <= order.index(job.stage), (job.name, need)


def test_an_environment_is_applied_from_the_plan_of_its_own_pipeline(templates: Any) -> None:
    for include in TERRAFORM:
        inputs = include["inputs"]
        filled = templates["terraform"].filled(
            **{name.replace("-", "_"): one for name, one in inputs.items()}
        )
        name = inputs["environment"]
        needs = OWN.get(f"terraform-apply:{name}", filled[f"terraform-apply:{name}"])["needs"]
        assert {"job": f"terraform-plan:{name}", "artifacts": True} in needs
        assert filled[f"terraform-apply:{name}"]["environment"]["name"] == name
        assert filled[f"terraform-apply:{name}"]["resource_group"] == f"terraform/{name}"


def test_the_environments_have_their_tiers_and_roles() -> None:
    facts = {one["inputs"]["environment"]: one["inputs"] for one in TERRAFORM}

    assert {name: one["deployment-tier"] for name, one in facts.items()} == {
        "dev": "development",
        "stage": "staging",
        "prod": "production",
    }
    for name, one in facts.items():
        assert one["plan-role-arn"] == f"$MLOPS_PLAN_ROLE_ARN_{name.upper()}"
        assert one["apply-role-arn"] == f"$MLOPS_APPLY_ROLE_ARN_{name.upper()}"
        assert (paths.checkout() / "terraform" / "environments" / name).is_dir()


def test_an_image_is_there_for_every_plan() -> None:
    """A plan runs in the image of its own pipeline, so what makes a plan makes an image."""
    assert [rule for rule in OWN["job-image"]["rules"] if rule not in OWN["terraform-plan:dev"]["rules"]] == [
        {"if": LINES}
    ]
    assert all(OWN[name] == OWN["terraform-plan:dev"] for name in PLANS)
    assert all(one["inputs"]["image"] == "$CI_REGISTRY_IMAGE:$CI_COMMIT_SHA" for one in TERRAFORM)
    for pattern in OWN["job-image"]["rules"][0]["changes"]:
        assert list(paths.checkout().glob(pattern.removesuffix("/**/*"))), pattern


def test_the_template_knows_every_input(templates: Any) -> None:
    for include in TERRAFORM:
        assert set(include["inputs"]) <= set(templates["terraform"].inputs)
        for name, value in include["inputs"].items():
            spec = templates["terraform"].inputs[name]
            assert re.search(spec.get("regex", ""), value), name
            assert value in spec.get("options", [value]), name


def test_no_job_knows_a_secret() -> None:
    """OIDC for AWS, the job's own token for GitLab: nothing that somebody would have to keep or renew."""
    jobs = yaml.safe_dump({name: job for name, job in OWN.items() if isinstance(job, dict)}, width=10_000)
    named = set(re.findall(r"\$\{?([A-Z][A-Z0-9_]+)", jobs))
    secret = {name for name in named if re.search("TOKEN|SECRET|PASSWORD|KEY|CREDENTIAL", name)}

    # GitLab's own, gone with the job: https://docs.gitlab.com/ci/variables/predefined_variables/
    assert secret == {"CI_JOB_TOKEN", "CI_REGISTRY_PASSWORD"}
    assert not re.search("AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN)", TEXT)
    assert not re.search(r"(AKIA|ASIA)[A-Z0-9]{16}|gl(pat|cbt|dt)-|BEGIN [A-Z ]*PRIVATE KEY", TEXT)
    assert {name for name in named if name.startswith("MLOPS_")} == set()
    assert "MLOPS_GITLAB_TOKEN" not in TEXT


def test_a_token_is_on_no_command_line() -> None:
    written = [
        line
        for job in OWN.values()
        if isinstance(job, dict)
        for part in ("before_script", "script")
        for line in job.get(part, [])
    ]
    for line in written:
        if "CI_REGISTRY_PASSWORD" in line:
            # echo is the shell's own, so no process has the password among its arguments.
            assert (
                line.startswith('echo "$CI_REGISTRY_PASSWORD" | docker login') and "--password-stdin" in line
            )
        if "CI_JOB_TOKEN" in line:
            assert line.startswith('TWINE_PASSWORD="$CI_JOB_TOKEN" twine upload ')


def lines(name: str) -> list[list[str]]:
    """The words of each line of a job's script; what .ci/run is given counts as a line of the job."""
    found = [shlex.split(line.split(" && ")[0]) for line in OWN[name]["script"]]
    return [words[1:] if words[0] == ".ci/run" else words for words in found]


def files_of(name: str) -> list[str]:
    """The test files that a job runs."""
    root = paths.checkout()
    given = [
        path
        for program, *words in lines(name)
        if program == ".venv/bin/pytest"
        for word in words
        if word.startswith("tests/")
        for path in sorted(root.glob(word))
    ]
    files = [
        file for path in given for file in ([path] if path.is_file() else sorted(path.rglob("test_*.py")))
    ]
    return [str(file.relative_to(root)) for file in files]


def needed(name: str) -> set[str]:
    return {need for file in files_of(name) for need in needs.needs(file)}


def made(name: str) -> str:
    """What the `make` of a job's script would do in a fresh clone."""
    targets = [word for program, *words in lines(name) if program == "make" for word in words]
    if not targets:
        return ""
    # --always-make: whatever has been made in this one
    command = ["make", "--dry-run", "--always-make", *targets]
    return subprocess.run(command, cwd=paths.checkout(), check=True, capture_output=True, text=True).stdout


def inherited(name: str, key: str) -> Any:
    """A key of a job or of what it extends; GitLab merges variables, and replaces lists."""
    job = OWN[name]
    above = inherited(job["extends"], key) if isinstance(job.get("extends"), str) else None
    if isinstance(above, dict):
        return {**above, **job.get(key, {})}
    return job.get(key, above)


def test_jobs_call_what_there_is() -> None:
    from mlops.cli import build_parser

    makefile = (paths.checkout() / "Makefile").read_text(encoding="utf-8")
    seen = set()
    for name, job in OWN.items():
        for program, *words in lines(name) if isinstance(job, dict) and "script" in job else []:
            seen.add(program)
            if program == "make":
                assert f"\n{words[0]}:" in makefile.replace("$(VENV)", ".venv"), name
            elif program in ("mlops", ".venv/bin/mlops"):
                assert build_parser(words[0]).parse_args(words).command in ("commits", "release"), name
            elif program == "pip":
                assert (paths.checkout() / words[-1]).is_file(), name
    assert {"make", ".venv/bin/pytest", "mlops", ".venv/bin/mlops", "pip"} <= seen


def test_every_test_is_run_by_exactly_one_job() -> None:
    run = Counter(file for name in CHECKS for file in files_of(name))
    there = {
        str(file.relative_to(paths.checkout())) for file in (paths.checkout() / "tests").rglob("test_*.py")
    }

    assert len(there) > 100
    assert sorted(there - set(run)) == []
    assert [file for file, times in run.items() if times > 1] == []
    assert [name for name in CHECKS if not files_of(name)] == ["commits", "docs"]


def test_tests_that_share_a_stack_are_in_one_job() -> None:
    """In two jobs, each would start a stack of its own."""
    jobs: dict[str, set[str]] = {}
    for name in CHECKS:
        for file in files_of(name):
            jobs.setdefault(group(file), set()).add(name)

    assert {shared: names for shared, names in jobs.items() if len(names) > 1} == {}


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_a_check_makes_every_environment_that_its_tests_name(name: str) -> None:
    """A script's `make` comes first, so it makes what the script's tests then look for."""
    recipe = made(name)
    folders = {(paths.checkout() / file).parent for file in files_of(name)}
    files = [file for folder in folders for file in folder.glob("*.py") if file.name[:5] != "test_"]
    files += [paths.checkout() / file for file in files_of(name)]
    named = {
        environment
        for file in files
        for environment in re.findall(r'"(\.venv[a-z-]*|node_modules)"', file.read_text(encoding="utf-8"))
    }

    assert lines(name)[0][0] == "make"
    assert sorted(one for one in named if f"touch {one}/.ready" not in recipe) == []


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_a_check_makes_what_its_tests_need(name: str) -> None:
    recipe, wanted = made(name), needed(name)
    engine = any(line.startswith(".ci/run ") for line in OWN[name]["script"])
    run = (paths.checkout() / ".ci" / "run").read_text(encoding="utf-8")
    packages = " ".join(inherited(name, "before_script")) + (run if engine else "")

    assert "touch .venv/.ready" in recipe
    # Terraform comes by itself, in the pinned release: mlops.clients.terraform.install.
    for need, there in {
        "airflow": "touch .venv-airflow/.ready" in recipe,
        "local": "touch node_modules/.ready" in recipe and "rsync" in packages,
        "docker": engine and "docker.io" in run and inherited(name, "variables")["ENGINE"] == "required",
    }.items():
        assert there or need not in wanted, need
    # An engine costs a minute, and a privileged runner.
    assert engine == ("docker" in wanted)


def test_without_an_engine_a_job_that_requires_one_fails() -> None:
    """Its tests would leave themselves out, and the job would pass with nothing proved."""
    script = (paths.checkout() / ".ci" / "run").read_text(encoding="utf-8")
    refusal = re.search(r"^if \[ \"\$\{ENGINE.*?^fi$", script, re.MULTILINE | re.DOTALL)
    assert refusal
    call = script[script.index("[ $# -gt 0 ]") :]
    program = f'set -euo pipefail; engine="$1"; shift\n{refusal[0]}\n{call}'

    def run(engine: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", program, "run", engine, "echo", "tested"]
        return subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )

    refused = run("", ENGINE="required")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "There is no container engine" in refused.stderr
    assert run("4711", ENGINE="required").stdout == "tested\n"
    assert run("", ENGINE="").stdout == "tested\n"


def test_the_job_commits_has_every_commit_to_look_at() -> None:
    """With GitLab's usual depth, neither the last release nor all commits since would be there."""
    assert OWN["commits"]["variables"]["GIT_DEPTH"] == "0"
    (line,) = [words for words in lines("commits") if words[0] == ".venv/bin/mlops"]
    assert re.fullmatch("[0-9a-f]{40}", line[line.index("--after") + 1])


def test_what_changes_something_outside_is_never_stopped_half_way() -> None:
    for name in RELEASES:
        assert OWN[name]["extends"][-1] == ".release"
    assert OWN[".release"]["interruptible"] is False
    assert OWN[".release"]["resource_group"] == "release"


def test_nothing_here_changes_the_jobs_of_a_model() -> None:
    assert not {"spec", "default", "variables", "image", "services"} & {
        name for name in OWN if not isinstance(OWN[name], dict) or "script" not in OWN[name]
    }


def test_the_file_fits_gitlabs_schema_with_what_it_includes(templates: Any, tmp_path: Path) -> None:
    merged = {name: value for name, value in OWN.items() if name != "include"}
    for include in TERRAFORM:
        inputs = {name.replace("-", "_"): one for name, one in include["inputs"].items()}
        for name, job in templates["terraform"].filled(**inputs).items():
            merged[name] = {**job, **merged.get(name, {})}
    file = tmp_path / "merged.yml"
    file.write_text(yaml.safe_dump(merged), encoding="utf-8")

    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.gitlab-ci", str(file)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_the_table_of_the_documents_is_the_pipeline(own_jobs: Any) -> None:
    page = (paths.checkout() / "docs" / "contribute" / "release.md").read_text(encoding="utf-8")
    section = page.partition("## The pipeline\n")[2].partition("\n## ")[0]
    rows = [
        (re.findall(r"`([a-z:-]+)`", names), [bool(cell.strip()) for cell in cells.split("|")])
        for names, cells in re.findall(r"^\| (`.+?`) \|(.*)\|$", section, re.MULTILINE)
    ]
    others = (
        PipelineTrigger(),
        PipelineTrigger(ref="1.2.x"),
        PipelineTrigger(ref="topic"),
        PipelineTrigger(kind="schedule"),
    )
    found = [
        set(own_jobs(MERGE_REQUEST, changed=["terraform/root/main.tf"])),
        *(set(own_jobs(trigger)) for trigger in others),
    ]
    assert rows
    for names, cells in rows:
        for name in names:
            assert cells == [name in jobs for jobs in found], name
    assert {name for names, _ in rows for name in names} == set().union(*found)


def test_every_setting_that_jobs_rely_on_is_documented() -> None:
    page = (paths.checkout() / "docs" / "contribute" / "release.md").read_text(encoding="utf-8")

    assert {"MLOPS_PLAN_ROLE_ARN_DEV", "MLOPS_APPLY_ROLE_ARN_DEV", "`STAGE`", "`PROD`"} <= set(
        re.findall(r"MLOPS_\w+|`[A-Z]+`", page)
    )
    # A tag that GitLab protects cannot move: https://docs.gitlab.com/user/project/protected_tags/
    assert "not `1`, `1.2`" in page


def test_the_rule_for_the_images_tags_covers_releases_and_not_commits() -> None:
    page = (paths.checkout() / "docs" / "contribute" / "release.md").read_text(encoding="utf-8")
    (rule,) = re.findall(r"`(\^\[0-9\].+?)`", page)
    (cleaned,) = re.findall(r"tags that match `(.+?)`", page)

    assert all(re.search(rule, tag) for tag in ("1", "1.2", "1.2.3", "10.0.12"))
    commit = "1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d"
    assert not re.search(rule, commit)
    assert re.fullmatch(cleaned, commit)
    assert not any(re.fullmatch(cleaned, tag) for tag in ("1", "1.2", "1.2.3"))
