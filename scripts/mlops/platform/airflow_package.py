"""What an MWAA environment reads from its bucket: `dags/`, `plugins.zip`, `requirements.txt`.

The same source gives the same bytes, so Terraform sees only real changes: a changed DAG is uploaded, while
other plugins or requirements make AWS replace every worker, for half an hour. That is why the wheel in
plugins.zip holds the modules that the DAGs reach and no others, and has a version made of its content: a
change of the command line or a release updates no environment.

MWAA has no internet, so the wheels come from plugins.zip:
https://docs.aws.amazon.com/mwaa/latest/userguide/best-practices-dependencies.html
"""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from mlops.base.errors import PrerequisiteError

# Where MWAA unpacks plugins.zip before it installs the requirements.
PLUGINS = "/usr/local/airflow/plugins"
# What the DAGs need and MWAA's image lacks.
LOCK = "requirements/mwaa.txt"
# On Amazon Linux 2023, whose glibc is 2.34:
# https://github.com/aws/amazon-mwaa-docker-images: images/airflow/3.2.1
MWAA_PYTHON = "3.12"
_MWAA_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64")

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold
_READABLE = 0o100644 << 16
_PIN = re.compile(r"^([a-z0-9-]+==[^\s;\\]+)", re.MULTILINE)

Download = Callable[[Path, Path], None]
"""Puts the wheels of a lock file (first) into a folder (second)."""


def build(
    folder: Path, checkout: Path | None = None, download: Download | None = None, python: str = MWAA_PYTHON
) -> Path:
    """Write the package into `folder`, replacing an earlier one, and return the folder.

    Args:
        folder: For `dags/`, `plugins.zip` and `requirements.txt`; what else is there stays.
        checkout: Of ml-ops; by default the one this module runs from, or the current folder.
        download: Fetches wheels; by default pip does, from the index that is set up.
        python: The version that wheels of compiled code are for; one that is not MWAA's means this machine.

    Raises:
        PrerequisiteError: when there is no checkout, or a wheel cannot be fetched.
    """
    root = checkout or _checkout()
    locked = _locked_wheels(root, download or partial(_pip_download, python=python), python)
    name, wheel = _wheel(_reached(root))
    shutil.rmtree(folder / "dags", ignore_errors=True)
    for source in _dag_files(root):
        target = folder / "dags" / source.relative_to(root / "dags")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    (folder / "plugins.zip").write_bytes(_zip({**locked, name: wheel}))
    pins = [f"ml-ops=={name.split('-')[1]}", *_PIN.findall((root / LOCK).read_text(encoding="utf-8"))]
    lines = [f"--find-links {PLUGINS}", "--no-index", "", *pins]
    (folder / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _checkout() -> Path:
    for root in (Path(__file__).resolve().parents[3], Path.cwd()):
        if (root / LOCK).is_file() and (root / "dags").is_dir() and (root / "scripts" / "mlops").is_dir():
            return root
    raise PrerequisiteError(
        "The DAGs are missing",
        cause=f"neither the installed package nor {Path.cwd()} has dags/ and {LOCK}",
        next_step="Run this in a checkout of ml-ops.",
    )


def _dag_files(root: Path) -> list[Path]:
    folder = root / "dags"
    return sorted([*folder.rglob("*.py"), *folder.rglob(".airflowignore")])


def _reached(root: Path) -> dict[str, bytes]:
    """The modules of `mlops` that the DAGs import, wherever in a file, by their names in the wheel."""
    source = root / "scripts"
    found: dict[str, bytes] = {}
    waiting = {name for file in _dag_files(root) if file.suffix == ".py" for name in _imports(file)}
    while waiting:
        name = waiting.pop()
        module = source.joinpath(*name.split("."))
        for file in (module.with_suffix(".py"), module / "__init__.py"):
            member = file.relative_to(source).as_posix()
            if file.is_file() and member not in found:
                found[member] = file.read_bytes()
                waiting |= _imports(file)
    return found


def _imports(file: Path) -> set[str]:
    """Every `mlops` module a file may import, with the packages around it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    ours = {name for name in names if name.split(".")[0] == "mlops"}
    return {name.rsplit(".", depth)[0] for name in ours for depth in range(name.count(".") + 1)}


def _wheel(members: Mapping[str, bytes]) -> tuple[str, bytes]:
    """File name and content of a wheel.

    It names no dependency: what it needs is in the lock, or comes with Airflow and its Amazon provider.
    https://packaging.python.org/en/latest/specifications/binary-distribution-format/
    """
    digest = hashlib.sha256()
    for name in sorted(members):
        digest.update(f"{name}:{len(members[name])}:".encode() + members[name])
    version = f"0+{digest.hexdigest()[:12]}"
    info = f"ml_ops-{version}.dist-info"
    files = {
        **members,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: ml-ops\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: ml-ops\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{name},sha256={_base64(content)},{len(content)}" for name, content in sorted(files.items())]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    return f"ml_ops-{version}-py3-none-any.whl", _zip(files)


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _zip(files: Mapping[str, bytes]) -> bytes:
    """Stored, not deflated: compressed bytes differ between versions of zlib."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = _READABLE
            archive.writestr(entry, files[name])
    return content.getvalue()


def _locked_wheels(root: Path, download: Download, python: str) -> dict[str, bytes]:
    """The wheels of the lock by file name, kept in the checkout's cache once they were fetched."""
    lock = root / LOCK
    text = lock.read_text(encoding="utf-8")
    cache = root / ".mlops" / "cache" / "mwaa" / hashlib.sha256(f"{python}\n{text}".encode()).hexdigest()[:16]
    wheels = _wheels(cache)
    if not _complete(wheels.values(), text):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent) as draft:
            download(lock, Path(draft))
            wheels = _wheels(Path(draft))
            if not _complete(wheels.values(), text):
                raise PrerequisiteError(
                    "The wheels for MWAA are not those of the lock",
                    cause=f"fetched were: {', '.join(sorted(wheels)) or 'none'}",
                    next_step=f"Compare {LOCK} with the package index.",
                )
            for name in wheels:
                (Path(draft) / name).replace(cache / name)
    return wheels


def _wheels(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.whl")}


def _complete(wheels: Iterable[bytes], lock: str) -> bool:
    """Whether there is a wheel for every pin, each with a hash of the lock."""
    hashes = [hashlib.sha256(wheel).hexdigest() for wheel in wheels]
    return len(hashes) == len(_PIN.findall(lock)) and all(one in lock for one in hashes)


def _pip_download(lock: Path, folder: Path, python: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--python-version", python, "--implementation", "cp"]
    if python == MWAA_PYTHON:
        command += [f"--platform={name}" for name in _MWAA_PLATFORMS]
    command += ["--only-binary=:all:", "--require-hashes", "--dest", str(folder), "-r", str(lock)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise PrerequisiteError(
            "The wheels for MWAA cannot be fetched",
            cause="\n".join(answer.stderr.strip().splitlines()[-5:]),
            next_step="Check that pip is installed and reaches its package index.",
        )
