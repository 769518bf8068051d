"""CALM's training: pseudo-targets of other parameters, learning rates, native maps, resuming."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from learned_saliency.losses import CALMLoss, location_posterior
from learned_saliency.models import CALM, CAMClassifier
from learned_saliency.trainers import NATIVE, CALMModule

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True)


class ResNetLikeBackbone(nn.Module):
    """Names like those of a ResNet; what `MultiScaleBackbone` offers."""

    channels = (4, 6)

    def __init__(self):
        super().__init__()
        self.network = nn.ModuleDict(
            {
                "conv1": nn.Conv2d(3, 4, 3, 2, 1),
                "bn1": nn.BatchNorm2d(4),
                "layer1": nn.Conv2d(4, 4, 3, 2, 1),
                "layer4": nn.ModuleDict({"conv1": nn.Conv2d(4, 6, 1), "conv2": nn.Conv2d(6, 6, 1)}),
            }
        )

    def forward(self, images):
        parts = self.network
        first = parts["bn1"](parts["conv1"](images)).relu()
        last = parts["layer4"]["conv1"](parts["layer1"](first).relu()).relu()
        return [first, parts["layer4"]["conv2"](last).relu()]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.randn(5, 3, 32, 32, generator=generator),
        "label": torch.tensor([0, 1, 2, 1, 0]),
        "image_id": [f"{i}.png" for i in range(5)],
    }


def make(objective="em", seed=0, **options):
    torch.manual_seed(seed)
    network = CALM(CAMClassifier(ResNetLikeBackbone(), 3))
    module = CALMModule(network=network, loss=CALMLoss(objective), optimizer=SGD, **options)
    module.log = lambda *args, **kwargs: None
    return module.train()


def train(module, batch, steps):
    optimizer = module.configure_optimizers()["optimizer"]
    losses = []
    for step in range(steps):
        loss = module.training_step(batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if module.em_target == "ema":
            module.update_average()
        losses.append(loss.detach())
    return losses


@pytest.mark.parametrize("em_target", ["ema", "epoch"])
def test_pseudo_targets_of_equal_parameters_are_the_current_ones(batch, em_target):
    current, other = make(), make(em_target=em_target)
    first, second = (module.training_step(batch, 0) for module in (current, other))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("em_target", ["ema", "epoch"])
def test_pseudo_targets_come_from_the_second_parameters(batch, em_target):
    module = make(em_target=em_target)
    train(module, batch, 3)
    found, other = (
        net.distribution(net.features(batch["image"])).log_joint
        for net in (module.network, module.target_network)
    )
    maps = found[torch.arange(5), batch["label"]]
    target = location_posterior(other, batch["label"])
    expected = -(target * maps).sum(dim=(1, 2)).mean()
    torch.testing.assert_close(module.training_step(batch, 3), expected)
    assert not torch.allclose(target, location_posterior(found, batch["label"]), atol=1e-4)


def test_em_with_current_targets_trains_the_very_network_that_ml_trains(batch):
    em, ml = make("em"), make("ml")
    losses = train(em, batch, 5), train(ml, batch, 5)
    assert all(upper > lower for upper, lower in zip(*losses, strict=True))
    weights = (dict(module.network.state_dict()) for module in (em, ml))
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)


def test_the_average_follows_the_network_by_its_decay(batch):
    module = make(em_target="ema", ema_decay=0.75)
    before = [p.clone() for p in module.target_network.parameters()]
    train(module, batch, 1)
    for old, average, current in zip(
        before, module.target_network.parameters(), module.network.parameters(), strict=True
    ):
        torch.testing.assert_close(average.detach(), 0.75 * old + 0.25 * current.detach())
        assert not average.requires_grad


def test_the_copy_is_renewed_at_the_start_of_an_epoch_only(batch):
    module = make(em_target="epoch")
    before = {k: v.clone() for k, v in module.target_network.named_parameters()}
    train(module, batch, 2)
    kept = dict(module.target_network.named_parameters())
    torch.testing.assert_close(kept, before, rtol=0, atol=0)

    module.on_train_epoch_start()
    torch.testing.assert_close(
        dict(module.target_network.state_dict()), dict(module.network.state_dict())
    )


@pytest.mark.parametrize("em_target", ["ema", "epoch"])
def test_the_second_parameters_are_in_the_checkpoint(batch, em_target):
    module = make(em_target=em_target, ema_decay=0.5)
    train(module, batch, 3)
    fresh = make(em_target=em_target, ema_decay=0.5, seed=7)
    fresh.load_state_dict(module.state_dict())
    expected = module.training_step(batch, 3)
    torch.testing.assert_close(fresh.training_step(batch, 3), expected, rtol=0, atol=0)


def test_new_layers_learn_ten_times_as_fast_and_nothing_else_is_trained(batch):
    module = make(em_target="ema")
    slow, fast = module.configure_optimizers()["optimizer"].param_groups
    assert (slow["lr"], fast["lr"]) == (0.1, 1.0)
    new = [*module.network.class_branch.parameters(), *module.network.location_branch.parameters()]
    assert {id(p) for p in fast["params"]} == {id(p) for p in new}
    assert len(slow["params"]) + len(fast["params"]) == len(list(module.network.parameters()))


def test_the_released_recipe_lets_the_last_stage_learn_fast_but_for_its_first_convolutions():
    module = make(slow_layers=["conv1", "layer1", "layer2", "layer3"])
    names = {id(p): name for name, p in module.network.backbone.network.named_parameters()}
    slow, fast = module.parameter_groups()
    slow, fast = ({names.get(id(p), "new") for p in group["params"]} for group in (slow, fast))
    expected = {"conv1.weight", "conv1.bias", "layer1.weight", "layer1.bias"}
    assert slow == expected | {"layer4.conv1.weight", "layer4.conv1.bias"}
    assert fast == {"bn1.weight", "bn1.bias", "layer4.conv2.weight", "layer4.conv2.bias", "new"}
    with pytest.raises(ValueError, match="matches no parameter"):
        make(slow_layers=["stem"]).parameter_groups()


@pytest.mark.parametrize("superset", ["class", "all"])
def test_the_native_map_is_the_supersets_attribution_resized_and_normalized(batch, superset):
    module = make(superset=superset).eval()
    with torch.no_grad():
        maps, logits = module.maps(batch["image"], batch["label"])
        cams = module.network.cams(module.network.features(batch["image"]))
    raw = cams.sum(1) if superset == "all" else cams[torch.arange(5), batch["label"]]
    big = F.interpolate(raw[:, None], size=(32, 32), mode="bilinear", align_corners=False)[:, 0]
    low, high = big.amin((1, 2), keepdim=True), big.amax((1, 2), keepdim=True)
    torch.testing.assert_close(maps[NATIVE], (big - low) / (high - low))
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(5))
    torch.testing.assert_close(
        module.cam(module.network, batch["image"], batch["label"]).shape, batch["image"][:, 0].shape
    )


def test_predictions_explain_the_most_probable_class(batch):
    module = make().eval()
    with torch.no_grad():
        found = module.predict_step(batch, 0)
    assert torch.equal(found.targets[:, 0], module.network(batch["image"]).argmax(1))
    expected = module.cam(module.network, batch["image"], found.targets[:, 0])
    torch.testing.assert_close(found.maps[NATIVE][:, 0], expected)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"em_target": "old"}, "em_target must be one of"),
        ({"em_target": "ema", "objective": "ml"}, "needs objective=em"),
        ({"ema_decay": 1.0}, "ema_decay must be"),
        ({"superset": "birds"}, "superset must be one of"),
        ({"superset": "wordnet"}, "WordNet ids of the 3 classes"),
    ],
)
def test_wrong_options_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        make(**options)
