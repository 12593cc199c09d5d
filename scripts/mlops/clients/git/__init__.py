"""The git command."""
