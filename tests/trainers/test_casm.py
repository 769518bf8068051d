"""CASM's updates: their order, what each of them changes, accumulation, precision, resuming."""

import copy
from functools import partial
from itertools import pairwise

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from learned_saliency.losses import CASMLoss
from learned_saliency.models import CASM, CAMClassifier
from learned_saliency.storage import sha256
from learned_saliency.trainers import CASMModule, ExactEvaluationDDP, SnapshotPool
from tests.support.networks import TinyBackbone
from tests.support.two_processes import run_on_two

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
ADAM = partial(torch.optim.Adam, lr=0.01)
CLIP = 0.05  # reached in some steps and not in others


def make_network(norm=nn.BatchNorm2d, **options):
    torch.manual_seed(0)
    backbone = TinyBackbone(norm=norm, bias=False)
    network = CASM(CAMClassifier(backbone, 3), width=4, map_reduction=2, **options)
    with torch.no_grad():
        network.classifier.fc.weight.mul_(20)  # decided enough to be right and then fooled
    return network


def make_module(thinning, probability=0.5, norm=nn.BatchNorm2d, **options):
    return CASMModule(
        network=make_network(norm, **options),
        pool=SnapshotPool(thinning, size=3, current_probability=probability),
        loss=CASMLoss(2.0),
        optimizer=ADAM,
        classifier_optimizer=SGD,
        scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.1),
        classifier_scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5),
        gradient_clip=CLIP,
    )


def make_batches(count=4, size=6):
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "image": torch.randn(size, 3, 16, 16, generator=generator),
            "label": torch.randint(0, 3, (size,), generator=generator),
            "image_id": [str(i) for i in range(size)],
        }
        for _ in range(count)
    ]


def fit(module, batches, epochs=1, ckpt_path=None, **options):
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    loader = DataLoader(batches, batch_size=None, shuffle=False)
    trainer.fit(module, loader, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def reference(network, batches, drawn, trains=True):
    """The numbered steps with plain tensors; ``drawn`` says for each batch: current or a copy."""
    network = copy.deepcopy(network).train()
    if not trains:
        network.classifier.eval()
    mask_parameters = [*network.decoder.parameters()]
    if network.encoder is not None:
        mask_parameters += network.encoder.parameters()
    of_mask, of_classifier = ADAM(mask_parameters), SGD(network.classifier.parameters())
    stored = []
    for batch, choice in zip(batches, drawn, strict=True):
        images, labels = batch["image"], batch["label"]
        stored.append(copy.deepcopy(network.classifier).eval())  # 1
        levels = network.classifier.backbone(images)  # 2
        clean = network.classifier.fc(levels[-1].mean((2, 3)))
        if trains:
            of_classifier.zero_grad()
            functional.cross_entropy(clean, labels).backward()
            of_classifier.step()
        encoded = (
            [x.detach() for x in levels] if network.encoder is None else network.encoder(images)
        )
        mask = network.decoder(encoded, (16, 16))  # 3
        judge = network.classifier if choice is None else stored[choice]
        logits = judge(images * (1 - mask[:, None]))
        probs = logits.softmax(1)
        right, fooled = clean.argmax(1) == labels, logits.argmax(1) != labels
        score = torch.where(right, (probs * probs.log()).sum(1), 0.0).mean()
        size = torch.stack(
            [
                torch.relu((1.0 if r and f else 0.0) - m.mean())
                for r, f, m in zip(right, fooled, mask, strict=True)
            ]
        ).mean()
        wanted = torch.autograd.grad(score - 2.0 * size, mask_parameters, retain_graph=True)  # 4
        if choice is None and trains:  # 5
            of_classifier.zero_grad()
            functional.cross_entropy(logits, labels).backward()
            of_classifier.step()
        norm = torch.cat([g.flatten() for g in wanted]).norm()  # 6
        for parameter, gradient in zip(mask_parameters, wanted, strict=True):
            parameter.grad = gradient * min(1.0, CLIP / (norm.item() + 1e-6))
        of_mask.step()
    return network


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("thinning", "probability", "drawn", "trains"),
    [
        ("L", 0.5, [None] * 4, True),
        ("FL", 0.0, [0] * 4, True),
        ("F", 0.5, [None] * 4, False),
    ],
)
def test_the_numbered_steps_are_taken_in_their_order(shared, thinning, probability, drawn, trains):
    module, batches = make_module(thinning, probability, shared=shared), make_batches()
    expected = reference(module.network, batches, drawn, trains)
    fit(module, batches)
    torch.testing.assert_close(
        dict(module.network.state_dict()), dict(expected.state_dict()), rtol=1e-5, atol=1e-6
    )


def test_a_growing_pool_is_drawn_as_its_policy_says():
    module, batches = make_module("L2", 0.4), make_batches(7)
    drawn, pool = [], SnapshotPool("L2", size=3, current_probability=0.4)
    for now in range(7):
        if pool.is_due():
            pool.take({"born": torch.tensor(now)})
        snapshot = pool.draw()
        drawn.append(None if snapshot is None else int(snapshot["born"]))
    assert {None, 0} < set(drawn)  # the current one, the first one and a later one
    expected = reference(module.network, batches, drawn)
    fit(module, batches)
    torch.testing.assert_close(
        dict(module.network.state_dict()), dict(expected.state_dict()), rtol=1e-5, atol=1e-6
    )


def test_optimizers_step_in_the_order_of_the_docstring(monkeypatch):
    events = []
    for kind in (torch.optim.SGD, torch.optim.Adam):
        step = kind.step

        def noted(self, *args, _step=step, _name=kind.__name__, **kwargs):
            events.append(_name)
            return _step(self, *args, **kwargs)

        monkeypatch.setattr(kind, "step", noted)
    fit(make_module("L"), make_batches(1))
    assert events == ["SGD", "SGD", "Adam"]
    events.clear()
    fit(make_module("FL", 0.0), make_batches(1))
    assert events == ["SGD", "Adam"]
    events.clear()
    fit(make_module("F"), make_batches(1))
    assert events == ["Adam"]


def test_a_fixed_classifier_does_not_change_at_all():
    module = make_module("F")
    before = copy.deepcopy(module.classifier.state_dict())
    fit(module, make_batches())
    torch.testing.assert_close(dict(module.classifier.state_dict()), dict(before), rtol=0, atol=0)


def test_accumulated_batches_are_one_iteration():
    """Two batches of 3 or one of 6: the same without batch statistics; all meet one classifier."""
    norm = partial(nn.GroupNorm, 2)
    whole, parts = (make_module("L2", 0.4, norm=norm) for _ in range(2))
    for module in (whole, parts):
        for branch in module.network.decoder.branches:
            branch[1] = nn.Identity()
    batches = make_batches(5)
    halves = [
        {key: value[part] for key, value in batch.items()}
        for batch in batches
        for part in (slice(0, 2), slice(2, 6))
    ]
    fit(whole, batches)
    fit(parts, halves, accumulate_grad_batches=2)
    assert parts.pool.iteration == whole.pool.iteration == 5
    torch.testing.assert_close(
        dict(parts.network.state_dict()), dict(whole.network.state_dict()), rtol=1e-4, atol=1e-6
    )


def test_a_last_incomplete_set_of_batches_is_not_lost():
    module = make_module("L")
    fit(module, make_batches(5), accumulate_grad_batches=2)
    assert module.pool.iteration == 3
    assert not module._batches


def direction(module, before):
    """The change of all weights as one vector, of unit length."""
    change = [p.detach() - q for p, q in zip(module.parameters(), before, strict=True)]
    return functional.normalize(torch.cat([c.flatten() for c in change]), dim=0)


@pytest.mark.parametrize("scale", [1.0, 2.0**14])
def test_half_precision_scales_and_unscales_what_it_should(scale, monkeypatch):
    """A step in half floats goes where one in full floats goes, whatever the loss scale."""
    full, half = make_module("L"), make_module("L")
    before = [p.detach().clone() for p in full.parameters()]
    norms = []
    clip = torch.nn.utils.clip_grad_norm_

    def noted(parameters, limit):
        norms.append(float(clip(parameters, limit)))

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", noted)
    fit(full, make_batches(1))
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    fit(half, make_batches(1), plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    assert len(norms) == 2  # norms of the mask networks alone
    assert norms[1] == pytest.approx(norms[0], rel=0.02)  # true scale where it is clipped
    assert direction(half, before) @ direction(full, before) > 0.99


@pytest.mark.parametrize(
    ("precision", "weights"), [("bf16-mixed", torch.float32), ("bf16-true", torch.bfloat16)]
)
def test_bfloat16_steps_where_full_floats_do(precision, weights):
    full, narrow = make_module("L"), make_module("L")
    before = [p.detach().clone() for p in full.parameters()]
    fit(full, make_batches(1))
    fit(narrow, make_batches(1), precision=precision)
    assert all(p.dtype == weights for p in narrow.network.parameters())
    assert direction(narrow.float(), before) @ direction(full, before) > 0.9


def test_both_schedulers_step_once_an_epoch():
    module = make_module("L")
    trainer = fit(module, make_batches(2), epochs=2)
    mask, classifier = trainer.optimizers
    assert mask.param_groups[0]["lr"] == pytest.approx(0.01 * 0.01)
    assert classifier.param_groups[0]["lr"] == pytest.approx(0.05 * 0.25)


def test_the_pool_is_part_of_the_checkpoint():
    module = make_module("L2")
    fit(module, make_batches(5))
    checkpoint = {}
    module.on_save_checkpoint(checkpoint)
    other = make_module("L2")
    other.on_load_checkpoint(checkpoint)
    assert other.pool.iteration == 5
    assert other.pool.born == module.pool.born == [0, 2, 4]
    ours, theirs = (part.pool.state_dict()["snapshots"] for part in (other, module))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    theirs = theirs[0]
    assert set(theirs) == set(module.classifier.state_dict())  # BatchNorm statistics too


def test_stored_classifiers_leave_the_current_one_alone():
    """Images that a stored classifier sees change no weights, statistics or modes of this one."""
    module = make_module("L")
    module.train()
    before = copy.deepcopy(module.classifier.state_dict())
    snapshot = {name: value + 0.1 for name, value in before.items()}
    images = torch.randn(4, 3, 16, 16)
    found = module._classify(images, snapshot)
    stored = copy.deepcopy(module.classifier).eval()
    stored.load_state_dict(snapshot)
    torch.testing.assert_close(found, stored(images).detach())
    torch.testing.assert_close(dict(module.classifier.state_dict()), dict(before), rtol=0, atol=0)
    assert all(part.training for part in module.classifier.modules())
    assert all(p.requires_grad for p in module.classifier.parameters())


class EqualWeights(L.Callback):
    """Fails in any process whose weights or snapshots are not those of the first."""

    def on_train_end(self, trainer, module):
        stored = [module.pool._tensors(one, None).values() for one in module.pool._stored]
        snapshots = [t.clone() for tensors in stored for t in tensors]
        assert len(module.pool) == 3
        for tensor in [*module.parameters(), *snapshots]:
            first = tensor.detach().clone()
            torch.distributed.broadcast(first, 0)
            torch.testing.assert_close(tensor.detach(), first, rtol=0, atol=0)


def ddp_module(norm):
    module = make_module("L2", 0.4, norm=norm)
    for branch in module.network.decoder.branches:
        branch[1] = norm(4)
    return module


def train_in_process(rank, folder):
    """Half of every batch, with statistics of its own; then without any, in uneven pieces."""
    for norm, cuts, accumulated in (
        (nn.BatchNorm2d, (0, 3, 6), 1),
        (partial(nn.GroupNorm, 2), (0, 2, 3, 5, 6), 2),
    ):
        parts = list(pairwise(cuts))
        mine = parts[rank * len(parts) // 2 : (rank + 1) * len(parts) // 2]
        module = ddp_module(norm)
        if accumulated == 1:  # the first process writes, whatever folder the others were told
            module.keep_files(folder / f"of{rank}")
        fit(
            module,
            [
                {key: value[begin:end] for key, value in batch.items()}
                for batch in make_batches(5)
                for begin, end in mine
            ],
            devices=2,
            strategy=ExactEvaluationDDP(),
            callbacks=[EqualWeights()],
            use_distributed_sampler=False,
            accumulate_grad_batches=accumulated,
        )
    if rank == 0:
        torch.save(module.network.state_dict(), folder / "weights.pt")


def test_two_processes_keep_equal_weights_and_train_as_one_does(tmp_path):
    run_on_two(train_in_process, tmp_path)
    written = [path.stem for path in tmp_path.glob("of*/pool/*")]
    assert written == [sha256(path) for path in tmp_path.glob("of0/pool/*")]
    assert len(written) == 3
    found = torch.load(tmp_path / "weights.pt", weights_only=True)
    alone = ddp_module(partial(nn.GroupNorm, 2))
    fit(alone, make_batches(5))
    expected = dict(alone.network.state_dict())
    torch.testing.assert_close(dict(found), expected, rtol=1e-4, atol=1e-6)


def test_the_gradient_clip_must_be_positive():
    with pytest.raises(ValueError, match="gradient_clip"):
        CASMModule(
            network=make_network(),
            pool=SnapshotPool("L"),
            loss=CASMLoss(1.0),
            optimizer=ADAM,
            classifier_optimizer=SGD,
            gradient_clip=0.0,
        )
