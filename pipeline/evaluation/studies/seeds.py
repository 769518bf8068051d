"""Study of how right the pseudo-labels are that F-CAM draws from maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.losses import SeedSampler, scaled_side
from learned_saliency.metrics import Figure
from learned_saliency.pipeline.evaluation.studies.base import (
    Outcome,
    Setting,
    Study,
    regions_of,
    tested_maps,
)
from learned_saliency.pipeline.evaluation.studies.seed_counts import SeedCounts, SeedShares
from learned_saliency.pipeline.evaluation.studies.seeds_report import (
    SeedGrid,
    draw_regions,
    plot_shares,
    write_shares,
)
from learned_saliency.trainers import place, spread

#: Row of squares that are drawn anywhere in the image, below which no map should be.
ANYWHERE = "anywhere"

_EROSIONS = (0, 3, 7, 11, 15, 21)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)

_FIGURES = {
    "seeds_foreground": Figure(True, short="fg seeds right"),
    "seeds_missed": Figure(False, short="fg misses object"),
    "seeds_background": Figure(True, short="bg seeds right"),
    "seeds_without": Figure(False, headline=False),
}


class Seeds(Study):
    """Rightness of the pseudo-labels of F-CAM, by method, erosion and background share.

    A good source has nearly all of its foreground on the object and of its background off it, in
    images of all sizes of objects. `SeedCounts` says what is counted; the boxes count as the object
    where there are no masks. Maps are those of the test and each is made once; all erosions and
    shares come from it.

    Args:
        erosions: Sides of the square that erodes the foreground, in pixels, odd or 0.
        background_shares: Shares of the pixels that may be background, in (0, 1].
        erosion: Erosion of the values that tables and pictures show; it joins the others.
        background_share: Share of these values; it joins the others.
        dilation: Side of the square around a drawn pixel, odd.
        reference_size: Side of the images for which erosions and dilation are meant; see
            `losses.SeedSampler`.

    Raises:
        ValueError: If an option is out of range.
    """

    name = "seeds"
    needs_network = False
    needs_truth = True
    needs_exclusive = True
    rows = (ANYWHERE,)

    def __init__(
        self,
        erosions: Sequence[int] = _EROSIONS,
        background_shares: Sequence[float] = _SHARES,
        erosion: int = 11,
        background_share: float = 0.3,
        dilation: int = 3,
        reference_size: float | None = None,
    ) -> None:
        self.erosions = sorted({*erosions, erosion})
        self.shares = sorted({*background_shares, background_share})
        for side in self.erosions:
            SeedSampler(erosion=side, dilation=dilation, reference_size=reference_size)
        for share in self.shares:
            if not 0 < share <= 1:
                raise ValueError(f"background_shares must be in (0, 1], got {share}")
        self.shown = self.erosions.index(erosion), self.shares.index(background_share)
        self.dilation = dilation
        self.reference_size = reference_size

    def run(self, setting: Setting) -> Outcome:
        """Count all regions of all maps."""
        module, data, split = setting.module, setting.data, setting.config.split
        grid = self._grid(data, split)
        sides = grid.pixels, self.shares, scaled_side(self.dilation, *self._scale(data))
        scores = {name: SeedCounts(*sides).to(module.device) for name in module.map_names}
        for number, batch in enumerate(setting.batches(scores)):
            setting.note(f"batch {number + 1}")
            regions = regions_of(batch)
            for name, saliency in tested_maps(module, batch)[0].items():
                scores[name].update(saliency, regions)
        found = {name: metric.compute() for name, metric in scores.items()}
        files = {
            "seeds.csv": partial(write_shares, found=found, grid=grid),
            "pictures/seeds.png": partial(plot_shares, found=found, grid=grid),
        }
        if setting.pictures and place().rank == 0:
            batch = setting.to_device(spread(data.dataloader(split), setting.pictures))
            files["pictures/seeds_regions.png"] = partial(
                draw_regions,
                colors=module.colors(batch["image"]),
                masks=regions_of(batch),
                maps=tested_maps(module, batch)[0],
                grid=grid,
            )
        lines = [_line(name, shares, grid) for name, shares in found.items()]
        return Outcome(self._results(found), self._figures(), files, lines)

    def _scale(self, data: WSOLDataModule) -> tuple[Sequence[int], float | None]:
        return data.crop_size, self.reference_size

    def _grid(self, data: WSOLDataModule, split: str) -> SeedGrid:
        pixels = [scaled_side(side, *self._scale(data)) for side in self.erosions]
        masked = data.has_masks(split)
        return SeedGrid(
            self.erosions, pixels, self.shares, *self.shown, self.reference_size, masked
        )

    def _figures(self) -> dict[str, Figure]:
        hidden = {name: f._replace(headline=False, short=None) for name, f in _FIGURES.items()}
        figures = dict(_FIGURES)
        for erosion in self.erosions:
            for name in ("seeds_foreground", "seeds_missed"):
                figures[f"{name}_{erosion}"] = hidden[name]
            figures[f"seeds_size_{erosion}"] = Figure(None, headline=False)
            figures[f"seeds_emptied_{erosion}"] = Figure(False, headline=False)
        for share in self.shares:
            figures[f"seeds_background_{share:g}"] = hidden["seeds_background"]
        return figures

    def _results(self, found: Mapping[str, SeedShares]) -> dict[str, dict[str, float]]:
        erosion, share = self.shown
        results = {}
        for name, shares in found.items():
            values = {
                "seeds_foreground": shares.foreground[erosion],
                "seeds_missed": shares.missed[erosion],
                "seeds_background": shares.background[share],
                "seeds_without": shares.without,
            }
            for index, side in enumerate(self.erosions):
                values[f"seeds_foreground_{side}"] = shares.foreground[index]
                values[f"seeds_missed_{side}"] = shares.missed[index]
                values[f"seeds_size_{side}"] = shares.size[index]
                values[f"seeds_emptied_{side}"] = shares.emptied[index]
            for index, part in enumerate(self.shares):
                values[f"seeds_background_{part:g}"] = shares.background[index]
            results[name] = {k: float(v) for k, v in values.items() if not v.isnan()}
        anywhere = next(iter(found.values())).anywhere
        if not anywhere.isnan():
            chance = {"seeds_foreground": float(anywhere), "seeds_background": float(1 - anywhere)}
            results[ANYWHERE] = chance
        return results


def _line(name: str, shares: SeedShares, grid: SeedGrid) -> str:
    """Say what the pseudo-labels of a method are worth, in a sentence."""
    best = int(shares.foreground.nan_to_num(-1).argmax())
    best_share = int(shares.background.nan_to_num(-1).argmax())
    now, part = grid.erosion, grid.share
    where = "on the object" if grid.masked else "in the box, which counts as the object,"
    return (
        f"{name}: {100 * shares.foreground[now]:.1f} % of the drawn foreground is {where} "
        f"at erosion {grid.erosions[now]} (most: {100 * shares.foreground[best]:.1f} % at "
        f"{grid.erosions[best]}), {100 * shares.background[part]:.1f} % of the background off it "
        f"at share {grid.shares[part]:g} (most: {100 * shares.background[best_share]:.1f} % at "
        f"{grid.shares[best_share]:g}); anywhere: {100 * shares.anywhere:.1f} and "
        f"{100 * (1 - shares.anywhere):.1f} %."
    )
