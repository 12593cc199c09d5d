"""What travels between CI, the Lambda and the DAGs, as data; standard library only."""
