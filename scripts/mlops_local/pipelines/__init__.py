"""Pipelines of the local GitLab, evaluated and run by gitlab-ci-local."""
