"""Records on disk: writing, reading, listing."""
