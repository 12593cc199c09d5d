"""SageMaker writes every value as text; what is wrong is named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from penguins import hyper_parameters
from penguins.container import ModelError


@dataclass(frozen=True, kw_only=True)
class Example:
    strength: float = 1.0
    rounds: int = 10


def read(tmp_path: Path, text: str) -> Example:
    path = tmp_path / "hyperparameters.json"
    path.write_text(text, encoding="utf-8")
    return hyper_parameters.read(path, Example)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert hyper_parameters.read(tmp_path / "none.json", Example) == Example()


def test_texts_become_numbers(tmp_path: Path) -> None:
    assert read(tmp_path, '{"strength": "0.5", "rounds": "20"}') == Example(strength=0.5, rounds=20)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"round": "5"}', "did you mean 'rounds'?"),
        ('{"colour": "red"}', "allowed: strength, rounds"),
        ('{"rounds": "5.5"}', "'5.5'; it must be a whole number above 0"),
        ('{"strength": "strong"}', "'strong'; it must be a number above 0"),
        ('{"strength": "-1"}', "'-1'; it must be a number above 0"),
        ('{"strength": "nan"}', "'nan'; it must be a number above 0"),
        ('{"strength": null}', "None; it must be a number above 0"),
        ("[]", "one object of strings"),
        ("{", "no valid JSON"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
