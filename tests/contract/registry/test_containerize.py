"""`mlops containerize` against a real registry: what it asks, what it leaves, and who wins."""

from __future__ import annotations

import base64
import http.server
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from semver import Version

from mlops import cli
from mlops.base.errors import (
    AuthenticationError,
    EngineError,
    OwnerError,
    RegistryError,
    UnsupportedImageError,
)
from mlops.ci.pipeline import Pipeline
from mlops.clients.aws import session
from mlops.clients.aws.oci_registry import MANIFEST_TYPE, Registry, RegistryImage
from mlops.images.builders import KEY_LABEL, REVISION_LABEL, BuildSource, ProcessBuilder
from mlops.images.containerize import ContainerizedImage, containerize, read_source
from mlops.manifest import reader as manifest

from .conftest import REGION, LocalRegistry, ModelRepository

MAIN = {
    "CI_PIPELINE_SOURCE": "push",
    "CI_PIPELINE_IID": "7",
    "CI_COMMIT_BRANCH": "main",
    "CI_DEFAULT_BRANCH": "main",
    "CI_SERVER_URL": "https://gitlab.example.org",
    "CI_PROJECT_PATH": "web/phish",
}


def source_of(repository: ModelRepository, variables: dict[str, str] | None = None) -> BuildSource:
    model = manifest.load(repository.root / "mlops.yml").model()
    return read_source(model, Pipeline.from_environment(variables or MAIN), {}, "process")


def push(
    repository: ModelRepository, registry: Registry, variables: dict[str, str] | None = None
) -> ContainerizedImage:
    return containerize(source_of(repository, variables), registry, ProcessBuilder())


def test_an_image_is_as_the_specification_wants_it(local: LocalRegistry, tmp_path: Path) -> None:
    repository, registry = ModelRepository(tmp_path / "model", "shape"), local.repository("shape")
    result = push(repository, registry)
    assert (str(result.version), result.built) == ("1.0.0", True)
    key = source_of(repository).content.key
    (detail,) = local.client().describe_images(repositoryName="web-safety/shape")["imageDetails"]
    assert detail["imageDigest"] == result.digest
    assert set(detail["imageTags"]) == {"1.0.0", f"src-{key}"}
    assert registry.labels(result.digest)[KEY_LABEL] == key
    assert registry.labels(result.digest)[REVISION_LABEL] == repository.git("rev-parse", "HEAD")
    assert registry.uri == f"{local.host}/web-safety/shape"


def test_the_registry_says_what_was_pushed(
    local: LocalRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SageMaker takes Docker's manifests, of images for amd64: what an engine made is known after the push."""
    repository, registry = ModelRepository(tmp_path / "model", "flaws"), local.repository("flaws")
    assert registry.flaw(push(repository, registry).digest) == ""
    monkeypatch.setattr("mlops.images.oci_image.PLATFORM", "linux/arm64")
    repository.commit("fix: another processor")
    with pytest.raises(UnsupportedImageError, match="web-safety/flaws:1") as caught:
        push(repository, registry)
    assert caught.value.cause == "it is for linux/arm64, and SageMaker's jobs run on linux/amd64"
    monkeypatch.undo()

    manifest = registry._manifest(str(find(registry, "1.0.0").digest)).content
    oci = "application/vnd.oci.image.manifest.v1+json"
    registry.put_manifest(manifest.replace(MANIFEST_TYPE.encode(), oci.encode()), "2.0.0", oci)
    found = find(registry, "2.0.0")
    assert registry.flaw(found.digest) == f"its manifest is {oci}, and must be {MANIFEST_TYPE}"
    with pytest.raises(UnsupportedImageError, match="web-safety/flaws:2"):
        found.check("web-safety/flaws:2.0.0", "")
    index = "application/vnd.oci.image.index.v1+json"
    document = {"schemaVersion": 2, "mediaType": index, "manifests": [{"digest": found.digest}]}
    registry.put_manifest(json.dumps(document).encode(), "3.0.0", index)
    assert registry.flaw(find(registry, "3.0.0").digest).startswith(f"its manifest is {index}")


def find(registry: Registry, tag: str) -> RegistryImage:
    found = registry.find(tag)
    assert found
    return found


@pytest.mark.parametrize("owner", ["", "web/phish"])
def test_nothing_to_do_is_two_calls(local: LocalRegistry, tmp_path: Path, owner: str) -> None:
    """One finds the image, the other whose model it is."""
    name = f"unchanged-{len(owner)}"
    repository, registry = ModelRepository(tmp_path / "model", name), local.repository(name, owner)
    first = push(repository, registry)
    repository.commit("docs: words", "README.md")
    again = Registry(local.client(), registry.repository, local.host)
    local.calls.clear()
    second = push(repository, again)
    assert (second.version, second.digest, second.built) == (first.version, first.digest, False)
    assert again.uri == registry.uri
    assert local.calls == {"DescribeImages": 1, "ListTagsForResource": 1}


def test_versions_follow_commits_and_merge_requests(local: LocalRegistry, tmp_path: Path) -> None:
    repository, registry = ModelRepository(tmp_path / "model", "versions"), local.repository("versions")
    push(repository, registry)
    repository.commit("feat: more")
    candidate = push(
        repository,
        registry,
        {"CI_PIPELINE_SOURCE": "merge_request_event", "CI_MERGE_REQUEST_IID": "42", "CI_PIPELINE_IID": "9"},
    )
    assert str(candidate.version) == "1.1.0-mr42.9"
    release = push(repository, registry)
    assert str(release.version) == "1.1.0"
    # what is released keeps its image, and gets one more tag
    for pipeline in ("10", "11"):
        variables = {
            "CI_PIPELINE_SOURCE": "merge_request_event",
            "CI_MERGE_REQUEST_IID": "43",
            "CI_PIPELINE_IID": pipeline,
        }
        again = push(repository, registry, variables)
        assert (str(again.version), again.digest) == ("1.1.1-mr43.10", release.digest)
    assert push(repository, registry).version == release.version
    repository.commit("fix: less")
    assert str(push(repository, registry).version) == "1.1.1"
    repository.commit("feat!: other")
    assert str(push(repository, registry).version) == "2.0.0"


def test_pipelines_at_the_same_time_all_get_a_version_of_their_own(
    local: LocalRegistry, tmp_path: Path
) -> None:
    registry = local.repository("race")
    repositories = [ModelRepository(tmp_path / f"model{number}", "race") for number in range(4)]
    for number, repository in enumerate(repositories):
        repository.commit("fix: mine", content=f"print('pipeline {number}')\n")
    ready = threading.Barrier(len(repositories))

    class Simultaneous(ProcessBuilder):
        """All have computed their version before the first of them pushes."""

        waited = False

        def publish(self, source: BuildSource, version: Version, registry: Registry) -> None:
            if not self.waited:
                self.waited = True
                ready.wait(30)
            super().publish(source, version, registry)

    def run(repository: ModelRepository) -> ContainerizedImage:
        mine = Registry(local.client(), registry.repository)
        return containerize(source_of(repository), mine, Simultaneous())

    with ThreadPoolExecutor(len(repositories)) as pool:
        results = list(pool.map(run, repositories))
    assert all(result.built for result in results)
    assert len({result.version for result in results}) == len({result.digest for result in results}) == 4
    for repository, result in zip(repositories, results, strict=True):
        found = registry.find(f"src-{source_of(repository).content.key}")
        assert found
        assert found.digest == result.digest
        assert registry.labels(result.digest)["org.opencontainers.image.version"] == str(result.version)


def test_pipelines_of_one_content_at_the_same_time_end_with_one_image(
    local: LocalRegistry, tmp_path: Path
) -> None:
    repository, registry = ModelRepository(tmp_path / "model", "twins"), local.repository("twins")

    def run(pipeline: int) -> ContainerizedImage:
        mine = Registry(local.client(), registry.repository)
        return containerize(
            source_of(repository, {**MAIN, "CI_PIPELINE_IID": str(pipeline)}), mine, ProcessBuilder()
        )

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, range(4)))
    assert len({(result.version, result.digest) for result in results}) == 1
    assert sorted(result.built for result in results)[:3] == [False] * 3


def test_a_job_killed_between_its_two_pushes_is_completed(local: LocalRegistry, tmp_path: Path) -> None:
    repository, registry = ModelRepository(tmp_path / "model", "killed"), local.repository("killed")
    source = source_of(repository)
    ProcessBuilder().publish(source, source.version(Version(1)), registry)
    assert registry.find(source.key_tag) is None
    result = push(repository, registry)
    assert (str(result.version), result.built) == ("1.0.0", False)
    found = registry.find(source.key_tag)
    assert found
    assert found.digest == result.digest


def test_a_missing_repository(local: LocalRegistry, tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path / "model", "nowhere")
    with pytest.raises(RegistryError, match="There is no repository web-safety/nowhere") as caught:
        push(repository, Registry(local.client(), "web-safety/nowhere"))
    assert "Add web-safety/nowhere to terraform/root/models.auto.tfvars" in caught.value.next_step
    assert "does not exist" in caught.value.cause


def test_a_tag_that_is_taken_is_refused_with_the_registrys_words(
    local: LocalRegistry, tmp_path: Path
) -> None:
    repository, registry = ModelRepository(tmp_path / "model", "taken"), local.repository("taken")
    result = push(repository, registry)
    with pytest.raises(RegistryError, match="refused to take manifests") as caught:
        registry.tag(result.digest, "1.0.0")
    assert "TAG_INVALID" in caught.value.cause
    assert "immutable" in caught.value.cause
    assert registry.find("2.0.0") is None


# -- whose model it is ---------------------------------------------------------------------------------------


def test_a_model_of_another_project_gets_no_version(local: LocalRegistry, tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path / "model", "theirs")
    registry = local.repository("theirs", "models/theirs")
    with pytest.raises(OwnerError, match="web-safety/theirs belongs to another GitLab project") as caught:
        push(repository, registry)
    assert caught.value.cause == "it belongs to models/theirs, and this is code of web/phish"
    assert local.calls == {"DescribeImages": 1, "DescribeRepositories": 1, "ListTagsForResource": 1}
    assert list(registry.images()) == []
    assert push(repository, registry, {**MAIN, "CI_PROJECT_PATH": "Models/Theirs"}).built


def test_a_copy_of_a_model_is_refused_with_its_version(local: LocalRegistry, tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path / "model", "copied")
    registry = local.repository("copied", "models/copied")
    push(repository, registry, {**MAIN, "CI_PROJECT_PATH": "models/copied"})
    with pytest.raises(OwnerError):
        push(repository, registry)


# -- a registry in trouble -----------------------------------------------------------------------------------


class Trouble:
    """ECR whose login leads to a registry of ours, which answers as told."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get_authorization_token(self) -> dict[str, Any]:
        token = base64.b64encode(b"AWS:secret-password").decode()
        return {"authorizationData": [{"authorizationToken": token, "proxyEndpoint": self.url}]}


@pytest.fixture
def trouble() -> Iterator[tuple[Registry, list[tuple[int, dict[str, str], str]], list[str]]]:
    """A registry, the answers it will give (status, headers, body), and the requests it got."""
    answers: list[tuple[int, dict[str, str], str]] = []
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            requests.append(f"{self.command} {self.path}")
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    ecr: Any = Trouble(f"http://127.0.0.1:{server.server_port}")
    yield Registry(ecr, "web-safety/x"), answers, requests
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_registry_that_denies(trouble: Any) -> None:
    registry, answers, _ = trouble
    answers.append((403, {}, json.dumps({"errors": [{"code": "DENIED", "message": "not authorized"}]})))
    with pytest.raises(AuthenticationError, match="refuses us") as caught:
        registry.put_manifest(b"{}", "1.0.0")
    assert caught.value.cause == "HTTP 403: DENIED: not authorized"
    assert "secret" not in str(caught.value) + repr(registry.login)


def test_a_registry_that_is_down_for_a_moment(trouble: Any) -> None:
    registry, answers, requests = trouble
    answers += [(503, {}, ""), (429, {}, ""), (201, {}, "")]
    registry.put_manifest(b"{}", "1.0.0")
    assert len(requests) == 3


def test_a_registry_that_is_down(trouble: Any) -> None:
    registry, answers, requests = trouble
    answers.append((500, {}, "<html>oops</html>"))
    with pytest.raises(RegistryError, match="refused to take manifests") as caught:
        registry.put_manifest(b"{}", "1.0.0")
    assert caught.value.cause == "HTTP 500: <html>oops</html>"
    assert len(requests) == 5


def test_a_registry_that_sends_us_elsewhere_gets_no_password_there(trouble: Any) -> None:
    registry, answers, requests = trouble
    answers += [(404, {}, ""), (202, {"Location": "http://127.0.0.1:9/v2/web-safety/x/blobs/uploads/1"}, "")]
    with pytest.raises(RegistryError, match="sends us elsewhere"):
        registry.put_blob(b"x", "sha256:00")
    assert len(requests) == 2


def test_a_registry_that_cannot_be_reached() -> None:
    ecr: Any = Trouble("http://127.0.0.1:9")
    with pytest.raises(RegistryError, match="does not answer"):
        Registry(ecr, "web-safety/x").put_manifest(b"{}", "1.0.0")


def test_an_account_that_may_not_look(local: LocalRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    ecr = local.client()

    def deny(**_: object) -> None:
        raise ClientError(
            {
                "Error": {
                    "Code": "AccessDeniedException",
                    "Message": "not authorized to perform: ecr:DescribeImages",
                }
            },
            "DescribeImages",
        )

    monkeypatch.setattr(ecr, "describe_images", deny)
    with pytest.raises(AuthenticationError, match="may not look for images in web-safety/x") as caught:
        Registry(ecr, "web-safety/x").find("1.0.0")
    assert "ecr:DescribeImages" in caught.value.next_step


# -- the whole command ---------------------------------------------------------------------------------------


@pytest.fixture
def _job(local: LocalRegistry, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in MAIN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{local.host}")
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("MLOPS_ENGINE", "process")
    session._client.cache_clear()
    session._session.cache_clear()
    yield
    session._client.cache_clear()
    session._session.cache_clear()


@pytest.mark.usefixtures("_job")
def test_the_command(
    local: LocalRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = ModelRepository(tmp_path / "model", "command")
    local.repository("command")
    monkeypatch.chdir(repository.root)
    assert cli.main(["containerize", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["image_version"], shown["built"]) == ("1.0.0", True)
    assert shown["image_uri"] == f"{local.host}/web-safety/command@{shown['image_digest']}"
    assert cli.main(["containerize"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == (
        "✓ Nothing to build: web-safety/command 1.0.0 (the content is unchanged)"
    )
    assert "IMAGE_BUILT=false\n" in Path("containerize.env").read_text()

    monkeypatch.setenv("CI_PIPELINE_SOURCE", "schedule")
    repository.commit("feat: not by a schedule")
    assert cli.main(["containerize", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["image_version"] == "1.0.0"
    assert len(list(Registry(local.client(), "web-safety/command").images())) == 1


@pytest.mark.usefixtures("_job")
@pytest.mark.parametrize("source", ["push", "schedule"])
def test_the_command_with_somebody_else_s_model(
    local: LocalRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: str,
) -> None:
    repository = ModelRepository(tmp_path / "model", f"foreign-{source}")
    registry = local.repository(f"foreign-{source}", "models/theirs")
    push(repository, registry, {**MAIN, "CI_PROJECT_PATH": "models/theirs"})
    repository.commit("feat: mine")
    monkeypatch.chdir(repository.root)
    monkeypatch.setenv("CI_PIPELINE_SOURCE", source)
    assert cli.main(["containerize"]) == OwnerError.exit_code
    shown = capsys.readouterr().err
    assert "why: it belongs to models/theirs, and this is code of web/phish" in shown
    assert "next: Give the model a name of its own in mlops.yml" in shown
    assert not Path("containerize.env").exists()
    assert len(list(registry.images())) == 1


@pytest.mark.usefixtures("_job")
def test_the_command_in_a_place_without_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mlops.yml").write_text(
        (ModelRepository(tmp_path / "model", "x").root / "mlops.yml").read_text()
    )
    monkeypatch.chdir(tmp_path)
    assert cli.main(["containerize"]) == 11
    assert "There is no git history" in capsys.readouterr().err
    assert not Path("containerize.env").exists()


@pytest.mark.usefixtures("_job")
def test_the_command_without_an_engine(
    local: LocalRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = ModelRepository(tmp_path / "model", "engineless")
    registry = local.repository("engineless")
    monkeypatch.chdir(repository.root)
    monkeypatch.delenv("MLOPS_ENGINE")
    command = tmp_path / "bin" / "docker"  # one that could build
    command.parent.mkdir()
    command.write_text("#!/bin/sh\necho v0.30.0\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/gone.sock")
    assert cli.main(["containerize"]) == EngineError.exit_code
    assert list(registry.images()) == []
    assert "No Docker daemon answers" in capsys.readouterr().err
