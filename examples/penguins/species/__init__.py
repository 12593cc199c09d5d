"""Tells the species of a penguin from its measurements: a model of three classes."""
