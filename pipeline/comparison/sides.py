"""Sides of a comparison: runs, evaluations and sweeps on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from learned_saliency.pipeline.cli import SWEEP_RUNS, UserError
from learned_saliency.pipeline.reports import SavedEvaluation, read_saved

_CONFIG = "config.yaml"
_PLACES = {
    "seed",
    "output_dir",
    "checkpoint",
    "resume",
    "feature_cache",
}  # keys that tell one training from the next
_KEPT = "reader"  # whose seed makes the data set


class Member(NamedTuple):
    """A tested network of a side.

    Attributes:
        saved: Its evaluation.
        seed: Seed of its training; None where it is not known.
    """

    saved: SavedEvaluation
    seed: int | None


class Side(NamedTuple):
    """Tested networks that differ in nothing but the seed of their training.

    Attributes:
        stem: What tells the side from the others.
        members: The networks, by ascending seed where there are several.
        joined: Whether they were given one by one.
    """

    stem: str
    members: list[Member]
    joined: bool = False

    @property
    def name(self) -> str:
        """Name, with the number of seeds where no sweep stands for them."""
        count = len(self.members)
        return f"{self.stem}, {count} seeds" if self.joined and count > 1 else self.stem

    @property
    def seeds(self) -> list[int]:
        """Seeds of the trainings, where there are several."""
        several = len(self.members) > 1
        return [m.seed for m in self.members if several and m.seed is not None]

    @property
    def methods(self) -> list[str]:
        """Names of the methods that all members have."""
        found = self._methods()
        return [name for name in found[0] if all(name in others for others in found)]

    @property
    def incomplete(self) -> list[str]:
        """Names of the methods that some members have, but not all."""
        known = dict.fromkeys(name for found in self._methods() for name in found)
        return [name for name in known if name not in self.methods]

    def _methods(self) -> list[dict[str, None]]:
        return [dict.fromkeys(row["method"] for row in m.saved.rows) for m in self.members]


def read_sides(places: Sequence[str], join_seeds: bool = False) -> list[Side]:
    """Read the sides of a comparison.

    Args:
        places: Runs, evaluations and sweeps; a sweep has a side for each combination of its words.
        join_seeds: Whether runs that are given one by one and differ in their seed alone are one
            side, as in a sweep.

    Raises:
        UserError: If a place is none of these, is given twice, or was not finished.
    """
    paths = [Path(place).expanduser() for place in places]
    resolved = [path.resolve() for path in paths]
    if twice := [p for p, r in zip(paths, resolved, strict=True) if resolved.count(r) > 1]:
        raise UserError(f"{twice[0]}: is given twice; name each run once.")
    names = _names(resolved)
    found: dict[object, list[tuple[str, Member]]] = {}
    for path, name in zip(paths, names, strict=True):
        if not (path / "results.json").is_file() and (path / SWEEP_RUNS).is_dir():
            for words, member in _sweep(path):
                told = f"{name}: {words}" if words and len(paths) > 1 else words or name
                found.setdefault((path, words), []).append((told, member))
        else:
            saved = read_saved(path)
            identity, seed = _identity(saved)
            joined = join_seeds and identity is not None and seed is not None
            found.setdefault(identity if joined else path, []).append((name, Member(saved, seed)))
    _check_twice([named for members in found.values() for named in members])
    joint = {key: isinstance(key, str) and len(members) > 1 for key, members in found.items()}
    sides = [_side(members, joint[key]) for key, members in found.items()]
    stems = [_stem(members) if joint[key] else members[0][0] for key, members in found.items()]
    return [
        side._replace(stem=stem) if stems.count(stem) == 1 else side
        for side, stem in zip(sides, stems, strict=True)
    ]


def _check_twice(members: Sequence[tuple[str, Member]]) -> None:
    """Check that no run is given by itself and by a sweep, or by two sweeps."""
    known: dict[Path, str] = {}
    for name, member in members:
        path = member.saved.path.resolve()
        if path in known:
            raise UserError(
                f"{member.saved.path}: is given twice, as or within {known[path]} and {name}; name "
                "each run once."
            )
        known[path] = name


def _stem(members: Sequence[tuple[str, Member]]) -> str:
    """Take the seed out of the names of runs that are one side; else return the first name."""
    seed = r"[-_ ./]*(?:seed[-_ =]*){}(?<!\d){}$"
    for some in ("?", ""):  # at the end of names, without the word if that makes them alike
        stems = [re.sub(seed.format(some, m.seed), "", name) for name, m in members]
        if stems[0] and (not some or len(set(stems)) == 1):
            return stems[0]
    return members[0][0]


def _side(members: list[tuple[str, Member]], joined: bool) -> Side:
    """Join members, whose first name is the side's."""
    seeds = [member.seed for _, member in members]
    twice = [seed for seed in seeds if seed is None or seeds.count(seed) > 1]
    if twice and len(members) > 1:
        path = next(member.saved.path for _, member in members if member.seed == twice[0])
        raise UserError(
            f"{path}: another run of {members[0][0]} has the seed {twice[0]}, too; give the runs "
            "that are meant one by one."
        )
    ordered = sorted((m for _, m in members), key=lambda m: m.seed or 0)
    return Side(members[0][0], ordered, joined)


def _names(paths: Sequence[Path]) -> list[str]:
    """Name paths by their last parts, as many as tell all of them apart."""
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _sweep(folder: Path) -> Iterator[tuple[str, Member]]:
    """Yield the tested runs of a sweep, each with the words but for the seed that are swept."""
    try:
        records = [json.loads(p.read_text()) for p in sorted((folder / SWEEP_RUNS).glob("*.json"))]
        runs = [(dict(r["words"]), Path(r["folder"])) for r in records if r["results"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder}: its runs are not as train.py -m writes them ({type(error).__name__}: "
            f"{error})."
        ) from None
    if not runs:
        raise UserError(f"{folder}: is a sweep without a tested run; train with test=true.")
    keys = dict.fromkeys(key for words, _ in runs for key in words if key != "seed")
    swept = [key for key in keys if len({words.get(key) for words, _ in runs}) > 1]
    for words, place in runs:
        saved = read_saved(_moved(place, folder))
        seed = words.get("seed", saved.record.get("seed"))
        told = ", ".join(f"{key}={words[key]}" for key in swept if key in words)
        yield told, Member(saved, None if seed is None else int(seed))


def _moved(place: Path, sweep: Path) -> Path:
    """Find the folder of a sweep's run, where it was, or in or beside the sweep, moved with it."""
    places = [place, sweep / place.name, sweep.parent / place.name]
    return next((path for path in places if path.is_dir()), place)


def _identity(saved: SavedEvaluation) -> tuple[str | None, int | None]:
    """Describe all of a run or evaluation but its seed.

    Returns:
        The description, None where it is not known; and the seed of the training.
    """
    own = _config(saved.path)
    seed = saved.record.get("seed")
    if isinstance(seed, int):
        return _described(own), seed
    trained = _trained(saved.record.get("checkpoint"))
    if trained is None:
        return None, None
    return f"{_described(own)}{_described(trained)}", trained.get("seed")


def _config(folder: Path) -> Mapping[str, Any] | None:
    try:
        found = yaml.safe_load((folder / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return found if isinstance(found, dict) else None


def _trained(place: Any) -> Mapping[str, Any] | None:
    """Read the configuration of the training behind a run's folder or checkpoint, if it is one."""
    if not isinstance(place, str) or not place:
        return None
    path = Path(place).expanduser()
    folders = [path] if path.is_dir() else list(path.parents)[:3]
    return next((c for c in map(_config, folders) if c is not None and "model" in c), None)


def _described(config: Mapping[str, Any] | None) -> str | None:
    """Write out all but the seeds, of a classifier that was trained before likewise."""
    if config is None:
        return None
    below = config.get("classifier")
    if isinstance(below, str) and Path(below).expanduser().exists():
        config = {**config, "classifier": _described(_trained(below)) or below}
    return json.dumps(_without_seeds(config), sort_keys=True, default=str)


def _without_seeds(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    return {
        key: value if key == _KEPT else _without_seeds(value)
        for key, value in node.items()
        if key not in _PLACES
    }
