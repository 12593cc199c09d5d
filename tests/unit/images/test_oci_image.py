"""An image that no engine built is a valid one, and the same one every time."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from mlops.base.errors import BuildError
from mlops.images import oci_image

from .model import DOCKERFILE


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "phish").mkdir(parents=True)
    (root / "phish" / "__main__.py").write_text("print()\n")
    (root / "start").write_text("#!/bin/sh\n")
    (root / "start").chmod(0o700)
    (root / "link").symlink_to("phish/__main__.py")
    return root


FILES = ("start", "phish/__main__.py", "link")


def test_the_last_stage_says_how_it_runs() -> None:
    settings = oci_image.read_settings(
        'ARG BASE=x\nFROM $BASE AS build\nENTRYPOINT ["no"]\nWORKDIR /no\n' + DOCKERFILE + 'CMD ["serve"]\n',
        {},
    )
    assert settings.entrypoint == ("python", "-m", "phish")
    assert settings.command == ("serve",)
    assert settings.environment == {"GREETING": "hello you", "OTHER": "1"}
    assert settings.working_directory == "/opt/program"


def test_variables_and_relative_working_directories() -> None:
    settings = oci_image.read_settings(
        "FROM x\nARG NAME=a\nENV HOME_OF=/opt PATH=/opt/bin:$PATH NAME=$NAME\nWORKDIR ${HOME_OF}\nWORKDIR b\nENTRYPOINT run me\n",
        {"NAME": "given"},
    )
    assert settings.working_directory == "/opt/b"
    assert settings.environment["PATH"].startswith("/opt/bin:/usr/local/sbin:")
    assert settings.environment["NAME"] == "given"
    assert settings.entrypoint == ("/bin/sh", "-c", "run me")


@pytest.mark.parametrize(
    ("dockerfile", "message"),
    [
        ("", "has no FROM"),
        ("RUN x\n", "has no FROM"),
        ("FROM x\n", "has no ENTRYPOINT"),
        ("FROM x\nWORKDIR /a/../..\nENTRYPOINT x\n", "WORKDIR"),
    ],
)
def test_a_dockerfile_that_makes_no_image(dockerfile: str, message: str) -> None:
    with pytest.raises(BuildError, match=message) as caught:
        oci_image.read_settings(dockerfile, {})
    assert caught.value.next_step


def test_an_assembled_image_fits_the_specification(source: Path) -> None:
    made = oci_image.assemble(source, FILES, oci_image.read_settings(DOCKERFILE, {}), {"a.label": "x"})
    manifest = json.loads(made.manifest)
    assert manifest["schemaVersion"] == 2
    for part in (manifest["config"], *manifest["layers"]):
        blob = made.blobs[part["digest"]]
        assert part["size"] == len(blob)
        assert part["digest"] == "sha256:" + hashlib.sha256(blob).hexdigest()
    config = json.loads(made.blobs[manifest["config"]["digest"]])
    assert config["config"]["Entrypoint"] == ["python", "-m", "phish"]
    assert config["config"]["Env"] == ["GREETING=hello you", "OTHER=1"]
    assert config["config"]["WorkingDir"] == "/opt/program"
    assert config["config"]["Labels"] == {"a.label": "x"}
    archive = gzip.decompress(made.blobs[manifest["layers"][0]["digest"]])
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(archive).hexdigest()]
    with tarfile.open(fileobj=io.BytesIO(archive)) as layer:
        members = {member.name: member for member in layer}
        assert [*members] == [
            "opt",
            "opt/program",
            "opt/program/link",
            "opt/program/phish",
            "opt/program/phish/__main__.py",
            "opt/program/start",
        ]
        assert members["opt/program/start"].mode == 0o755
        assert members["opt/program/phish/__main__.py"].mode == 0o644
        assert members["opt/program/link"].linkname == "phish/__main__.py"
        assert {(member.uid, member.uname, member.mtime) for member in layer} == {(0, "", 0)}


def test_the_same_source_is_the_same_image(source: Path) -> None:
    settings = oci_image.read_settings(DOCKERFILE, {})
    first = oci_image.assemble(source, FILES, settings, {})
    os.utime(source / "start", (1, 1))
    (source / "start").chmod(0o755)
    assert oci_image.assemble(source, FILES[::-1], settings, {}) == first


def test_a_file_that_is_gone(source: Path) -> None:
    with pytest.raises(BuildError, match="cannot be packed"):
        oci_image.assemble(source, ["gone"], oci_image.read_settings(DOCKERFILE, {}), {})


def test_its_manifest_is_the_only_one_that_sagemaker_takes(source: Path) -> None:
    made = oci_image.assemble(source, FILES, oci_image.read_settings(DOCKERFILE, {}), {"a": "b"})
    manifest = json.loads(made.manifest)
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert manifest["config"]["mediaType"] == "application/vnd.docker.container.image.v1+json"
    assert [layer["mediaType"] for layer in manifest["layers"]] == [
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
    ]
    assert manifest.keys() == {"schemaVersion", "mediaType", "config", "layers"}
    config = json.loads(made.blobs[manifest["config"]["digest"]])
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
