"""The example with two models: what its containers do, as processes, and what belongs to which image."""

from __future__ import annotations

import csv
import hashlib
import http.client
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops.base.strict_json import loads
from mlops.clients.git.repository import Repository
from mlops.contracts.evidence import EvaluationReport
from mlops.contracts.runs import TrainingConf
from mlops.evaluation import gate, report
from mlops.images.content_key import Content, read_content
from mlops.manifest import reader
from mlops_local.base import paths
from mlops_local.command.run import git
from mlops_local.engines.venvs import Venvs

EXAMPLE = paths.checkout() / "examples" / "penguins"
MANIFEST = reader.load(EXAMPLE / "mlops.yml")
MODULES = {"species": "species", "body-mass": "body_mass"}
SPECIES = ["Adelie", "Chinstrap", "Gentoo"]


@dataclass(frozen=True)
class Trained:
    """What a model's image left: its folder as SageMaker mounts it, its report, its answers to the test data."""

    base: Path
    report: EvaluationReport
    answers: list[dict[str, Any]]
    identity: dict[str, Any]
    smoke_test: dict[str, Any]


@pytest.fixture(scope="session")
def python() -> Path:
    """With the libraries of the images; `mlops local` keeps such environments in the same place."""
    return Venvs(paths.cache() / "venvs").ensure(EXAMPLE / "requirements-dev.txt") / "bin" / "python"


def run(python: Path, *arguments: str, **variables: str) -> str:
    """Run it in the example; only what is given, and where programs are, is in its environment."""
    done = subprocess.run(
        [str(python), *arguments],
        cwd=EXAMPLE,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows() -> list[dict[str, str]]:
    """The test data, read without the example's code."""
    with (EXAMPLE / "data" / "test" / "penguins.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@contextmanager
def serving(python: Path, module: str, base: Path) -> Iterator[int]:
    """The model's server, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "PYTHONDONTWRITEBYTECODE": "1",
        "SAGEMAKER_BASE_DIR": str(base),
        "SAGEMAKER_BIND_TO_PORT": str(port),
    }
    command = [str(python), "-m", module, "serve"]
    with subprocess.Popen(command, cwd=EXAMPLE, env=environment) as server:
        try:
            yield port
            server.terminate()
            assert server.wait(timeout=60) == 0
        finally:
            server.kill()


def invoke(port: int, body: str, content_type: str) -> Any:
    """The answer to a request, once the server listens."""
    for _ in range(1200):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("POST", "/invocations", body, {"Content-Type": content_type})
            response = connection.getresponse()
            text = response.read()
            assert response.status == 200, text
            return json.loads(text)
        except ConnectionRefusedError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise AssertionError("the server did not start")


def train(python: Path, name: str, base: Path) -> Trained:
    """Train, evaluate and serve a model."""
    model = MANIFEST.model(name)
    shutil.copytree(EXAMPLE / "data" / "train", base / "input" / "data" / "train")
    shutil.copytree(EXAMPLE / "data" / "test", base / "processing" / "test")
    (base / "processing" / "model").mkdir()
    (base / "input" / "config").mkdir()
    parameters = json.dumps(reader.training(model, "bucket").hyper_parameters)
    (base / "input" / "config" / "hyperparameters.json").write_text(parameters)
    variables = {"SAGEMAKER_BASE_DIR": str(base), "MLOPS_MODEL_VERSION": "1.0.0+retrain.0"}
    run(python, "-m", MODULES[name], "train", **variables)
    with tarfile.open(base / "processing" / "model" / "model.tar.gz", "w:gz") as archive:
        archive.add(base / "model", arcname=".")
    run(python, "-m", MODULES[name], "evaluate", **variables)
    smoke_test = reader.deployment(model).smoke_test
    label = {"species": "species", "body-mass": "body_mass_g"}[name]
    lines = "\n".join(",".join(value for key, value in row.items() if key != label) for row in rows())
    with serving(python, MODULES[name], base) as port:
        first = invoke(port, smoke_test.body, smoke_test.content_type)
        answers = invoke(port, lines, "text/csv")
    text = (base / "processing" / "evaluation" / "evaluation.json").read_text()
    return Trained(
        base=base,
        report=loads(EvaluationReport, text, "evaluation.json"),
        answers=answers["predictions"],
        identity=answers["model"],
        smoke_test=first["predictions"][0],
    )


@pytest.fixture(scope="module")
def species(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(python, "species", tmp_path_factory.mktemp("species"))


@pytest.fixture(scope="module")
def body_mass(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(python, "body-mass", tmp_path_factory.mktemp("body-mass"))


def test_the_confusion_matrix_counts_what_the_endpoint_answers(species: Trained) -> None:
    counts = {(true, guess): 0 for true in SPECIES for guess in SPECIES}
    for row, answer in zip(rows(), species.answers, strict=True):
        counts[row["species"], answer["label"]] += 1

    matrix = species.report.confusion_matrix
    assert matrix is not None and list(matrix.labels) == SPECIES
    assert [list(row) for row in matrix.matrix] == [
        [counts[true, guess] for guess in SPECIES] for true in SPECIES
    ]
    # Mistakes are there, or the matrix would prove little.
    assert 0 < sum(counts[pair] for pair in counts if pair[0] != pair[1]) < 10


def test_the_metrics_of_three_classes_are_those_of_the_answers(species: Trained) -> None:
    metrics, total = species.report.metrics, len(rows())
    pairs = [(row["species"], answer["label"]) for row, answer in zip(rows(), species.answers, strict=True)]
    right = sum(true == guess for true, guess in pairs)
    scores = []
    for name in SPECIES:
        found, there = sum(guess == name for _, guess in pairs), sum(true == name for true, _ in pairs)
        scores.append(2 * sum(pair == (name, name) for pair in pairs) / (found + there))
    losses = [
        -math.log(answer["probabilities"][row["species"]])
        for row, answer in zip(rows(), species.answers, strict=True)
    ]

    assert metrics["accuracy"] == pytest.approx(right / total)
    assert metrics["f1_macro"] == pytest.approx(sum(scores) / len(scores))
    assert metrics["log_loss"] == pytest.approx(sum(losses) / total, abs=1e-4)


def test_the_metrics_of_the_regression_are_those_of_the_answers(body_mass: Trained) -> None:
    true = [float(row["body_mass_g"]) for row in rows()]
    errors = [answer["value"] - weighed for answer, weighed in zip(body_mass.answers, true, strict=True)]
    squares, mean = sum(error**2 for error in errors), sum(true) / len(true)

    metrics = body_mass.report.metrics
    # Answers are rounded to a tenth of a gram.
    assert metrics["mse"] == pytest.approx(squares / len(true), rel=1e-4)
    assert metrics["rmse"] == pytest.approx(math.sqrt(metrics["mse"]))
    assert metrics["mae"] == pytest.approx(sum(map(abs, errors)) / len(true), rel=1e-4)
    assert metrics["r2"] == pytest.approx(1 - squares / sum((one - mean) ** 2 for one in true), rel=1e-4)
    assert body_mass.report.predictions is not None
    assert list(body_mass.report.predictions.numbers) == [answer["value"] for answer in body_mass.answers]


def test_the_smoke_tests_are_answered_and_answers_name_their_model(
    species: Trained, body_mass: Trained
) -> None:
    assert species.smoke_test["label"] == "Gentoo"
    assert 4500 < body_mass.smoke_test["value"] < 5500 and body_mass.smoke_test["unit"] == "g"
    for name, model in (("species", species), ("body-mass", body_mass)):
        assert (model.identity["name"], model.identity["version"]) == (name, "1.0.0+retrain.0")


@pytest.mark.parametrize("name", MODULES)
def test_the_first_model_passes_its_gate_and_the_report_shows_its_kind(
    name: str, species: Trained, body_mass: Trained
) -> None:
    model, evaluation = MANIFEST.model(name), {"species": species, "body-mass": body_mass}[name].report
    conf = TrainingConf(
        schema_version=1,
        project=model.project,
        model=name,
        model_version="1.0.0+retrain.0",
        image_version="1.0.0",
        image_uri="registry/penguins/model@sha256:0",
        evidence_uri="s3://bucket/evidence/",
        training=reader.training(model, "bucket"),
        evaluation=reader.evaluation(model, "bucket"),
    )
    verdict = gate.compare(
        conf, champion_version=None, challenger=evaluation, champion=None, created_at="2026-01-01T00:00:00Z"
    )
    text = report.markdown(
        report.Evaluated(
            comparison=verdict, challenger=evaluation, champion=None, evidence_uri=conf.evidence_uri
        )
    )

    assert verdict.gate == "passed"
    if name == "species":
        assert [line.name for line in verdict.metrics] == ["f1_macro", "accuracy", "log_loss"]
        assert re.search(r"\| true \\ predicted +\| +Adelie \| +Chinstrap \| +Gentoo \|", text)
    else:
        assert [line.goal for line in verdict.metrics] == ["minimize", "minimize", "minimize", "maximize"]
        assert re.search(r"\| mse +\| +- \| +1\d\d,\d\d\d\.\d \| +- \| passed \|", text)
        assert "true \\ predicted" not in text


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The example as a repository of its own."""
    folder = tmp_path / "penguins"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", ".*_cache", ".venv"))
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "--quiet", "--message=feat: a")


def contents(folder: Path) -> dict[str, Content]:
    models = reader.load(folder / "mlops.yml").models
    return {
        name: read_content(Repository.open(folder), model, {}, "docker") for name, model in models.items()
    }


def test_an_image_holds_its_model_and_what_both_share(repository: Path) -> None:
    for name, content in contents(repository).items():
        module = MODULES[name]
        own = {f"{module}/{file}.py" for file in ("__init__", "__main__", "model", "train", "evaluate")}
        shared = {
            f"penguins/{file}.py"
            for file in (
                "__init__",
                "artifact",
                "columns",
                "container",
                "hyper_parameters",
                "program",
                "server",
            )
        }
        assert set(content.files) == own | shared | {"requirements.txt"}


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("species/train.py", {"species"}),
        ("body_mass/model.py", {"body-mass"}),
        ("penguins/columns.py", {"species", "body-mass"}),
        ("requirements.txt", {"species", "body-mass"}),
        ("species/Dockerfile", {"species"}),
        ("species/tests/test_species.py", set()),
        ("data/train/penguins.csv", set()),
        ("README.md", set()),
        ("mlops.yml", set()),
    ],
)
def test_a_change_makes_a_new_image_of_the_models_it_touches(
    repository: Path, file: str, changed: set[str]
) -> None:
    before = contents(repository)
    with (repository / file).open("a") as target:
        target.write("\n# changed\n")
    commit(repository)

    after = contents(repository)

    assert {name for name in after if after[name].key != before[name].key} == changed
    assert {name for name in after if after[name].matters(file)} == changed


def test_what_makes_a_new_image_is_among_the_paths_that_run_its_jobs() -> None:
    """Forgotten paths are changes that nobody builds."""
    from fnmatch import fnmatch

    includes = yaml.safe_load((EXAMPLE / ".gitlab-ci.yml").read_text())["include"]
    given = {one["inputs"]["model"]: one["inputs"] for one in includes if "inputs" in one}
    assert set(given) == set(MODULES)
    for name, module in MODULES.items():
        inputs = given[name]
        patterns = inputs["changed-paths"]
        assert inputs["job-prefix"] == f"{name}:"
        for file in (
            f"{module}/model.py",
            "penguins/a/b.py",
            "requirements.txt",
            "mlops.yml",
            ".gitlab-ci.yml",
        ):
            assert any(fnmatch(file, pattern.replace("**/", "")) for pattern in patterns), file
        other = next(one for one in MODULES.values() if one != module)
        assert not any(fnmatch(f"{other}/model.py", pattern) for pattern in patterns)


def test_its_own_tests_pass(python: Path) -> None:
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider")


def test_pylint_finds_nothing(python: Path) -> None:
    run(python, "-m", "pylint", "--recursive=y", ".")


def test_its_types_are_right(python: Path) -> None:
    mypy = [sys.executable, "-m", "mypy", "--python-executable", str(python)]
    command = [*mypy, "--config-file", "pyproject.toml", "--cache-dir", "/dev/null"]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_data_are_those_that_the_readme_cites() -> None:
    digest = hashlib.sha256((EXAMPLE / "data" / "penguins.csv").read_bytes()).hexdigest()
    assert digest in (EXAMPLE / "data" / "README.md").read_text()


def test_the_requirements_are_those_of_the_other_example() -> None:
    """Both are kept up to date together."""
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert (EXAMPLE / name).read_bytes() == (EXAMPLE.parent / "phishing-url" / name).read_bytes()
