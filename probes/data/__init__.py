"""What claims are decided on: the files that ship, and their readers."""
