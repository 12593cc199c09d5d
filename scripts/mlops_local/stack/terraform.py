"""The real Terraform and provider against the local AWS: root `terraform/root` with an environment's values.

Each stack works in a copy below its home, with an override beside it, so the checkout stays clean and two
stacks never meet. The state is a file there, and is gone when the stack is: so are the resources.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_local.base import paths, places
from mlops_local.base.config import ACCESS_KEY, MWAA_DOMAIN
from mlops_local.base.environment import QUICK, LocalEnvironment, find_environment
from mlops_local.stack.stack import aws_environment

if TYPE_CHECKING:
    from mlops.clients.terraform.program import Terraform

Models = Mapping[str, Sequence[str]]

_LOCK_FILE = ".terraform.lock.hcl"
_VALUES = "stack.tfvars.json"
# Seconds; a healthy apply takes ten, that of a whole environment ninety.
_TIMEOUT = 600

# What the provider would ask a real AWS, and how it would wait for one. AWS_ENDPOINT_URL points every
# service at the local AWS, those included that no module uses yet.
_PROVIDER = {
    "skip_credentials_validation": True,
    "skip_metadata_api_check": True,
    "skip_region_validation": True,
    "s3_use_path_style": True,
    "max_retries": 2,
}


def apply(  # pylint: disable=too-many-arguments
    home: Path,
    aws_endpoint: str,
    package: Path,
    models: Models | None = None,
    *,
    links: Mapping[str, str] | None = None,
    environment: LocalEnvironment | None = None,
    gitlab_url: str = "",
    access_key: str = ACCESS_KEY,
) -> dict[str, Any]:
    """Create in the local AWS what Terraform creates in a real account; again after a change is fine.

    Args:
        home: A folder of the stack, for copy, state and log.
        aws_endpoint: Such as `http://127.0.0.1:4566`.
        package: The Lambda's zip.
        models: Projects and their models, beside those of `models.auto.tfvars`; by default the environment's.
        links: `airflow_url` and `log_group_url`, where people find runs and logs on this machine.
        environment: Whose values apply; by default those of `local`.
        gitlab_url: Of the local GitLab, whose jobs take the roles of a whole environment.
        access_key: The ID of the account's own key.

    Returns:
        The outputs of `terraform/root/outputs.tf`.

    Raises:
        PrerequisiteError: when Terraform is missing and cannot be fetched.
        TerraformError: when it fails.
    """
    write_values(home, packages(home, package, environment), models, links, environment)
    terraform = workspace(home, aws_endpoint, environment, gitlab_url, access_key)
    # Only we change what is there, so nothing needs to be read again.
    terraform.apply_now(refresh=False, parallelism=20)
    return terraform.outputs()


def packages(home: Path, package: Path, environment: LocalEnvironment | None) -> dict[str, Path]:
    """What an environment uploads, by its variables: the Lambda's zip; a whole one, Airflow's files too."""
    found = {"dag_trigger_package": package.resolve()}
    if environment is not None and environment.whole:
        from mlops.platform import airflow_package

        found["airflow_package"] = airflow_package.build(home / "airflow").resolve()
    return found


def write_values(
    home: Path,
    uploaded: Mapping[str, Path],
    models: Models | None = None,
    links: Mapping[str, str] | None = None,
    environment: LocalEnvironment | None = None,
) -> None:
    """Write what this stack sets beside the environment's own file."""
    home.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {**(links or {}), **{name: str(place) for name, place in uploaded.items()}}
    if models is not None:
        values["extra_models"] = {project: sorted(names) for project, names in models.items()}
    if environment is not None and environment.whole:
        # what a stack trained and stored goes with it
        values["disposable"] = True
    (home / _VALUES).write_text(json.dumps(values, indent=2), encoding="utf-8")


def state(home: Path) -> Path:
    """The file of Terraform's state."""
    return home / "root" / "terraform.tfstate"


def restore(home: Path, text: str) -> dict[str, Any]:
    """Have a state in the place of an apply, once `write_values` is done; the outputs in it."""
    file = state(home)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
    return {name: output["value"] for name, output in json.loads(text)["outputs"].items()}


def settings(environment: LocalEnvironment, models: Models | None, links: Mapping[str, str]) -> list[Any]:
    """What an apply depends on beside files, with marks for the places of the stack."""
    program = shutil.which("terraform") or str(_programs() / "terraform")
    status = Path(program).resolve().stat() if Path(program).exists() else None
    return [
        models,
        dict(links),
        override(f"http://{places.AWS}", f"http://{places.GITLAB}" if environment.whole else ""),
        [status.st_size, status.st_mtime_ns] if status else None,  # a newer Terraform may write another state
    ]


def destroy(
    home: Path,
    aws_endpoint: str,
    environment: LocalEnvironment | None = None,
    gitlab_url: str = "",
    access_key: str = ACCESS_KEY,
) -> None:
    """Remove everything `apply` created, with all that is in it.

    Raises:
        TerraformError: when it fails.
    """
    terraform = workspace(home, aws_endpoint, environment, gitlab_url, access_key)
    # as in `apply`
    terraform.destroy_now(refresh=False, parallelism=20)


def workspace(
    home: Path,
    aws_endpoint: str,
    environment: LocalEnvironment | None = None,
    gitlab_url: str = "",
    access_key: str = ACCESS_KEY,
) -> Terraform:
    """The root in `home`, initialised; `apply` has written the values there.

    Raises:
        PrerequisiteError: when Terraform is missing and cannot be fetched.
        TerraformError: when the provider cannot be fetched.
    """
    from mlops.clients.terraform.program import Terraform, find_terraform

    played = environment or find_environment(QUICK)
    source = paths.checkout() / "terraform"
    root = home / "root"
    # The backend is for real accounts; the tests are not of this run.
    ignored = shutil.ignore_patterns("backend.tf", "tests", "README.md", ".terraform")
    for part in ("root", "modules"):
        shutil.copytree(source / part, home / part, ignore=ignored, dirs_exist_ok=True)
    (root / "local_override.tf.json").write_text(
        json.dumps(override(aws_endpoint, gitlab_url if played.whole else ""), indent=2), encoding="utf-8"
    )

    kept = paths.cache() / "terraform" / _fingerprint(home)
    terraform = Terraform(
        program=find_terraform(_programs()),
        folder=root,
        environment={
            **_inherited(),
            **aws_environment(aws_endpoint, played.region, access_key),
            # a person's own profiles have no say here
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "TF_DATA_DIR": str(kept),
            "TF_PLUGIN_CACHE_DIR": str(plugins()),
            # The provider reads a large schema each time it starts: a third less CPU for it, while Airflow
            # starts beside it.
            "GOGC": "400",
        },
        var_files=[played.values, home / _VALUES],
        log=home / "terraform.log",
        timeout=_TIMEOUT,
    )
    with initialising():
        if not _is_initialised(kept):
            shutil.rmtree(kept, ignore_errors=True)
            terraform.initialise()
    _forget_hashes(root / _LOCK_FILE)
    return terraform


def override(aws_endpoint: str, gitlab_url: str) -> dict[str, Any]:
    """What a copy of the root has otherwise; with a GitLab, whose jobs take its roles.

    MWAA's host prefixes cannot be resolved in front of a loopback address.
    """
    reached = {
        "http_proxy": aws_endpoint,
        "https_proxy": "",
        "no_proxy": "127.0.0.1,localhost",
        "endpoints": [{"mwaa": f"http://{MWAA_DOMAIN}"}],
    }
    document: dict[str, Any] = {"provider": {"aws": _PROVIDER | reached}}
    if gitlab_url:
        # The provider takes no http; IAM knows an identity provider without its scheme.
        address = gitlab_url.replace("http://", "https://", 1)
        document["module"] = {"identity": {"gitlab_url": address, "audience": gitlab_url}}
    return document


def _programs() -> Path:
    """Where Terraform is fetched to, on a machine that has none."""
    return paths.checkout() / ".mlops" / "bin"


def _inherited() -> dict[str, str]:
    """What Terraform needs of the caller's environment; nothing of it that could reach a real account."""
    names = ("PATH", "HOME", "TMPDIR", "TF_CLI_CONFIG_FILE", "HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in names if name in os.environ} | {
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def _fingerprint(home: Path) -> str:
    """Changes with every file that an initialisation depends on."""
    digest = hashlib.sha256()
    for part in ("root", "modules"):
        for file in sorted((home / part).rglob("*")):
            if file.suffix == ".tf" or file.name == _LOCK_FILE:
                digest.update(str(file.relative_to(home)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _is_initialised(data: Path) -> bool:
    """Whether modules and provider are there; a provider may be a link to a place that has gone."""
    providers = list(data.glob("providers/*/*/*/*/*/terraform-provider-*"))
    return (data / "modules" / "modules.json").exists() and any(file.exists() for file in providers)


def _forget_hashes(lock: Path) -> None:
    """Strike the hashes from this copy of the lock file.

    Terraform checked the provider against them when it was fetched. Left in, every command would hash its
    700 MB again, for half a second each.
    """
    text = lock.read_text(encoding="utf-8")
    lock.write_text(re.sub(r"\n  hashes = \[[^\]]*\]", "", text), encoding="utf-8")


def plugins() -> Path:
    """Terraform's plugin cache, where every root of this checkout finds the provider."""
    folder = paths.cache() / "terraform" / "plugins"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def initialising() -> Iterator[None]:
    """Let one process initialise at a time: Terraform's plugin cache allows no two."""
    with (plugins() / ".lock").open("w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
