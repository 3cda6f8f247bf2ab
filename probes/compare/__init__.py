"""Comparisons of two records: verdicts, evidence, next-token distributions and speed."""
