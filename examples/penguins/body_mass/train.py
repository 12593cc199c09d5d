"""Train the model on penguins that were weighed."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from body_mass.model import FEATURES, LABEL
from penguins import artifact, hyper_parameters
from penguins.columns import Row, vectors
from penguins.container import Identity, Paths

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class HyperParameters:
    """What `training.hyper_parameters` in mlops.yml may set."""

    regularisation: float = 1.0
    """scikit-learn's alpha: larger means a simpler model."""


def train(rows: list[Row], paths: Paths, identity: Identity) -> artifact.Model:
    """Fit the model.

    Raises:
        ModelError: when hyper-parameters are wrong.
    """
    parameters = hyper_parameters.read(paths.hyper_parameters, HyperParameters)
    logger.info("training on %d penguins with %s", len(rows), parameters)
    estimator = make_pipeline(StandardScaler(), Ridge(alpha=parameters.regularisation))
    estimator.fit(vectors(rows, FEATURES), [row[LABEL] for row in rows])
    return artifact.Model(estimator, artifact.describe(identity, len(rows), FEATURES, parameters))
