"""The containers behind an endpoint: one for each production variant, in use once all of them answer."""

from __future__ import annotations

import http.client
import itertools
import secrets
import shutil
import socket
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from mlops_local.aws.sagemaker import objects
from mlops_local.aws.sagemaker.capture import Capture, capture_of
from mlops_local.aws.sagemaker.models import Models, containers
from mlops_local.aws.sagemaker.shipping import Shipper
from mlops_local.aws.sagemaker.store import Record
from mlops_local.aws.sdk import Sdk
from mlops_local.base.archives import ArchiveError, unpack
from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import ServiceError
from mlops_local.engines import Container, ContainerJob, Engine, ImageError

_PING_SECONDS = 2.0
_POLL_SECONDS = 0.1


class FleetError(Exception):
    """A fleet that does not come up; the message is the endpoint's FailureReason."""


@dataclass(kw_only=True)
class Variant:
    """One served production variant. Its count and weight are changed while it serves."""

    settings: Record
    """As in the endpoint's configuration."""
    image: str
    port: int
    container: Container
    shipper: Shipper
    started: datetime
    count: int
    """How many instances it has, in name: one container serves for all."""
    weight: float
    """Its part of the traffic, beside the others' weights."""
    capture: Capture | None = None

    @property
    def name(self) -> str:
        """The variant's name."""
        return str(self.settings["VariantName"])

    def summary(self) -> Record:
        """A ProductionVariantSummary."""
        image = {"SpecifiedImage": self.image, "ResolvedImage": self.image, "ResolutionTime": self.started}
        return {
            "VariantName": self.name,
            "DeployedImages": [image],
            "CurrentWeight": self.weight,
            "DesiredWeight": self.weight,
            "CurrentInstanceCount": self.count,
            "DesiredInstanceCount": self.count,
        }


@dataclass(frozen=True)
class Fleet:
    """What serves one configuration of one endpoint."""

    config_name: str
    variants: tuple[Variant, ...]

    def stop(self) -> None:
        """End all of it."""
        for variant in self.variants:
            variant.container.stop()
            variant.shipper.finish()
            if variant.capture is not None:
                variant.capture.flush()


class Fleets:
    """Starts fleets."""

    def __init__(self, config: LocalAwsConfig, sdk: Sdk, engine: Engine, models: Models) -> None:
        self._config = config
        self._sdk = sdk
        self._engine = engine
        self._models = models
        self._numbers = itertools.count()

    def start(self, endpoint: str, settings: Record) -> Fleet:
        """Bring up a fleet for a configuration; return once every variant answers its health check.

        Raises:
            FleetError: when one does not; nothing of the fleet runs then.
        """
        started: list[Variant] = []
        try:
            for wanted in settings["ProductionVariants"]:
                started.append(self._start_variant(endpoint, wanted, settings))  # noqa: PERF401  # kept to be stopped
            for variant in started:
                self._wait_healthy(variant)
        except BaseException:
            Fleet("", tuple(started)).stop()
            raise
        return Fleet(settings["EndpointConfigName"], tuple(started))

    def _start_variant(self, endpoint: str, wanted: Record, settings: Record) -> Variant:
        try:
            model = self._models.describe({"ModelName": wanted["ModelName"]})
        except ServiceError as error:
            raise FleetError(error.message) from error
        container = containers(model)[0]
        number = next(self._numbers)
        folder = (
            self._config.home / "sagemaker" / "endpoints" / f"{endpoint}-{number}-{wanted['VariantName']}"
        )
        shutil.rmtree(folder, ignore_errors=True)
        base = folder / "ml"
        (base / "model").mkdir(parents=True)
        port = _free_port()
        sdk = self._sdk.acting(model["ExecutionRoleArn"]) if model.get("ExecutionRoleArn") else self._sdk
        try:
            self._engine.prepare(container["Image"])
            self._fetch_model(sdk, container.get("ModelDataUrl"), folder, base / "model")
            job = ContainerJob(
                name=f"endpoint-{endpoint}-{number}-{self._config.port}",
                image=container["Image"],
                base=base,
                log=folder / "log.txt",
                environment={
                    **(container.get("Environment") or {}),
                    "SAGEMAKER_BIND_TO_PORT": str(port),
                    # a container on the host's network must not serve to the world
                    "MLOPS_BIND_HOST": "127.0.0.1",
                    **sdk.variables,
                },
                arguments=("serve",),
            )
            running = self._engine.start(job)
        except ImageError as error:
            raise FleetError(str(error)) from error
        stream = f"{wanted['VariantName']}/i-{secrets.token_hex(8)}"
        return Variant(
            settings=wanted,
            image=container["Image"],
            port=port,
            container=running,
            shipper=Shipper(sdk.logs, job.log, f"/aws/sagemaker/Endpoints/{endpoint}", stream),
            started=datetime.now(UTC),
            capture=capture_of(settings, sdk, f"{endpoint}/{wanted['VariantName']}"),
            count=int(wanted.get("InitialInstanceCount", 1)),
            weight=float(wanted.get("InitialVariantWeight", 1.0)),
        )

    def _fetch_model(self, sdk: Sdk, url: str | None, folder: Path, target: Path) -> None:
        if not url:
            return
        archive = folder / "model.tar.gz"
        try:
            objects.download(sdk.s3, url, archive)
            unpack(archive, target)
        except (ClientError, BotoCoreError) as error:
            raise FleetError(
                f'Failed to download model data for container "container_1" from URL: "{url}". Please ensure '
                "that there is an object located at the URL and that the role passed to CreateModel has "
                "permissions to download the object."
            ) from error
        except ArchiveError as error:
            raise FleetError(
                f'Failed to extract model data archive for container "container_1" from URL "{url}": '
                f"{error}. Please ensure that the object located at the URL is a valid tar.gz archive."
            ) from error

    def _wait_healthy(self, variant: Variant) -> None:
        wanted = variant.settings.get("ContainerStartupHealthCheckTimeoutInSeconds", float("inf"))
        deadline = time.monotonic() + min(wanted, self._config.health_check_seconds)
        while time.monotonic() < deadline:
            # On AWS a container that ends is started again until the time is up; here nothing would change.
            if variant.container.wait(0) is not None:
                break
            if _ping(variant.port):
                return
            time.sleep(_POLL_SECONDS)
        raise FleetError(
            f"The primary container for production variant {variant.name} did not pass the ping health "
            "check. Please check CloudWatch logs for this endpoint."
        )


def _ping(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PING_SECONDS)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address: Any = probe.getsockname()
        return int(address[1])
