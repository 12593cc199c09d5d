"""Train the model: CSV files in, a model directory out."""

from __future__ import annotations

import json
import logging
import math
import warnings
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path

import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.pipeline import Pipeline

from phishing_url import artifact
from phishing_url.container import Identity, ModelError, Paths
from phishing_url.features import FEATURES, read_examples, vectors

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class HyperParameters:
    """What `training.hyper_parameters` in mlops.yml may set."""

    inverse_regularisation: float = 1.0
    """scikit-learn's C: smaller means a simpler model."""
    max_iterations: int = 1000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise ModelError(f"Hyper-parameter '{field.name}' is {value:g}; it must be above 0")


def read_hyper_parameters(path: Path) -> HyperParameters:
    """Read hyperparameters.json, whose values SageMaker always writes as strings.

    Raises:
        ModelError: when a name is unknown or a value is not of its type.
    """
    if not path.exists():
        return HyperParameters()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path.name} is no valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise ModelError(f"{path.name} must hold one object of strings")
    kinds = {field.name: int if field.type == "int" else float for field in fields(HyperParameters)}
    values: dict[str, float] = {}
    for name, text in document.items():
        if name not in kinds:
            near = get_close_matches(name, kinds, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "allowed: " + ", ".join(kinds)
            raise ModelError(f"Unknown hyper-parameter '{name}'; {hint}")
        try:
            values[name] = kinds[name](text)
        except (TypeError, ValueError) as error:
            wanted = "a whole number" if kinds[name] is int else "a number"
            raise ModelError(f"Hyper-parameter '{name}' is {text!r}; it must be {wanted}") from error
    return HyperParameters(**values)  # type: ignore[arg-type]  # each value was made by its field's type


def build_estimator(parameters: HyperParameters) -> Pipeline:
    """The untrained model. This and FEATURES are the places to improve it."""
    classifier = LogisticRegression(C=parameters.inverse_regularisation, max_iter=parameters.max_iterations)
    return Pipeline([("classify", classifier)])


def train(paths: Paths, identity: Identity) -> artifact.Model:
    """Train on the channel `train` and save the model.

    Raises:
        ModelError: when data or hyper-parameters are wrong, or training does not converge.
    """
    parameters = read_hyper_parameters(paths.hyper_parameters)
    sites, labels = read_examples(paths.training_data)
    logger.info("training on %d websites with %s", len(sites), parameters)

    estimator = build_estimator(parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            estimator.fit(vectors(sites), labels)
        except ConvergenceWarning as error:
            raise ModelError(
                f"Training did not converge in {parameters.max_iterations} iterations; raise 'max_iterations'"
            ) from error

    probabilities = estimator.predict_proba(vectors(sites))[:, 1]
    metrics = {
        "f1": float(f1_score(labels, probabilities >= 0.5)),
        "accuracy": float(accuracy_score(labels, probabilities >= 0.5)),
        "log_loss": float(log_loss(labels, probabilities)),
    }
    for name, value in metrics.items():
        logger.info("train:%s=%.4f", name, value)

    model = artifact.Model(
        estimator,
        {
            "name": identity.name,
            "version": identity.version,
            "training_data": {
                "uri": identity.training_data_uri,
                "fingerprint": identity.training_data_fingerprint,
                "rows": len(sites),
            },
            "features": list(FEATURES),
            "hyper_parameters": asdict(parameters),
            "training_metrics": metrics,
            "scikit_learn": sklearn.__version__,
        },
    )
    artifact.save(model, paths.model)
    return model
