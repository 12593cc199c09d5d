"""What the models of this repository share: the data, SageMaker's container contract, the server."""
