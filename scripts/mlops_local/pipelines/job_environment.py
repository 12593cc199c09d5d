"""What a job finds in the place of its image: the `mlops` command, a Python of its own, a home of its own.

Nothing of the product's environment is on a job's PATH but `mlops` itself, and uv, which has no packages.
What a job installs is its own, as in a container: no other job sees it. Its Python is made when the job first
asks for one, so that a job that asks for none costs nothing.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_PROGRAMS = ("mlops", "uv")
_MINOR = sys.version_info.minor
_PYTHONS = ("python", "python3", f"python3.{_MINOR}", "pip", "pip3", f"pip3.{_MINOR}")
# Below the home: which index packages come from, what was fetched already, and the machine's Docker daemon.
# Not there: ~/.aws, ~/.gitconfig, ~/.netrc, ~/.ssh.
_SHARED = (".config/pip", ".config/uv", ".pip", ".cache/pip", ".cache/uv", ".docker")
_SHIM = """\
#!/bin/sh
[ -x {python} ] || {product} -I -m mlops_local.pipelines.job_environment {venv} || exit 1
exec {program} "$@"
"""


def prepare(folder: Path, tools: Sequence[Path]) -> dict[str, str]:
    """Write what stands for a job's image; the variables that make the job find it.

    Args:
        folder: The job's own, outside its sources.
        tools: Folders that come before all others on the PATH.
    """
    programs, home, venv = folder / "bin", folder / "home", folder / "venv"
    if not programs.exists():
        programs.mkdir(parents=True)
        for name in _PROGRAMS:
            (programs / name).symlink_to(Path(sys.executable).parent / name)
        for name in _PYTHONS:
            _write_shim(programs / name, venv)
        _share(home)
    return {"PATH": search_path((*tools, venv / "bin", programs)), "HOME": str(home)}


def search_path(first: Sequence[Path]) -> str:
    """A PATH that begins with these folders, and goes on with the caller's but for the product's own one."""
    own = Path(sys.executable).parent.resolve()
    rest = [
        one
        for one in os.environ.get("PATH", os.defpath).split(os.pathsep)
        if one and Path(one).resolve() != own
    ]
    return os.pathsep.join([*map(str, first), *rest])


def make(venv: Path) -> None:
    """Make a job's Python, unless another process of the job made it meanwhile.

    Raises:
        ImageError: with the installer's last words.
    """
    from mlops_local.base import paths
    from mlops_local.engines.venvs import Venvs

    pattern = Venvs(paths.cache() / "venvs").with_pip()
    with tempfile.TemporaryDirectory(dir=venv.parent) as draft:
        copy = shutil.copytree(pattern, Path(draft) / "venv", symlinks=True)
        try:
            copy.rename(venv)
        except OSError:
            if not venv.exists():
                raise


def _write_shim(file: Path, venv: Path) -> None:
    words = {
        "python": venv / "bin" / "python",
        "product": sys.executable,
        "venv": venv,
        "program": venv / "bin" / ("pip" if file.name.startswith("pip") else "python"),
    }
    file.write_text(_SHIM.format(**{key: shlex.quote(str(path)) for key, path in words.items()}), "utf-8")
    file.chmod(0o755)


def _share(home: Path) -> None:
    own = Path.home()
    moved = {".config": os.environ.get("XDG_CONFIG_HOME"), ".cache": os.environ.get("XDG_CACHE_HOME")}
    for name in _SHARED:
        top, _, rest = name.partition("/")
        source = Path(moved.get(top) or own / top) / rest
        if source.exists():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).symlink_to(source)
    home.mkdir(parents=True, exist_ok=True)


def main(arguments: Sequence[str]) -> int:
    """Make the environment that a shim asks for."""
    from mlops.base.errors import MlopsError
    from mlops_local.engines import ImageError

    try:
        make(Path(arguments[0]))
    except (MlopsError, ImageError, OSError) as error:
        print(f"The job's Python could not be made: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
