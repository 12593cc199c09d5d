"""What the platform says of itself: one JSON document in Parameter Store, written by Terraform.

CI jobs and DAG tasks read it at run time, so nothing of an account is written in a model repo or an image,
and a conf cannot choose its own role, bucket or topic.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PARAMETER = "/ml-ops/settings"


DEFAULT_CHANNEL = "default"


@dataclass(frozen=True, kw_only=True)
class Channel:
    """Where messages go."""

    topic_arn: str
    """The SNS topic that reaches e-mail."""
    slack_secret: str
    """The Secrets Manager id of Airflow's Slack connection, such as `airflow/connections/slack`."""


@dataclass(frozen=True, kw_only=True)
class PlatformSettings:
    """One environment of the platform."""

    environment: str
    region: str
    bucket: str
    """Data, models and evidence."""
    execution_role_arn: str
    """The role SageMaker's jobs and endpoints take."""
    topic_arn: str
    """The default channel's SNS topic; alarms of the platform go there as well."""
    trigger_function: str
    """The Lambda `dag-trigger`."""
    airflow_environment: str
    slack_secret: str
    """The default channel's."""
    log_group_url: str = ""
    """Where a person finds the logs of jobs; `{group}` and `{stream}` are replaced."""
    channels: dict[str, Channel] = field(default_factory=dict)
    """Those beside the default channel, by name."""

    def channel(self, name: str) -> Channel | None:
        """A channel by its name; None when this environment has none of that name."""
        if name == DEFAULT_CHANNEL:
            return Channel(topic_arn=self.topic_arn, slack_secret=self.slack_secret)
        return self.channels.get(name)

    def channel_or_default(self, name: str) -> tuple[str, Channel]:
        """A channel and its name: the default one if there is none of this name. No message is lost."""
        found = self.channel(name)
        if found is not None:
            return name, found
        return DEFAULT_CHANNEL, Channel(topic_arn=self.topic_arn, slack_secret=self.slack_secret)
