"""The manifest `mlops.yml` of a model repository: one typed, frozen document, and what contracts make of it.

    manifest.load(path)             every section checked, overrides of all environments too
    loaded.model("phishing-url")    one model; the name may be left out when there is only one
    manifest.training(model, bucket) evaluation(...) deployment(...) notifications(...)
                                    the records that travel to the DAGs

The sections are in `schema`; `docs/reference/manifest.md` describes them for people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mlops.base.errors import ManifestError, UsageError, VersionError
from mlops.contracts import locations, runs, versions
from mlops.manifest import schema
from mlops.manifest import source as manifest_source
from mlops.manifest.errors import ManifestProblem, manifest_error, problems_of
from mlops.manifest.source import ManifestSource, Place

# With everything else in a conf, this stays below runs.CONF_LIMIT.
BODY_LIMIT = 8 * 1024


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model, with the overrides of the environment that was asked for."""

    project: str
    name: str
    directory: Path
    """The manifest's own; paths of `image` are below it."""
    image: schema.ImageSection
    training: schema.TrainingSection
    evaluation: schema.EvaluationSection
    retraining: schema.RetrainingSection
    monitoring: schema.MonitoringSection | None
    deployment: schema.DeploymentSection
    notifications: schema.NotificationsSection
    smoke_test_body: str

    @property
    def repository(self) -> str:
        """Its repository in ECR."""
        return f"{self.project}/{self.name}"

    @property
    def dockerfile(self) -> str:
        """Its Dockerfile, below `directory`."""
        return self.image.dockerfile or str(Path(self.image.context) / "Dockerfile")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A valid manifest."""

    path: Path
    project: str
    models: Mapping[str, Model]
    environments: tuple[str, ...]

    def model(self, name: str = "") -> Model:
        """A model by its name, or the only one.

        Raises:
            UsageError: when there is none of this name, or several and no name.
        """
        if not name and len(self.models) == 1:
            return next(iter(self.models.values()))
        if name in self.models:
            return self.models[name]
        near = get_close_matches(name, self.models, n=1)
        raise UsageError(
            f"{self.path} has no model '{name}'" if name else f"{self.path} has several models",
            cause="its models: " + ", ".join(self.models),
            next_step=f"Did you mean '{near[0]}'?" if near else "Name one with --model.",
        )


def load(path: Path | str, environment: str = "") -> Manifest:
    """Read and check a manifest.

    Args:
        path: Usually `mlops.yml`.
        environment: Apply the overrides of this environment; one that the manifest does not mention has none.

    Raises:
        ManifestError: with the line, the key, what was found and what is allowed, for every problem.
    """
    source = manifest_source.read(Path(path))
    plain = _validate(source, source.data, environment="")
    _check_overrides(source, plain)
    chosen = plain
    for name in plain.environments:  # all of them: a mistake in production's is to show in the merge request
        merged = _validate(source, _merged(source.data, plain, name), environment=name)
        if name == environment:
            chosen = merged
    return Manifest(
        path=source.path,
        project=chosen.project,
        models={name: _model(source, chosen.project, name, model) for name, model in chosen.models.items()},
        environments=tuple(plain.environments),
    )


def plan(model: Model, bucket: str) -> runs.ModelPlan:
    """All that is asked for a model; relative data lies in `bucket`."""
    return runs.ModelPlan(
        training=training(model, bucket),
        evaluation=evaluation(model, bucket),
        retraining=retraining(model),
        monitoring=monitoring(model, bucket),
        notifications=notifications(model),
        deployment=deployment(model, bucket),
    )


def training(model: Model, bucket: str) -> runs.Training:
    """The training job; relative data lies in `bucket`."""
    section = model.training
    return runs.Training(
        channels={name: data_uri(path, bucket) for name, path in section.channels.items()},
        instance_type=section.instance_type,
        instance_count=section.instance_count,
        volume_gb=section.volume_gb,
        max_runtime_seconds=section.max_runtime,
        spot=section.spot,
        max_wait_seconds=(section.max_wait or 2 * section.max_runtime)
        if section.spot
        else section.max_runtime,
        hyper_parameters=dict(section.hyper_parameters),
    )


def evaluation(model: Model, bucket: str) -> runs.Evaluation:
    """The evaluation job and its gate; relative data lies in `bucket`."""
    section = model.evaluation
    return runs.Evaluation(
        data=data_uri(section.data, bucket),
        instance_type=section.instance_type,
        volume_gb=section.volume_gb,
        max_runtime_seconds=section.max_runtime,
        metrics=tuple(
            runs.Metric(
                name=metric.name,
                goal=metric.goal or schema.KNOWN_GOALS[metric.name],
                min=metric.min,
                max=metric.max,
                max_regression=metric.max_regression,
            )
            for metric in section.metrics
        ),
    )


def deployment(model: Model, bucket: str = "") -> runs.Deployment:
    """The endpoint and its smoke test; with a bucket, also what it is to keep of its requests."""
    section = model.deployment
    capture = None
    if bucket and model.monitoring is not None:
        capture = runs.DataCapture(
            sampling_percent=model.monitoring.sampling_percent,
            destination=locations.capture_uri(bucket, model.project, model.name),
        )
    return runs.Deployment(
        endpoint_name=versions.endpoint_name(model.project, model.name),
        instance_type=section.instance_type,
        instance_count=section.instance_count,
        startup_timeout_seconds=section.startup_timeout,
        smoke_test=runs.SmokeTest(content_type=section.smoke_test.content_type, body=model.smoke_test_body),
        data_capture=capture,
    )


def retraining(model: Model) -> runs.Retraining:
    """When it is trained again without a push."""
    section = model.retraining
    return runs.Retraining(
        max_age_seconds=section.max_age,
        min_interval_seconds=section.min_interval,
        on_new_data=section.on_new_data,
        on_drift=section.on_drift,
    )


def monitoring(model: Model, bucket: str) -> runs.Monitoring | None:
    """What its requests are compared with, and how; None if nothing is kept of them."""
    section = model.monitoring
    if section is None:
        return None
    return runs.Monitoring(
        baseline=data_uri(section.baseline or model.training.channels["train"], bucket),
        sampling_percent=section.sampling_percent,
        window_seconds=section.window,
        min_rows=section.min_rows,
        ignored_columns=tuple(section.ignored_columns),
        thresholds=runs.DriftThresholds(**section.thresholds.model_dump()),
    )


def notifications(model: Model) -> runs.Notifications:
    """Who hears of it."""
    section = model.notifications
    return runs.Notifications(slack=section.slack, email=section.email, channel=section.channel)


def data_uri(path: str, bucket: str) -> str:
    """The S3 prefix of a data path of the manifest."""
    return path if path.startswith("s3://") else f"s3://{bucket}/{path}"


def _validate(source: ManifestSource, data: Mapping[str, Any], environment: str) -> schema.Document:
    try:
        document = schema.Document.model_validate(data)
    except ValidationError as error:
        raise manifest_error(
            source.path,
            [
                ManifestProblem(place=where, line=source.line(where), **facts)
                for place, facts in problems_of(error)
                for where in [_written(source, place, environment)]
            ],
        ) from error
    for name in document.models:
        try:
            versions.check_names(document.project, name)
        except VersionError as error:
            raise ManifestError(
                f"{source.path}:{source.line(('models', name))}: {error.what}",
                cause=error.cause,
                next_step=error.next_step,
            ) from error
    return document


def _written(source: ManifestSource, place: Place, environment: str) -> Place:
    """Where a value of the merged document was written: in the override, as far as that has it."""
    override = ("environments", environment, *place[1:])
    if (
        environment
        and place[:1] == ("models",)
        and (override in source.lines or override[:-1] in source.lines)
    ):
        return override
    return place


def _merged(data: Mapping[str, Any], document: schema.Document, environment: str) -> dict[str, Any]:
    models = dict(data["models"])
    for name, override in document.environments[environment].items():
        if name in models:
            models[name] = _merge(models[name], override)
    return {**data, "models": models}


def _merge(base: Any, override: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(override, dict):
        return override
    return base | {key: _merge(base.get(key), value) for key, value in override.items()}


def _check_overrides(source: ManifestSource, document: schema.Document) -> None:
    problems = []
    for environment, overrides in document.environments.items():
        for name, override in overrides.items():
            place: Place = ("environments", environment, name)
            if name not in document.models:
                near = get_close_matches(name, document.models, n=1)
                problems.append(
                    ManifestProblem(
                        place=place,
                        line=source.line(place),
                        what="is not a model of this manifest",
                        allowed=", ".join(document.models),
                        hint=f"Did you mean '{near[0]}'?" if near else "",
                    )
                )
            if "image" in override:
                place = (*place, "image")
                problems.append(
                    ManifestProblem(
                        place=place,
                        line=source.line(place),
                        what="cannot differ: an image is the same in every environment",
                    )
                )
    if problems:
        raise manifest_error(source.path, problems)


def _model(source: ManifestSource, project: str, name: str, section: schema.ModelSection) -> Model:
    return Model(
        project=project,
        name=name,
        directory=source.path.parent,
        image=section.image,
        training=section.training,
        evaluation=section.evaluation,
        retraining=section.retraining,
        monitoring=section.monitoring,
        deployment=section.deployment,
        notifications=section.notifications,
        smoke_test_body=_body(source, name, section.deployment.smoke_test),
    )


def _body(source: ManifestSource, name: str, smoke_test: schema.SmokeTestSection) -> str:
    place: Place = (
        "models",
        name,
        "deployment",
        "smoke_test",
        "body_file" if smoke_test.body_file else "body",
    )
    try:
        if smoke_test.body_file:
            with (source.path.parent / smoke_test.body_file).open("rb") as file:
                raw = file.read(BODY_LIMIT + 1)
        elif isinstance(smoke_test.body, str):
            raw = smoke_test.body.encode()
        else:
            raw = json.dumps(smoke_test.body, allow_nan=False).encode()
    except OSError as error:
        raise _unusable(source, place, "cannot be read", str(error), "Commit the file.") from error
    except ValueError as error:
        hint = "Write only finite numbers."
        raise _unusable(source, place, "cannot be sent as JSON", str(error), hint) from error
    if len(raw) > BODY_LIMIT:
        problem = ManifestProblem(
            place=place, line=source.line(place), what="is too long", allowed=f"at most {BODY_LIMIT} bytes"
        )
        raise manifest_error(source.path, [problem])
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _unusable(source, place, "is not text", str(error), "Save the file in UTF-8.") from error
    if "\0" in text:
        raise _unusable(source, place, "cannot be kept", "the character U+0000", "Take it out of the file.")
    return text


def _unusable(source: ManifestSource, place: Place, what: str, found: str, hint: str) -> ManifestError:
    problem = ManifestProblem(place=place, line=source.line(place), what=what, found=found, hint=hint)
    return manifest_error(source.path, [problem])
