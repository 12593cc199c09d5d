"""Training and retraining: what is asked for, and what the DAGs' tasks do."""
