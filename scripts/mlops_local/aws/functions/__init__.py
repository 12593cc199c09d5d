"""Lambda: runs the real zip."""
