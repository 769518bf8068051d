"""Studies beside the metrics of a test."""
