"""DAG runs, as jobs start and await them."""
