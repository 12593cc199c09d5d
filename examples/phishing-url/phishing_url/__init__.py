"""Tells phishing websites from legitimate ones: trained, evaluated and served by one image."""
