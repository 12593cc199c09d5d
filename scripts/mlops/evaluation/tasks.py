"""What the task `compare` of the DAG `model_training` does with both evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.base.errors import ContractError, EvidenceError, StorageError
from mlops.contracts.evidence import CHALLENGER, CHAMPION, Comparison, EvaluationReport
from mlops.evaluation.gate import compare

if TYPE_CHECKING:
    from mlops.clients.aws.s3 import Storage
    from mlops.contracts.runs import TrainingConf

_CORRECT = "Correct what `evaluate` writes; docs/reference/contracts.md shows the format."


def judge(conf: TrainingConf, champion_version: str | None, storage: Storage, created_at: str) -> Comparison:
    """Read what the evaluations wrote, and compare it.

    Args:
        conf: Of the run.
        champion_version: What is in production; None when nothing is.
        storage: Where the evaluations are.
        created_at: UTC, ISO 8601.

    Raises:
        EvidenceError: when an evaluation is missing, broken, or lacks a metric of the manifest.
    """
    return compare(
        conf,
        champion_version=champion_version,
        challenger=_new_report(storage, conf.evidence_uri + CHALLENGER),
        champion=_report(storage, conf.evidence_uri + CHAMPION) if champion_version else None,
        created_at=created_at,
    )


def _new_report(storage: Storage, uri: str) -> EvaluationReport:
    """The challenger's, of which nothing may be wrong.

    The champion's is read as it is: its container, of an earlier release maybe, writes the same each time,
    and no new model could take its place.
    """
    found = _report(storage, uri, foreign=True)
    wrong = found.confusion_matrix.impossible() if found.confusion_matrix else ""
    if wrong:
        raise EvidenceError(
            "The challenger's evaluation is broken", cause=f"{uri}.{wrong}", next_step=_CORRECT
        )
    return found


def _report(storage: Storage, uri: str, *, foreign: bool = False) -> EvaluationReport:
    who = uri.rsplit("/", 2)[1]
    try:
        return storage.read_record(EvaluationReport, uri, foreign=foreign)
    except StorageError as error:
        raise EvidenceError(
            f"The {who}'s evaluation cannot be read",
            cause=error.what,
            next_step="Have `evaluate` write evaluation.json to /opt/ml/processing/evaluation.",
        ) from error
    except ContractError as error:
        raise EvidenceError(
            f"The {who}'s evaluation is broken",
            cause="\n".join(part for part in (error.what, error.cause) if part),
            next_step=error.next_step or _CORRECT,
        ) from error
