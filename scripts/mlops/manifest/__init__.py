"""The manifest `mlops.yml` of a model repository."""
