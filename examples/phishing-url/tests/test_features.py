"""What counts as a website, and where the training data come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from phishing_url.container import ModelError
from phishing_url.features import COLUMNS, read_examples, read_site
from phishing_url.split import split

DATA = Path(__file__).parent.parent / "data"
SITE: dict[str, object] = dict.fromkeys(COLUMNS, 1)


def test_numbers_and_their_texts_mean_the_same() -> None:
    assert read_site(SITE, "here") == read_site(dict.fromkeys(COLUMNS, "1.0"), "here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"https": 0.7}, "here: 'https' is '0.7'; allowed: 0, 0.5, 1"),
        ({"ip_in_url": "0.5"}, "here: 'ip_in_url' is '0.5'; allowed: 0, 1"),
        ({"https": "yes"}, "here: 'https' is 'yes'; allowed"),
        ({"https": True}, "here: 'https' is 'True'; allowed"),
        ({"https": None}, "here: 'https' is 'None'; allowed"),
        ({"https": float("nan")}, "here: 'https' is 'nan'; allowed"),
        ({"https": 10**400}, "here: 'https' is '1000"),
        ({"htps": 1}, "here: unknown feature 'htps'; did you mean 'https'?"),
        ({"colour": 1}, "here: unknown feature 'colour'; allowed: empty_server"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_site({**SITE, **change}, "here")
    assert message in str(caught.value)


def test_every_feature_is_required() -> None:
    with pytest.raises(ModelError, match="feature 'https' is missing"):
        read_site({name: 1 for name in COLUMNS if name != "https"}, "here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found 0 rows"),
        (f"{','.join(COLUMNS)},is_phishing\n{'1,' * 9}1\n", "found 1 rows"),
        (f"{','.join(COLUMNS)},is_phishing\n{'1,' * 9}2\n", "line 2: 'is_phishing' is '2'"),
        (f"{','.join(COLUMNS)},is_phishing\n{'1,' * 10}1\n", "line 2: unknown feature"),
        (f"{','.join(COLUMNS)}\n{'1,' * 8}1\n", "line 2: 'is_phishing' is None"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "websites.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        read_examples(tmp_path)
    assert message in str(caught.value)


def test_the_committed_split_is_what_the_script_makes(tmp_path: Path) -> None:
    split(DATA / "websites.csv", tmp_path)
    for part in ("train", "test"):
        made = (tmp_path / part / "websites.csv").read_bytes()
        assert made == (DATA / part / "websites.csv").read_bytes()


def test_both_parts_have_the_same_share_of_phishing() -> None:
    shares = [sum(labels) / len(labels) for _, labels in map(read_examples, (DATA / "train", DATA / "test"))]
    assert shares == pytest.approx([548 / 1250, 548 / 1250], abs=0.002)
