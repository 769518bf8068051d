"""The renderer of the embedded data set."""
