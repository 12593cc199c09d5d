"""Train the model on penguins whose species is known."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from penguins import artifact, hyper_parameters
from penguins.columns import SPECIES, Row, vectors
from penguins.container import Identity, ModelError, Paths
from species.model import FEATURES, LABEL

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class HyperParameters:
    """What `training.hyper_parameters` in mlops.yml may set."""

    inverse_regularisation: float = 1.0
    """scikit-learn's C: smaller means a simpler model."""
    max_iterations: int = 1000


def train(rows: list[Row], paths: Paths, identity: Identity) -> artifact.Model:
    """Fit the model.

    Raises:
        ModelError: when a species is missing, hyper-parameters are wrong, or training does not converge.
    """
    parameters = hyper_parameters.read(paths.hyper_parameters, HyperParameters)
    labels = [row[LABEL] for row in rows]
    if missing := set(SPECIES) - set(labels):
        raise ModelError(f"The training data have no {', '.join(sorted(missing))}")
    logger.info("training on %d penguins with %s", len(rows), parameters)
    classifier = LogisticRegression(C=parameters.inverse_regularisation, max_iter=parameters.max_iterations)
    estimator = make_pipeline(StandardScaler(), classifier)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            estimator.fit(vectors(rows, FEATURES), labels)
        except ConvergenceWarning as error:
            raise ModelError(
                f"Training did not converge in {parameters.max_iterations} iterations; raise 'max_iterations'"
            ) from error
    return artifact.Model(estimator, artifact.describe(identity, len(rows), FEATURES, parameters))
