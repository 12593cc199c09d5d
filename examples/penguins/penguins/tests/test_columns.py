"""What counts as a penguin, and where the data come from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from penguins.columns import COLUMNS, inputs_of, read_examples, read_row, vectors
from penguins.container import ModelError
from penguins.split import split

DATA = Path(__file__).parents[2] / "data"
GENTOO: dict[str, object] = {
    "species": "Gentoo",
    "island": "Biscoe",
    "bill_length_mm": 47.5,
    "bill_depth_mm": 15,
    "flipper_length_mm": "218",
    "body_mass_g": 4950,
    "sex": "female",
}


def test_numbers_and_their_texts_mean_the_same() -> None:
    assert read_row(GENTOO, COLUMNS, "here") == read_row(
        {**GENTOO, "flipper_length_mm": 218.0}, COLUMNS, "here"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"body_mass_g": 4.95}, "here: 'body_mass_g' is '4.95'; allowed: a number from 1000 to 10000"),
        ({"body_mass_g": "heavy"}, "here: 'body_mass_g' is 'heavy'"),
        ({"body_mass_g": True}, "here: 'body_mass_g' is 'True'"),
        ({"body_mass_g": None}, "here: 'body_mass_g' is 'None'"),
        ({"body_mass_g": float("nan")}, "here: 'body_mass_g' is 'nan'"),
        ({"body_mass_g": 10**400}, "here: 'body_mass_g' is '1000"),
        ({"sex": "Male"}, "here: 'sex' is 'Male'; allowed: female, male, unknown"),
        ({"sex": 1}, "here: 'sex' is '1'"),
        ({"ilsand": "Biscoe"}, "here: unknown column 'ilsand'; did you mean 'island'?"),
        ({"colour": "black"}, "here: unknown column 'colour'; allowed: species"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_row({**GENTOO, **change}, COLUMNS, "here")
    assert message in str(caught.value)


def test_every_column_but_the_label_is_required() -> None:
    names = inputs_of("species")
    asked = {name: GENTOO[name] for name in names if name != "island"}
    with pytest.raises(ModelError, match="column 'island' is missing"):
        read_row(asked, names, "here")
    with pytest.raises(ModelError, match="unknown column 'species'"):
        read_row(GENTOO, names, "here")


def test_a_category_is_a_number_for_each_of_its_values() -> None:
    row = read_row(GENTOO, COLUMNS, "here")
    assert vectors([row], ["flipper_length_mm", "species", "sex"]) == [[218.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "holds no CSV file with penguins"),
        (",".join(COLUMNS) + "\n", "holds no CSV file with penguins"),
        (",".join(COLUMNS) + "\nGentoo\n", "penguins.csv, line 2: 'island' is ''"),
        (",".join(COLUMNS) + "\n" + "1," * 9 + "\n", "penguins.csv, line 2: unknown column"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "penguins.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        read_examples(tmp_path)


def test_the_committed_split_is_what_the_script_makes(tmp_path: Path) -> None:
    split(DATA / "penguins.csv", tmp_path)
    for part in ("train", "test"):
        made = (tmp_path / part / "penguins.csv").read_bytes()
        assert made == (DATA / part / "penguins.csv").read_bytes()


def test_both_parts_have_the_same_share_of_each_species() -> None:
    train, test = (
        Counter(row["species"] for row in read_examples(DATA / part)) for part in ("train", "test")
    )
    assert (train.total(), test.total()) == (239, 103)
    for species, count in train.items():
        assert count / 239 == pytest.approx(test[species] / 103, abs=0.01)
