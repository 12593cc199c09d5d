"""Terraform for whole environments, and the packages it uploads."""
