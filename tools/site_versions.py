"""Builds the site of every line of releases, a folder each: `python -m tools.site_versions public`.

On GitLab's Free tier a project has one deployment of Pages; more at a time are Premium
(https://docs.gitlab.com/user/project/pages/parallel_deployments/). So each publication has all versions. They
are built from their tags, each by its own mkdocs.yml, and nothing is kept between two publications.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# A version takes 5 MB, and a self-managed GitLab may allow a site 100
# (https://docs.gitlab.com/administration/pages/#set-maximum-pages-size).
LINES = 10

_TAG = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
_REDIRECT = """\
<!doctype html>
<meta charset="utf-8">
<title>Moved</title>
<meta http-equiv="refresh" content="0; url={to}">
<script>location.replace("{to}" + location.hash)</script>
<a href="{to}">This page</a>
"""


@dataclass(frozen=True, order=True)
class Release:
    """A release of the platform."""

    major: int
    minor: int
    patch: int

    @property
    def version(self) -> str:
        """Its number."""
        return f"{self.line}.{self.patch}"

    @property
    def line(self) -> str:
        """What it shares with releases that differ in fixes only: the name of its folder."""
        return f"{self.major}.{self.minor}"


def newest(tags: Iterable[str]) -> list[Release]:
    """Return the newest release of each line, the newest first; other tags are left out."""
    matches = filter(None, map(_TAG.fullmatch, tags))
    found = sorted(Release(*map(int, match.groups())) for match in matches)
    return sorted({one.line: one for one in found}.values(), reverse=True)[:LINES]


def publish(repository: Path, target: Path, url: str) -> list[Release]:
    """Build the whole site into a folder, with the list from which readers choose a version.

    Args:
        repository: A clone that has the tags of releases.
        target: A folder that is not there yet.
        url: Where the site will be; empty when that is not known.
    """
    built = [one for one in newest(_git(repository, "tag").split()) if _build(repository, one, target, url)]
    if not built:
        raise SystemExit("No release has a site: none of the tags v1.2.3 here has a file mkdocs.yml")
    aliases: dict[str, list[str]] = {one.line: [] for one in built}
    for major in {one.major for one in built}:
        aliases[max(one for one in built if one.major == major).line].append(str(major))
    aliases[built[0].line].append("latest")
    for line, names in aliases.items():
        for name in names:
            _redirect(target, name, line)
    (target / "index.html").write_text(_REDIRECT.format(to="latest/"), encoding="utf-8")
    versions = [{"version": one.line, "title": one.version, "aliases": aliases[one.line]} for one in built]
    (target / "versions.json").write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
    return built


def _build(repository: Path, release: Release, target: Path, url: str) -> bool:
    """Build one release's site; a release from before there was a site has none."""
    tag, site = f"v{release.version}", (target / release.line).absolute()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        _git(repository, "worktree", "add", "--quiet", "--detach", str(tree), tag)
        try:
            if not (tree / "mkdocs.yml").is_file():
                return False
            # Not --strict: it was, by the versions of its own time.
            subprocess.run(
                [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(site)],
                cwd=tree,
                env={
                    **os.environ,
                    "NO_MKDOCS_2_WARNING": "1",  # a notice of the theme's, about its successor
                    "MLOPS_SITE_REF": tag,
                    "MLOPS_SITE_URL": f"{url.rstrip('/')}/{release.line}/" if url else "",
                },
                check=True,
            )
        finally:
            _git(repository, "worktree", "remove", "--force", str(tree))
    return True


def _redirect(target: Path, alias: str, line: str) -> None:
    """Make every page of a line be found below another name as well."""
    for page in (target / line).rglob("index.html"):
        below = page.parent.relative_to(target / line)
        place = target / alias / below
        place.mkdir(parents=True, exist_ok=True)
        to = Path(os.path.relpath(page.parent, place)).as_posix() + "/"
        (place / "index.html").write_text(_REDIRECT.format(to=to), encoding="utf-8")


def _git(repository: Path, *arguments: str) -> str:
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main(target: Path) -> None:
    """Build the site of the checkout's releases anew."""
    shutil.rmtree(target, ignore_errors=True)
    built = publish(Path(), target, os.environ.get("CI_PAGES_URL", ""))
    sys.stdout.write(f"The site has the releases {', '.join(one.version for one in built)}.\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
