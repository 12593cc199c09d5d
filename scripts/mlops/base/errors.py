"""One tree of errors. Each class has an exit code of its own; `docs/reference/exit-codes.md` lists them.

Standard library only: the Lambda carries this module in its zip.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself would be a third of the time of `mlops --help`
if TYPE_CHECKING:
    from typing import ClassVar

EXIT_OK = 0
EXIT_UNEXPECTED = 3
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE, as a shell reports it


class MlopsError(Exception):
    """An error a person can act on.

    Args:
        what: What failed, in one line.
        cause: The real cause, as far as it is known; may have several lines.
        next_step: What to do now, in the imperative.
        link: Where the log or page with the details is.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, cause: str = "", next_step: str = "", link: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.cause = cause
        self.next_step = next_step
        self.link = link

    def lines(self) -> list[str]:
        """The message as a CI log shows it, one fact a line."""
        facts = (("why", self.cause), ("log", self.link), ("next", self.next_step))
        return [self.what, *(f"  {label}: {fact}" for label, fact in facts if fact)]

    def __str__(self) -> str:
        return "\n".join(self.lines())


class UsageError(MlopsError):
    """The command line cannot be carried out as given (argparse uses the same code)."""

    exit_code = 2


class ManifestError(MlopsError):
    """`mlops.yml` is missing, unreadable or not valid."""

    exit_code = 10


class SourceError(MlopsError):
    """The git history cannot answer: no repository, no commits, a shallow clone that cannot be deepened."""

    exit_code = 11


class ContractError(MlopsError):
    """A document between CI, Lambda and DAGs has the wrong shape."""

    exit_code = 12


class SettingsError(MlopsError):
    """The platform's settings or a CI variable are missing or wrong."""

    exit_code = 13


class AuthenticationError(MlopsError):
    """AWS, GitLab or the registry does not accept who we are."""

    exit_code = 14


class VersionError(MlopsError):
    """A version, tag or resource name does not follow the rules."""

    exit_code = 15


class AwsError(MlopsError):
    """A service of AWS refused a call of ours or could not be reached."""

    exit_code = 16


class RegistryError(MlopsError):
    """The registry refused or could not be reached."""

    exit_code = 20


class BuildError(MlopsError):
    """The image could not be built."""

    exit_code = 21


class EngineError(MlopsError):
    """There is no container engine, or it does not answer."""

    exit_code = 22


class OwnerError(MlopsError):
    """The model belongs to another GitLab project than the code."""

    exit_code = 23


class UnsupportedImageError(MlopsError):
    """SageMaker does not take the image: its manifest has another type, or it is for another processor."""

    exit_code = 24


class TriggerError(MlopsError):
    """The Lambda or Airflow behind it did not accept the run."""

    exit_code = 30


class RunFailedError(MlopsError):
    """The DAG run ended in failure."""

    exit_code = 31


class RunTimeoutError(MlopsError):
    """The DAG run did not end within the time we were given; it goes on."""

    exit_code = 32


class EvidenceError(MlopsError):
    """Evaluation, comparison or lineage is missing or broken."""

    exit_code = 33


class StorageError(MlopsError):
    """An S3 object is missing or may not be read."""

    exit_code = 34


class RetrainingError(MlopsError):
    """Could not decide whether a model is due, or could not start its training. The others were processed."""

    exit_code = 35


class MonitoringError(MlopsError):
    """An endpoint's requests cannot be compared with the training data."""

    exit_code = 36


class GateFailedError(MlopsError):
    """The new model does not meet its goals. Templates allow this code, so the pipeline shows a warning."""

    exit_code = 40


class DeploymentRefusedError(MlopsError):
    """There is no evidence that this model may go to production."""

    exit_code = 41


class NotificationError(MlopsError):
    """A channel did not take the message."""

    exit_code = 50


class GitLabError(MlopsError):
    """GitLab's API refused or could not be reached."""

    exit_code = 51


class ArtifactError(MlopsError):
    """What the upstream's pipeline left cannot be used: gone, damaged, too large, or not what it seems."""

    exit_code = 52


class UpstreamError(MlopsError):
    """A pipeline that another project started is not what its trigger says."""

    exit_code = 53


class TerraformError(MlopsError):
    """Terraform failed."""

    exit_code = 60


class StateLockedError(MlopsError):
    """Another Terraform works on this environment, or ended without unlocking its state."""

    exit_code = 61


class StateUnreachableError(MlopsError):
    """Terraform's state cannot be read or written: no bucket, no permission, another region."""

    exit_code = 62


class PlanRefusedError(MlopsError):
    """The plan or destroy would lose data, and was not allowed to."""

    exit_code = 63


class PlanOutdatedError(MlopsError):
    """There is no reviewed plan that fits what is here now."""

    exit_code = 64


class LocalStackError(MlopsError):
    """The local stack could not be started, used or stopped."""

    exit_code = 70


class PrerequisiteError(MlopsError):
    """A program this machine needs is missing."""

    exit_code = 71


class ReleaseError(MlopsError):
    """The platform itself cannot be released as it is."""

    exit_code = 80


class CommitError(MlopsError):
    """A commit's message is not a Conventional Commit, or does not give its reason."""

    exit_code = 81
