"""Writes the reference pages' tables from the code: `make reference`."""
