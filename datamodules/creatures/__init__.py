"""Renderer of the embedded data set."""
