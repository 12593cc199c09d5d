from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.base.errors import ContractError
from mlops.base.strict_json import decode, dumps, encode, loads


@dataclass(frozen=True, kw_only=True)
class Leaf:
    name: str
    weight: float
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Tree:
    leaves: tuple[Leaf, ...]
    by_name: dict[str, Leaf] = field(default_factory=dict)
    kind: Literal["oak", "elm"] = "oak"
    note: str | None = None
    tall: bool = False


LEAVES = st.builds(
    Leaf, name=st.text(), weight=st.floats(allow_nan=False, allow_infinity=False), count=st.integers()
)
TREES = st.builds(
    Tree,
    leaves=st.lists(LEAVES, max_size=3).map(tuple),
    by_name=st.dictionaries(st.text(), LEAVES, max_size=3),
    kind=st.sampled_from(["oak", "elm"]),
    note=st.none() | st.text(),
    tall=st.booleans(),
)


@given(TREES)
def test_a_record_comes_back_as_it_went(tree: Tree) -> None:
    assert loads(Tree, dumps(tree), "tree") == tree
    assert decode(Tree, json.loads(json.dumps(encode(tree))), "tree") == tree


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "tree must be an object"),
        ({}, "tree lacks the key 'leaves'"),
        ({"leaves": {}}, "tree.leaves must be a list"),
        ({"leaves": [{"name": 1, "weight": 1}]}, r"tree.leaves\[0\].name must be a string"),
        ({"leaves": [{"name": "a", "weight": "1"}]}, r"tree.leaves\[0\].weight must be a number"),
        (
            {"leaves": [{"name": "a", "weight": 1, "count": True}]},
            r"tree.leaves\[0\].count must be a whole number",
        ),
        (
            {"leaves": [{"name": "a", "weight": 1, "count": 1.5}]},
            r"tree.leaves\[0\].count must be a whole number",
        ),
        ({"leaves": [], "kind": "ash"}, "tree.kind must be one of oak, elm"),
        ({"leaves": [], "tall": 1}, "tree.tall must be true or false"),
        ({"leaves": [], "by_name": []}, "tree.by_name must be an object"),
        ({"leaves": [], "nota": ""}, "Did you mean 'note'"),
        ({"leaves": [], "xyz": ""}, "Allowed: leaves, by_name, kind, note, tall"),
    ],
)
def test_a_wrong_document_names_the_path_and_what_is_allowed(document: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        decode(Tree, document, "tree")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_json_without_finite_numbers_is_refused(number: str) -> None:
    with pytest.raises(ContractError, match="which is not a number"):
        loads(Leaf, f'{{"name": "a", "weight": {number}}}', "leaf")


@pytest.mark.parametrize("number", ["1e999", "1" * 400])
def test_a_number_too_large_for_a_float_is_refused(number: str) -> None:
    with pytest.raises(ContractError, match="finite"):
        loads(Leaf, f'{{"name": "a", "weight": {number}}}', "leaf")


@pytest.mark.parametrize("text", ["", "{", b"\xff\xfe", "[" * 100_000])
def test_what_is_no_json_says_so(text: str | bytes) -> None:
    with pytest.raises(ContractError, match="leaf is not valid JSON"):
        loads(Leaf, text, "leaf")
