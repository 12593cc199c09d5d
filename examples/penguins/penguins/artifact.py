"""The model as files: what training leaves, and evaluation and serving read.

skops rather than joblib or pickle: those run whatever code a file holds, and this file comes from a bucket.
skops builds only types it knows to be harmless.
"""

from __future__ import annotations

import json
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sklearn
import skops.io
from sklearn.pipeline import Pipeline
from skops.io.exceptions import UntrustedTypesFoundException

from penguins.container import Identity, ModelError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MODEL = "model.skops"
METADATA = "metadata.json"


@dataclass(frozen=True)
class Model:
    """A trained estimator and where it comes from (`metadata.json`)."""

    estimator: Pipeline
    metadata: dict[str, Any]


def describe(
    identity: Identity, rows: int, features: tuple[str, ...], parameters: DataclassInstance
) -> dict[str, Any]:
    """The metadata of a model that was just trained."""
    return {
        "name": identity.name,
        "version": identity.version,
        "training_data": {
            "uri": identity.training_data_uri,
            "fingerprint": identity.training_data_fingerprint,
            "rows": rows,
        },
        "features": list(features),
        "hyper_parameters": asdict(parameters),
        "scikit_learn": sklearn.__version__,
    }


def save(model: Model, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    skops.io.dump(model.estimator, directory / MODEL)
    (directory / METADATA).write_text(json.dumps(model.metadata, indent=2) + "\n", encoding="utf-8")


def load(directory: Path) -> Model:
    """The model of an unpacked archive.

    Raises:
        ModelError: when there is none, or one that cannot be trusted.
    """
    try:
        return _build((directory / MODEL).read_bytes(), (directory / METADATA).read_bytes())
    except OSError as error:
        raise ModelError(f"There is no model in {directory}: {error}") from error


def load_archive(archive: Path) -> Model:
    """The model of a model.tar.gz, read without unpacking anything to disk.

    Raises:
        ModelError: when it is no such archive, or its model cannot be trusted.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            files = {member.name.removeprefix("./"): member for member in tar if member.isfile()}
            contents = [file.read() for name in (MODEL, METADATA) if (file := tar.extractfile(files[name]))]
    except KeyError as error:
        raise ModelError(f"{archive} holds no {error.args[0]}") from error
    except (OSError, tarfile.TarError, EOFError) as error:
        raise ModelError(f"{archive} is no readable model archive: {error}") from error
    return _build(*contents)


def _build(model: bytes, metadata: bytes) -> Model:
    try:
        return Model(skops.io.loads(model), json.loads(metadata))
    except UntrustedTypesFoundException as error:
        raise ModelError(f"{MODEL} holds types that are not known to be harmless: {error}") from error
    except Exception as error:
        # A broken file fails in many ways (zip, JSON, a missing attribute), all with the same meaning here.
        raise ModelError(f"{MODEL} or {METADATA} is broken: {error}") from error
