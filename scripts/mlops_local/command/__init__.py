"""`mlops local`: a module an action."""
