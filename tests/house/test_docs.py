"""The documents build into a site, and what a reader could not find ends the build."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mkdocs.utils.yaml import yaml_load

CHECKOUT = Path(__file__).parents[2]


def build(config: Path, target: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config)]
    outside = ("CI_PROJECT_URL", "CI_COMMIT_SHA", "MLOPS_SITE_URL", "MLOPS_SITE_REF")
    kept = {name: value for name, value in os.environ.items() if name not in outside}
    return subprocess.run(
        [*command, "--site-dir", str(target)],
        env={**kept, "NO_MKDOCS_2_WARNING": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    project = "https://gitlab.example.com/platform/ml-ops"

    done = build(CHECKOUT / "mkdocs.yml", tmp_path, CI_PROJECT_URL=project, MLOPS_SITE_REF="v1.2.3")

    assert done.returncode == 0, done.stdout
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert f'href="{project}/-/blob/v1.2.3/CONTRIBUTING.md"' in page
    install = (tmp_path / "operate" / "install" / "index.html").read_text(encoding="utf-8")
    assert f'href="{project}/-/blob/v1.2.3/terraform/root/README.md"' in install
    assert "documents of an older release" in page
    records = (tmp_path / "reference" / "records" / "index.html").read_text(encoding="utf-8")
    assert "<td><code>float | None</code></td>" in records
    pages = [file for file in (CHECKOUT / "docs").rglob("*.md") if file.name != "index.md"]
    assert [
        file
        for file in pages
        if not (tmp_path / file.relative_to(CHECKOUT / "docs").with_suffix("") / "index.html").is_file()
    ] == []


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("[it](other.md)", "'other.md'"),
        ("[it](#no-such-heading)", "#no-such-heading"),
        ("[it](../no-such-file.md)", "../no-such-file.md, which is not there"),
        ("", "forgotten.md"),
    ],
    ids=["a page", "a heading", "a file outside", "a page that the navigation lacks"],
)
def test_what_leads_nowhere_ends_the_build(tmp_path: Path, page: str, said: str) -> None:
    """By the settings of mkdocs.yml, in a folder of its own."""
    settings = yaml_load((CHECKOUT / "mkdocs.yml").read_text(encoding="utf-8"))
    small = {
        "site_name": "small",
        "validation": settings["validation"],
        "hooks": [str(CHECKOUT / hook) for hook in settings["hooks"]],
        "nav": ["index.md"],
        "plugins": [],
    }
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text(f"# Home\n\n{page}\n", encoding="utf-8")
    if not page:
        (docs / "forgotten.md").write_text("# Forgotten\n", encoding="utf-8")
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(small), encoding="utf-8")

    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")

    assert done.returncode == 1
    assert said in done.stdout


def test_the_first_page_leads_to_every_other() -> None:
    docs = CHECKOUT / "docs"
    links = set(re.findall(r"\]\(([^)#]+)", (docs / "index.md").read_text(encoding="utf-8")))
    pages = {str(file.relative_to(docs)) for file in docs.rglob("*.md")} - {"index.md"}
    assert sorted(pages - links) == []
