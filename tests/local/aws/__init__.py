"""The local AWS against the service models of botocore."""
