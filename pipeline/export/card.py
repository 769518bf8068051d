"""Page of a model on the Hugging Face Hub, and what other libraries read beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from omegaconf import DictConfig
from PIL import Image

from learned_saliency.datamodules import Size, center_crop_of
from learned_saliency.metrics import Figure
from learned_saliency.pipeline.cli import printable
from learned_saliency.pipeline.export.source import ExportSource
from learned_saliency.pipeline.reports import card_title, hub_card, restored
from learned_saliency.trainers import NATIVE, TEST_FIGURES

LIBRARY = "learned-saliency"
_TAGS = ["saliency", "explainability", "class-activation-map"]
_NOT_TESTED = (
    "No metrics of a test are known of these weights: the run's `results.json` was missing or "
    "belonged to another checkpoint when they were exported."
)


def card_text(
    source: ExportSource, config: DictConfig, facts: Mapping[str, Any], pictures: Mapping[str, str]
) -> str:
    """Write the page: metadata that the Hub reads, with the metrics of the run's test, and a text.

    Args:
        source: The model.
        config: Configuration with ``license`` and ``push``.
        facts: Facts of the JSON.
        pictures: See `hub_card`.
    """
    from huggingface_hub import ModelCardData  # an extra has it

    told = _card_facts(source, facts)
    results = _evaluations(told)
    data = ModelCardData(
        library_name=LIBRARY,
        license=config.license,
        pipeline_tag="image-classification",
        tags=[*_TAGS, *_weakly(facts), _identifier(facts["method"])],
        model_name=printable(card_title(facts)) if results else None,
        eval_results=results or None,
    )
    text = hub_card(told, pictures, config.push or "USER/NAME")
    return f"---\n{data.to_yaml()}\n---\n\n{text}"


def _card_facts(source: ExportSource, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Give what `hub_card` wants, from what the run's test has recorded."""
    chosen, metrics = facts.get("selection", {}), facts["metrics"]
    told = {
        **facts,
        "parameters": sum(p.numel() for p in source.module.network.parameters()),
        "metrics": {"test": restored(metrics["test"])} if metrics else {},
        "not_tested": _NOT_TESTED,
    }
    if chosen:
        told["threshold_chosen_by"] = chosen.get("threshold_by")
        told["threshold_given"] = chosen.get("threshold") != facts["box_threshold"]
    if chosen.get("monitor"):
        told["metrics"]["val"] = {chosen["monitor"]: chosen["value"]}
    elif seen := facts["selected_by"]:
        told["not_chosen"] = (
            f"whose choice saw {seen['boxes']:,} boxes and {seen['masks']:,} masks of val"
        )
    return told


def _evaluations(told: Mapping[str, Any]) -> list[Any]:
    """List the headline metrics of the model's own map as the Hub's ``EvalResult``s, fractions."""
    from huggingface_hub import EvalResult

    found = []
    for name, value in told["metrics"].get("test", {}).get(NATIVE, {}).items():
        figure = TEST_FIGURES.get(name)
        if figure is None or not figure.headline or figure.higher_is_better is None:
            continue
        if not math.isfinite(value):
            continue
        kind, task = _task(figure, bool(_weakly(told)))
        found.append(
            EvalResult(
                task_type=kind,
                task_name=task,
                dataset_type=_identifier(told["data"]),
                dataset_name=printable(told["data"]),
                dataset_split="test",
                metric_type=name,
                metric_name=f"{name}, {'higher' if figure.higher_is_better else 'lower'} is better",
                metric_value=round(value, 6),
            )
        )
    return found


def _weakly(facts: Mapping[str, Any]) -> list[str]:
    """Tag what was trained without boxes and masks."""
    return [] if "learned_from" in facts else ["weakly-supervised-localization"]


def _task(figure: Figure, weakly: bool) -> tuple[str, str]:
    """Name the Hub's task that a metric belongs to, and ours."""
    supervision = "Weakly" if weakly else "Fully"
    if "boxes" in figure.needs:
        return "object-detection", f"{supervision} supervised object localization"
    if "masks" in figure.needs:
        return "image-segmentation", f"{supervision} supervised segmentation"
    return "image-classification", "Image classification and its explanation"


def _identifier(name: str) -> str:
    """Spell a name as the Hub's identifiers are spelled: ASCII letters, digits, ``.``, ``-``."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") or "unnamed"


def preparation(source: ExportSource) -> dict[str, Any] | None:
    """Describe how images are prepared, in the words of transformers' image processors.

    What they have no word for, such as EXIF orientation and the range of 16-bit files, is in the
    ``data`` of the configuration.

    Returns:
        Values of their configuration; None where they have no word for the resizing, to the size
        that just covers the middle of an image that is no square.
    """
    data, size = source.data, Size.of(source.size)
    middle = center_crop_of(data)
    if middle is True and size.height != size.width:
        return None
    edge = size.height if isinstance(middle, bool) else middle
    sides = size._asdict()
    crop = {"crop_size": sides} if middle else {}
    return {
        "image_processor_type": "CLIPImageProcessor",  # resizes, crops, rescales and normalizes
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": edge} if middle else sides,
        "resample": int(Image.Resampling.BILINEAR),
        "do_center_crop": bool(middle),
        **crop,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(data.mean),
        "image_std": list(data.std),
    }


def portable(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Copy facts without the folders of this machine, which help nobody elsewhere.

    Of an absolute path the name is left, and what lies below the root of the data set stays so.
    Lists are left alone: names of classes may begin like paths, as OpenImages' do.
    """
    root = Path(facts["config"]["data"].get("root") or "")
    found = {**facts, "config": _shortened(facts["config"], root)}
    if "verified" in facts:
        found["verified"] = _shortened(facts["verified"], root)
    return found


def _shortened(node: Any, root: Path) -> Any:
    if isinstance(node, Mapping):
        return {key: _shortened(value, root) for key, value in node.items()}
    if not isinstance(node, str):
        return node
    kinds = (PurePosixPath(node), PureWindowsPath(node))
    path = next((path for path in kinds if path.is_absolute()), None)
    if path is None:
        return node
    below = Path(node)
    return str(root.name / below.relative_to(root)) if below.is_relative_to(root) else path.name
