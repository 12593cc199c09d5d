"""Which messages were delivered, kept on S3, so that neither a retry nor a second sender sends one again.

Below `s3://<bucket>/<project>/<model>/told/`, or `<project>/-/told/` for what is not a model's own:

    <identity>.<channel>.<way>.json     one message by one way: being sent, sent, or refused
    success.<scope>.json                the last success, which settles the failures before it

A record is claimed by a conditional write, which one of many at once wins. A sender that is killed
after a channel's answer and before the record sends again: at least once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mlops.base.errors import ContractError, StorageError
from mlops.contracts.runs import DEPLOYMENT_DAG, SCHEMA_VERSION, TRAINING_DAG, started_by_push

if TYPE_CHECKING:
    from mlops.clients.aws.s3 import Storage
    from mlops.contracts.evidence import Failure
    from mlops.contracts.runs import NoticeConf, Origin

Way = Literal["email", "slack"]

# Seconds after which a sender that claimed a message, and never recorded the result, is taken for dead.
LEASE = 900.0
_LOOKS = 3
_CAUSE_LIMIT = 4000
# What differs between two failures of one cause.
_ACCIDENTAL = re.compile(r"https?://\S+|s3://\S+|arn:\S+|\b[0-9a-f]{7,}\b|\S*\d\S*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One message by one way."""

    schema_version: int
    subject: str
    teller: str
    """The run of Airflow or the pipeline of GitLab that sends it."""
    state: Literal["sending", "sent", "refused"]


@dataclass(frozen=True, kw_only=True)
class Success:
    """What settled the failures before it."""

    schema_version: int
    what: str


class DeliveryLog:
    """The records of one model, or of what is not a model's own.

    Args:
        storage: Where they are kept.
        folder: `folder_of`; empty if the project is not known: then everything is sent.
        sender: The run or pipeline that sends; a retry is the same sender, and goes on where it was.
        sleep: Waits for that many seconds.
    """

    def __init__(
        self, storage: Storage, folder: str, teller: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._storage = storage
        self._folder = folder
        self._teller = teller
        self._sleep = sleep

    def claim(self, identity: str, channel: str, way: Way, subject: str) -> bool:
        """Whether this sender is to send the message now; if S3 does not answer, it is."""
        if not self._folder:
            return True
        record = self._record(subject, "sending")
        uri = self._uri(identity, channel, way)
        try:
            for _ in range(_LOOKS):
                if self._storage.create_record(record, uri):
                    return True
                if not self._storage.exists(uri):  # another write was under way, and failed
                    self._sleep(1.0)
                    continue
                if not self._free(uri):
                    return False
                self._storage.write_record(record, uri)
                return True
        except StorageError as error:
            _warn("cannot see whether it was sent, so it is sent now", error)
        return True

    def sent(self, identity: str, channel: str, way: Way, subject: str) -> None:
        """The channel took it."""
        self._close(identity, channel, way, self._record(subject, "sent"))

    def refused(self, identity: str, channel: str, way: Way, subject: str) -> None:
        """The channel did not take it: the next sender may try."""
        self._close(identity, channel, way, self._record(subject, "refused"))

    def succeeded(self, scope: str, what: str) -> None:
        """Settle the failures of this scope: those that come after it are new ones, and reported.

        Args:
            scope: A DAG's id, or a CI job's name without its prefix.
            what: A name of this success that no other has, such as a run's id.
        """
        if not self._folder:
            return
        try:
            self._storage.write_record(
                Success(schema_version=SCHEMA_VERSION, what=what), self._success(scope)
            )
        except StorageError as error:
            _warn("a success was not noted, so an earlier failure that comes again is not reported", error)

    def last_success(self, scope: str) -> str:
        """The name of the last success; empty when there was none."""
        if not self._folder:
            return ""
        try:
            uri = self._success(scope)
            return self._storage.read_record(Success, uri).what if self._storage.exists(uri) else ""
        except (StorageError, ContractError) as error:
            _warn("cannot see the last success", error)
            return ""

    def _free(self, uri: str) -> bool:
        try:
            found = self._storage.read_record(Delivery, uri)
        except ContractError as error:
            _warn("a record of a delivery is broken", error)
            return True
        if found.state == "sent":
            return False
        return found.state == "refused" or found.teller == self._teller or self._storage.age(uri) > LEASE

    def _close(self, identity: str, channel: str, way: Way, record: Delivery) -> None:
        if not self._folder:
            return
        try:
            self._storage.write_record(record, self._uri(identity, channel, way))
        except StorageError as error:
            _warn("the delivery was not recorded, so a retry sends it again", error)

    def _record(self, subject: str, state: Literal["sending", "sent", "refused"]) -> Delivery:
        return Delivery(schema_version=SCHEMA_VERSION, subject=subject, teller=self._teller, state=state)

    def _uri(self, identity: str, channel: str, way: Way) -> str:
        return f"{self._folder}{identity}.{channel}.{way}.json"

    def _success(self, scope: str) -> str:
        return f"{self._folder}success.{scope}.json"


def folder_of(bucket: str, project: str, model: str = "") -> str:
    """Where the records of a model are; without a model, those of its project's shared jobs."""
    return f"s3://{bucket}/{project}/{model or '-'}/told/"


def identity_of(*facts: str) -> str:
    """What a message is about, in 20 characters that the same facts always give."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:20]


def of_result(dag_id: str, run_id: str) -> str:
    """The identity of what a run has to say at its end."""
    return identity_of("result", dag_id, run_id)


def of_failure(failure: Failure, origin: Origin, deliveries: DeliveryLog) -> str:
    """The identity of a run's failure: that of the run, but without a push it is that of the cause."""
    if started_by_push(origin):
        return identity_of("failure", failure.dag_id, failure.run_id)
    return identity_of(
        "failure",
        failure.dag_id,
        failure.project,
        failure.model,
        failure.model_version,
        failure.task_id,
        essence(failure.cause),
        deliveries.last_success(failure.dag_id),
    )


def of_notice(conf: NoticeConf, deliveries: DeliveryLog) -> str:
    """The identity of a failure that an event reported: its cause, until something is trained or deployed."""
    since = (deliveries.last_success(TRAINING_DAG), deliveries.last_success(DEPLOYMENT_DAG))
    return identity_of("notice", conf.project, conf.model, essence(conf.what), essence(conf.cause), *since)


def essence(cause: str) -> str:
    """A cause without the lines of its log, and without numbers, ids and addresses."""
    # The pattern looks at each end of a word that has no digit: one of a megabyte would take hours.
    text = cause.partition("\nLast lines of its log:")[0][:_CAUSE_LIMIT]
    return " ".join(_ACCIDENTAL.sub("*", text).split()).lower()[:500]


def _warn(what: str, error: StorageError | ContractError) -> None:
    logging.getLogger(__name__).warning("%s: %s", what, error.what)
