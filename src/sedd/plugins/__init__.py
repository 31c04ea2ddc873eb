"""The base classes of plugins, the registry of what is installed, and the built-in plugins."""
