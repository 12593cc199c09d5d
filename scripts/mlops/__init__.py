"""ml-ops: from a git push to a served model, on GitLab and AWS."""

__version__ = "0.1.0"
