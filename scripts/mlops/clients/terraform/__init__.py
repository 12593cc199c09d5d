"""Terraform: found or fetched, run, and its errors in words."""
