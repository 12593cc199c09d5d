"""What a job finds instead of its image: nothing of the product's environment, nor of the user's settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlops_local.base import paths
from mlops_local.pipelines import job_environment

PRODUCT = Path(sys.executable).parent


@pytest.fixture
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A job's variables, for a user who has the product's environment active, and accounts."""
    user = tmp_path / "user"
    for name in (".aws/credentials", ".gitconfig", ".config/pip/pip.conf"):
        (user / name).parent.mkdir(parents=True, exist_ok=True)
        (user / name).touch()
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{PRODUCT}:/usr/bin:/bin")
    return job_environment.prepare(tmp_path / "job", (tmp_path / "tools",))


def _sh(variables: dict[str, str], script: str) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", script], env=variables, capture_output=True, text=True, check=False
    )
    return f"{done.stdout}{done.stderr}".strip()


def test_a_jobs_python_is_its_own(variables: dict[str, str], tmp_path: Path) -> None:
    venv = tmp_path / "job" / "venv"

    assert _sh(variables, "mlops --version").startswith("mlops ")
    assert not venv.exists()  # a job that asks for no Python costs nothing
    minor = sys.version_info.minor
    for program in ("python", "python3", f"python3.{minor}", "pip", "pip3", f"pip3.{minor}"):
        assert _sh(variables, f"command -v {program}") == str(tmp_path / "job" / "bin" / program)

    assert _sh(variables, "python -c 'import sys; print(sys.prefix)'") == str(venv)
    assert "No module named 'mlops'" in _sh(variables, "python3 -c 'import mlops'")
    assert f"from {venv}/" in _sh(variables, "pip --version")
    assert f"from {venv}/" in _sh(variables, f"pip3.{minor} --version")
    assert _sh(variables, "command -v pip") == str(venv / "bin" / "pip")
    for program in ("pytest", "pylint", "ruff", "mypy"):
        assert str(PRODUCT) not in _sh(variables, f"command -v {program}")


def test_a_jobs_home_has_no_accounts_of_the_user(variables: dict[str, str]) -> None:
    found = sorted(path.relative_to(variables["HOME"]) for path in Path(variables["HOME"]).rglob("*"))

    # The package index is the machine's.
    assert found == [Path(".config"), Path(".config/pip")]


def test_pipelines_run_where_no_tool_finds_the_checkouts_settings() -> None:
    folder = paths.runs("default")

    assert paths.checkout() not in folder.parents
    assert paths.runs("other") != folder
