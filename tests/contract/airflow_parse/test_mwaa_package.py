"""The package for MWAA, installed as MWAA installs it: into Airflow's locked environment, from plugins.zip alone.

MWAA runs `pip install -r requirements.txt` after it unpacked plugins.zip, with a constraint of its own:
https://docs.aws.amazon.com/mwaa/latest/userguide/working-dags-dependencies.html
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlops.platform import airflow_package
from mlops_local.base import paths

CHECKOUT = Path(__file__).parents[3]
PIN = re.compile(r"^([a-z0-9.-]+(?:\[[a-z,]+\])?==[^\s;\\]+)", re.MULTILINE)


@dataclass(frozen=True)
class Mwaa:
    """Airflow's environment before and after the installation, by package, and its interpreter."""

    python: Path
    package: Path
    before: dict[str, str]
    after: dict[str, str]


@pytest.fixture(scope="module")
def mwaa(tmp_path_factory: pytest.TempPathFactory) -> Mwaa:
    home = tmp_path_factory.mktemp("mwaa")
    python = environment(home / "airflow")
    version = run(python, "import sys; print('{}.{}'.format(*sys.version_info))").strip()
    package = airflow_package.build(home / "package", python=version)
    plugins = home / "plugins"
    with zipfile.ZipFile(package / "plugins.zip") as archive:
        archive.extractall(plugins)
    requirements = (package / "requirements.txt").read_text(encoding="utf-8")
    (home / "requirements.txt").write_text(requirements.replace(airflow_package.PLUGINS, str(plugins)))
    locked = (CHECKOUT / "requirements" / "airflow.txt").read_text(encoding="utf-8")
    pins = [re.sub(r"\[.*\]", "", pin) for pin in PIN.findall(locked)]
    (home / "constraints.txt").write_text("\n".join(pins))

    before = packages(python)
    files = ("-r", str(home / "requirements.txt"), "-c", str(home / "constraints.txt"))
    pip(python, "install", "--no-compile", *files)  # thousands of modules, of which a few are imported here
    pip(python, "check")
    return Mwaa(python, package, before, packages(python))


def environment(folder: Path) -> Path:
    """Airflow's locked environment by links, without what MWAA lacks; returns its interpreter."""
    subprocess.run(
        ["uv", "venv", "--quiet", "--python", str(paths.airflow_python()), str(folder)],
        check=True,
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": os.environ["HOME"]},
    )
    (source,) = paths.airflow_python().parents[1].glob("lib/python3*/site-packages")
    (target,) = folder.glob("lib/python3*/site-packages")
    link(source, target)
    return folder / "bin" / "python"


def link(source: Path, target: Path) -> None:
    """Everything in a folder but what MWAA lacks; `airflow.providers`, which holds some of it, link by link."""
    lacking = (
        "numpy",
        "scipy",
        "semver",
        "slack",
        "apache_airflow_providers_slack",
        "mlops",
        "_virtualenv",
        "__pycache__",
    )
    for item in source.iterdir():
        if item.name.startswith(lacking):
            continue
        if item.relative_to(item.parents[1]).as_posix() in ("site-packages/airflow", "airflow/providers"):
            (target / item.name).mkdir()
            link(item, target / item.name)
        else:
            (target / item.name).symlink_to(item)


def run(python: Path, program: str) -> str:
    done = subprocess.run([str(python), "-c", program], capture_output=True, text=True, check=True)
    return done.stdout


def pip(python: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), *arguments],
        capture_output=True,
        text=True,
        check=False,
        # no index, whatever this machine has set up
        env={"PATH": os.environ["PATH"], "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CONFIG_FILE": os.devnull},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def packages(python: Path) -> dict[str, str]:
    program = (
        "import importlib.metadata, json\n"
        "print(json.dumps([(one.name, one.version) for one in importlib.metadata.distributions()]))\n"
    )
    found: list[tuple[str, str]] = json.loads(run(python, program))
    return {name.lower().replace("_", "-"): version for name, version in found}


def test_it_adds_what_mwaa_lacks_and_moves_nothing(mwaa: Mwaa) -> None:
    """MWAA's image has the Amazon provider and no Slack, and nothing but plugins.zip to install it from.

    https://github.com/aws/amazon-mwaa-docker-images: images/airflow/3.2.1/bootstrap/02-airflow
    """
    assert {name: mwaa.after[name] for name in mwaa.before} == mwaa.before
    added = {"apache-airflow-providers-slack", "ml-ops", "numpy", "scipy", "semver", "slack-sdk"}
    assert set(mwaa.after) - set(mwaa.before) == added
    assert mwaa.before["apache-airflow"] == "3.2.1"


def test_the_dags_are_there_and_all_they_import(mwaa: Mwaa, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(mwaa.python), "-P", str(Path(__file__).with_name("driver.py")), str(mwaa.package / "dags")],
        env={
            "PATH": os.environ["PATH"],
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: Any = json.loads(done.stdout.splitlines()[-1])
    assert found["errors"] == {}
    assert {"model_deployment", "model_monitoring", "model_training"} <= set(found["dags"])


def test_every_module_of_the_wheel_can_be_imported(mwaa: Mwaa) -> None:
    """Tasks import in functions, which parsing does not reach."""
    program = (
        "import importlib, json, pkgutil, mlops\n"
        "names = [one.name for one in pkgutil.walk_packages(mlops.__path__, 'mlops.')]\n"
        "[importlib.import_module(name) for name in names]\n"
        "print(json.dumps([mlops.__file__, names]))\n"
    )
    done = subprocess.run(
        [str(mwaa.python), "-P", "-E", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    file, names = json.loads(done.stdout)
    assert str(mwaa.python.parents[1]) in file, "not the checkout's own"
    assert {
        "mlops.training.tasks",
        "mlops.deployment.tasks",
        "mlops.notifications.messages",
        "mlops.notifications.failure_cause",
    } <= set(names)
    assert "1.0" in run(mwaa.python, "from scipy import stats; print(stats.ks_2samp([1, 2], [1, 2]).pvalue)")
    assert not {"mlops_local", "mlops.cli", "mlops.platform.terraform"} & set(names)


def test_what_mwaa_gets_is_locked_as_in_the_local_airflow() -> None:
    wanted = PIN.findall((CHECKOUT / airflow_package.LOCK).read_text(encoding="utf-8"))
    locked = PIN.findall((CHECKOUT / "requirements" / "airflow.txt").read_text(encoding="utf-8"))
    assert wanted
    assert set(wanted) <= set(locked)


def test_compiled_code_is_for_mwaas_workers(tmp_path: Path) -> None:
    """Python 3.12 on Amazon Linux 2023, whatever this machine has; MWAA advises at most 1 GB."""
    plugins = airflow_package.build(tmp_path) / "plugins.zip"
    with zipfile.ZipFile(plugins) as archive:
        compiled = [name for name in archive.namelist() if not name.endswith("-none-any.whl")]
    assert {name.partition("-")[0] for name in compiled} == {"numpy", "scipy"}
    assert all("-cp312-cp312-" in name and name.endswith("manylinux_2_28_x86_64.whl") for name in compiled)
    assert plugins.stat().st_size < 100 * 2**20
