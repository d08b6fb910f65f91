"""The version, which travels with a checkpoint's code."""

__version__ = "0.1.0"
