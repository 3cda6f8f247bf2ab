"""The version of this package, and its name on a package index."""

__version__ = "0.2.0"

DISTRIBUTION = "lm-probes"
"""What is installed; `probes` is what is imported, and the command."""
