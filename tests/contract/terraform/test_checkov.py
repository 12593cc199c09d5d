"""checkov finds nothing in Terraform, passes over nothing without a reason, and would find what it should."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[3]
TERRAFORM = CHECKOUT / "terraform"
CHECKOV = CHECKOUT / ".venv-checkov" / "bin" / "checkov"
# As in the Makefile.
ENTROPY = "4.5"
# One line, with enough words to be a reason.
SKIP = re.compile(r"#checkov:skip=(CKV2?_[A-Z]+_\d+): (\S+(?: \S+){3,})")


def review(folder: Path) -> list[dict[str, Any]]:
    """What checkov says of the folder, a report for each kind of check."""
    assert CHECKOV.exists(), "checkov is missing. Run: make .venv-checkov/.ready"
    values = folder / "environments" / "prod" / "values.tfvars"
    options: list[str | Path] = ["--directory", folder, "--var-file", values, "--output", "json"]
    answer = subprocess.run(
        [CHECKOV, *options],
        cwd=folder,
        # in one process: its processes for a few files each cost a third more
        env=os.environ | {"CHECKOV_ENTROPY_KEYWORD_LIMIT": ENTROPY, "CHECKOV_PARALLELIZATION_TYPE": "none"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert answer.returncode in (0, 1), answer.stderr
    reports = json.loads(answer.stdout)
    return reports if isinstance(reports, list) else [reports]


def checks(reports: list[dict[str, Any]], result: str) -> set[tuple[str, str]]:
    """Check and file of every check with that result."""
    return {
        (check["check_id"], check["file_path"].lstrip("/"))
        for report in reports
        for check in report["results"][f"{result}_checks"]
    }


def written(folder: Path) -> list[tuple[str, str]]:
    """Check and file of every skip in the sources."""
    found = []
    for file in sorted(folder.rglob("*")):
        if file.suffix not in {".tf", ".hcl", ".tfvars"} or ".terraform" in file.parts:
            continue
        for line in file.read_text(encoding="utf-8").splitlines():
            if "checkov:skip" in line:
                match = SKIP.search(line)
                assert match, f"{file.relative_to(folder)}: no reason in {line.strip()!r}"
                found.append((match[1], str(file.relative_to(folder))))
    return found


def copy(folder: Path, *parts: str) -> Path:
    """Some of the folder of Terraform, without what Terraform fetched; with the options of a review."""
    shutil.copy(TERRAFORM / ".checkov.yaml", folder)
    for part in parts:
        ignored = shutil.ignore_patterns(".terraform")
        shutil.copytree(TERRAFORM / part, folder / part, ignore=ignored, dirs_exist_ok=True)
    return folder


def test_nothing_fails_and_every_skip_is_needed_and_has_a_reason(tmp_path: Path) -> None:
    everything = copy(tmp_path, ".")
    reports = review(everything)
    assert not checks(reports, "failed")
    assert len(checks(reports, "passed")) > 50
    assert checks(reports, "skipped") == set(written(everything))


def test_a_bad_module_is_found(tmp_path: Path) -> None:
    bad = {
        "modules/encryption/main.tf": ("enable_key_rotation     = true", "enable_key_rotation     = false"),
        "modules/private-bucket/main.tf": (
            "block_public_policy     = true",
            "block_public_policy     = false",
        ),
        "modules/registry/main.tf": ("scan_on_push = true", "scan_on_push = false"),
    }
    # the values are its options, the rest would be read for nothing
    few = copy(tmp_path, "environments/prod", *(str(Path(name).parent) for name in bad))
    for name, (good, changed) in bad.items():
        text = (few / name).read_text(encoding="utf-8")
        assert good in text
        (few / name).write_text(text.replace(good, changed), encoding="utf-8")
    secret = base64.b64encode(hashlib.sha256(b"a secret").digest()).decode()
    (few / "root").mkdir()
    (few / "root" / "secret.tf").write_text(f'locals {{\n  password = "{secret}"\n}}\n', encoding="utf-8")
    failed = checks(review(few), "failed")
    assert {
        ("CKV_AWS_7", "modules/encryption/main.tf"),
        ("CKV_AWS_54", "modules/private-bucket/main.tf"),
        ("CKV_AWS_163", "modules/registry/main.tf"),
        ("CKV_SECRET_6", "root/secret.tf"),
    } <= failed


@pytest.mark.parametrize("comment", ["#checkov:skip=CKV_AWS_18", "#checkov:skip=CKV_AWS_18: later"])
def test_a_skip_without_a_reason_is_refused(comment: str, tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(
        f'resource "aws_s3_bucket" "this" {{\n  {comment}\n}}\n', encoding="utf-8"
    )
    with pytest.raises(AssertionError, match="no reason"):
        written(tmp_path)
