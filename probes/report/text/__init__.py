"""Records and comparisons as text: phrases, for a terminal, as Markdown."""
