"""Facts about single files."""

import numpy as np
import pytest
from PIL import Image

from learned_saliency.datamodules import (
    ImageError,
    content_digest,
    image_source,
    inspect_image,
    inspect_mask,
    inspection,
)


def photograph(seed=0, height=150, width=200):
    noise = np.random.default_rng(seed).integers(0, 256, (height // 10, width // 10, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height))


@pytest.fixture
def jpeg(saved):
    return saved(photograph(), "a.jpg")


def test_the_facts_of_a_good_file(jpeg):
    facts = inspect_image(jpeg)
    assert facts[:4] == ("", 200, 150, 1)
    assert facts.size(turned=True) == (200, 150)
    assert (facts.look, facts.decoded) == ("", False)
    assert len(inspect_image(jpeg, look=True).look) == 64
    assert inspect_image(jpeg, decode=True).decoded


def test_a_turned_file_has_the_size_as_stored_and_as_seen(saved):
    exif = Image.Exif()
    exif[0x0112] = 6
    facts = inspect_image(saved(photograph(), "turned.jpg", exif=exif))
    assert facts.orientation == 6
    assert (facts.size(turned=False), facts.size(turned=True)) == ((200, 150), (150, 200))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"no image at all", "no image of a known kind"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_that_is_no_image_has_a_problem(tmp_path, content, problem):
    path = tmp_path / "b.jpg"
    if content is not None:
        path.write_bytes(content)
    assert inspect_image(path, look=True).problem == problem
    assert inspect_mask(path).problem == problem


def test_a_file_that_was_cut_off_is_found_by_its_end(jpeg):
    jpeg.write_bytes(jpeg.read_bytes()[:-200])
    assert "truncated" in inspect_image(jpeg).problem


def test_damage_in_the_middle_is_found_where_the_file_is_decoded(saved):
    path = saved(photograph(), "c.png")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 99] = bytes(99)
    path.write_bytes(content)
    assert not inspect_image(path).problem
    assert inspect_image(path, decode=True).problem


def test_digests_tell_files_apart_by_size_and_ends_and_by_all_that_they_hold(tmp_path):
    content = {
        "one": bytes(100_000),
        "same": bytes(100_000),
        "longer": bytes(100_001),
        "first": b"\1" + bytes(99_999),
        "last": bytes(99_999) + b"\1",
    }
    content["middle"] = bytes(50_000) + b"\1" + bytes(49_999)
    for small in (20_000, 16_384, 3):
        content[f"small {small}"] = b"\2" * small
        content[f"small {small} other"] = b"\2" * (small - 1) + b"\3"
    paths = {name: tmp_path / name for name in content}
    for name, data in content.items():
        paths[name].write_bytes(data)
    short = {name: inspection._ends_of(path) for name, path in paths.items()}
    assert short == {name: inspection._ends(data) for name, data in content.items()}
    assert short["one"] == short["same"] == short["middle"]
    assert len(set(short.values())) == len(content) - 2
    whole = {name: content_digest(path) for name, path in paths.items()}
    assert len(set(whole.values())) == len(content) - 1


def test_an_image_within_a_larger_file_is_read_once_and_has_the_same_facts(jpeg):
    reads = []

    def read(image_id):
        reads.append(image_id)
        return jpeg.read_bytes()

    packed = image_source(jpeg.parent, "a.jpg", read)
    assert inspect_image(packed, look=True) == inspect_image(jpeg, look=True)
    assert reads == ["a.jpg"]
    assert content_digest(packed) == content_digest(jpeg)


def test_an_image_that_a_larger_file_does_not_hold_has_a_problem(tmp_path):
    def read(image_id):
        raise ImageError("there is no such row")

    assert inspect_image(image_source(tmp_path, "9", read)).problem == "there is no such row"


def test_the_facts_of_a_mask(saved):
    marks = np.zeros((10, 20), np.uint8)
    marks[:5] = 7
    assert inspect_mask(saved(marks, "m.png"))[1:4] == (20, 10, 1)
    assert inspect_mask(saved(marks, "m.png")).marked == 0.5
    assert inspect_mask(saved(marks * 0, "n.png")).marked == 0
