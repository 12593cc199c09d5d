"""MWAA: its API in front of the real Airflow, and its environments."""
