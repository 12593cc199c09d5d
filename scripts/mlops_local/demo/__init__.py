"""`make demo`: five pushes of the examples, from git push to a served prediction."""
