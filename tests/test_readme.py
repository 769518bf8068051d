"""Check that the README's examples work as they are written there."""

import re

from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()


def test_training_from_python_without_hydra(tmp_path, monkeypatch):
    code = re.search(r"<!-- python-training -->\n```python\n(.*?)```", README, re.DOTALL)[1]
    for shown, small in {
        "train_images=2560": "train_images=32",
        "val_images=320": "val_images=16",
        "test_images=640": "test_images=16",
        "image_size=128": "image_size=64",
        '"resnet18.tv_in1k"': '"resnet10t"',
        "max_epochs=9": "max_epochs=1, logger=False, enable_progress_bar=False, accelerator='cpu'",
    }.items():
        assert shown in code
        code = code.replace(shown, small)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    results = names["module"].results["native"]
    assert 0 <= results["max_box_acc"] <= 1
    assert 0 <= results["pxap"] <= 1
