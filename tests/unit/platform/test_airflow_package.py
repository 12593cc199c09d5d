"""What MWAA reads from its bucket."""

from __future__ import annotations

import base64
import csv
import hashlib
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from mlops.base.errors import PrerequisiteError
from mlops.platform import airflow_package

CHECKOUT = Path(__file__).parents[3]
WHEEL = b"the wheel of semver"


class Index:
    """A package index: `download` puts what it has into a folder."""

    def __init__(self, **wheels: bytes) -> None:
        self.wheels = wheels
        self.asked = 0

    def download(self, lock: Path, folder: Path) -> None:
        assert lock.name == "mwaa.txt"
        self.asked += 1
        for name, content in self.wheels.items():
            (folder / f"{name}-3.1.1-py3-none-any.whl").write_bytes(content)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """DAGs, package and lock of a checkout, small."""
    root = tmp_path / "checkout"
    files = {
        "dags/train.py": "from shared import plan\n\ndef work():\n    from mlops.run import go\n    return go(plan)\n",
        "dags/shared.py": "from mlops.contracts.runs import DAG\nplan = DAG\n",
        "dags/.airflowignore": "shared.py\n",
        "dags/__pycache__/train.cpython-311.pyc": "",
        "dags/notes.txt": "",
        "scripts/mlops/__init__.py": '"""The package."""\n',
        "scripts/mlops/contracts/runs.py": "DAG = 'train'\n",
        "scripts/mlops/run.py": "from mlops.clients.aws import session\n\ndef go(plan):\n    return session, plan\n",
        "scripts/mlops/clients/__init__.py": "",
        "scripts/mlops/clients/aws/__init__.py": "",
        "scripts/mlops/clients/aws/session.py": "import mlops.contracts.runs\n",
        "scripts/mlops/clients/docker.py": "",
        "scripts/mlops/cli.py": "from mlops import run\n",
        "requirements/mwaa.txt": f"semver==3.1.1 \\\n    --hash=sha256:{hashlib.sha256(WHEEL).hexdigest()}\n",
    }
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return root


def members(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


def ours(folder: Path, tmp_path: Path) -> dict[str, bytes]:
    """What is in our wheel, in plugins.zip."""
    name, content = next(
        item for item in members(folder / "plugins.zip").items() if item[0].startswith("ml_ops")
    )
    (tmp_path / name).write_bytes(content)
    return members(tmp_path / name)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


def test_the_folder_holds_dags_plugins_and_requirements(checkout: Path, tmp_path: Path) -> None:
    folder = airflow_package.build(tmp_path / "package", checkout, Index(semver=WHEEL).download)
    assert sorted(contents(folder)) == [
        "dags/.airflowignore",
        "dags/shared.py",
        "dags/train.py",
        "plugins.zip",
        "requirements.txt",
    ]
    wheels = members(folder / "plugins.zip")
    assert wheels["semver-3.1.1-py3-none-any.whl"] == WHEEL
    version = next(name.split("-")[1] for name in wheels if name.startswith("ml_ops"))
    assert (folder / "requirements.txt").read_text(encoding="utf-8") == (
        f"--find-links /usr/local/airflow/plugins\n--no-index\n\nml-ops=={version}\nsemver==3.1.1\n"
    )


def test_the_wheel_holds_what_the_dags_reach(checkout: Path, tmp_path: Path) -> None:
    folder = airflow_package.build(tmp_path / "package", checkout, Index(semver=WHEEL).download)
    modules = sorted(name for name in ours(folder, tmp_path) if name.endswith(".py"))
    assert modules == [
        "mlops/__init__.py",
        "mlops/clients/__init__.py",
        "mlops/clients/aws/__init__.py",
        "mlops/clients/aws/session.py",
        "mlops/contracts/runs.py",
        "mlops/run.py",
    ]


def test_the_wheel_lists_its_files_as_the_format_wants(checkout: Path, tmp_path: Path) -> None:
    files = ours(airflow_package.build(tmp_path / "a", checkout, Index(semver=WHEEL).download), tmp_path)
    record = next(name for name in files if name.endswith("RECORD"))
    listed = {name: (digest, size) for name, digest, size in csv.reader(files[record].decode().splitlines())}
    assert listed.pop(record) == ("", "")
    assert set(listed) == set(files) - {record}
    for name, (digest, size) in listed.items():
        expected = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=").decode()
        assert (digest, size) == (f"sha256={expected}", str(len(files[name])))


def test_the_same_source_gives_the_same_bytes_elsewhere(checkout: Path, tmp_path: Path) -> None:
    index = Index(semver=WHEEL)
    first = contents(airflow_package.build(tmp_path / "a", checkout, index.download))
    copy = shutil.copytree(checkout, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    assert contents(airflow_package.build(tmp_path / "b", copy, index.download)) == first


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("scripts/mlops/cli.py", set()),
        ("scripts/mlops/clients/docker.py", set()),
        ("dags/train.py", {"dags/train.py"}),
        ("scripts/mlops/clients/aws/session.py", {"plugins.zip", "requirements.txt"}),
    ],
)
def test_only_what_the_dags_use_changes_anything(
    checkout: Path, tmp_path: Path, file: str, changed: set[str]
) -> None:
    index = Index(semver=WHEEL)
    folder = tmp_path / "package"
    before = contents(airflow_package.build(folder, checkout, index.download))
    with (checkout / file).open("a", encoding="utf-8") as source:
        source.write("# changed\n")
    after = contents(airflow_package.build(folder, checkout, index.download))
    assert {name for name in before if after[name] != before[name]} == changed
    assert index.asked == 1, "fetched wheels are kept"


def test_a_file_that_was_removed_is_gone(checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "package"
    airflow_package.build(folder, checkout, Index(semver=WHEEL).download)
    (folder / "plan").write_text("of somebody else")
    (checkout / "dags" / "shared.py").unlink()
    airflow_package.build(folder, checkout, Index(semver=WHEEL).download)
    assert not (folder / "dags" / "shared.py").exists()
    assert (folder / "plan").exists()


@pytest.mark.parametrize("wheels", [{}, {"semver": b"another one"}, {"semver": WHEEL, "more": WHEEL}])
def test_wheels_that_are_not_those_of_the_lock(
    checkout: Path, tmp_path: Path, wheels: dict[str, bytes]
) -> None:
    with pytest.raises(PrerequisiteError, match="not those of the lock"):
        airflow_package.build(tmp_path / "package", checkout, Index(**wheels).download)
    assert not (tmp_path / "package").exists()
    airflow_package.build(tmp_path / "package", checkout, Index(semver=WHEEL).download)


def test_a_wheel_spoiled_in_the_cache_is_fetched_again(checkout: Path, tmp_path: Path) -> None:
    index = Index(semver=WHEEL)
    airflow_package.build(tmp_path / "package", checkout, index.download)
    (wheel,) = (checkout / ".mlops").rglob("*.whl")
    wheel.write_bytes(b"spoiled")
    airflow_package.build(tmp_path / "package", checkout, index.download)
    assert index.asked == 2
    assert members(tmp_path / "package" / "plugins.zip")[wheel.name] == WHEEL


def test_what_pip_says_is_told(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(PrerequisiteError, match="cannot be fetched") as caught:
        airflow_package.build(tmp_path / "package", checkout)
    assert "semver==3.1.1" in caught.value.cause


def test_an_installed_package_works_on_the_current_folder(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(airflow_package, "__file__", str(tmp_path / "lib" / "mlops" / "airflow_package.py"))
    monkeypatch.chdir(checkout)
    airflow_package.build(tmp_path / "package", download=Index(semver=WHEEL).download)
    assert (tmp_path / "package" / "dags" / "train.py").exists()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PrerequisiteError, match="The DAGs are missing"):
        airflow_package.build(tmp_path / "package", download=Index(semver=WHEEL).download)


@pytest.mark.parametrize("file", ["modules/airflow/variables.tf", "root/variables.tf"])
def test_terraform_takes_the_one_version_that_the_package_installs_into(file: str) -> None:
    """MWAA installs with its own constraints: where they differ from the lock, pip gives up and no DAG loads.

    https://docs.aws.amazon.com/mwaa/latest/userguide/working-dags-dependencies.html
    """
    lock = (CHECKOUT / "requirements" / "airflow.txt").read_text(encoding="utf-8")
    (locked,) = re.findall(r"^apache-airflow==(\S+)", lock, re.MULTILINE)
    text = (CHECKOUT / "terraform" / file).read_text(encoding="utf-8")
    (taken,) = re.findall(r"contains\(\[(.*?)\], var\.airflow[._]version\)", text)
    assert taken == f'"{locked}"'
