from __future__ import annotations

import pytest

from mlops.base.errors import StorageError
from mlops.base.strict_json import dumps, loads
from mlops.clients.aws.s3 import StoredObject
from mlops.contracts.evidence import Lineage
from mlops.contracts.runs import TrainingConf
from mlops.training.lineage import data_fingerprint, lineage

A = StoredObject("data/a.csv", 10, "aaa")
B = StoredObject("data/b.csv", 20, "bbb")
BASE = data_fingerprint({"train": [A, B]})


def test_the_order_of_a_listing_does_not_matter() -> None:
    assert data_fingerprint({"train": [B, A]}) == BASE
    assert len(BASE) == 64


@pytest.mark.parametrize(
    "listings",
    [
        {"train": [A]},
        {"train": [A, StoredObject("data/b.csv", 20, "ccc")]},
        {"train": [A, StoredObject("data/b.csv", 21, "bbb")]},
        {"train": [A, StoredObject("data/c.csv", 20, "bbb")]},
        {"other": [A, B]},
        {"train": [A], "validation": [B]},
    ],
)
def test_any_change_of_the_data_changes_the_fingerprint(listings: dict[str, list[StoredObject]]) -> None:
    assert data_fingerprint(listings) != BASE


def test_an_empty_channel_is_found_before_a_machine_is_rented() -> None:
    with pytest.raises(StorageError, match="The channel 'validation' has no data"):
        data_fingerprint({"train": [A], "validation": []})


def test_a_lineage_names_everything_a_model_was_made_from(training: TrainingConf) -> None:
    record = lineage(
        training,
        training_job="train--x",
        model_artifact="s3://b/model.tar.gz",
        fingerprint=BASE,
        dag_run_id="run.1",
        created_at="2026-01-02T03:04:05+00:00",
    )
    assert record.image_uri == training.image_uri
    assert record.channels == training.training.channels
    assert record.origin.commit_sha == training.origin.commit_sha
    assert loads(Lineage, dumps(record), "lineage.json") == record
