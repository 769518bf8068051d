"""Launch of the runs of a search by Hydra's launcher: one after the other here, or as jobs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

from learned_saliency.pipeline.cli import BASIC_LAUNCHER, hydra_words
from learned_saliency.pipeline.search.trial import train_trial

_ITS_LOG = "hydra._internal.core_plugins.basic_launcher"  # which repeats all words of each run


class TrialLauncher:
    """Launcher of runs, as ``hydra/launcher`` on the command line says.

    Args:
        folder: Folder of the search; launchers keep their logs below it.

    Attributes:
        sequential: Whether runs are trained in this process, one after the other.
    """

    def __init__(self, folder: Path) -> None:
        hydra = HydraConfig.get()
        self.sequential = hydra.runtime.choices["hydra/launcher"] == BASIC_LAUNCHER
        loader = GlobalHydra.instance().config_loader()
        place = hydra_words([f"output_dir={folder}"])[0].partition("=")[2]
        given = [w for w in OmegaConf.to_container(hydra.overrides.hydra) if "hydra.mode" not in w]
        words = [*given, "hydra/hydra_logging=none", f"hydra.sweep.dir={place}"]
        master = loader.load_configuration("config", words, RunMode.MULTIRUN)
        context = HydraContext(config_loader=loader, callbacks=Callbacks(master))
        logging.getLogger(_ITS_LOG).setLevel(logging.WARNING)
        self._launcher = Plugins.instance().instantiate_launcher(context, train_trial, master)

    def launch(self, jobs: Sequence[Sequence[str]], first: int) -> None:
        """Train runs; return when all have an outcome.

        Args:
            jobs: The words of each.
            first: Number of the first.

        Raises:
            MendableError: If one met what the others would meet, too.
        """
        for job in self._launcher.launch(jobs, first):
            if job.return_value is not None:
                raise job.return_value
