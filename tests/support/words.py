"""Words of command lines that run in seconds."""

SMALL_DATA = [
    "data=creatures",
    "data.reader.image_size=48",
    "data.reader.train_images=32",
    "data.reader.val_images=16",
    "data.reader.test_images=17",
    "data.resize_size=36",
    "data.crop_size=32",
    "data.batch_size=8",
    "data.eval_batch_size=6",
]
SMALL_RUN = [
    *SMALL_DATA,
    "backbone=resnet10",
    "backbone.channels=[8,8,16,16]",
    "pictures.images=2",
    "recipe.classifier_epochs=1",
    "++recipe.pretraining_epochs=1",  # these two: not every model has them
    "++recipe.epochs=1",
    "trainer.log_every_n_steps=1",
]
TRANSFORMER = [
    "backbone=vit",
    "backbone.name=vit_tiny_patch16_224",
    "+backbone.patch_size=8",
    "+backbone.embed_dim=24",
    "+backbone.depth=2",
    "+backbone.num_heads=2",
]
_BACKBONES = {"tscam": TRANSFORMER}  # models that need another kind than a convolutional one


def of_model(words, model):
    """Words of a small run for a model, with a backbone that it can be built on."""
    if model not in _BACKBONES:
        return [*words, f"model={model}"]
    others = [word for word in words if not word.startswith("backbone")]
    return [*others, *_BACKBONES[model], f"model={model}"]


FLOORS = {"full_image", "centered_box"}  # rows of every table of a test beside the methods
