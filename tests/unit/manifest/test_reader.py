"""A manifest that is wrong says where, what was found and what is allowed; one that is right needs little."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlops.base.errors import ManifestError, UsageError
from mlops.contracts import runs
from mlops.manifest import reader
from mlops.manifest import schema as manifest_schema

CHECKOUT = Path(__file__).parents[3]
GUIDE = CHECKOUT / "docs" / "reference" / "manifest.md"

MINIMAL = """\
project: web-safety
models:
  phishing-url:
    training:
      channels:
        train: data/phishing-url/train/
    evaluation:
      data: data/phishing-url/test/
      metrics:
        - name: f1
          min: 0.8
    deployment:
      smoke_test:
        body: {instances: [[1, 0, -1]]}
"""


SECTIONS: dict[str, type[manifest_schema.Section]] = {
    "image": manifest_schema.ImageSection,
    "training": manifest_schema.TrainingSection,
    "evaluation": manifest_schema.EvaluationSection,
    "retraining": manifest_schema.RetrainingSection,
    "monitoring": manifest_schema.MonitoringSection,
    "deployment": manifest_schema.DeploymentSection,
    "notifications": manifest_schema.NotificationsSection,
}


def write(folder: Path, text: str) -> Path:
    path = folder / "mlops.yml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        reader.load(write(folder, text))
    return caught.value


def replaced(old: str, new: str) -> str:
    assert old in MINIMAL
    return MINIMAL.replace(old, new)


def test_a_short_manifest_is_enough(tmp_path: Path) -> None:
    model = reader.load(write(tmp_path, MINIMAL)).model()
    assert (model.project, model.name, model.repository) == (
        "web-safety",
        "phishing-url",
        "web-safety/phishing-url",
    )
    assert (model.image.context, model.dockerfile) == (".", "Dockerfile")
    assert reader.training(model, "bucket") == runs.Training(
        channels={"train": "s3://bucket/data/phishing-url/train/"},
        instance_type="ml.m5.large",
        instance_count=1,
        volume_gb=30,
        max_runtime_seconds=3600,
        spot=False,
        max_wait_seconds=3600,
    )
    assert reader.evaluation(model, "bucket") == runs.Evaluation(
        data="s3://bucket/data/phishing-url/test/",
        instance_type="ml.m5.large",
        volume_gb=30,
        max_runtime_seconds=1800,
        metrics=(runs.Metric(name="f1", goal="maximize", min=0.8),),
    )
    assert reader.deployment(model) == runs.Deployment(
        endpoint_name="web-safety--phishing-url",
        instance_type="ml.m5.large",
        instance_count=1,
        startup_timeout_seconds=600,
        smoke_test=runs.SmokeTest(content_type="application/json", body='{"instances": [[1, 0, -1]]}'),
    )
    assert reader.notifications(model) == runs.Notifications(slack=True, email=True)


def test_everything_can_be_said(tmp_path: Path) -> None:
    text = """\
project: web-safety
models:
  phishing-url:
    image: {context: ./model/, dockerfile: build/Dockerfile}
    training:
      channels: {train: "s3://elsewhere/train", labels: data//labels}
      instance_type: ml.g5.2xlarge
      instance_count: 2
      volume_gb: 100
      max_runtime: 2h
      spot: true
      hyper_parameters: {depth: 5, rate: 0.1, early: true, loss: hinge}
    evaluation:
      data: data/test
      max_runtime: 90s
      metrics:
        - {name: rmse, max: 3, max_regression: 0.1}
        - {name: profit, goal: maximize}
    retraining: {max_age: 30d, on_drift: true}
    deployment:
      instance_type: ml.c5.xlarge
      instance_count: 2
      startup_timeout: 20m
      smoke_test: {content_type: text/csv, body_file: request.csv}
    notifications: {email: false}
environments:
  prod:
    phishing-url:
      training: {channels: {train: data/all/}, max_wait: 6h}
      deployment: {instance_count: 4}
"""
    (tmp_path / "request.csv").write_text("1,0,-1\n")
    text = text.replace("data//labels", "data/labels")
    plain = reader.load(write(tmp_path, text)).model("phishing-url")
    training = reader.training(plain, "bucket")
    assert training.channels == {"train": "s3://elsewhere/train/", "labels": "s3://bucket/data/labels/"}
    assert training.hyper_parameters == {"depth": "5", "rate": "0.1", "early": "true", "loss": "hinge"}
    assert (training.max_runtime_seconds, training.max_wait_seconds) == (7200, 14400)
    evaluation = reader.evaluation(plain, "bucket")
    assert evaluation.max_runtime_seconds == 90
    assert [(metric.name, metric.goal) for metric in evaluation.metrics] == [
        ("rmse", "minimize"),
        ("profit", "maximize"),
    ]
    assert reader.deployment(plain).smoke_test == runs.SmokeTest(content_type="text/csv", body="1,0,-1\n")
    assert reader.notifications(plain) == runs.Notifications(slack=True, email=False)
    assert (plain.image.context, plain.dockerfile) == ("model", "build/Dockerfile")
    assert plain.retraining.max_age == 30 * 86400

    production = reader.load(tmp_path / "mlops.yml", "prod").model()
    training = reader.training(production, "bucket")
    assert training.channels == {"train": "s3://bucket/data/all/", "labels": "s3://bucket/data/labels/"}
    assert training.max_wait_seconds == 6 * 3600
    assert training.instance_count == 2
    assert reader.deployment(production).instance_count == 4
    assert reader.load(tmp_path / "mlops.yml", "dev").model() == plain


@pytest.mark.parametrize(
    ("text", "line", "key", "found", "allowed", "hint"),
    [
        pytest.param(
            replaced("channels:", "chanels:"),
            5,
            "models.phishing-url.training.chanels is not a manifest key",
            "",
            "channels, instance_type",
            "Did you mean 'channels'?",
            id="wrong key",
        ),
        pytest.param(
            replaced("    deployment:", "    deploymint:"),
            12,
            "models.phishing-url.deploymint",
            "",
            "deployment",
            "Did you mean 'deployment'?",
            id="wrong section",
        ),
        pytest.param(
            MINIMAL + "zzz: 1\n",
            15,
            "zzz is not a manifest key",
            "",
            "project, models, environments",
            "",
            id="unlike any key",
        ),
        pytest.param(
            replaced("project: web-safety\n", ""), 1, "project is missing", "", "", "", id="missing"
        ),
        pytest.param(
            replaced("      data: data/phishing-url/test/\n", ""),
            7,
            "models.phishing-url.evaluation.data is missing",
            "",
            "",
            "",
            id="missing below",
        ),
        pytest.param(
            replaced("0.8", '"0.8"'), 11, "metrics[0].min", '"0.8"', "a number", "", id="wrong type"
        ),
        pytest.param(replaced("0.8", ".nan"), 11, "metrics[0].min", "NaN", "a finite number", "", id="NaN"),
        pytest.param(
            replaced("    deployment:", "    notifications: {slack: 1}\n    deployment:"),
            12,
            "notifications.slack",
            "1",
            "true or false",
            "",
            id="no boolean",
        ),
        pytest.param(
            replaced("    evaluation:", "      instance_count: 1.5\n    evaluation:"),
            7,
            "training.instance_count",
            "1.5",
            "a whole number",
            "",
            id="no whole number",
        ),
        pytest.param(
            replaced("    evaluation:", "      max_runtime: 30\n    evaluation:"),
            7,
            "training.max_runtime",
            "30",
            "90s, 30m, 2h or 7d",
            "",
            id="no unit",
        ),
        pytest.param(
            replaced("    evaluation:", "      max_runtime: 2 hours\n    evaluation:"),
            7,
            "training.max_runtime",
            '"2 hours"',
            "90s, 30m, 2h or 7d",
            "",
            id="wrong unit",
        ),
        pytest.param(
            replaced("    evaluation:", "      max_runtime: 99d\n    evaluation:"),
            7,
            "training.max_runtime",
            "",
            "at most 28d",
            "",
            id="too long",
        ),
        pytest.param(
            replaced("    evaluation:", "      instance_type: m5.large\n    evaluation:"),
            7,
            "training.instance_type",
            '"m5.large"',
            "ml.m5.large",
            "",
            id="no instance type",
        ),
        pytest.param(
            replaced("name: f1", "name: f1_makro"),
            10,
            "metrics[0] is not a metric whose goal is known",
            '"f1_makro"',
            "goal: maximize",
            "Did you mean 'f1_macro'?",
            id="unknown metric",
        ),
        pytest.param(
            replaced("name: f1", "name: profit"),
            10,
            "metrics[0]",
            '"profit"',
            "",
            "Say `goal: max",
            id="own metric",
        ),
        pytest.param(
            replaced("name: f1", "name: profit\n          goal: maximise"),
            11,
            "metrics[0].goal",
            '"maximise"',
            "'maximize' or 'minimize'",
            "Did you mean 'maximize'?",
            id="wrong goal",
        ),
        pytest.param(
            replaced("min: 0.8", "min: 0.8\n          max: 0.7"),
            10,
            "metrics[0]",
            "",
            "not above max",
            "",
            id="bounds",
        ),
        pytest.param(
            replaced("- name: f1", "- name: f1\n        - name: f1"),
            7,
            "evaluation",
            "",
            "different names",
            "",
            id="twice",
        ),
        pytest.param(
            replaced("        - name: f1\n          min: 0.8\n", "").replace("metrics:", "metrics: []"),
            9,
            "evaluation.metrics",
            "[]",
            "at least 1 entry",
            "",
            id="no metric",
        ),
        pytest.param(
            replaced("train: data", "test: data"), 4, "training", "", "one called 'train'", "", id="no train"
        ),
        pytest.param(
            replaced("data/phishing-url/train/", "/data/train"),
            6,
            "channels.train",
            "",
            "s3://<bucket>",
            "",
            id="root",
        ),
        pytest.param(
            replaced("data/phishing-url/train/", "data/../train"),
            6,
            "channels.train",
            "",
            "s3://<bucket>",
            "",
            id="up",
        ),
        pytest.param(
            replaced("data/phishing-url/train/", "s3://B/x"),
            6,
            "channels.train",
            "",
            "s3://<bucket>",
            "",
            id="bucket",
        ),
        pytest.param(
            replaced("    training:", "    image: {context: ../other}\n    training:"),
            4,
            "image.context",
            '"../other"',
            "without `..`",
            "",
            id="context outside",
        ),
        pytest.param(
            replaced("body: {instances: [[1, 0, -1]]}", "content_type: application/json"),
            13,
            "smoke_test",
            "",
            "either `body` or `body_file`",
            "",
            id="no body",
        ),
        pytest.param(
            replaced("body: {instances: [[1, 0, -1]]}", "body_file: gone.json"),
            14,
            "smoke_test.body_file cannot be read",
            "gone.json",
            "",
            "Commit the file.",
            id="no body file",
        ),
        pytest.param(
            replaced("{instances: [[1, 0, -1]]}", "x" * 9000),
            14,
            "smoke_test.body is too long",
            "",
            "8192 bytes",
            "",
            id="body",
        ),
        pytest.param(
            replaced("  phishing-url:", "  Phishing_URL:"),
            3,
            "models.Phishing_URL",
            '"Phishing_URL"',
            "lower-case",
            "",
            id="model name",
        ),
        pytest.param(
            MINIMAL + "environments: {prod: {phishing: {training: {spot: true}}}}\n",
            15,
            "environments.prod.phishing is not a model",
            "",
            "phishing-url",
            "Did you mean 'phishing-url'?",
            id="override of no model",
        ),
        pytest.param(
            MINIMAL + "environments:\n  prod:\n    phishing-url:\n      training: {spott: true}\n",
            18,
            "environments.prod.phishing-url.training.spott",
            "",
            "spot",
            "Did you mean 'spot'?",
            id="wrong key in an override",
        ),
        pytest.param(
            MINIMAL + "environments:\n  prod:\n    phishing-url:\n      image: {context: x}\n",
            18,
            "environments.prod.phishing-url.image cannot differ",
            "",
            "",
            "",
            id="image in an override",
        ),
        pytest.param(
            replaced("    evaluation:", "      max_wait: 2h\n    evaluation:"),
            4,
            "training",
            "",
            "spot: true",
            "",
            id="wait",
        ),
    ],
)
def test_a_mistake_is_found(
    tmp_path: Path, text: str, line: int, key: str, found: str, allowed: str, hint: str
) -> None:
    error = refused(tmp_path, text)
    assert error.what.startswith(f"{tmp_path / 'mlops.yml'}:{line}: ")
    assert key in error.what
    assert not found or f"found {found}" in error.cause or found in error.cause
    assert not allowed or "allowed: " in error.cause
    assert allowed in error.cause
    assert hint in error.next_step
    assert error.next_step


def test_all_mistakes_are_found_at_once(tmp_path: Path) -> None:
    error = refused(tmp_path, replaced("channels:", "chanels:").replace("min: 0.8", "mni: 0.8"))
    assert error.what.endswith("has 2 problems")
    assert [line.split(":")[1] for line in error.cause.splitlines()] == ["5", "11"]
    assert "Did you mean 'min'?" in error.cause


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: the manifest must be a mapping"),
        ("- a\n- b\n", ":1: the manifest must be a mapping"),
        ("project: a\nmodels: {\n", ":3: this is not valid YAML"),
        ("project: a\n  models: b\n", ":2: this is not valid YAML"),
        ("project: a\nproject: b\n", ":2: the key 'project' is there twice"),
        (
            "project: a\nmodels:\n  x: {training: {spot: true, spot: false}}\n",
            ":3: the key 'spot' is there twice",
        ),
        ("project: a\nmodels:\n  x:\n    on: 1\n", ":4: the key on is not text"),
        ("project: a\n7: b\n", ":2: the key 7 is not text"),
        ("project: !!python/object/apply:os.system [ls]\n", ":1: this is not valid YAML"),
        (
            "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(
                f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n"
                for before, name in zip("abcdef", "bcdefg", strict=True)
            ),
            "too many levels or repetitions",
        ),
        ("a: &a [*a]\n", "too many levels or repetitions"),
        ("a: &a {b: 1}\nc: &c {<<: [" + ", ".join(["*a"] * 30000) + "]}\n", "too many levels or repetitions"),
        ("[" * 5000, ":1: too many levels"),
        ("a: " + "x" * 300_000, "larger than 256 KB"),
    ],
)
def test_text_that_is_no_manifest(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path, text).what


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="There is no manifest") as caught:
        reader.load(tmp_path / "mlops.yml")
    assert "--manifest" in caught.value.next_step


def test_names_that_are_too_long(tmp_path: Path) -> None:
    error = refused(tmp_path, replaced("  phishing-url:", f"  {'a' * 30}:"))
    assert re.search(
        r"mlops\.yml:3: project 'web-safety' and model 'a+' are 11 characters too long together", error.what
    )
    assert error.next_step == "Shorten one of them."


def test_a_merged_mapping_is_checked_and_may_be_overruled(tmp_path: Path) -> None:
    text = (
        MINIMAL
        + "environments:\n  stage: {phishing-url: &more {training: {instance_count: 2}}}\n  prod:\n    phishing-url:\n      <<: *more\n      deployment: {instance_count: 3}\n"
    )
    model = reader.load(write(tmp_path, text), "prod").model()
    assert (model.training.instance_count, model.deployment.instance_count) == (2, 3)
    error = refused(tmp_path, text.replace("{instance_count: 2}", "{instance_count: many}"))
    assert error.what.startswith(f"{tmp_path / 'mlops.yml'}:16: ")


def test_one_of_several_models(tmp_path: Path) -> None:
    body = MINIMAL.partition("  phishing-url:\n")[2]
    loaded = reader.load(write(tmp_path, f"{MINIMAL}  spam:\n{body}"))
    assert loaded.model("spam").name == "spam"
    with pytest.raises(UsageError, match="has several models") as caught:
        loaded.model()
    assert caught.value.cause == "its models: phishing-url, spam"
    with pytest.raises(UsageError, match="has no model 'spamm'") as caught:
        loaded.model("spamm")
    assert caught.value.next_step == "Did you mean 'spam'?"


def test_a_manifest_cannot_be_changed(tmp_path: Path) -> None:
    model = reader.load(write(tmp_path, MINIMAL)).model()
    with pytest.raises(ValueError, match="frozen"):
        model.training.spot = True


@given(st.integers(1, 10**6), st.sampled_from("smhd"))
def test_a_duration_reads_back(number: int, unit: str) -> None:
    seconds = manifest_schema.seconds(f"{number}{unit}")
    assert isinstance(seconds, int)
    assert manifest_schema.seconds(manifest_schema.duration(seconds)) == seconds


# -- the JSON Schema, and what people copy ----------------------------------------------------------------


def schema() -> Any:
    return json.loads((CHECKOUT / "schemas" / "mlops.schema.json").read_text(encoding="utf-8"))


def test_the_schema_is_current() -> None:
    assert schema() == manifest_schema.json_schema(), (
        "run: mlops validate --schema > schemas/mlops.schema.json"
    )


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_without_the_section_no_request_is_kept(tmp_path: Path) -> None:
    model = reader.load(write(tmp_path, MINIMAL)).model()
    assert reader.monitoring(model, "bucket") is None
    assert reader.deployment(model, "bucket").data_capture is None


def test_an_empty_section_monitors_against_the_training_data(tmp_path: Path) -> None:
    model = reader.load(
        write(tmp_path, replaced("    evaluation:", "    monitoring: {}\n    evaluation:"))
    ).model()
    assert reader.monitoring(model, "bucket") == runs.Monitoring(
        baseline="s3://bucket/data/phishing-url/train/"
    )
    assert reader.deployment(model, "bucket").data_capture == runs.DataCapture(
        sampling_percent=100, destination="s3://bucket/web-safety/phishing-url/capture/"
    )


def test_all_of_monitoring_travels(tmp_path: Path) -> None:
    text = """    monitoring:
      sampling_percent: 5
      window: 1d
      baseline: s3://elsewhere/rows
      ignored_columns: [id]
      min_rows: 1000
      thresholds: {psi: 0.1}
    evaluation:"""
    model = reader.load(write(tmp_path, replaced("    evaluation:", text))).model()
    assert reader.monitoring(model, "bucket") == runs.Monitoring(
        baseline="s3://elsewhere/rows/",
        sampling_percent=5,
        window_seconds=86400,
        min_rows=1000,
        ignored_columns=("id",),
        thresholds=runs.DriftThresholds(psi=0.1),
    )


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("{sampling_percent: 0}", "sampling_percent"),
        ("{window: 60d}", "window"),
        ("{min_rows: 5}", "min_rows"),
        ("{thresholds: {psi: 0}}", "psi"),
        ("{threshold: {}}", "threshold"),
    ],
)
def test_what_monitoring_cannot_be_is_named(tmp_path: Path, section: str, key: str) -> None:
    text = replaced("    evaluation:", f"    monitoring: {section}\n    evaluation:")
    with pytest.raises(ManifestError, match=key):
        reader.load(write(tmp_path, text))


def examples() -> list[str]:
    return re.findall(r"```yaml\n(project:.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("text", [MINIMAL, *examples()])
def test_what_is_valid_is_valid_for_the_schema(tmp_path: Path, text: str) -> None:
    (tmp_path / "smoke-test.json").write_text("{}")
    for environment in ("", "dev", "prod"):
        reader.load(write(tmp_path, text), environment)
    jsonschema.validate(yaml.safe_load(text), schema())


def test_the_guide_has_a_minimal_and_a_full_example() -> None:
    assert len(examples()) == 2
    full = yaml.safe_load(examples()[1])
    (model,) = full["models"].values()
    assert set(model) == set(SECTIONS)
    for name, section in SECTIONS.items():
        assert set(model[name]) == set(section.model_fields)


@pytest.mark.parametrize(
    "text",
    [
        replaced("channels:", "chanels:"),
        replaced("0.8", '"0.8"'),
        replaced("    evaluation:", "      max_runtime: 30\n    evaluation:"),
        replaced("  phishing-url:", "  Phishing_URL:"),
        MINIMAL + "environments: {prod: {phishing-url: {image: {}}}}\n",
        MINIMAL + "environments: {prod: {phishing-url: {training: {spott: true}}}}\n",
    ],
)
def test_the_schema_finds_mistakes_too(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), schema())


@pytest.mark.parametrize("path", sorted((CHECKOUT / "examples").glob("*/mlops.yml")), ids=str)
def test_every_example_is_valid(path: Path) -> None:
    assert reader.load(path).models
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), schema())


def test_every_key_is_in_the_guide() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    sections: list[type[manifest_schema.Section]] = [
        manifest_schema.Document,
        manifest_schema.MetricSection,
        manifest_schema.SmokeTestSection,
        *SECTIONS.values(),
    ]
    missing = [key for section in sections for key in section.model_fields if f"`{key}`" not in guide]
    assert not missing
