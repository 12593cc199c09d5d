"""GitLab's API, through python-gitlab."""
