"""`make demo`: four pushes of the example, from git push to a served prediction."""
