"""Measurements: each takes an engine and returns plain data."""
