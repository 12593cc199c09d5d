"""This repository's own pipeline, job image and releases."""
