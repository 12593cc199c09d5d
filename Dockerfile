# The image that jobs run in: the mlops command, git, the Docker client with BuildKit, and Terraform.
# Every stage can be replaced, for machines that pull from elsewhere: --build-arg BASE_IMAGE=<a Python 3.11>.
ARG BASE_IMAGE=python:3.11-slim-bookworm
ARG DOCKER_IMAGE=docker:29-cli
ARG TERRAFORM_IMAGE=hashicorp/terraform:1.11.4

FROM ${DOCKER_IMAGE} AS docker
FROM ${TERRAFORM_IMAGE} AS terraform

FROM ${BASE_IMAGE} AS python
# A company's own package index, where it has one.
ARG PIP_INDEX_URL
ENV PATH=/opt/mlops/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /build
# Requirements first: a change of the code does not install them again.
COPY requirements/build.txt requirements/ci.txt ./
# python-terraform is published as source only; what builds it is locked as well.
RUN python3 -m venv /opt/mlops \
    && pip install --require-hashes --only-binary :all: -r build.txt \
    && pip install --require-hashes --no-build-isolation --only-binary :all: --no-binary python-terraform -r ci.txt
COPY pyproject.toml README.md LICENSE ./
COPY scripts scripts
RUN pip install --no-deps --no-build-isolation . \
    && pip uninstall --quiet --yes -r build.txt \
    && pip check

FROM ${BASE_IMAGE}
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="ml-ops" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="The mlops command with git, the Docker client and Terraform" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
# The runner's helper clones as another user than the one jobs run as, and git would refuse that clone.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends ca-certificates git >/dev/null \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory '*' \
    && useradd --create-home --uid 1000 --shell /bin/bash mlops \
    # Python's official images come without bytecode, which the job's user could not write.
    && python3 -m compileall -q -x '/(test|tests|idlelib|lib2to3|ensurepip|site-packages|dist-packages)/' \
       "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=docker /usr/local/bin/docker /usr/local/bin/docker
COPY --from=docker /usr/local/libexec/docker/cli-plugins/docker-buildx /usr/local/libexec/docker/cli-plugins/docker-buildx
COPY --from=terraform /bin/terraform /usr/local/bin/terraform
COPY --from=python /opt/mlops /opt/mlops
# The last two say where the documents of this release are: scripts/mlops/base/documents.py.
ENV PATH=/opt/mlops/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CHECKPOINT_DISABLE=1 \
    MLOPS_SOURCE="${SOURCE}" \
    MLOPS_REVISION="${REVISION}"
USER mlops
WORKDIR /home/mlops
# No entry point: a runner starts a shell, and scripts call mlops, git, docker and terraform.
CMD ["mlops", "--help"]
