"""Evaluations that are refused in one sentence."""

import pytest
import torch

from learned_saliency.pipeline.cli.compose import check_command_line
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.commands.evaluate import evaluation_words
from learned_saliency.pipeline.evaluation.evaluate import CONFIG_NAME

DROP = "evaluate.faithfulness=[average_drop]"
NONE = "evaluate.faithfulness=[]"
IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("methods=[gradcm]", "nearest: gradcam"),
        ("evaluate.faithfulness=[average_drp]", "nearest: average_drop"),
        ("evaluate.explained=true", "label, predicted"),
        ("split=tset", "expected one of test, val"),
        ("layer=layr2", "layer2"),
        ("layer=null", "layer4"),
        ("classifier=timm:resnet10", "nearest: .*resnet10t"),
        ("classifier=resnet10t", "timm:NAME"),
        ("classifier=torchvision:squeezenet", "squeezenet1_0"),
        ("classifier=no.such.module:f", "no.such.module"),
        ("weights=nowhere.pt", "no such file"),
        ("num_classes=7", "for 16 classes, but the network has 7"),
        ("methods=[native,gradcam]", "native"),
        ("methods=[]", "at least one"),
        ("methods=[rollout]", "'rollout' does not fit"),
        ("data.metadata=nowhere", "nowhere"),
        ("checkpoint=somewhere", "either"),
    ],
)
def test_bad_input_is_told_in_one_sentence(foreign, evaluated, word, told):
    with pytest.raises(ValueError, match=told) as caught:
        evaluated(*foreign, "methods=[gradcam]", NONE, word)
    assert "\n" not in str(caught.value)


def test_files_that_hold_code_or_other_weights_are_refused(foreign, evaluated, tmp_path):
    marker = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    torch.save({"payload": Payload()}, tmp_path / "code.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "cut.safetensors").write_bytes(b"\x00" * 20)
    for name, told in [
        ("code.pt", "more than weights"),
        ("list.pt", "no state dict"),
        ("cut.safetensors", "truncated"),
    ]:
        with pytest.raises(UserError, match=told):
            evaluated(*foreign, "methods=[gradcam]", f"weights={tmp_path}/{name}")
    assert not marker.exists()


def test_data_with_more_classes_than_the_classifier_is_refused(foreign, evaluated, tmp_path):
    words = [word for word in foreign if not word.startswith(("weights", "num_classes"))]
    with (
        pytest.raises(UserError, match=r"16 classes.* 3"),
        pytest.warns(UserWarning, match="random"),
    ):
        evaluated(*words, "num_classes=3", "methods=[gradcam]")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("methodes=[gradcam]", "methods"),
        ("chekpoint=x", "checkpoint"),
        ("model=fcam", "no key"),
        ("data=wsool", "wsol"),
        ("attribution.opticam.iteratoins=3", "attribution.opticam.iterations"),
        ("data=wsol", None),
        ("methods=[gradcam]", None),
        ("data.root=x", None),
    ],
)
def test_the_command_line_is_checked_before_anything_runs(word, told):
    words = evaluation_words([word])
    if told is None:
        check_command_line(words, CONFIG_NAME, complete=False)
        return
    with pytest.raises(UserError, match=told):
        check_command_line(words, CONFIG_NAME, complete=False)
