import pytest

from learned_saliency.datamodules import DataError
from learned_saliency.datamodules.shards import image_of, read_samples, sample_key
from tests.support.tarred import write_tar


def samples(folder, *names):
    path = write_tar(folder / "a.tar", [(name, b"x") for name in names])
    return [(found.key, list(found.members)) for found in read_samples(path)]


def test_members_that_share_their_name_up_to_the_first_dot_are_a_sample(tmp_path):
    names = ["a/0.jpg", "a/0.CLS", "README", ".hidden.json", "a/1.mask.0.png", "a/1.jpg", "b/0.jpg"]
    assert samples(tmp_path, *names, "v1.0/3.png") == [
        ("a/0", ["jpg", "cls"]),
        ("a/1", ["mask.0.png", "jpg"]),
        ("b/0", ["jpg"]),
        ("v1.0/3", ["png"]),
    ]
    assert sample_key("v1.0/3.mask.png") == "v1.0/3"


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["0.jpg", "1.jpg", "0.cls"], "member 0.cls: the key 0 has been used"),
        (["0.jpg", "0.cls", "0.jpg"], "member 0.jpg: the sample has two members of this name"),
        (["0.jpg", "a,b.cls"], "member 'a,b.cls': names with a comma"),
    ],
)
def test_samples_that_are_not_clear_are_refused(tmp_path, names, told):
    with pytest.raises(DataError, match=told):
        samples(tmp_path, *names)


def test_the_image_of_a_sample_is_the_only_one_or_the_one_that_is_named(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("0.left.jpg", b""), ("0.jpg", b""), ("0.mask.png", b"")])
    (found,) = read_samples(path)
    assert image_of(path, found).name == "0.jpg"
    assert image_of(path, found, "LEFT.jpg").name == "0.left.jpg"
    assert image_of(path, found, "right.jpg") is None
    path = write_tar(tmp_path / "b.tar", [("0.png", b""), ("0.jpg", b"")])
    (found,) = read_samples(path)
    with pytest.raises(DataError, match=r"member 0\.jpg: .* 0\.png among them; choose by data"):
        image_of(path, found)
