"""Files that are whole or not there."""

from learned_saliency.storage.files import replacing, write_bytes, write_csv, write_text

__all__ = ["replacing", "write_bytes", "write_csv", "write_text"]
