"""The same claims under many releases: `probes matrix` and `probes bisect`."""
