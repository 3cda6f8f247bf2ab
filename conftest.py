"""Root of the tests. The plugin itself comes with the package, through its entry point."""

pytest_plugins = ["pytester"]
