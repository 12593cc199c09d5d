"""Evaluate a model.tar.gz on the test data: evaluation.json, which the gate and the report read."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from itertools import compress
from typing import Any

from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_curve,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from phishing_url import artifact
from phishing_url.container import Paths
from phishing_url.features import Site, read_examples

logger = logging.getLogger(__name__)

CURVE_POINTS = 50

# Parts of the data where a good average could hide a bad model.
SLICES: dict[str, Callable[[Site], bool]] = {
    "IP address in the URL": lambda site: site["ip_in_url"] == 1,
    "name in the URL": lambda site: site["ip_in_url"] == 0,
    "young domain": lambda site: site["age_of_domain"] == 0,
    "old domain": lambda site: site["age_of_domain"] == 1,
}


def _curve(x: Any, y: Any, x_label: str, y_label: str) -> dict[str, Any]:
    """At most CURVE_POINTS points of a curve, with both ends."""
    last = len(x) - 1
    count = min(CURVE_POINTS, len(x))
    picked = sorted({round(step * last / max(count - 1, 1)) for step in range(count)})
    return {
        "x": [round(float(x[index]), 4) for index in picked],
        "y": [round(float(y[index]), 4) for index in picked],
        "x_label": x_label,
        "y_label": y_label,
    }


def _slices(sites: list[Site], labels: list[int], predicted: list[int]) -> dict[str, dict[str, float]]:
    metrics = {}
    for name, belongs in SLICES.items():
        mask = [belongs(site) for site in sites]
        true, guess = list(compress(labels, mask)), list(compress(predicted, mask))
        if true:
            metrics[name] = {
                "count": float(len(true)),
                "f1": float(f1_score(true, guess, zero_division=0)),
                "accuracy": float(accuracy_score(true, guess)),
            }
    return metrics


def report(model: artifact.Model, sites: list[Site], labels: list[int]) -> dict[str, Any]:
    """The document evaluation.json, schema version 1."""
    probabilities = model.probabilities(sites)
    predicted = [int(probability >= 0.5) for probability in probabilities]
    false_positives, true_positives, _ = roc_curve(labels, probabilities)
    precision, recall, _ = precision_recall_curve(labels, probabilities)
    return {
        "schema_version": 1,
        "metrics": {
            "f1": float(f1_score(labels, predicted)),
            "accuracy": float(accuracy_score(labels, predicted)),
            "precision": float(precision_score(labels, predicted, zero_division=0)),
            "recall": float(recall_score(labels, predicted)),
            "roc_auc": float(roc_auc_score(labels, probabilities)),
            "log_loss": float(log_loss(labels, probabilities)),
        },
        "counts": {"websites": len(labels), "phishing": sum(labels), "predicted_phishing": sum(predicted)},
        "confusion_matrix": {
            "labels": ["legitimate", "phishing"],
            "matrix": confusion_matrix(labels, predicted, labels=[0, 1]).tolist(),
        },
        "curves": {
            "roc": _curve(false_positives, true_positives, "false positive rate", "true positive rate"),
            "precision_recall": _curve(recall, precision, "recall", "precision"),
        },
        "slices": _slices(sites, labels, predicted),
        # What monitoring compares the endpoint's answers with.
        "predictions": {
            "labels": {"legitimate": predicted.count(0), "phishing": predicted.count(1)},
        },
    }


def evaluate(paths: Paths) -> dict[str, Any]:
    """Evaluate the archive on the test data and write evaluation.json.

    Raises:
        ModelError: when model or data cannot be read.
    """
    model = artifact.load_archive(paths.model_archive)
    sites, labels = read_examples(paths.test_data)
    document = report(model, sites, labels)
    paths.evaluation.parent.mkdir(parents=True, exist_ok=True)
    paths.evaluation.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    logger.info("%s %s on %d websites", model.metadata["name"], model.metadata["version"], len(sites))
    for name, value in document["metrics"].items():
        logger.info("test:%s=%.4f", name, value)
    return document
