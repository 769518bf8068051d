"""Compares a page of ``export.py format=html`` in a browser with Python, by hand; not a test.

    npm install playwright-core axe-core
    python tests/browser/check_page.py RUN PAGE.html PHOTOGRAPHS OUT

opens the page in Chromium without a network, gives it the files of the folder PHOTOGRAPHS one
after another and says how far decoded pixels, squares, maps and boxes are from those of
`learned_saliency.load`, how long a photograph takes, what the page asked the network for, and what
axe-core finds; OUT gets screenshots.
"""

import argparse
import base64
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np

from learned_saliency import load
from learned_saliency.datamodules import Size, read_pixels, resize_pixels
from learned_saliency.pipeline.prediction import SaliencyPredictor


def main() -> int:
    """Drive the page, compare, print; the result is 1 where the page is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("run", "page", "photographs", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--modules", type=Path, default=Path("node_modules"))
    parser.add_argument("--browser", default="/usr/bin/chromium")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    driver = Path(__file__).with_name("drive_page.mjs")
    places = map(str, (given.modules, given.browser, given.page, given.photographs, given.out))
    subprocess.run(["node", str(driver), *places], check=True)
    report = json.loads((given.out / "report.json").read_text())
    model = load(str(given.run))
    rows = [compare(model, given.photographs / row["name"], row) for row in report["found"]]
    for name in rows[0]:
        values = [row[name] for row in rows]
        print(f"{name}: largest {max(values):.3g}, median {median(values):.3g}")
    for name in ("loading", "requests", "messages", "complaint", "faults"):
        print(f"{name}: {report[name]}")
    print(f"size: {given.page.stat().st_size / 1e6:.1f} MB")
    foreign = [r for r in report["requests"] if not r.startswith(("file:", "blob:"))]
    return int(bool(report["faults"] or foreign or max(r["map, same square"] for r in rows) > 1e-3))


def compare(model: SaliencyPredictor, path: Path, row: dict) -> dict[str, float]:
    """Differences of one photograph, and its time."""
    height, width = row["height"], row["width"]
    theirs = decoded(row["pixels"], np.uint8, (height, width, 4))[..., :3]
    square = decoded(row["square"], np.uint8, (*Size.of(model.size), 3))
    page_map = decoded(row["map"], np.float32, (height, width))
    ours = read_pixels(path, decoding=model.decoding)
    (whole,) = model([ours])
    (same,) = model([theirs])
    expected = resize_pixels(theirs, model.size, model.center_crop).permute(1, 2, 0).numpy()
    return {
        "decoded pixels, levels": float(np.abs(theirs.astype(int) - ours).max()),
        "share of decoded values that differ": float((theirs != ours).mean()),
        "square, same pixels, levels": float(np.abs(square.astype(int) - expected).max()),
        "map, same square": float(np.abs(page_map - same.map).max()),
        "map, file": float(np.abs(page_map - whole.map).max()),
        "box, same square, pixels": box_difference(row["box"], same.box),
        "box, file, pixels": box_difference(row["box"], whole.box),
        "class differs": float(row["predicted"] != whole.predicted[0].index),
        "probability": abs(row["probability"] - whole.predicted[0].probability),
        "milliseconds": row["milliseconds"],
    }


def decoded(text: str, kind: type, shape: tuple[int, ...]) -> np.ndarray:
    """Read an array that the page gave in base64."""
    return np.frombuffer(base64.b64decode(text), kind).reshape(shape)


def box_difference(theirs: list[int] | None, ours: np.ndarray) -> float:
    """Largest distance of two boxes' sides."""
    return float(np.abs(np.array(theirs or [0, 0, 0, 0]) - ours).max())


if __name__ == "__main__":
    sys.exit(main())
