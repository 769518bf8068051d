"""Files on disk: written whole or not at all, and read without running code from them."""

from learned_saliency.storage.archives import check_directory
from learned_saliency.storage.files import (
    parse_json,
    read_json,
    replace_folder,
    replacing,
    sha256,
    sync,
    write_bytes,
    write_csv,
    write_text,
)
from learned_saliency.storage.state_dicts import FoundWeights, find_state_dict, fit_state_dict
from learned_saliency.storage.weights import (
    WeightsError,
    find_infinite,
    read_weights,
    write_weights,
)

__all__ = [
    "FoundWeights",
    "WeightsError",
    "check_directory",
    "find_infinite",
    "find_state_dict",
    "fit_state_dict",
    "parse_json",
    "read_json",
    "read_weights",
    "replace_folder",
    "replacing",
    "sha256",
    "sync",
    "write_bytes",
    "write_csv",
    "write_text",
    "write_weights",
]
