"""Training on the real data, and what is refused."""

from __future__ import annotations

import json

import pytest

from phishing_url import artifact
from phishing_url.container import Identity, ModelError, Paths
from phishing_url.features import FEATURES, Site
from phishing_url.train import HyperParameters, read_hyper_parameters, train

IDENTITY = Identity("phishing-url", "1.0.0+retrain.0", "s3://bucket/data/train/", "f00d")


def write_hyper_parameters(paths: Paths, text: str) -> None:
    paths.hyper_parameters.parent.mkdir(parents=True)
    paths.hyper_parameters.write_text(text, encoding="utf-8")


def test_the_saved_model_predicts_as_the_trained_one(paths: Paths, sites: list[Site]) -> None:
    model = train(paths, IDENTITY)
    assert artifact.load(paths.model).probabilities(sites) == model.probabilities(sites)


def test_the_same_data_give_the_same_model(paths: Paths, trained: Paths, sites: list[Site]) -> None:
    again = train(paths, IDENTITY)
    assert again.probabilities(sites) == artifact.load(trained.model).probabilities(sites)


def test_metadata_say_what_the_model_was_made_from(trained: Paths) -> None:
    metadata = json.loads((trained.model / artifact.METADATA).read_text(encoding="utf-8"))
    assert metadata["version"] == "1.0.0+retrain.0"
    assert metadata["training_data"] == {"uri": "s3://bucket/data/train/", "fingerprint": "f00d", "rows": 875}
    assert metadata["features"] == list(FEATURES)
    assert metadata["training_metrics"]["f1"] > 0.7


def test_hyper_parameters_are_strings(paths: Paths) -> None:
    write_hyper_parameters(paths, '{"inverse_regularisation": "0.5", "max_iterations": "20"}')
    parameters = read_hyper_parameters(paths.hyper_parameters)
    assert parameters == HyperParameters(inverse_regularisation=0.5, max_iterations=20)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"max_iteration": "5"}', "did you mean 'max_iterations'?"),
        ('{"max_iterations": "5.5"}', "'5.5'; it must be a whole number"),
        ('{"inverse_regularisation": "strong"}', "'strong'; it must be a number"),
        ('{"inverse_regularisation": "-1"}', "is -1; it must be above 0"),
        ('{"inverse_regularisation": "nan"}', "is nan; it must be above 0"),
        ('{"inverse_regularisation": null}', "None; it must be a number"),
        ("[]", "one object of strings"),
        ("{", "no valid JSON"),
    ],
)
def test_wrong_hyper_parameters_are_named(paths: Paths, text: str, message: str) -> None:
    write_hyper_parameters(paths, text)
    with pytest.raises(ModelError) as caught:
        read_hyper_parameters(paths.hyper_parameters)
    assert message in str(caught.value)


def test_training_that_does_not_converge_fails(paths: Paths) -> None:
    write_hyper_parameters(paths, '{"max_iterations": "1"}')
    with pytest.raises(ModelError, match="raise 'max_iterations'"):
        train(paths, IDENTITY)
    assert not paths.model.exists()
