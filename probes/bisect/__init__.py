"""The release at which a claim flipped: `search` finds it, `question` says what is good."""
