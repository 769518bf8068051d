"""Records of runs that go on before their first checkpoint: they go on, or the file is named."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.runs import run_record
from learned_saliency.pipeline.runs.folder import create_folder
from learned_saliency.pipeline.training.resume import resumed_config
from tests.fuzz.generators import changed_bytes, changed_plain, plain_values
from tests.fuzz.guards import budget, outcome
from tests.support.words import SMALL_RUN


@pytest.fixture(scope="module")
def begun(place):
    """Folder of a run that has begun, and its record."""
    for split in ("train", "val", "test"):
        (place / "set" / "metadata" / split).mkdir(parents=True)
        (place / "set" / "metadata" / split / "image_ids.txt").touch()
    data = [f"data.root={place}/set", f"data.metadata={place}/set/metadata"]
    config = compose_checked([*SMALL_RUN, "model=fcam", *data, f"output_dir={place}/run"])
    folder = create_folder(config, run_record(config))
    return folder, json.loads((folder / "run.json").read_text())


@budget(15)
@given(draw=st.data())
def test_resumes(place, begun, draw):
    folder, record = begun
    changed = draw.draw(changed_plain(record, plain_values(), draw.draw(st.integers(1, 3))))
    written = json.dumps(changed).encode()
    (folder / "run.json").write_bytes(draw.draw(st.just(written) | changed_bytes(written)))
    words = [f"resume={folder}"]
    found = outcome(lambda: resumed_config(compose_checked(words), words), place, [str(folder)])
    assert found.message or isinstance(found.value, DictConfig)
