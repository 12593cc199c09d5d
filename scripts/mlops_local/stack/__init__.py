"""One stack: its parts, the process that serves them, and its account."""
