"""Values that a manifest cannot hold are refused with their line, and never end in an unexpected error."""

from __future__ import annotations

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.base.errors import ManifestError
from mlops.manifest import errors, reader
from mlops.manifest import schema as manifest_schema
from tests.unit.manifest.test_reader import MINIMAL, refused, replaced, schema, write

# What people and editors write by accident, and what breaks readers: YAML's tags and escapes, halves of
# characters, numbers without end, nesting, bytes of other encodings.
ODD = [
    *(f"!!{tag} {value}" for tag in ("int", "float", "bool", "null", "timestamp") for value in ("abc", '""')),
    *(f"!!{tag} aGk=" for tag in ("binary", "set", "omap", "python/tuple", "str")),
    *(
        "{photo: !!binary aGk=}",
        "!!set {a}",
        "!!omap [a: 1]",
        "{[1]: 2}",
        "{!!str [1]: 2}",
        "!!str [1]",
        "!!map x",
        "{7: 8}",
        "*a",
        "&a [*a]",
        "<<: 1",
    ),
    *('"\\ud83d"', '{a: "\\ud83d"}', '{"\\ud83d": 1}', '"\\0"', '"\\UFFFFFFFF"', '"\u202ex"', "\x00", "\x07"),
    *("9" * 5000, "0x" + "f" * 5000, "-0x" + "f" * 5000, "9" * 5000 + "d", "99999999999d", "1e999", ".nan"),
    *(
        "[" * 700,
        "[" * 40 + "]" * 40,
        "- " * 50,
        "29d",
        "10s",
        "fraud_team",
        "\u2028",
        "\r",
        "\t",
        "é",
        "~",
        "#",
    ),
]


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("place", ["{instances: [[1, 0, -1]]}", "data/phishing-url/train/", "0.8"])
def test_an_odd_value_is_refused_with_its_line_or_taken(tmp_path: Path, place: str, value: str) -> None:
    path = tmp_path / "mlops.yml"
    path.write_text(replaced(place, value), encoding="utf-8", newline="")
    try:
        json.dumps(reader.load(path).model().smoke_test_body)
    except ManifestError as error:
        assert re.match(rf"{re.escape(str(path))}(:\d+: | has \d+ problems$)", error.what)
        assert error.next_step


@pytest.mark.parametrize(
    ("raw", "message", "cause"),
    [
        (b"project: a\nmodels: caf\xe9\n", ":2: this is not text in UTF-8", "byte 0xe9"),
        ("project: a\n".encode("utf-16"), ":1: this is not text in UTF-8", "byte 0xff"),
        (b"project: a\r\nmodels: a\x07b\n", ":2: this is not valid YAML", "U+0007"),
        (b"project: a\nmodels: a\x00b\n", ":2: this is not valid YAML", "U+0000"),
        (b"a:\n  b: !!int abc\n", ":2: this is not valid YAML", "'abc' is not a value of the type !!int"),
        (b"a:\n  b: !!bool abc\n", ":2: this is not valid YAML", "'abc' is not a value of the type !!bool"),
        (b"a:\n  b: !!binary aGk=\n", ":2: this is not valid YAML", "!!binary"),
        (b"a:\n  b: !!set {c}\n", ":2: this is not valid YAML", "!!set"),
        (b'a:\n  b: "\\ud83d"\n', ":2: this text cannot be kept", "half of a character"),
        (b'a:\n  "\\ud83d": b\n', ":2: this text cannot be kept", "half of a character"),
        (b'a:\n  b: "c\\0"\n', ":2: this text cannot be kept", "U+0000"),
        (b"a:\n  b: " + b"9" * 5000, ":2: this number is too long", "5000 characters"),
        (b"a:\n  b: 0x" + b"f" * 5000, ":2: this number is too long", "5002 characters"),
        (b"a:\n  b: " + b"[" * 700, ":2: too many levels", ""),
        (b'a:\n  b: "\\UFFFFFFFF"\n', ":2: this is not valid YAML", ""),
        ("é".encode() * 200_000, "larger than 256 KB", ""),
    ],
)
def test_what_no_manifest_can_hold_has_a_line(tmp_path: Path, raw: bytes, message: str, cause: str) -> None:
    (tmp_path / "mlops.yml").write_bytes(raw)
    with pytest.raises(ManifestError) as caught:
        reader.load(tmp_path / "mlops.yml")
    assert message in caught.value.what
    assert cause in caught.value.cause


def test_a_body_may_be_pasted_json_with_an_emoji_in_two_escapes(tmp_path: Path) -> None:
    model = reader.load(
        write(tmp_path, replaced("{instances: [[1, 0, -1]]}", r'{"text": "\ud83d\ude00"}'))
    ).model()
    assert json.loads(model.smoke_test_body) == {"text": "😀"}
    text = replaced("{instances: [[1, 0, -1]]}", r'"\ud83d\ude00"')
    assert reader.load(write(tmp_path, text)).model().smoke_test_body == "😀"


@pytest.mark.parametrize(
    ("section", "allowed"),
    [
        ("max_runtime: 29d", "at most 28d"),
        ("max_runtime: 700h", "at most 672h"),
        ("max_runtime: 10s", "at least 60s"),
        ("max_runtime: 9999999999999d", "a time with its unit"),
        ("instance_count: 101", "at most 100"),
    ],
)
def test_a_limit_has_the_unit_that_was_written(tmp_path: Path, section: str, allowed: str) -> None:
    error = refused(tmp_path, replaced("    evaluation:", f"      {section}\n    evaluation:"))
    assert error.cause.endswith(f"allowed: {allowed}") or f"allowed: {allowed}," in error.cause


def test_a_limit_that_the_written_unit_cannot_say_has_its_own(tmp_path: Path) -> None:
    assert "at most 1h" in refused(tmp_path, MINIMAL + "      startup_timeout: 1d\n").cause


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("      smoke_test:\n        body: [.nan]\n", "Write only finite numbers."),
        ("      smoke_test:\n        body_file: nul.txt\n", "Take it out of the file."),
        ("      smoke_test:\n        body_file: latin.txt\n", "Save the file in UTF-8."),
        ("      smoke_test:\n        body_file: gone.json\n", "Commit the file."),
    ],
)
def test_a_body_that_cannot_be_sent_has_advice_of_its_own(tmp_path: Path, text: str, hint: str) -> None:
    (tmp_path / "nul.txt").write_bytes(b"a\0b")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    error = refused(tmp_path, MINIMAL.partition("      smoke_test:")[0] + text)
    assert error.what.startswith(f"{tmp_path / 'mlops.yml'}:14: ")
    assert error.next_step == hint


def patterns(part: Any) -> set[str]:
    """Every pattern of a JSON schema, for values and for keys."""
    if isinstance(part, list):
        return set().union(*map(patterns, part))
    if not isinstance(part, dict):
        return set()
    own = {part["pattern"]} if isinstance(part.get("pattern"), str) else set()
    return own.union(part.get("patternProperties", ()), *map(patterns, part.values()))


def test_every_pattern_has_words_for_people() -> None:
    found = patterns(schema()) - {manifest_schema.DURATION}  # checked by `seconds`, which has its own words
    assert len(found) > 4
    for pattern in found:
        words = errors._allowed("string_pattern_mismatch", {"pattern": pattern}, "")
        assert words
        assert pattern not in words


@pytest.mark.parametrize("name", ["fraud_team", "Fraud", "'#fraud'", "1st"])
@pytest.mark.parametrize(
    ("text", "line"),
    [
        (replaced("    deployment:", "    notifications:\n      channel: NAME\n    deployment:"), 13),
        (MINIMAL + "environments: {prod: {phishing-url: {notifications: {channel: NAME}}}}\n", 15),
    ],
)
def test_a_mistyped_channel_is_named(tmp_path: Path, text: str, line: int, name: str) -> None:
    error = refused(tmp_path, text.replace("NAME", name))
    assert error.what.startswith(f"{tmp_path / 'mlops.yml'}:{line}: ")
    assert "notifications.channel is not valid" in error.what
    assert "lower-case letters, digits and hyphens" in error.cause


def mutants() -> st.SearchStrategy[bytes]:
    """The minimal manifest with some of its values replaced, or cut into at any byte."""
    values = re.findall(r"[^\s:{}]+(?=\n|$)", MINIMAL)
    odd = st.one_of(st.sampled_from(ODD), st.text(max_size=5))

    def replace_value(change: tuple[str, str]) -> bytes:
        return MINIMAL.replace(change[0] + "\n", change[1] + "\n").encode(errors="surrogatepass")

    def cut_into(change: tuple[int, int, bytes]) -> bytes:
        raw = MINIMAL.encode()
        return raw[: change[0]] + change[2] + raw[change[0] + change[1] :]

    anywhere = st.tuples(
        st.integers(0, len(MINIMAL)),
        st.integers(0, 10),
        st.one_of(odd.map(lambda text: text.encode(errors="surrogatepass")), st.binary(max_size=3)),
    )
    return st.one_of(st.tuples(st.sampled_from(values), odd).map(replace_value), anywhere.map(cut_into))


@settings(max_examples=150, deadline=None)
@given(mutants())
def test_no_mutant_is_more_than_a_manifest_error_with_a_line(raw: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "mlops.yml")
        path.write_bytes(raw)
        try:
            reader.load(path)
        except ManifestError as error:
            assert re.search(r"mlops\.yml(:\d+: | has \d+ problems$)", error.what.partition("\n")[0])
