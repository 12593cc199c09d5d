"""Spare processes: a job in one meets what it would meet in a fresh process, and only its time differs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops_local.base.children import Children
from mlops_local.engines.spares import COUNT, KINDS, SpareKind, Spares, libraries

# What a process can see of itself, as a model's program sees it.
PROBE = """
import heavy, json, os, random, resource, signal, site, sys, sysconfig, threading
print(json.dumps({
    "environment": dict(os.environ), "folder": os.getcwd(), "arguments": sys.argv, "path": sys.path,
    "name": __name__, "package": __package__, "globals": sorted(vars(sys.modules["__main__"])),
    "flags": str(sys.flags), "executable": sys.executable, "prefix": sys.prefix,
    "user": [site.USER_BASE, site.USER_SITE, sysconfig.get_config_var("userbase")],
    "signals": [str(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE)],
    "input": sys.stdin.read(), "threads": threading.active_count(), "hook": sys.excepthook is sys.__excepthook__,
    "leader": os.getsid(0) == os.getpid(), "mask": os.umask(0o022), "seen": heavy.SEEN, "files": len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0,
}))
"""
HEAVY = """
import os, pathlib
print("heavy is imported")
SEEN = os.environ.get("SEEN_AT_IMPORT", "nothing")
with (pathlib.Path(__file__).parent / "imports").open("a") as file:
    file.write(f"{os.getpid()}\\n")
"""


class Machine:
    """A folder of a model, a library that notes who imports it, and spares."""

    def __init__(self, folder: Path) -> None:
        self.model, self.library, self.job = (folder / name for name in ("model", "library", "job"))
        for one in (self.model, self.library, self.job):
            one.mkdir()
        (self.library / "heavy.py").write_text(HEAVY)
        (self.model / "probe.py").write_text(PROBE)
        (self.model / "crash.py").write_text("import heavy\nraise ValueError('no data')\n")
        self.children = Children()
        self.spares = Spares(self.children)
        self.base = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self.library),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "LANG": "C.UTF-8",
        }
        self.kind = SpareKind(Path(sys.executable), ("heavy",), tuple(sorted(self.base.items())))
        self.variables = {**self.base, "HOME": str(self.job), "TMPDIR": str(self.job), "OWN": "a\nb"}

    def start(self, *arguments: str, log: str = "log", **more: str) -> subprocess.Popen[bytes] | None:
        return self.spares.start(
            self.kind,
            ["python", "-m", *arguments],
            environment={**self.variables, **more},
            folder=self.model,
            log=self.job / log,
        )

    def spare(self, *arguments: str, log: str = "log", **more: str) -> tuple[int, str]:
        """Exit code and log of a job in a spare; the first call of all only makes spares."""
        process = self.start(*arguments, log=log, **more)
        if process is None:
            process = self.start(*arguments, log=log, **more)
        assert process is not None
        return process.wait(60), (self.job / log).read_text()

    def fresh(self, *arguments: str, **more: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            env={**self.variables, **more},
            cwd=self.model,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            start_new_session=True,
        )
        return done.returncode, done.stdout

    def imported_by(self) -> list[int]:
        file = self.library / "imports"
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    def waiting(self) -> list[int]:
        """The processes of all spares, once they have imported what they are for."""
        found = [one.pid for spares in self.spares._waiting.values() for one in spares]
        deadline = time.monotonic() + 60
        while not set(found) <= set(self.imported_by()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return found


@pytest.fixture(name="machine")
def fixture_machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.children.close()


def _seen(output: str) -> Any:
    first, line = output.splitlines()
    assert first == "heavy is imported"
    return json.loads(line)


def test_a_job_in_a_spare_meets_what_it_meets_in_a_fresh_process(machine: Machine) -> None:
    code, output = machine.spare("probe", "train", "--quick")
    expected_code, expected = machine.fresh("probe", "train", "--quick")
    found, wanted = _seen(output), _seen(expected)
    # it takes its own frames from tracebacks
    wanted["hook"] = False
    assert {name: (found[name], value) for name, value in wanted.items() if found[name] != value} == {}
    assert (code, found["environment"]["OWN"]) == (expected_code, "a\nb")


def test_the_library_was_there_before_the_job(machine: Machine) -> None:
    assert machine.start("probe") is None
    spares = machine.waiting()
    process = machine.start("probe")
    assert process is not None
    assert process.pid in spares
    assert process.wait(60) == 0
    assert machine.imported_by().count(process.pid) == 1


def test_no_process_serves_two_jobs(machine: Machine) -> None:
    machine.start("probe")
    processes = [machine.start("probe", log=str(number)) for number in range(5)]
    assert all(process is not None and process.wait(60) == 0 for process in processes)
    assert len({process.pid for process in processes if process}) == 5


def test_a_library_that_looked_at_what_the_job_sets_is_imported_afresh(machine: Machine) -> None:
    machine.start("probe")
    machine.waiting()
    code, output = machine.spare("probe", SEEN_AT_IMPORT="the job's")
    assert code == 0
    assert _seen(output)["seen"] == "the job's"
    assert _seen(output)["hook"]


@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TZ"])
def test_what_native_code_reads_starts_python_afresh(machine: Machine, name: str) -> None:
    code, output = machine.spare("probe", **{name: "1"})
    assert code == 0
    assert _seen(output)["hook"]
    assert _seen(output)["environment"][name] == "1"


def test_an_error_looks_as_in_a_fresh_process(machine: Machine) -> None:
    assert machine.spare("crash") == machine.fresh("crash")


def test_a_library_that_cannot_be_imported_is_the_jobs_matter(machine: Machine) -> None:
    (machine.library / "heavy.py").write_text("raise ImportError('built for another machine')\n")
    assert machine.spare("crash") == machine.fresh("crash")
    assert "built for another machine" in machine.fresh("crash")[1]


def test_a_spare_with_fewer_libraries_serves_and_one_with_more_does_not(machine: Machine) -> None:
    def taken(*modules: str, **more: str) -> bool:
        process = machine.spares.start(
            SpareKind(machine.kind.python, modules, tuple(sorted({**machine.base, **more}.items()))),
            ["python", "-m", "probe"],
            environment=machine.variables,
            folder=machine.model,
            log=machine.job / "log",
        )
        assert process is None or process.wait(60) == 0
        return process is not None

    assert not taken("heavy", "json")
    assert taken("heavy", "json", "site")
    assert not taken("heavy")
    assert not taken("heavy", "json", SEEN_AT_IMPORT="another image's")


def test_a_spare_that_is_gone_is_passed_over(machine: Machine) -> None:
    machine.start("probe")
    (first, _) = machine.spares._waiting[machine.kind]
    first.kill()
    first.wait(60)
    process = machine.start("probe")
    assert process is not None
    assert process.wait(60) == 0


@pytest.mark.parametrize(
    "command", [["python", "main.py"], ["python", "-c", "pass"], ["sh", "-m", "probe"], ["python", "-m"]]
)
def test_other_commands_start_as_ever(machine: Machine, command: list[str]) -> None:
    for _ in range(2):
        taken = machine.spares.start(
            machine.kind, command, environment={}, folder=machine.model, log=machine.job / "log"
        )
        assert taken is None
    assert not machine.spares._waiting


def test_spares_are_few_and_of_what_ran_last(machine: Machine) -> None:
    kinds = [
        SpareKind(machine.kind.python, ("heavy", f"none{number}"), machine.kind.environment)
        for number in range(4)
    ]
    for kind in kinds:
        machine.spares.start(
            kind, ["python", "-m", "probe"], environment={}, folder=machine.model, log=machine.job / "log"
        )
    assert list(machine.spares._waiting) == kinds[-KINDS:]
    assert len(machine.waiting()) == KINDS * COUNT


def test_spares_end_with_the_stack_however_it_ends(machine: Machine) -> None:
    machine.start("probe")
    first, second = (one for spares in machine.spares._waiting.values() for one in spares)
    assert first.stdin is not None
    first.stdin.close()  # as when the stack is killed
    assert first.wait(60) == 0
    machine.children.close()
    assert second.wait(60) != 0


def test_the_libraries_of_a_model_are_those_its_files_import(tmp_path: Path) -> None:
    model, packages = tmp_path / "model", tmp_path / "site-packages"
    (model / "inner").mkdir(parents=True)
    (packages / "sklearn").mkdir(parents=True)
    (packages / "skops.py").touch()
    (model / "a.py").write_text("import json, sklearn.metrics\nfrom . import b\nfrom inner import c\n")
    (model / "inner" / "c.py").write_text("def late():\n    from skops import io\n    import absent\n")
    (model / "broken.py").write_text("import sklearn.svm\n(")
    (model / "bytes.py").write_bytes(b"\xff\x00")
    assert libraries(model, packages) == ("sklearn.metrics", "skops")
