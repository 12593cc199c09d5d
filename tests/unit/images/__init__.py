"""From commits to images."""
