"""Architectures: one file each, found through `zoo.registry`."""
