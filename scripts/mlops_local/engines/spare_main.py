"""A spare process: it imports a model's libraries, waits, and becomes the process of one job.

An image's own Python runs it. A job's process gets nothing of another's, for it serves one job and ends.
What it has imported before must not depend on the job: a library that looked at a variable which the job
sets to something else has seen the wrong one, and then this process starts Python afresh, as a container
would. So it does for what Python and native libraries read by themselves.

Arguments: the modules to import. Input: one JSON object with the job's `arguments` (of `python -m`),
`environment`, `folder` and `log`. Without input the stack is gone, and so is this process.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import site
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

# What Python, the C library, threads and linear algebra read without `os.environ`.
_NATIVE = (
    "PYTHON",
    "LC_",
    "LANG",
    "LD_",
    "MALLOC_",
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "BLIS_",
    "OPENBLAS_",
    "GOTO_",
)
_NATIVE_NAMES = frozenset({"TZ"})


class Watch:
    """Notes which variables are looked at while it lasts."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.everything = False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Until the end of the block."""
        kind: Any = type(os.environ)
        get, iterate = kind.__getitem__, kind.__iter__

        def noted_get(environ: Any, name: str) -> Any:
            self.names.add(name)
            return get(environ, name)

        def noted_iterate(environ: Any) -> Any:
            self.everything = True
            return iterate(environ)

        kind.__getitem__, kind.__iter__ = noted_get, noted_iterate
        try:
            yield
        finally:
            kind.__getitem__, kind.__iter__ = get, iterate

    def saw_otherwise(self, before: dict[str, str], wanted: dict[str, str]) -> set[str]:
        """The variables that the job has otherwise than what was seen, or read unseen."""
        differing = {name for name in {*before, *wanted} if before.get(name) != wanted.get(name)}
        if self.everything:
            return differing
        return {
            name
            for name in differing
            if name in self.names or name in _NATIVE_NAMES or name.startswith(_NATIVE)
        }


def main(modules: list[str]) -> None:
    """Import, wait, become the job."""
    before = dict(os.environ)
    watch = Watch()
    del sys.path[0]  # this file's own folder
    sysconfig.get_config_vars()  # looks at HOME, which `_set_variables` makes good
    with watch.watching():
        for name in modules:
            # the job meets the same error, and reports it
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    text = sys.stdin.buffer.read()
    if not text:
        return
    job = json.loads(text)
    wanted: dict[str, str] = job["environment"]
    otherwise = watch.saw_otherwise(before, wanted)
    _take_over(job["folder"], job["log"], said=not otherwise)
    if otherwise:
        os.execve(sys.executable, [sys.executable, "-m", *job["arguments"]], wanted)  # noqa: S606
    _set_variables(before, wanted)
    _run(job["arguments"])


def _take_over(folder: str, log: str, *, said: bool) -> None:
    """Take the job's folder, log and empty input; `said` has what imports printed so far come first."""
    sys.stdout.flush()
    sys.stderr.flush()
    size = os.fstat(1).st_size
    words = os.pread(1, size, 0) if said else b""
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)
    if words:
        os.write(1, words)
    os.chdir(folder)


def _set_variables(before: dict[str, str], wanted: dict[str, str]) -> None:
    # What a library sets while it is imported, it sets in any process, where the job does not.
    added = {name: value for name, value in os.environ.items() if before.get(name) != value}
    for name in set(os.environ) - set(wanted) - set(added):
        del os.environ[name]
    os.environ.update({**added, **wanted})
    # What Python itself has made of HOME.
    site.USER_BASE = site.USER_SITE = None
    site.getusersitepackages()
    sysconfig.get_config_vars()["userbase"] = site.getuserbase()


def _run(arguments: list[str]) -> None:
    """As `python -m` does."""
    sys.path.insert(0, str(Path.cwd()))
    sys.argv = ["-m", *arguments[1:]]
    sys.excepthook = _without_own_frames
    program = sys.modules["__main__"] = ModuleType("__main__")
    program.__annotations__ = {}  # as the interpreter's own
    # The interpreter calls this very function for -m.
    runpy._run_module_as_main(arguments[0])  # type: ignore[attr-defined]  # pylint: disable=protected-access


def _without_own_frames(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
        traceback = traceback.tb_next
    sys.__excepthook__(kind, error.with_traceback(traceback), traceback)


if __name__ == "__main__":
    main(sys.argv[1:])
