"""Check what a command answers before its slow imports, and what it says that it will do."""

import json
import os
import subprocess
import sys

import pytest
from hydra.errors import InstantiationException

from learned_saliency.datamodules import DataError
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.entry import is_first_process, run_or_exit
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.commands import COMMANDS
from tests.support.commands import run_command
from tests.support.paths import ROOT

HEAVY = ("torch", "torchvision", "lightning", "timm", "wandb", "cv2", "matplotlib")
# Runs command lines one after the other in a fresh process; prints of each what it has imported.
CODE = f"""
import json, sys
from tests.support.commands import run_command
for name, words in json.loads(sys.argv[1]):
    code, _, told = run_command(name, *words)
    print(json.dumps([code, told.count(chr(10)), [m for m in {HEAVY} if m in sys.modules]]))
"""
MISSPELT = {
    "train": "modell=fcam",
    "evaluate": "chekpoint=x",
    "predict": "imges=x",
    "export": "formt=onnx",
    "convert": "publishd=x",
    "data": "full_decod=true",
    "search": "search.valuse=[1]",
    "shard": "shard_imges=5",
    "guard": "tolerence=0.1",
    "compare": "metrcs=[pxap]",
    "reproduce": "al=true",
    "verify": "shwn=3",
}
MISSING = [
    ("train", ["resume=nowhere"], "resume=nowhere: there is no such run or checkpoint."),
    ("train", ["classifier=nowhere"], "nowhere: there is no such checkpoint."),
    ("train", ["data=cub", "data.root=nowhere"], "data.root=nowhere: the root folder"),
    ("train", ["data=wsol", "data.root=.", "data.metadata=nowhere"], "data.metadata=nowhere: "),
    ("train", ["output_dir=/dev/null/x"], "output_dir=/dev/null/x: cannot be written below"),
    ("train", [f"output_dir={300 * 'x'}"], "names of up to 255 bytes"),
    ("train", ["output_dir=~nobody-here/x"], "output_dir=~nobody-here/x: expected a path"),
    (
        "evaluate",
        ["checkpoint=pyproject.toml", "output_dir=/dev/null/x"],
        "cannot be written below",
    ),
    ("convert", ["published=pyproject.toml", "output_dir=/dev/null/x"], "cannot be written below"),
    ("export", ["checkpoint=x", "out=/dev/null/x/y"], "out=/dev/null/x: cannot be"),
    ("export", ["checkpoint=null"], "give either checkpoint=RUN_OR_FILE or classifier="),
    ("predict", ["images=.", "out=/dev/null/x"], "out=/dev/null/x: cannot be written below"),
    (
        "train",
        ["model=cam", "recipe.epoch_steps=5"],
        "recipe.epoch_steps=5: the epochs of model=cam are those of a classifier; give",
    ),
    ("train", ["-m", "classifier=null,nowhere"], "nowhere: there is no such checkpoint."),
    ("evaluate", ["checkpoint=nowhere"], "nowhere: there is no such checkpoint."),
    ("evaluate", ["classifier=nowhere"], "(there is none at this one)"),
    ("evaluate", ["classifier=timm:vgg16", "weights=nowhere"], "weights=nowhere: there is no such"),
    ("evaluate", ["classifier=timm:vgg16", "data=wsol"], "data.metadata has no value"),
    ("evaluate", [], "give either checkpoint=RUN_OR_FILE or classifier="),
    (
        "predict",
        ["checkpoint=nowhere", "images=.", "out=x"],
        "nowhere: there is no such checkpoint",
    ),
    ("predict", ["checkpoint=nowhere", "images=."], "out has no value"),
    (
        "predict",
        ["classifier=timm:vgg16", "images=.", "out=x", "class_names=nowhere"],
        "class_names=nowhere: there is no such file",
    ),
    (
        "predict",
        ["classifier=timm:vgg16", "images=nowhere", "out=x"],
        "images=nowhere: there is no",
    ),
    ("predict", ["classifier=timm:vgg16", "images=[.,*.no]", "out=x"], "matches no file"),
    ("export", ["checkpoint=nowhere"], "nowhere: there is no such checkpoint."),
    ("verify", ["docs"], "bundles=docs: is a folder; name a file."),
    ("export", [], "give either checkpoint=RUN_OR_FILE or classifier="),
    ("convert", ["published=nowhere"], "nowhere: there is no such file."),
    ("convert", ["published=[pyproject.toml,nowhere]"], "nowhere: there is no such file."),
    ("data", ["wsol", "data.root=.", "data.metadata=nowhere"], "data.metadata=nowhere: "),
    (
        "data",
        ["wsol", "data.root=nowhere", "data.metadata=."],
        "data.root=nowhere: the root folder",
    ),
    ("data", ["cub", "data.root=.", "output_dir=/dev/null/x"], "cannot be written below"),
    ("data", ["cub"], "data.root has no value: give it as data.root=..."),
    ("search", ["search=lr", "classifier=nowhere"], "nowhere: there is no such checkpoint."),
    ("compare", ["pyproject.toml", "nowhere"], "nowhere: there is no such run or evaluation."),
    ("compare", [], "name the runs or evaluations to compare: learned-saliency compare A B."),
    ("reproduce", ["nowhere"], "nowhere: there is no such run, evaluation or folder of them."),
    ("data", ["cubb"], "data=cubb is no choice of 'data'; the nearest: cub"),
    ("guard", ["pyproject.toml", "nowhere"], "new=nowhere: there is no such run or evaluation."),
    ("guard", ["nowhere"], "name both: learned-saliency guard OLD NEW."),
    ("shard", ["data.root=."], "give the folder of the shards as out=..."),
    ("shard", ["data.root=.", "out=/dev/null/x"], "out=/dev/null/x: cannot be written below"),
    ("guard", [], "name both: learned-saliency guard OLD NEW."),
    ("guard", [".", ".", "junit=."], "junit=.: is a folder; name a file in it."),
    ("guard", [".", ".", "junit=/dev/null/x/y"], "junit=/dev/null/x: cannot be written below"),
]


def start(code: str, *words: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )


def test_help_a_misspelt_key_and_a_missing_file_need_no_heavy_import():
    missing = {name: words for name, words, _ in reversed(MISSING)}  # the first of each command
    cases = [(name, words) for name in COMMANDS for words in (["--help"], [MISSPELT[name]])]
    cases += list(missing.items())
    done = start(CODE, json.dumps(cases))
    assert done.returncode == 0, done.stderr
    for (name, words), line in zip(cases, done.stdout.splitlines(), strict=True):
        expected = [0, 0, []] if words == ["--help"] else [2, 1, []]
        assert json.loads(line) == expected, (name, words)


@pytest.mark.parametrize(("name", "words", "told"), MISSING)
def test_a_missing_file_is_named_in_one_line(name, words, told):
    answer = run_command(name, *words)
    assert answer.returncode == 2
    assert told in answer.stderr
    assert answer.stderr.startswith(f"{COMMANDS[name].program}: ")
    assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_key_is_answered(name):
    answer = run_command(name, MISSPELT[name])
    assert answer.returncode == 2
    assert "is no key of the configuration; the nearest: " in answer.stderr


def check(name: str, *words: str) -> None:
    command = COMMANDS[name]
    overrides = command.words(words)
    command.check(compose_checked(overrides, command.config_name, command.complete))


def test_folders_that_a_reader_makes_may_be_missing(tmp_path):
    check("train")
    check("train", f"data.root={tmp_path}/set")  # rendered there
    check("train", "data=cub", f"data.root={tmp_path}", f"data.metadata={tmp_path}-metadata")
    check("train", "resume=pyproject.toml", "data=cub", "data.root=nowhere")  # the run's counts
    with pytest.raises(UserError, match=r"data\.root=.*set"):
        check("train", f"data.root={tmp_path}/set", "data.metadata=elsewhere")


def test_weights_of_the_library_and_other_peoples_networks_are_no_files():
    words = ["images=.", "out=x", "classifier=timm:vgg16", "weights=default"]
    check("predict", *words)
    check("train", "classifier=timm:vgg16")  # refused later, for another reason
    check("evaluate", "checkpoint=pyproject.toml", "data.root=nowhere")  # its reader may make it


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        (
            "train",
            ["output_dir=RUN"],
            "training fcam with backbone resnet10t on creatures, 3 epochs",
        ),
        ("train", ["output_dir=RUN"], "after 9 of its classifier, into RUN"),
        ("train", ["model=cam", "output_dir=RUN"], "on creatures, 9 epochs, into RUN"),
        ("train", ["recipe.epochs=1"], "on creatures, 1 epoch after 9 of its classifier"),
        ("train", ["classifier=A"], "3 epochs on the classifier of A, into outputs/"),
        ("train", ["resume=A/last.ckpt"], "going on with the training of A/last.ckpt"),
        ("evaluate", ["checkpoint=A", "output_dir=B"], "testing gradcam, liftcam, opticam of A on"),
        (
            "evaluate",
            ["checkpoint=A", "studies=[cues,bank]", "studies_only=true", "output_dir=B"],
            "testing cues, bank of A on split test, into B",
        ),
        (
            "predict",
            ["checkpoint=A", "images=[1,2,3,4,5,6]", "out=B"],
            "explaining 1, 2, 3, 4 and 2",
        ),
        ("predict", ["checkpoint=A", "methods=native", "images=1", "out=B"], "by native, into B"),
        ("export", ["checkpoint=A"], "exporting A as onnx, into its folder `export`"),
        (
            "convert",
            ["published=A", "output_dir=B"],
            "a run of A as fcam with backbone resnet10t, ",
        ),
        ("compare", ["A", "B", "output_dir=C"], "comparing A, B, into C"),
        ("reproduce", ["A", "output_dir=C"], "comparing A with the papers, into C"),
        ("reproduce", [], "listing the rows of the papers"),
        ("data", ["cub", "data.root=A"], "checking cub in A, into outputs/data-cub"),
        ("guard", ["A", "B"], "judging B by A, into outputs/guard"),
    ],
)
def test_a_command_says_what_it_will_do(name, words, told):
    command = COMMANDS[name]
    overrides = command.words(words)
    config = compose_checked(overrides, command.config_name, command.complete)
    assert told in command.announce(config)


def test_it_says_so_before_the_heavy_imports_and_from_the_first_process_alone(tmp_path):
    """A job whose import fails shows what was told before it."""
    code = "import sys; sys.modules['torch'] = None; from learned_saliency.pipeline import main\n"
    words = [f"output_dir={tmp_path}/run"]
    first, other = (start(f"{code}main('train')", *words, LOCAL_RANK=rank).stderr for rank in "01")
    assert first.startswith("train.py: training fcam with backbone resnet10t on creatures")
    assert "torch" in first
    assert "training fcam" not in other


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"RANK": "8", "LOCAL_RANK": "0"}, False),
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_the_first_process_is_known_from_its_launcher(environment, first, monkeypatch):
    for key in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK", "GROUP_RANK"):
        monkeypatch.delenv(key, raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert is_first_process() is first


def test_the_configuration_is_printed_on_request_though_values_are_missing():
    shown = run_command("convert", "--cfg", "job")
    assert shown.returncode == 0
    assert "published: ???" in shown.stdout


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TypeError("Part.__init__() got an unexpected keyword argument 'x'"), "data.part: Part"),
        (ValueError("expected a size of 1 or more, got 0"), "data.part: expected a size of 1 or"),
        (DataError("labels.txt, line 3: is empty."), "train.py: labels.txt, line 3: is empty."),
    ],
)
def test_options_that_a_part_refuses_are_one_sentence_with_its_key(error, told, capsys):
    def work():
        raise InstantiationException("Error in call\nfull_key: data.part") from error

    with pytest.raises(SystemExit) as ended:
        run_or_exit("train.py", work)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_fault_of_the_code_keeps_its_trace():
    def work():
        raise InstantiationException("full_key: data") from TypeError("unsupported operand")

    with pytest.raises(InstantiationException):
        run_or_exit("train.py", work)
