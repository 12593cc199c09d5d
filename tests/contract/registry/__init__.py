"""Images in a real registry."""
