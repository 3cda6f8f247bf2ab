"""Comparisons of two records."""
