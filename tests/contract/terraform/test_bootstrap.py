"""`mlops terraform bootstrap`: the platform's own root, the real S3 backend, a local AWS without any bucket."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import moves
from .checkouts import STATE, Checkout
from .conftest import CHECKOUT, LocalAws

STATE_KEY = "ml-ops/bootstrap.tfstate"
KEYS = {STATE_KEY}
_OVERRIDE = {
    "provider": {
        "aws": {
            "skip_credentials_validation": True,
            "skip_metadata_api_check": True,
            "s3_use_path_style": True,
            "max_retries": 2,
        }
    },
    # The provider waits a minute for it.
    "resource": {"aws_s3_bucket_lifecycle_configuration": {"state": {"count": 0}}},
}


@pytest.fixture(scope="module")
def clone(aws: LocalAws, installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    folder = tmp_path_factory.mktemp("clone")
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    root = folder / "terraform"
    for part in ("bootstrap", "modules"):
        ignored = shutil.ignore_patterns(".terraform", "tests")
        shutil.copytree(CHECKOUT / "terraform" / part, root / part, ignore=ignored)
    (root / "bootstrap" / "local_override.tf.json").write_text(json.dumps(_OVERRIDE))
    with Checkout(folder, aws).attached(installed) as checkout:
        checkout.environment("quick")
        yield checkout


def keys(clone: Checkout) -> set[str]:
    found = clone.aws.client("s3").list_objects_v2(Bucket=STATE)
    return {one["Key"] for one in found.get("Contents", ())}


def stored(clone: Checkout) -> dict[str, Any]:
    """The root's state in the bucket."""
    body = clone.aws.client("s3").get_object(Bucket=STATE, Key=STATE_KEY)["Body"].read()
    return dict(json.loads(body))


def test_credentials_of_another_account_make_nothing(clone: Checkout) -> None:
    clone.environment("foreign", account_id="999999999999")
    done = clone.mlops("bootstrap", "foreign")
    assert done.code == 14
    assert not clone.aws.client("s3").list_buckets()["Buckets"]


def test_the_bucket_holds_the_state_of_itself(clone: Checkout) -> None:
    done = clone.mlops("bootstrap", "quick")
    assert done.code == 0, done.err
    assert f"the state's bucket is {STATE}" in done.out
    assert "next: mlops terraform plan quick" in done.out
    assert keys(clone) == KEYS
    assert clone.aws.client("s3").get_bucket_versioning(Bucket=STATE)["Status"] == "Enabled"
    assert not list(clone.folder.rglob("terraform.tfstate*.backup"))


def test_again_there_is_nothing_to_do(clone: Checkout) -> None:
    done = clone.mlops("bootstrap", "quick", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["changes"] == []


def test_it_goes_on_where_it_was_stopped(clone: Checkout) -> None:
    """Between the bucket and the move of its state, the state is a file. This one has the addresses of before module
    private-bucket: its resources move, and none is replaced.
    """
    s3 = clone.aws.client("s3")
    file = clone.folder / ".mlops" / "terraform" / "quick" / "bootstrap" / "terraform.tfstate"
    state = stored(clone)
    file.write_text(json.dumps(moves.undone(state, {"": "bootstrap"})))
    s3.delete_object(Bucket=STATE, Key=STATE_KEY)
    done = clone.mlops("bootstrap", "quick", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["changes"] == []
    assert keys(clone) == KEYS
    assert not file.exists()
    assert moves.addresses(stored(clone)) == moves.addresses(state)


def test_a_bucket_that_somebody_else_made(clone: Checkout) -> None:
    clone.aws.client("s3").delete_object(Bucket=STATE, Key=STATE_KEY)
    done = clone.mlops("bootstrap", "quick")
    assert done.code == 62
    assert f"There is a bucket {STATE}, but its ml-ops/bootstrap.tfstate knows nothing of it" in done.err


def test_a_folder_without_the_root(clone: Checkout, tmp_path: Path) -> None:
    shutil.copytree(clone.folder / "terraform" / "environments", tmp_path / "terraform" / "environments")
    done = Checkout(tmp_path, clone.aws).mlops("bootstrap", "quick")
    assert done.code == 2
    assert "There is no terraform/bootstrap" in done.err
