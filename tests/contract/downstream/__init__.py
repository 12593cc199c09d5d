"""Pipelines of models that another project starts here, by the real templates."""
