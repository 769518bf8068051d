"""Explanation of the images of tar shards, with a shard of maps for each of them."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from learned_saliency.datamodules import sample_key, writing_shard
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.prediction.index import INDEX, put_together
from learned_saliency.pipeline.prediction.labelling import Labels
from learned_saliency.pipeline.prediction.running import Explanation, run_work
from learned_saliency.pipeline.prediction.sharing import Claims
from learned_saliency.pipeline.prediction.sources import Found, FoundShard
from learned_saliency.storage import read_json, replacing

ASKED = "asked.json"
_LOCAL_KEYS = ("checkpoint", "classifier", "weights")  # told by the digest of the network instead


def explain_shards(
    explanation: Explanation,
    shards: Sequence[FoundShard],
    trainer: L.Trainer,
    asked: dict[str, Any],
    compare: Callable[[Iterator[Found]], Iterator[Found]],
) -> tuple[int, int, list[Path]]:
    """Explain shards, but for those whose output is there.

    The output of a shard has its name and is written below another name until it is whole. It holds
    for each sample, under the same key, a JSON file and the files of its maps.

    Args:
        explanation: What is explained and written.
        shards: The shards that are this call's share.
        trainer: Trainer of one process.
        asked: What the maps depend on; the folder holds maps of one such choice alone.
        compare: Looks at the first images and gives all of them back.

    Returns:
        Numbers of explained images and of skipped ones, and the paths that are there in the end.

    Raises:
        UserError: If the folder holds other things, or maps of another choice.
    """
    config, say = explanation.config, explanation.say
    folder = Path(config.out).expanduser()
    _open(folder, asked)
    claims = Claims(folder) if config.part == "claim" else None
    images = skipped = made = taken = 0
    for shard in shards:
        target = folder / shard.name
        if target.exists():
            continue
        if claims is not None and not claims.take(shard.name):
            taken += 1
            continue
        try:
            if target.exists():  # made by another call just now
                continue
            counts = _explain(explanation, shard, target, trainer, compare)
        finally:
            if claims is not None:
                claims.leave(shard.name)
        images, skipped, made = images + counts[0], skipped + counts[1], made + 1
        say(f"predict: {shard.name}: {counts[0]} images done")
    told = f", {taken} being made by others" if taken else ""
    there = len(shards) - made - taken
    say(f"predict: shards: {len(shards)} asked for, {made} made, {there} there{told}")
    return images, skipped, [folder / ASKED]


def _explain(
    explanation: Explanation,
    shard: FoundShard,
    target: Path,
    trainer: L.Trainer,
    compare: Callable[[Iterator[Found]], Iterator[Found]],
) -> tuple[int, int]:
    """Explain a shard into a folder of this machine, and pack that."""
    with tempfile.TemporaryDirectory(prefix="learned-saliency-") as scratch:
        place = Path(scratch)
        names = explanation.model.class_names
        labels = Labels([], names, place, explanation.model.box_threshold)
        work = explanation.work(trainer, compare(shard.files()), place, labels)
        run_work(work, trainer, place, explanation.config)
        counts = put_together(place, {"shard": shard.name})
        try:
            _pack(place, target)
        except OSError as error:
            raise UserError(f"{target}: cannot be written ({error.strerror or error}).") from None
    return counts


def _pack(folder: Path, target: Path) -> None:
    """Write a shard of what was written of the images of another one."""
    with (folder / INDEX).open(encoding="utf-8") as file:
        index = json.load(file)
    records = [(record["image"], record) for record in index["images"]]
    records += [(record["image"], record) for record in index["skipped"]]
    with writing_shard(target) as shard:
        for name, record in sorted(records, key=lambda found: found[0]):
            key = sample_key(name)
            files = []
            for found in record.get("maps", ()):
                for kind in ("overlay", "map", "array", "region_mask"):
                    if kind in found:
                        ending = found[kind].removeprefix(f"{name}.")
                        files.append((ending, found[kind]))
                        found[kind] = ending
            note = json.dumps(record, ensure_ascii=False).encode()
            shard.add(f"{key}.json", note)
            for ending, path in files:
                shard.add(f"{key}.{ending}", (folder / path).read_bytes())


def weights_digest(module: nn.Module) -> str:
    """Compute the digest of all numbers of a network, hexadecimal."""
    digest = hashlib.sha256()
    for name, weight in sorted(module.state_dict().items()):
        if isinstance(weight, Tensor):
            digest.update(name.encode())
            digest.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _open(folder: Path, asked: dict[str, Any]) -> None:
    """Make the folder of the output, or see that it holds what is asked for now.

    Raises:
        UserError: If it holds other things.
    """
    path = folder / ASKED
    try:
        folder.mkdir(parents=True, exist_ok=True)
        holds_others = any(not found.name.startswith(ASKED) for found in folder.iterdir())
        if holds_others and not path.is_file():
            raise UserError(
                f"out={folder}: the folder holds other files (it has no {ASKED}); choose a new one."
            )
        if not path.is_file():  # many calls may begin at once: the last one counts
            with replacing(path, shared=True) as temporary:
                temporary.write_text(json.dumps(asked, indent=1) + "\n", encoding="utf-8")
        before = _read_asked(path)
    except OSError as error:
        raise UserError(f"out={folder}: nothing can be written there ({error.strerror}).") from None
    ours = json.loads(json.dumps(asked))
    differing = [
        key for key in sorted({*before, *ours} - {*_LOCAL_KEYS}) if before.get(key) != ours.get(key)
    ]
    if differing:
        raise UserError(
            f"out={folder}: holds maps of another choice of {', '.join(differing)}; repeat what "
            f"{ASKED} there says, or choose another folder."
        )


def _read_asked(path: Path) -> dict[str, Any]:
    """Read what an earlier call was asked for.

    Raises:
        UserError: If it cannot be understood.
    """
    try:
        found = read_json(path)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path}: is damaged; choose another folder.")
    return found
