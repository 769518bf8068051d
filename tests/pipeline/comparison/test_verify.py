"""Verification of bundles: what is whole agrees to the last bit, and what is not is named."""

import bisect
import io
import json
import random
import zipfile

import numpy as np
import pytest

from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.comparison.verify import described, verify
from learned_saliency.pipeline.reports import read_saved
from learned_saliency.pipeline.runs import Bundle, find_faults
from learned_saliency.pipeline.runs.bundles import archive, facts
from learned_saliency.visualization import encode_gray
from tests.support.bundles import archived, contents, evaluate_bundle, forge
from tests.support.commands import run_command
from tests.support.untrained import untrained_run

CONTENT, HEADER, ENTRY, END = "content", "header", "entry", "the end of the archive"


@pytest.fixture(scope="module")
def bundle(creatures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("verified")
    model = untrained_run(creatures, folder / "run", "model=cam")
    words = ["evaluate.faithfulness=[average_drop,l1_complexity]", "limit=8", "pictures.gallery=3"]
    return evaluate_bundle(model, folder / "out", *words).bundle.path


@pytest.fixture
def forged(bundle, tmp_path):
    """Call that writes the bundle with changed members, whose digests and checksums fit."""

    def call(changes=(), **changed):
        return forge(tmp_path / "forged.zip", contents(bundle) | dict(changes), **changed)

    return call


def spans(path):
    """Beginning, member and kind of each stretch of bytes in a bundle."""
    sizes = [(name, len(content)) for name, content in contents(path).items()]
    *begins, at = archive.offsets(sizes)
    found = []
    for (name, size), begin in zip(sizes, begins, strict=True):
        found.append((begin, name, HEADER))
        header = len(archive.local_header(archive.Member(name, size, 0)))
        found.append((begin + header, name, CONTENT))
    for (name, size), begin in zip(sizes, begins, strict=True):
        found.append((at, name, ENTRY))
        at += len(archive.directory_entry(archive.Member(name, size, 0), begin))
    return [*found, (at, END, END)]


def test_a_whole_bundle_agrees_to_the_last_bit(bundle):
    found = verify(bundle)
    assert found.agrees
    assert found.figures == found.exact > 60  # two methods with boxes and masks, two floors
    assert found.rows == 16
    assert found.of_network == ("average_drop", "l1_complexity")
    assert found.of_studies == ()


def test_a_bundle_agrees_whose_batches_are_single_images(creatures, tmp_path):
    model = untrained_run(creatures, tmp_path / "run", "model=cam")
    words = ["methods=[]", "evaluate.faithfulness=[]", "limit=3", "+data.eval_batch_size=1"]
    found = verify(evaluate_bundle(model, tmp_path / "out", *words).bundle.path)
    assert (found.differences, found.exact) == ([], found.figures)


def test_maps_of_a_tool_and_classes_that_were_not_trained_agree(creatures, tmp_path):
    ids = [f"{path.relative_to(creatures)}" for path in sorted(creatures.rglob("test/*.png"))]
    maps = np.random.default_rng(0).random((len(ids), 32, 32), np.float32)
    for image, values in zip(ids, maps, strict=True):
        path = tmp_path / "maps" / f"{image}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, values)
    words = [
        f"maps={tmp_path}/maps",
        "data=wsol",
        f"data.root={creatures}",
        f"data.metadata={creatures}/metadata",
        "data.crop_size=32",
        "data.num_workers=0",
        "data.classes=[0,3,5]",
        f"output_dir={tmp_path}/out",
        f"bundle={tmp_path}/out.zip",
    ]
    done = run_command("evaluate", *words)
    assert done.returncode == 0, done.stderr
    found = verify(tmp_path / "out.zip")
    assert (found.differences, found.figures) == ([], found.exact)
    assert Bundle(tmp_path / "out.zip").facts.seen
    results = json.loads((tmp_path / "out" / "results.json").read_text())["test"]["maps"]
    assert {"le_seen", "le_unseen", "pxap"} <= results.keys()


def test_a_flipped_bit_is_named_wherever_it_is(bundle, tmp_path):
    content, generator = bundle.read_bytes(), random.Random(0)
    stretches = spans(bundle)
    begins = [begin for begin, _, _ in stretches]
    heads = [b + i for b, _, kind in stretches if kind != CONTENT for i in range(20)]
    places = generator.sample(range(len(content)), 150) + generator.sample(heads, 150)
    places += [*range(41), *range(len(content) - 22, len(content))]
    changed, kinds = tmp_path / "changed.zip", set()
    changed.write_bytes(content)
    with changed.open("r+b", buffering=0) as file:
        for place in places:
            file.seek(place)
            file.write(bytes([content[place] ^ 1 << generator.randrange(8)]))
            _, member, kind = stretches[bisect.bisect_right(begins, place) - 1]
            kinds.add(kind)
            assert [fault.member for fault in find_faults(changed)] == [member], place
            file.seek(place)
            file.write(content[place : place + 1])
    assert kinds == {CONTENT, HEADER, ENTRY, END}
    assert find_faults(changed) == []


@pytest.mark.parametrize("left", [0.5, 0.999])
def test_a_cut_file_names_the_member_at_which_it_ends(bundle, tmp_path, left):
    content = bundle.read_bytes()
    cut = tmp_path / "cut.zip"
    cut.write_bytes(content[: int(left * len(content))])
    (fault,) = find_faults(cut)
    assert fault.member in {*contents(bundle), "the directory at its end"}
    with pytest.raises(UserError, match="get the file anew"):
        Bundle(cut)


def test_a_member_too_many_or_too_few_is_named(bundle, tmp_path):
    members, changed = contents(bundle), tmp_path / "changed.zip"
    without = dict(members)
    gone = list(members)[-3]
    del without[gone]
    changed.write_bytes(archived(without))
    assert [fault.member for fault in find_faults(changed)] == [gone]
    changed.write_bytes(archived(members | {"more.txt": b"more"}))
    assert [fault.member for fault in find_faults(changed)] == ["the directory at its end"]
    listed = facts.read_facts(members[facts.FACTS])
    named = {"maps/7/0.png": facts.Digest(0, "0" * 64)}
    told = facts.write_facts(listed._replace(members=listed.members | named))
    changed.write_bytes(archived(members | {facts.FACTS: told, "maps/7/0.png": b""}))
    with pytest.raises(UserError, match=r"'maps/7/0\.png' in bundle\.json"):
        find_faults(changed)


def test_another_map_changes_what_is_recomputed(bundle, forged):
    image = Bundle(bundle).images[2]
    levels = Bundle(bundle).levels("native", image.place)
    name = facts.map_name(0, image.place)
    found = verify(forged({name: encode_gray(np.ascontiguousarray(levels[::-1]))}))
    assert found.faults == []
    told = {difference.where for difference in found.differences}
    assert f"images.csv, image {image.image_id}, native, energy_pointing_game" in told
    assert "native, energy_pointing_game" in told
    assert any(where.startswith("image_states.npz, 0/boxes/hits") for where in told)
    assert not any("gradcam" in where for where in told)


def test_another_figure_row_or_state_is_named_with_both_values(bundle, forged):
    members = contents(bundle)
    results = json.loads(members["results.json"])
    true, drop = (results["test"]["native"][name] for name in ("max_box_acc", "average_drop"))
    results["test"]["native"] |= {"max_box_acc": true + 1e-9, "average_drop": drop + 1e-4}
    found = verify(forged({"results.json": json.dumps(results).encode()}))
    first, second = found.differences
    assert first == ("native, max_box_acc", repr(true + 1e-9), repr(true))
    assert second.where == "native, average_drop"
    lines = members["images.csv"].decode().splitlines(keepends=True)
    cells = lines[3].split(",")
    column = lines[0].split(",").index("sparseness")
    cells[column] = f"{float(cells[column]) * (1 + 3e-6):.6g}"
    table = "".join([*lines[:3], ",".join(cells), *lines[4:]])
    (told,) = verify(forged({"images.csv": table.encode()})).differences
    image = Bundle(bundle).images[1].image_id
    assert told.where == f"images.csv, image {image}, native, sparseness"
    assert told.stored == cells[column]
    (told,) = verify(forged({"images.csv": "".join(lines[:-1]).encode()})).differences[:1]
    assert (told.stored, told.recomputed) == ("no row", "a row")
    states = dict(np.load(io.BytesIO(members["image_states.npz"])))
    states["0/boxes/hits"][4, 0, 0, 0] ^= True
    written = io.BytesIO()
    np.savez_compressed(written, **states)
    found = verify(forged({"image_states.npz": written.getvalue()}))
    (told,) = found.differences
    assert told.where.startswith("image_states.npz, 0/boxes/hits, image ")
    assert f"  {told.where}: stored other bytes than those recomputed" in described("x", found, 9)


@pytest.mark.parametrize("value", ["x", 10**400, [0.5], True, {"a": 1}])
def test_what_is_no_number_is_told_in_a_sentence(bundle, forged, value):
    results = json.loads(contents(bundle)["results.json"])
    results["test"]["gradcam"]["pxap"] = value
    path = forged({"results.json": json.dumps(results).encode()})
    for read in (verify, read_saved):
        with pytest.raises(UserError, match=r"where a number should be: test, gradcam, pxap"):
            read(path)


@pytest.mark.parametrize("value", [None, float("inf"), 0, -(10**300)])
def test_another_number_is_told_as_a_difference(bundle, forged, value):
    results = json.loads(contents(bundle)["results.json"])
    results["test"]["gradcam"]["pxap"] = value
    (told,) = verify(forged({"results.json": json.dumps(results).encode()})).differences
    assert (told.where, told.stored) == ("gradcam, pxap", "nan" if value is None else repr(value))


@pytest.mark.parametrize(
    "content", [b"[]", b"3", b'["test"]', b'{"test": []}', b'{"test": {"a": 1}}']
)
def test_results_of_another_form_are_told_in_a_sentence(forged, content):
    with pytest.raises(UserError, match=r"results\.json has no "):
        verify(forged({"results.json": content}))


def test_figures_without_maps_are_no_studies(bundle, forged):
    results = json.loads(contents(bundle)["results.json"])
    study = {"higher_is_better": True, "needs": []}
    results["figures"] = {"cue": study}
    results["test"]["invented"] = {"pxap": 0.3, "insertion": 0.9, "odd": 1.0}
    results["test"]["gradcam"] |= {"le_seen": 0.1, "cue": 0.5, "odd": 1.0}
    results["test"]["cues"] = {"cue": 0.5, "cue_2": 0.5}
    found = verify(forged({"results.json": json.dumps(results).encode()}))
    assert [(told.where, told.stored) for told in found.differences] == [
        ("gradcam, le_seen", "0.1"),
        ("invented, pxap", "0.3"),
    ]
    assert found.differences[1].recomputed == "nothing, without maps"
    assert found.of_studies == ("gradcam cue", "cues")
    assert found.unknown == ("gradcam odd", "invented insertion", "invented odd", "cues cue_2")


def test_the_record_is_compared_or_named_as_not_verified(bundle, forged):
    results = json.loads(contents(bundle)["results.json"])
    keys = [key for key in results if key not in ("test", "box_threshold", "explained", "versions")]
    assert verify(bundle).record == tuple(keys)
    last = "\n".join(described("x", verify(bundle), 9))
    assert f"({', '.join(keys)}), config.yaml, names of classes, gallery.zip" in last
    for key, value in {
        "box_threshold": 0.75,
        "explained": {"a": [[]]},
        "versions": {"torch": ["0.1"]},
    }.items():
        path = forged({"results.json": json.dumps(results | {key: value}).encode()})
        (told,) = verify(path).differences
        assert told.where == f"results.json, {key}"
    results["val"] = results.pop("test")
    told = verify(forged({"results.json": json.dumps(results).encode()})).differences
    assert [found.where for found in told] == ["results.json, split"]


def test_another_truth_changes_what_is_recomputed(bundle, forged):
    lines = contents(bundle)["truth/boxes.csv"].decode().splitlines(keepends=True)
    lines[1] = lines[1].split(",")[0] + ",0,0,1,1\r\n"
    told = verify(forged({"truth/boxes.csv": "".join(lines).encode()})).differences
    assert "native, energy_pointing_game" in {found.where for found in told}
    lines[1] = lines[1].split(",")[0] + ",9,9,1,1\r\n"
    with pytest.raises(UserError, match="nothing can be measured"):
        verify(forged({"truth/boxes.csv": "".join(lines).encode()}))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"", b"[" * 150_000, "bundle.json is no JSON that can be read"),
        (b"", b"[]," * 200_000, "has too many parts"),
        (b"", b'{"format": 3}', "does not say so"),
        (b'"version": 1,', b'"version": 2,', "is a bundle of version 2"),
        (b"[32, 32]", b"[32, -1]", "input_size in its bundle.json"),
        (b"[32, 32]", b"[1e9, 32]", "input_size in its bundle.json"),
        (b"[32, 32]", b"[8192, 8192]", "more pixels in the maps of an image than are read"),
        (b'"logits.npy": [', b'"/etc/passwd": [', "logits.npy is missing"),
        (b'"native", ', b'"native", "native", ', "methods in its bundle.json"),
    ],
)
def test_what_is_no_bundle_is_refused_in_a_sentence(bundle, tmp_path, old, new, message):
    members, path = contents(bundle), tmp_path / "strange.zip"
    told = members[facts.FACTS].replace(old, new, 1) if old else new
    path.write_bytes(archived(members | {facts.FACTS: told}))
    with pytest.raises(UserError) as error:
        verify(path)
    assert message in str(error.value)


def test_other_files_are_no_bundles(bundle, tmp_path):
    path = tmp_path / "other.zip"
    for content in (b"", b"PK", b"text" * 100, bytes(10**5)):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is no bundle"):
            verify(path)
    for name, content in (("a.txt", "a"), (facts.FACTS, "{}"), (facts.FACTS, '{"a": 1}' * 999)):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as other:
            other.writestr(name, content)
        with pytest.raises(UserError, match="is no bundle"):
            verify(path)
    with pytest.raises(UserError, match="is no file"):
        verify(tmp_path)


def test_states_that_unpack_to_more_are_not_unpacked(bundle, forged):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as states:
        states.writestr("image_ids.npy", bytes(100))
        states.writestr("0/boxes/hits.npy", bytes(10**7))
    path = forged({"image_states.npz": written.getvalue()})
    told = verify(path).differences
    assert told[0].where == "image_states.npz, image_ids"
    with pytest.raises(UserError, match="takes more memory than"):
        read_saved(path)


def test_the_exit_code_tells_what_was_found(bundle, forged, tmp_path):
    good = run_command("verify", str(bundle), "shown=2")
    assert good.returncode == 0
    assert "agrees" in good.stdout
    assert "average_drop" in good.stdout
    wrong = forged({"config.yaml": b"other"})
    content = bytearray(wrong.read_bytes())
    content[-1] ^= 1
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(content)
    done = run_command("verify", str(bundle), str(damaged))
    assert done.returncode == 1
    assert "DOES NOT AGREE" in done.stdout
    assert "the end of the archive is damaged" in done.stdout
    damaged.write_bytes(archived(contents(bundle) | {facts.FACTS: b"[]"}))
    refused = run_command("verify", str(damaged))
    assert refused.returncode == 2
    assert "is no bundle" in refused.stderr.splitlines()[-1]
    assert run_command("verify").returncode == 2
    assert run_command("verify", str(tmp_path / "none.zip")).returncode == 2


def test_no_more_faults_are_named_than_asked_for(bundle, forged):
    lines = contents(bundle)["images.csv"].decode().splitlines(keepends=True)
    found = verify(forged({"images.csv": "".join([lines[0], *lines[1:][::-1]]).encode()}))
    told = list(described("x", found, 2))
    assert sum("stored" in line for line in told) == 2
    assert any(line.endswith("more; shown=N names N") for line in told)
