"""Where SageMaker puts things in a container, and what it tells us about the model.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo.html
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


class ModelError(Exception):
    """Something a person can put right; its text is all they need to see."""


@dataclass(frozen=True)
class Paths:
    """Everything below `base`, which is /opt/ml in a container and any directory on a laptop."""

    base: Path

    @classmethod
    def from_environment(cls) -> Paths:
        return cls(Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")))

    @property
    def training_data(self) -> Path:
        return self.base / "input" / "data" / "train"

    @property
    def hyper_parameters(self) -> Path:
        return self.base / "input" / "config" / "hyperparameters.json"

    @property
    def model(self) -> Path:
        return self.base / "model"

    @property
    def failure(self) -> Path:
        """What `train` writes here becomes the training job's FailureReason."""
        return self.base / "output" / "failure"

    @property
    def message(self) -> Path:
        """What `evaluate` writes here becomes the processing job's ExitMessage."""
        return self.base / "output" / "message"

    @property
    def model_archive(self) -> Path:
        return self.base / "processing" / "model" / "model.tar.gz"

    @property
    def test_data(self) -> Path:
        return self.base / "processing" / "test"

    @property
    def evaluation(self) -> Path:
        return self.base / "processing" / "evaluation" / "evaluation.json"


@dataclass(frozen=True)
class Identity:
    """Which model this is; the pipeline sets these variables for every job."""

    name: str
    version: str
    training_data_uri: str
    training_data_fingerprint: str

    @classmethod
    def from_environment(cls, name: str) -> Identity:
        return cls(
            name=os.environ.get("MLOPS_MODEL", name),
            version=os.environ.get("MLOPS_MODEL_VERSION", "0.0.0-local"),
            training_data_uri=os.environ.get("MLOPS_TRAINING_DATA", ""),
            training_data_fingerprint=os.environ.get("MLOPS_DATA_FINGERPRINT", ""),
        )
