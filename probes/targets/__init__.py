"""Targets: which model is tested, found and inspected before it is loaded.

The header of safetensors files and the pieces of tokenizers are read by code of this package: a
folder may be damaged or hostile, so every length is checked before memory is taken for it; and what
was read is independent of the libraries under test.
"""
