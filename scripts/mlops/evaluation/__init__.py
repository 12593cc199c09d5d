"""Challenger against champion: the gate, the report and the command that waits for both."""
