"""Tar files of samples, the public WebDataset layout: read without unpacking, written whole."""

from learned_saliency.datamodules.shards.fetching import Remote, is_address
from learned_saliency.datamodules.shards.names import expand_braces, find_shards
from learned_saliency.datamodules.shards.samples import (
    IMAGE_ENDINGS,
    Sample,
    image_of,
    note_of,
    read_samples,
    sample_key,
)
from learned_saliency.datamodules.shards.store import (
    MEMBER,
    ShardStore,
    kept_folder,
    member_id,
    split_id,
)
from learned_saliency.datamodules.shards.tars import Member, read_members
from learned_saliency.datamodules.shards.writing import ShardWriter, writing_shard

__all__ = [
    "IMAGE_ENDINGS",
    "MEMBER",
    "Member",
    "Remote",
    "Sample",
    "ShardStore",
    "ShardWriter",
    "expand_braces",
    "find_shards",
    "image_of",
    "is_address",
    "kept_folder",
    "member_id",
    "note_of",
    "read_members",
    "read_samples",
    "sample_key",
    "split_id",
    "writing_shard",
]
