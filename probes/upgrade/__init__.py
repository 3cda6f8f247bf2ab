"""One question asked of many releases: matrix and bisect."""
