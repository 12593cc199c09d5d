"""Inputs of includes against what the included files declare, at every level."""

from __future__ import annotations

from pathlib import Path

from mlops_local.pipelines.include_inputs import problems

STAGE = (
    "spec: {inputs: {model: {}, stage: {default: test}}}\n---\njob: {script: ['echo $[[ inputs.model ]]']}\n"
)
OUTER = """\
spec:
  inputs:
    name: {default: stage}
---
include:
  - local: /ci/$[[ inputs.name ]].yml
    inputs: {model: wine, stag: build}
job:
  script: !reference [.a, script]
"""


def _write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        file = folder / f"{name.replace('__', '/')}.yml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def _texts(root: Path, ci_file: str) -> list[str]:
    (root / ".gitlab-ci.yml").write_text(ci_file)
    found = problems(root, root / "includes", {}, {"PLATFORM": "platform/ml-ops"})
    return [problem.text for problem in found]


def test_a_misspelt_input_is_found(tmp_path: Path) -> None:
    _write(tmp_path, ci__stage=STAGE, ci__plain="a: {script: [true]}\n")

    assert _texts(tmp_path, "include: {local: ci/stage.yml, inputs: {model: a, stage: b}}") == []
    assert _texts(tmp_path, "include: [{local: /ci/stage.yml, inputs: {model: a, modle: b, stag_e: c}}]") == [
        "`ci/stage.yml`: unknown input arguments: modle, stag_e"
    ]
    assert _texts(tmp_path, "include: [{local: ci/stage.yml, inputs: {model: a, no: b}}]") == [
        "`ci/stage.yml`: unknown input arguments: False"
    ]
    assert _texts(tmp_path, "include: [{local: ci/*.yml, inputs: {model: a}}]") == [
        "`ci/plain.yml`: Given inputs not defined in the `spec` section of the included configuration file"
    ]


def test_a_pattern_may_have_two_stars_in_a_name(tmp_path: Path) -> None:
    _write(tmp_path, ci__stage=STAGE, ci__deep__plain="a: {script: [true]}\n")

    assert len(_texts(tmp_path, "include: [{local: 'ci/**.yml', inputs: {no-such: a}}]")) == 2
    assert len(_texts(tmp_path, "include: [{local: 'ci/**/*.yml', inputs: {no-such: a}}]")) == 2
    assert _texts(tmp_path, "include: [{local: 'c**i/***.yml', inputs: {no-such: a}}]") == []
    assert _texts(tmp_path, "include: [{project: 'a/**b', file: x.yml, inputs: {no-such: a}}]") == []


def test_includes_of_other_projects_and_of_includes(tmp_path: Path) -> None:
    _write(
        tmp_path / "includes" / "127.0.0.1" / "platform" / "ml-ops" / "1", ci__outer=OUTER, ci__stage=STAGE
    )

    assert _texts(
        tmp_path,
        "include:\n  - project: $PLATFORM\n    ref: '1'\n    file: [/ci/outer.yml]\n    inputs: {nam: x}\n",
    ) == ["`ci/outer.yml`: unknown input arguments: nam", "`ci/stage.yml`: unknown input arguments: stag"]


def test_the_rules_of_an_include_are_kept(tmp_path: Path) -> None:
    _write(tmp_path, ci__stage=STAGE)
    (tmp_path / ".gitlab-ci.yml").write_text(
        "spec: {inputs: {kind: {default: none}}}\n---\n"
        'include:\n  - local: ci/stage.yml\n    rules: [{if: \'"$[[ inputs.kind ]]" == "all"\'}]\n'
        "    inputs: {other: 1}\n"
    )

    (found,) = problems(tmp_path, tmp_path, {"kind": "all"}, {})

    assert found.rules == (({"if": '"all" == "all"'},),)


def test_a_file_that_includes_itself_ends(tmp_path: Path) -> None:
    _write(tmp_path, ci__loop="include: [{local: ci/loop.yml, inputs: {a: 1}, rules: [{if: $NEVER}]}]\n")

    assert len(_texts(tmp_path, "include: ci/loop.yml")) == 1
