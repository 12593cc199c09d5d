"""A small GitLab on loopback: git over HTTP, and the part of its API that we call."""
