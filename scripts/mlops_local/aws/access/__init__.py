"""Who calls what, and whether the caller's policies allow it: the call log, and denials as IAM's."""
