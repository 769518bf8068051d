"""Checks of what makes training steps faster, compiled code and fused optimizers."""

from __future__ import annotations

import inspect
import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class
from omegaconf import DictConfig

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.runs import given_part, stage_config, trained_stages
from learned_saliency.pipeline.training.checks import stage_key
from learned_saliency.trainers import SaliencyModule

_GRAPHS = ("reduce-overhead", "max-autotune")  # modes that record CUDA graphs
_OPTIMIZERS = ("optimizer", "classifier_optimizer")


def check_steps(config: DictConfig) -> None:
    """Check what is asked for to make steps faster; see `check_compile` and `check_fused`.

    Raises:
        UserError: If it cannot be had.
    """
    check_compile(config)
    check_fused(config)


def check_compile(config: DictConfig) -> None:
    """Check that ``trainer.compile`` fits the machine and the other keys.

    Args:
        config: The configuration, with the classifier that was found for it.

    Raises:
        UserError: If it does not.
    """
    mode = config.trainer.get("compile")  # runs of before have no such key
    if mode is None:
        return
    key = f"trainer.compile={mode}"
    if mode in _GRAPHS and not _has_cuda(config.trainer):
        raise UserError(
            f"{key}: records CUDA graphs, which need a GPU; on a CPU choose default or "
            "max-autotune-no-cudagraphs."
        )
    if config.get("feature_cache") is not None:
        raise UserError(
            f"{key}: goes without feature_cache={config.feature_cache}, which answers for the "
            "trunk that would be compiled; leave one of them out."
        )
    if (given := given_part(config.model)) is not None:
        raise UserError(
            f"{key}: is for networks of this project; the layers of "
            f"classifier={given['classifier']} are read by hooks, which compiled code leaves out."
        )
    if lacking := _lacking():
        raise UserError(f"{key}: {lacking}, or leave the key out.")


def check_compiled(config: DictConfig, modules: Mapping[str, SaliencyModule]) -> None:
    """Check that the modules that are to be trained can be compiled.

    Args:
        config: The configuration.
        modules: The modules by stage.

    Raises:
        UserError: If one cannot.
    """
    mode = config.trainer.get("compile")
    for stage, module in modules.items():
        if mode is not None and module.compile_obstacle:
            name = stage_config(config.model, stage).name
            raise UserError(
                f"trainer.compile={mode}: model={name} is not compiled: {module.compile_obstacle}."
            )


def check_fused(config: DictConfig) -> None:
    """Check that optimizers with ``fused=true`` have such a form and fit precision and clipping.

    Raises:
        UserError: If one has not, or does not.
    """
    for key, optimizer, module in _fused(config):
        kind = str(optimizer["_target_"])
        if "fused" not in inspect.signature(get_class(kind)).parameters:
            raise UserError(
                f"{key}=true: {kind} has no fused form; leave the key out, or choose "
                "torch.optim.SGD, Adam or AdamW."
            )
        clipped = "trainer.gradient_clip_val"
        own = "gradient_clip" in module and key.endswith(".optimizer.fused")
        if own or config.trainer.get("gradient_clip_val") is not None:
            clipped = f"{key.rpartition('.optimizer')[0]}.gradient_clip" if own else clipped
            if config.trainer.precision == "16-mixed":
                raise UserError(
                    f"{key}=true: does not go with trainer.precision=16-mixed and {clipped}: a "
                    "fused optimizer takes gradients before they have their true size, at which "
                    "they are clipped; choose bf16-mixed, or leave one of them out."
                )


def _fused(config: DictConfig) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield the key ``fused`` of the optimizers that have it, the optimizer and its module."""
    for stage in trained_stages(config.model):
        module = stage_config(config.model, stage).module
        for name in _OPTIMIZERS:
            if (module.get(name) or {}).get("fused"):
                yield f"{stage_key(stage)}.module.{name}.fused", module[name], module


def _has_cuda(trainer: DictConfig) -> bool:
    return trainer.accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available()


def _lacking() -> str:
    """Say what the machine lacks of what compiled code is built with; nothing if it has all."""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if sys.platform != "win32" and shutil.which(shlex.split(compiler)[0]) is None:
        return (
            f"needs a C++ compiler, and there is no {compiler} on this machine; install it, name "
            "another one by the environment variable CXX"
        )
    headers = Path(sysconfig.get_path("include"), "Python.h")
    if not headers.is_file():
        return f"needs the headers of Python, and there is no {headers}; install python3-dev"
    return ""
