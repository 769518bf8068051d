"""Writing of the studies' curves."""

from pathlib import Path

from matplotlib.figure import Figure

from learned_saliency.storage import replacing


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
