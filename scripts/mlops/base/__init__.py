"""What every other room stands on: errors, the console, strict JSON."""
