"""`mlops terraform`: plans an environment of the platform, and applies exactly what was reviewed."""
