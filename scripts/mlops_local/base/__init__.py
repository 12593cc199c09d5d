"""What every part of the local stack stands on: places, processes, the wire formats of AWS."""
