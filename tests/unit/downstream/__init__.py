"""A pipeline that another project started: the code it fetches, and the answer it gives."""
