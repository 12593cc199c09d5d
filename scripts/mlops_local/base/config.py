"""How one local AWS is set up, and what a process that uses it gets in its environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from mlops_local.base.places import Places

# MWAA's API has host prefixes (env., api.), which cannot be resolved in front of 127.0.0.1. Its clients get
# a name of its own and reach it through us as their HTTP proxy.
MWAA_DOMAIN = "airflow.local"
MWAA_HOSTS = (f"api.{MWAA_DOMAIN}", f"env.{MWAA_DOMAIN}")
_LOOPBACK = "127.0.0.1,localhost"
# Of a local AWS on its own. Each stack makes keys that only its own programs know.
ACCESS_KEY = "test"
AIRFLOW_KEY = "ASIAMWAAENVIRONMENT0"


@dataclass(frozen=True, kw_only=True)
class LocalAwsConfig:
    """One account in one region, served on 127.0.0.1."""

    home: Path
    """Images, job folders, logs and the inbox go below it."""
    port: int
    region: str
    account: str
    engine: Literal["process", "docker"]
    airflow_url: str
    airflow_passwords: Path
    """The file with the password of Airflow's user, as Airflow itself keeps it."""
    airflow_environment: str | None
    """The MWAA environment there is from the start, if any."""
    lambda_python: Path
    """An interpreter that has boto3, as Lambda's own runtime does."""
    cache: Path | None = None
    """Virtual environments of images; kept between stacks where it is outside `home`."""
    dags_folder: Path | None = None
    """Where MWAA puts the files of its bucket's DAG folder; None if Airflow reads others."""
    access_key: str = ACCESS_KEY
    """The ID of the account's own access key: with it a caller may do everything."""
    airflow_key: str = AIRFLOW_KEY
    """That of Airflow, which starts before there is an MWAA environment, and then has the role of that."""
    enforce: bool = False
    """Whether a session of a role is refused what the role's policies do not allow."""
    health_check_seconds: float = 60.0
    """An endpoint's containers get the time their configuration says, but never more than this."""
    gitlab: str = ""
    """Host and port of the GitLab whose jobs take roles here, if there is one."""
    snapshot: Path | None = None
    """The file of an account to begin with; an empty one where it is missing or cannot be read."""

    @property
    def endpoint(self) -> str:
        """Where every API answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def registry(self) -> str:
        """The host of image names."""
        return f"127.0.0.1:{self.port}"

    @property
    def places(self) -> Places:
        """What the account may name of the stack it belongs to."""
        airflow = urlsplit(self.airflow_url).netloc
        return Places(aws=self.registry, home=str(self.home.parent), gitlab=self.gitlab, airflow=airflow)

    @property
    def cache_folder(self) -> Path:
        """The folder of what is expensive to make again."""
        return self.cache or self.home / "cache"

    def arn(self, service: str, resource: str) -> str:
        """The name of a resource of this account."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    def child_environment(self) -> dict[str, str]:
        """All that a container or function inherits beside the session of its role.

        Nothing of the person who started the stack.
        """
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": _LOOPBACK,
            "no_proxy": _LOOPBACK,
        }

    def mwaa_environment(self) -> dict[str, str]:
        """What a client of MWAA needs on top."""
        return {
            "AWS_ENDPOINT_URL_MWAA": f"http://{MWAA_DOMAIN}",
            "HTTP_PROXY": self.endpoint,
            "http_proxy": self.endpoint,
        }
