"""From a commit to an image under its version."""
