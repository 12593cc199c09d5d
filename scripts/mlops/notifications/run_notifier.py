"""What a DAG run has to send, to which channel, and whether it was sent already.

Travels between tasks as XCom.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops.base.errors import MlopsError
from mlops.base.strict_json import decode
from mlops.contracts.evidence import Failure, Recipe
from mlops.contracts.locations import recipe_uri
from mlops.contracts.platform_settings import PlatformSettings
from mlops.contracts.runs import EVENT_SOURCE, NoticeConf, Notifications, Origin
from mlops.notifications import delivery_log, messages
from mlops.notifications.delivery_log import DeliveryLog, Way

if TYPE_CHECKING:
    from mlops.clients.aws.s3 import Storage
    from mlops.contracts.message import Message


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """One message, worded and addressed."""

    subject: str
    body: str
    blocks: tuple[dict[str, Any], ...]
    topic_arn: str
    """Empty if no e-mail is wanted."""
    slack: str
    """The id of Airflow's connection, empty where Slack is not wanted."""
    channel: str
    identity: str
    folder: str
    """Of the delivery log; empty if the model is not known."""

    def wants(self, way: Way) -> bool:
        """Whether it goes this way at all."""
        return bool(self.topic_arn if way == "email" else self.slack)


@dataclass(frozen=True, kw_only=True)
class RunNotifier:
    """Sends a DAG run's messages; its tasks and their retries count as one sender."""

    dag_id: str
    run_id: str
    storage: Storage

    def announce(
        self, message: Message, about: Mapping[str, Any], failure: Failure | NoticeConf | None = None
    ) -> Announcement | None:
        """The message, addressed to the model's channel, or the default one where there is no such.

        Args:
            message: What to send.
            about: The plan of the run's first task, encoded, or what of it could be found out.
            failure: What it is about; None for a result.

        Returns:
            None if the settings could not be read: the address of a message is not known then.
        """
        if "settings" not in about:
            return None
        settings = decode(PlatformSettings, about["settings"], "settings")
        conf = about.get("conf", {})
        wanted = self._audience(conf, settings)
        channel, target = settings.channel_or_default(wanted.channel)
        if channel != wanted.channel:
            message = messages.with_note(message, messages.unknown_channel(wanted.channel))
        folder = folder_of(about)
        identity = delivery_log.of_result(self.dag_id, self.run_id)
        if isinstance(failure, Failure):
            identity = delivery_log.of_failure(failure, _origin(conf), self._deliveries(folder))
        elif failure is not None:
            identity = delivery_log.of_notice(failure, self._deliveries(folder))
        return Announcement(
            subject=message.subject,
            body=message.body,
            blocks=message.blocks,
            topic_arn=target.topic_arn if wanted.email else "",
            # Airflow finds a connection by the end of its secret's name.
            slack=target.slack_secret.rpartition("/")[2] if wanted.slack else "",
            channel=channel,
            identity=identity,
            folder=folder,
        )

    def claim(self, found: Announcement, way: Way) -> bool:
        """Whether this run is to send it by this way now."""
        if not found.wants(way):
            return False
        return self._deliveries(found.folder).claim(found.identity, found.channel, way, found.subject)

    def sent(self, found: Announcement, way: Way) -> None:
        """The channel took it."""
        self._deliveries(found.folder).sent(found.identity, found.channel, way, found.subject)

    def refused(self, found: Announcement, way: Way) -> None:
        """The channel did not take it, and this run gives up: another sender of the same message may try."""
        self._deliveries(found.folder).refused(found.identity, found.channel, way, found.subject)

    def settle(self, about: Mapping[str, Any]) -> None:
        """The run succeeded: a failure like one before it is a new one, and reported."""
        self._deliveries(folder_of(about)).succeeded(self.dag_id, self.run_id)

    def _deliveries(self, folder: str) -> DeliveryLog:
        return DeliveryLog(self.storage, folder, f"{self.dag_id} {self.run_id}")

    def _audience(self, conf: Mapping[str, Any], settings: PlatformSettings) -> Notifications:
        """As the conf says; what runs for an event knows no manifest, but the last release had one."""
        if conf.get("notifications"):
            return decode(Notifications, conf["notifications"], "conf.notifications")
        if not conf.get("model"):
            return Notifications()
        uri = recipe_uri(settings.bucket, conf["project"], conf["model"])
        try:
            return self.storage.read_record(Recipe, uri).notifications
        except MlopsError:  # it was never released
            return Notifications()


def folder_of(about: Mapping[str, Any]) -> str:
    """The delivery log of the model that a run is about; empty if it is not known."""
    conf = about.get("conf", {})
    if not (conf.get("model") and conf.get("project") and "settings" in about):
        return ""
    return delivery_log.folder_of(about["settings"]["bucket"], conf["project"], conf["model"])


def _origin(conf: Mapping[str, Any]) -> Origin:
    """Who pushed; empty if the run answers an event."""
    if "occurrence" in conf:
        return Origin(pipeline_source=EVENT_SOURCE)
    return decode(Origin, conf["origin"], "conf.origin") if conf.get("origin") else Origin()
