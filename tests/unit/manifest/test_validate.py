"""`mlops validate` says what a manifest holds, and prints its schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlops import cli
from mlops.manifest.schema import json_schema

MANIFEST = """\
project: web-safety
models:
  phishing-url:
    training: {channels: {train: data/train/}}
    evaluation: {data: data/test/, metrics: [{name: f1}]}
    deployment: {smoke_test: {body: "1"}}
environments:
  prod: {phishing-url: {deployment: {instance_count: 3}}}
"""


@pytest.fixture(autouse=True)
def _repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlops.yml").write_text(MANIFEST)


def test_a_valid_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate"]) == 0
    shown = capsys.readouterr().out
    assert "mlops.yml is valid. Project web-safety; models: phishing-url; overrides for: prod" in shown
    assert "next: mlops containerize --manifest mlops.yml --model phishing-url" in shown


def test_json_has_the_overrides_of_an_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", "--json", "--environment", "prod"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["models"]["phishing-url"]["deployment"]["instance_count"] == 3


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_the_schema(capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    assert cli.main(["validate", "--schema", *more]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_a_mistake_has_the_exit_code_of_the_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mlops.yml").write_text(MANIFEST.replace("training", "trainig"))
    assert cli.main(["validate"]) == 10
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "mlops.yml:4: models.phishing-url.trainig is not a manifest key" in shown.err
    assert "Did you mean 'training'?" in shown.err


def test_a_missing_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", "--manifest", "gone.yml"]) == 10
    assert "There is no manifest gone.yml" in capsys.readouterr().err


@pytest.mark.parametrize("unseen", ["\u202e", "\u2066", "\u2028", "\x85"])
def test_a_message_shows_what_is_not_seen(capsys: pytest.CaptureFixture[str], unseen: str) -> None:
    escaped = f"\\u{ord(unseen):04x}"
    text = json.dumps(f"x{unseen}")
    Path("mlops.yml").write_text(MANIFEST.replace("web-safety", text))
    assert cli.main(["validate"]) == 10
    shown = capsys.readouterr().err
    assert unseen not in shown
    assert escaped in shown


def test_a_name_that_is_not_text_is_shown(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    name = "caf\udce9.yml"  # how Python reads the byte 0xe9 of a file's name
    Path(name).write_text(MANIFEST)
    assert cli.main(["validate", "--manifest", name]) == 0
    assert b"caf\\udce9.yml is valid" in capfdbinary.readouterr().out
