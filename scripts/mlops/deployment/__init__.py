"""From an evaluated model to a served one."""
