"""Pipelines that another project starts in this one."""
