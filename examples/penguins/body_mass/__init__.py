"""Estimates the body mass of a penguin, in grams, from its other measurements: a regression."""
