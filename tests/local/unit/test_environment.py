"""What the local stack reads of an environment before Terraform does."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.base.errors import UsageError
from mlops_local.base.environment import find_environment


def test_the_quick_one_names_its_own_airflow() -> None:
    quick = find_environment("local")
    assert not quick.whole
    assert (quick.account, quick.region, quick.airflow_environment) == (
        "123456789012",
        "eu-west-1",
        "ml-ops-local",
    )


def test_every_other_one_is_whole_and_has_an_account_of_its_own() -> None:
    found = [find_environment(name) for name in ("dev", "stage", "prod")]
    assert all(environment.whole for environment in found)
    assert [environment.airflow_environment for environment in found] == [
        "ml-ops-dev",
        "ml-ops-stage",
        "ml-ops-prod",
    ]
    assert len({environment.account for environment in found}) == 3


@pytest.mark.parametrize("name", ["production", "", "..", "../environments/dev"])
def test_another_name_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        find_environment(name)
    assert "dev, local, prod, stage" in str(refused.value.next_step)


def test_values_without_an_account_are_refused(tmp_path: Path) -> None:
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "values.tfvars").write_text('environment = "trial"\nregion = "eu-west-1"\n')
    with pytest.raises(UsageError, match="does not set account_id"):
        find_environment("trial", tmp_path)
