"""The example is what people copy: it keeps its own rules, and its answers are those its pages show."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops.base.strict_json import loads
from mlops.contracts.evidence import EvaluationReport
from mlops.manifest import reader
from mlops_local.base import paths
from mlops_local.engines.venvs import Venvs

EXAMPLE = paths.checkout() / "examples" / "phishing-url"
MODEL = reader.load(EXAMPLE / "mlops.yml").model()


@dataclass(frozen=True)
class Python:
    """The interpreter of an environment of the example."""

    executable: Path

    def run(self, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run it in `folder`; only what is given, and where programs are, is in its environment."""
        return subprocess.run(
            [str(self.executable), *arguments],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


@pytest.fixture(scope="session")
def python() -> Python:
    """With the libraries of the image; `mlops local` keeps such environments in the same place."""
    venv = Venvs(paths.cache() / "venvs").ensure(EXAMPLE / "requirements-dev.txt")
    return Python(venv / "bin" / "python")


def make_job(base: Path) -> Path:
    """A directory as SageMaker mounts it, with the data and the manifest's hyper-parameters."""
    shutil.copytree(EXAMPLE / "data" / "train", base / "input" / "data" / "train")
    shutil.copytree(EXAMPLE / "data" / "test", base / "processing" / "test")
    (base / "processing" / "model").mkdir()
    (base / "input" / "config").mkdir()
    parameters = reader.training(MODEL, "bucket").hyper_parameters
    (base / "input" / "config" / "hyperparameters.json").write_text(json.dumps(parameters))
    return base


def train_and_evaluate(python: Python, repository: Path, base: Path) -> EvaluationReport:
    """What the repository's image would report of the model it trains."""
    make_job(base)
    trained = python.run(repository, "-m", "phishing_url", "train", SAGEMAKER_BASE_DIR=str(base))
    assert trained.returncode == 0, trained.stdout
    with tarfile.open(base / "processing" / "model" / "model.tar.gz", "w:gz") as archive:
        archive.add(base / "model", arcname=".")
    evaluated = python.run(repository, "-m", "phishing_url", "evaluate", SAGEMAKER_BASE_DIR=str(base))
    assert evaluated.returncode == 0, evaluated.stdout
    text = (base / "processing" / "evaluation" / "evaluation.json").read_text()
    return loads(EvaluationReport, text, "evaluation.json")


@dataclass(frozen=True)
class Trained:
    """What the example's image left, in its folder as SageMaker mounts it, and its report."""

    base: Path
    report: EvaluationReport


@pytest.fixture(scope="module")
def trained(python: Python, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The demo (tests/e2e) trains it with each of its pushes, lints it and runs its tests."""
    base = tmp_path_factory.mktemp("phishing-url")
    return Trained(base, train_and_evaluate(python, EXAMPLE, base))


def test_a_report_has_all_a_person_wants_to_see(trained: Trained) -> None:
    report = trained.report
    assert set(report.curves) == {"roc", "precision_recall"}
    assert all(len(curve.x) == len(curve.y) <= 50 for curve in report.curves.values())
    assert report.counts["websites"] == 375
    assert report.confusion_matrix is not None
    assert len(report.slices) == 4


def test_its_types_are_right(python: Python) -> None:
    mypy = [sys.executable, "-m", "mypy", "--python-executable", str(python.executable)]
    command = [*mypy, "--config-file", "pyproject.toml", "--cache-dir", "/dev/null"]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_smoke_test_of_the_manifest_is_answered(python: Python, trained: Trained) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "PYTHONDONTWRITEBYTECODE": "1",
        "SAGEMAKER_BASE_DIR": str(trained.base),
        "SAGEMAKER_BIND_TO_PORT": str(port),
    }
    command = [str(python.executable), "-m", "phishing_url", "serve"]
    with subprocess.Popen(command, cwd=EXAMPLE, env=environment) as server:
        try:
            answer = invoke(port)
            server.terminate()  # at once: stopping must not depend on when it is asked for
            assert server.wait(timeout=60) == 0
        finally:
            server.kill()
    assert answer["predictions"][0]["label"] == "phishing"
    assert answer["model"] == {
        "name": "phishing-url",
        "version": "0.0.0-local",
        "training_data": {"uri": "", "fingerprint": ""},
    }


def invoke(port: int) -> Any:
    """The answer to the manifest's smoke test, once the server listens."""
    smoke_test = reader.deployment(MODEL).smoke_test
    for _ in range(600):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            headers = {"Content-Type": smoke_test.content_type}
            connection.request("POST", "/invocations", smoke_test.body, headers)
            response = connection.getresponse()
            assert response.status == 200
            return json.loads(response.read())
        except ConnectionRefusedError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise AssertionError("the server did not start")


def test_the_data_are_those_that_the_readme_cites() -> None:
    digest = hashlib.sha256((EXAMPLE / "data" / "websites.csv").read_bytes()).hexdigest()
    assert digest in (EXAMPLE / "data" / "README.md").read_text()


def test_the_pipeline_is_one_include_of_a_template_that_exists() -> None:
    (include,) = yaml.safe_load((EXAMPLE / ".gitlab-ci.yml").read_text())["include"]
    template = EXAMPLE.parents[1] / include["file"]
    inputs = next(yaml.safe_load_all(template.read_text()))["spec"]["inputs"]
    assert set(include["inputs"]) <= set(inputs)
    assert include["inputs"]["model"] == MODEL.name


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_requirements_are_locked_with_hashes(name: str) -> None:
    lock = (EXAMPLE / f"{name}.txt").read_text()
    for package in re.findall(r"^[a-z]+$", (EXAMPLE / f"{name}.in").read_text(), flags=re.MULTILINE):
        assert re.search(rf"^{package}==\S+ \\\n    --hash=sha256:", lock, flags=re.MULTILINE)


def test_developers_have_the_versions_of_the_image() -> None:
    pins = {line for line in (EXAMPLE / "requirements.txt").read_text().splitlines() if "==" in line}
    assert pins <= set((EXAMPLE / "requirements-dev.txt").read_text().splitlines())


@pytest.mark.parametrize(
    "page", ["README.md", "docs/reference/manifest.md", "examples/phishing-url/mlops.yml"]
)
def test_the_smoke_test_that_a_page_shows_is_a_request_the_example_answers(
    python: Python, tmp_path: Path, page: str
) -> None:
    text = (paths.checkout() / page).read_text(encoding="utf-8")
    if page.endswith(".md"):
        text = re.findall(r"```yaml\n(?:# mlops\.yml\n)?(project:.*?)```", text, re.DOTALL)[0]
    (tmp_path / "mlops.yml").write_text(text, encoding="utf-8")
    body = reader.load(tmp_path / "mlops.yml").model().smoke_test_body
    code = "import sys; from phishing_url.serve import read_json; print(len(read_json(sys.argv[1])))"

    read = python.run(EXAMPLE, "-c", code, body)

    assert (read.returncode, read.stdout) == (0, "1\n"), read.stderr
