"""Where the platform's bucket keeps what belongs to a model."""

from __future__ import annotations

from mlops.contracts.evidence import RECIPE
from mlops.contracts.versions import ModelVersion


def evidence_uri(bucket: str, project: str, model: str, version: ModelVersion) -> str:
    """The prefix that all evidence of a model version stands below."""
    return f"s3://{bucket}/{project}/{model}/{version.tag}/"


def recipe_uri(bucket: str, project: str, model: str) -> str:
    """Where it is kept how a model is trained, for those who have no manifest at hand."""
    return f"s3://{bucket}/{project}/{model}/{RECIPE}"


def capture_uri(bucket: str, project: str, model: str) -> str:
    """The prefix below which SageMaker keeps a model's requests and answers."""
    return f"s3://{bucket}/{project}/{model}/capture/"
