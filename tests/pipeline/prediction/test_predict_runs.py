"""Check memory, failures, signals, precision and processes of predict.py."""

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency.datamodules import read_pixels
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.trainers import SaliencyModule
from tests.support.commands import run_command
from tests.support.paths import ROOT

drawing = importlib.import_module("learned_saliency.pipeline.prediction.drawing")
reading = importlib.import_module("learned_saliency.pipeline.prediction.reading")
running = importlib.import_module("learned_saliency.pipeline.prediction.running")


def files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_memory_is_bounded_by_pixels_and_order_is_kept(fcam_run, photos, predicted, monkeypatch):
    """With room for a single image, no two are read or drawn at once."""
    folder, names = photos
    monkeypatch.setattr(running, "_PIXELS", 1)
    sizes, drawn, most = [], [], []
    explain, draw = SaliencyModule.predict_step, drawing.Drawing._draw
    lock = threading.Lock()

    def counted(module, batch, *options):
        sizes.append(len(batch["image"]))
        return explain(module, batch, *options)

    def watched(callback, *values):
        with lock:
            drawn.append(1)
            most.append(len(drawn))
        try:
            return draw(callback, *values)
        finally:
            with lock:
                drawn.pop()

    monkeypatch.setattr(SaliencyModule, "predict_step", counted)
    monkeypatch.setattr(drawing.Drawing, "_draw", watched)
    index, _, _ = predicted(f"checkpoint={fcam_run}", f"images={folder}", "workers=4")
    assert [record["image"] for record in index["images"]] == names
    assert set(sizes) == {1}
    assert max(most) == 1


def test_memory_does_not_grow_with_the_number_of_images(fcam_run, predicted, monkeypatch, tmp_path):
    """One image is explained, two are read, one is drawn; Lightning still holds the last one."""
    (tmp_path / "many").mkdir()
    for number in range(30):
        Image.new("RGB", (9, 9), (8 * number, 0, 0)).save(tmp_path / "many" / f"{number:02}.png")
    monkeypatch.setattr(running, "_PIXELS", 1)
    alive, most = weakref.WeakSet(), []

    class Watched(np.ndarray):
        """Array with a hash, for a WeakSet; arrays have none."""

        __hash__ = object.__hash__
        __eq__ = object.__eq__

    def read(*values):
        pixels = read_pixels(*values).view(Watched)
        alive.add(pixels)
        most.append(len(alive))
        return pixels

    monkeypatch.setattr(reading, "read_image", read)
    index, _, _ = predicted(f"checkpoint={fcam_run}", f"images={tmp_path}/many", "workers=4")
    assert len(index["images"]) == len(most) == 30
    assert max(most) <= 5


def test_an_interruption_leaves_whole_files_only(
    fcam_run, photos, predicted, monkeypatch, tmp_path
):
    folder, names = photos
    write = drawing.write_map

    def interrupted(out, stem, *values):
        if stem.startswith(names[2]):
            raise KeyboardInterrupt
        return write(out, stem, *values)

    monkeypatch.setattr(drawing, "write_map", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predicted(f"checkpoint={fcam_run}", f"images={folder}", "workers=1", "batch_size=1")
    left = files(tmp_path / "out")
    assert not [name for name in left if name.startswith("predictions.json")]
    assert not [name for name in left if name.endswith(".tmp")]
    for name in left:
        if name.endswith(".png"):
            read_pixels(tmp_path / "out" / name)
    monkeypatch.setattr(drawing, "write_map", write)
    index, _, _ = predicted(f"checkpoint={fcam_run}", f"images={folder}")  # goes on in the folder
    assert len(index["images"]) == len(names)


def test_a_failing_disk_is_told(fcam_run, photos, predicted, monkeypatch, tmp_path):
    def full(*values):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(drawing, "write_map", full)
    with pytest.raises(UserError, match="No space left"):
        predicted(f"checkpoint={fcam_run}", f"images={photos[0]}")
    assert files(tmp_path / "out") == {"predict.yaml"}


def test_too_little_memory_is_told(fcam_run, photos, predicted, monkeypatch, tmp_path):
    def full(*values):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(SaliencyModule, "predict_step", full)
    with pytest.raises(UserError, match="batch_size=16: the device's memory is too small"):
        predicted(f"checkpoint={fcam_run}", f"images={photos[0]}")
    assert files(tmp_path / "out") == {"predict.yaml"}


def test_parts_of_a_call_that_was_killed_do_not_count(fcam_run, photos, predicted, tmp_path):
    folder, names = photos
    words = [f"checkpoint={fcam_run}", f"images={folder}"]
    predicted(*words)
    stray = tmp_path / "out" / "predictions.json.part-1"
    stray.write_text('1 images {"image": "of before"}\n')
    index, _, _ = predicted(*words)
    assert [record["image"] for record in index["images"]] == names
    assert not stray.exists()


def test_the_trainer_decides_the_precision(fcam_run, photos, predicted):
    """The network runs in bfloat16; maps, probabilities and boxes are made in float32."""
    words = [f"checkpoint={fcam_run}", f"images={photos[0]}/a.png", "arrays=true"]
    words += ["methods=[native,gradcam]", "top_k=2"]
    found = {}
    for precision in ("32-true", "bf16-mixed", "64-true"):
        index, out, _ = predicted(*words, f"trainer.precision={precision}")
        (record,) = index["images"]
        maps = [np.load(out / written["array"]) for written in record["maps"]]
        found[precision] = maps, [score["probability"] for score in record["predicted"]]
    whole, half, double = (found[precision][0] for precision in found)
    assert {saliency.dtype for saliency in double} == {np.dtype(np.float32)}
    for exact, rounded in zip(whole, half, strict=True):
        assert rounded.dtype == np.float32
        assert 0 < np.abs(rounded - exact).max() < 0.3  # it did run in half precision
        levels = torch.from_numpy(rounded)
        assert (levels != levels.bfloat16().float()).float().mean() > 0.5
    exact, rounded, _ = (found[precision][1] for precision in found)
    assert rounded == pytest.approx(exact, abs=0.05)
    assert rounded != [float(torch.tensor(p).bfloat16()) for p in rounded]


def test_a_trainer_that_cannot_be_is_told_before_anything_is_written(
    fcam_run, photos, predicted, tmp_path
):
    words = [f"checkpoint={fcam_run}", f"images={photos[0]}"]
    with pytest.raises(UserError, match=r"trainer\.accelerator=abacus: expected one of"):
        predicted(*words, "trainer.accelerator=abacus")
    assert not (tmp_path / "out").exists()


def test_two_processes_leave_the_same_files_as_one(fcam_run, photos, predicted, tmp_path):
    words = [f"checkpoint={fcam_run}", f"images={photos[0]}", "batch_size=1", "arrays=true"]
    _, one, _ = predicted(*words)
    two = tmp_path / "two"
    processes = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    done = script(tmp_path, *words, *processes, "trainer.precision=32-true", f"out={two}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == ["6 images, 3 files skipped", f"{two}/predictions.json"]
    assert done.stderr.count("skipped ") == 3
    assert files(one) == files(two)
    for name in files(one) - {"predict.yaml"}:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert not list((tmp_path / "here").iterdir())  # Lightning wrote nothing, either


@pytest.mark.parametrize(
    ("sent", "code", "processes"),
    [(signal.SIGINT, 130, 1), (signal.SIGTERM, 143, 2)],
)
def test_a_signal_ends_it_with_whole_files_only(fcam_run, photos, tmp_path, sent, code, processes):
    many = ",".join([str(photos[0])] * 200)
    words = [f"checkpoint={fcam_run}", f"images=[{many}]", "batch_size=1", "trainer=ddp"]
    words += ["trainer.accelerator=cpu", "trainer.precision=32-true"]
    words += ["methods=[native,opticam]", f"trainer.devices={processes}"]
    process = start(tmp_path, *words, f"out={tmp_path}/out")
    part = tmp_path / "out" / f"predictions.json.part-{processes - 1}"
    until = time.monotonic() + 120
    while not part.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    assert part.exists(), process.communicate()[1]
    time.sleep(0.5)
    process.send_signal(sent)
    _, told = process.communicate(timeout=20)  # both have closed their stderr
    assert process.returncode == code
    assert "Traceback" not in told
    left = files(tmp_path / "out")
    assert not [name for name in left if name.startswith("predictions.json")]
    assert not [name for name in left if name.endswith(".tmp")]
    for name in left - {"predict.yaml"}:
        read_pixels(tmp_path / "out" / name)


def test_the_command_ends_with_what_it_wrote(fcam_run, photos, tmp_path, monkeypatch):
    words = [f"checkpoint={fcam_run}", f"images={photos[0]}", f"out={tmp_path}/out"]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = run_command("predict", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "6 images, 3 files skipped",
        f"{tmp_path}/out/predictions.json",
    ]
    assert done.stderr.count("skipped ") == 3
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "here").iterdir())


def start(tmp_path, *words):
    """Start predict.py in an empty folder ``here``."""
    (tmp_path / "here").mkdir()
    return subprocess.Popen(
        [sys.executable, ROOT / "predict.py", *words],
        cwd=tmp_path / "here",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def script(tmp_path, *words):
    process = start(tmp_path, *words)
    out, told = process.communicate(timeout=300)
    return subprocess.CompletedProcess(words, process.returncode, out, told)
