"""Engines: what computes a model's outputs."""
