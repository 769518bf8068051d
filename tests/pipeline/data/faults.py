"""Faults that are planted in a faultless data set, and what the doctor has to say of each."""

import shutil

from PIL import Image

from learned_saliency.pipeline.data import Severity
from tests.support.small_set import photograph

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def fill_boxes(small):
    for number in range(1, 5):
        small.replace("test/localization.txt", number, f"test/{number - 1}.jpg,0,0,119,89")


def copy(small, source, target):
    shutil.copy(small.root / source, small.root / target)


def shrink(small, source, target):
    picture = Image.open(small.root / source).resize((60, 45), Image.Resampling.BOX)
    picture.save(small.root / target, quality=60)


def drop(small, *names):
    for name in names:
        small.replace(name, 1, None)


# what is done to the set; kind, severity, end of the place, line, and words of the message
BOXES = {
    "an image is missing": (
        lambda s: (s.root / "train/1.jpg").unlink(),
        ("image-missing", ERROR, "images/train/1.jpg", None, "train/image_ids.txt, line 2"),
    ),
    "an image is cut off": (
        lambda s: truncate(s.root / "train/1.jpg"),
        ("image-damaged", ERROR, "images/train/1.jpg", None, "truncated"),
    ),
    "an image is empty": (
        lambda s: (s.root / "val/1.jpg").write_bytes(b""),
        ("image-damaged", ERROR, "images/val/1.jpg", None, "the file is empty"),
    ),
    "an image is no image": (
        lambda s: (s.root / "val/1.jpg").write_text("not found"),
        ("image-damaged", ERROR, "images/val/1.jpg", None, "no image"),
    ),
    "an image has another size": (
        lambda s: s.replace("val/image_sizes.txt", 2, "val/1.jpg,120,91"),
        ("size", ERROR, "val/image_sizes.txt", 2, "is 120x90 pixels large, not 120x91"),
    ),
    "a size is that of the turned image": (
        lambda s: (s.save("val/1.jpg", photograph(7, 90, 120), exif=turned(6)),),
        ("turned-size", ERROR, "val/image_sizes.txt", 2, "data.exif_orientation=true"),
    ),
    "an image is turned by EXIF data": (
        lambda s: s.save("val/1.jpg", photograph(7), exif=turned(3)),
        ("turned", WARNING, "images/val/1.jpg", None, "EXIF orientation 3"),
    ),
    "a box is inverted": (
        lambda s: s.replace("val/localization.txt", 3, "val/2.jpg,60,20,10,70"),
        ("box", ERROR, "val/localization.txt", 3, "is inverted"),
    ),
    "a box leaves its image": (
        lambda s: s.replace("val/localization.txt", 3, "val/2.jpg,60,20,121,70"),
        ("box", ERROR, "val/localization.txt", 3, "outside the image of 120x90"),
    ),
    "a box is negative": (
        lambda s: s.replace("test/localization.txt", 1, "test/0.jpg,-1,20,100,70"),
        ("box", ERROR, "test/localization.txt", 1, "outside the image of 120x90"),
    ),
    "a box has no area": (
        lambda s: s.replace("val/localization.txt", 3, "val/2.jpg,60,20,60,70"),
        ("box-thin", WARNING, "val/localization.txt", 3, "has no area"),
    ),
    "many boxes are the whole image": (
        fill_boxes,
        ("box-whole", WARNING, "test/localization.txt", None, "4 of 4 boxes"),
    ),
    "an image has no box": (
        lambda s: s.replace("val/localization.txt", 2, None),
        ("box-missing", ERROR, "val/image_ids.txt", 2, "val/1.jpg has no line"),
    ),
    "a box's image is unknown": (
        lambda s: s.append("val/localization.txt", "val/9.jpg,1,2,3,4"),
        ("metadata", ERROR, "val/localization.txt", 5, "'val/9.jpg' is not in image_ids.txt"),
    ),
    "a coordinate is no integer": (
        lambda s: s.replace("val/localization.txt", 2, "val/1.jpg,1.5,2,30,40"),
        ("metadata", ERROR, "val/localization.txt", 2, "'1.5' is not an integer"),
    ),
    "a line has too few fields": (
        lambda s: s.replace("val/class_labels.txt", 2, "val/1.jpg"),
        ("metadata", ERROR, "val/class_labels.txt", 2, "1 field(s) instead of 2"),
    ),
    "an id is listed twice": (
        lambda s: s.append("train/image_ids.txt", "train/0.jpg"),
        ("metadata", ERROR, "train/image_ids.txt", 7, "is listed twice"),
    ),
    "a label is given twice": (
        lambda s: s.append("train/class_labels.txt", "train/0.jpg,1"),
        ("metadata", ERROR, "train/class_labels.txt", 7, "is listed twice"),
    ),
    "a label is missing": (
        lambda s: s.replace("test/class_labels.txt", 4, None),
        ("metadata", ERROR, "test/image_ids.txt", 4, "has no line in class_labels.txt"),
    ),
    "a file of labels is missing": (
        lambda s: (s.metadata / "test/class_labels.txt").unlink(),
        ("metadata", ERROR, "test/class_labels.txt", None, "this metadata file is missing"),
    ),
    "sizes are missing": (
        lambda s: (s.metadata / "test/image_sizes.txt").unlink(),
        ("metadata", ERROR, "test/image_sizes.txt", None, "this metadata file is missing"),
    ),
    "a split is empty": (
        lambda s: (s.metadata / "test/image_ids.txt").write_text("\n"),
        ("metadata", ERROR, "test/image_ids.txt", None, "the split is empty"),
    ),
    "a split is missing": (
        lambda s: shutil.rmtree(s.metadata / "val"),
        ("split", ERROR, "metadata/val", None, "is missing"),
    ),
    "the test split is missing": (
        lambda s: shutil.rmtree(s.metadata / "test"),
        ("split-option", NOTE, "metadata/test", None, "test=false"),
    ),
    "a label is out of range": (
        lambda s: s.replace("test/class_labels.txt", 2, "test/1.jpg,2"),
        ("label", ERROR, "test/class_labels.txt", 2, "label 2 is out of range 0..1"),
    ),
    "a label is negative": (
        lambda s: s.replace("test/class_labels.txt", 2, "test/1.jpg,-2"),
        ("label", ERROR, "test/class_labels.txt", 2, "write -1 where the class is unknown"),
    ),
    "training labels leave a gap": (
        lambda s: (
            (s.metadata / "class_names.txt").unlink(),
            s.replace("train/class_labels.txt", 2, "train/1.jpg,7"),
        ),
        ("label", ERROR, "train/class_labels.txt", 2, "no training image has label 2"),
    ),
    "a class has no training image": (
        lambda s: s.append("class_names.txt", "2,ladle"),
        ("class-unused", WARNING, "train/class_labels.txt", None, "class 2 (ladle)"),
    ),
    "a name is given twice": (
        lambda s: s.replace("class_names.txt", 2, "1,cat"),
        ("class-name", WARNING, "metadata/class_names.txt", None, "'cat' is the name of"),
    ),
    "class names are malformed": (
        lambda s: s.append("class_names.txt", "ladle"),
        ("metadata", ERROR, "metadata/class_names.txt", 3, "write `label,name`"),
    ),
    "a path leads out of the root": (
        lambda s: (
            s.replace("train/image_ids.txt", 1, "../images/../stray.jpg"),
            s.replace("train/class_labels.txt", 1, "../images/../stray.jpg,0"),
            (s.root / "train/0.jpg").rename(s.folder / "stray.jpg"),
        ),
        ("outside", ERROR, "train/image_ids.txt", 1, "lies outside of"),
    ),
    "an image is in two splits": (
        lambda s: (
            s.append("train/image_ids.txt", "test/1.jpg"),
            s.append("train/class_labels.txt", "test/1.jpg,1"),
        ),
        ("split-overlap", ERROR, "images/test/1.jpg", None, "(train, class 1), test/1.jpg (test"),
    ),
    "a copy is in another split": (
        lambda s: copy(s, "train/1.jpg", "test/1.jpg"),
        ("split-overlap", ERROR, "images/train/1.jpg", None, "test/1.jpg (test, class 1)"),
    ),
    "a copy is in the same split": (
        lambda s: copy(s, "train/1.jpg", "train/3.jpg"),
        ("copy", WARNING, "images/train/1.jpg", None, "train/3.jpg (train, class 1)"),
    ),
    "a copy has another label": (
        lambda s: copy(s, "train/1.jpg", "train/2.jpg"),
        ("copy-label", WARNING, "images/train/1.jpg", None, "train/2.jpg (train, class 0)"),
    ),
    "an image looks like one of another split": (
        lambda s: shrink(s, "test/1.jpg", "train/1.jpg"),
        ("split-similar", WARNING, "images/train/1.jpg", None, "test/1.jpg (test, class 1)"),
    ),
    "an image looks like one of another class": (
        lambda s: shrink(s, "train/1.jpg", "train/2.jpg"),
        ("similar-label", WARNING, "images/train/1.jpg", None, "train/2.jpg (train, class 0)"),
    ),
    "an image looks like one of the same class": (
        lambda s: shrink(s, "train/1.jpg", "train/3.jpg"),
        ("similar", NOTE, "images/train/1.jpg", None, "train/3.jpg (train, class 1)"),
    ),
    "files are left over": (
        lambda s: s.save("more/x.jpg", photograph(99)),
        ("unlisted", NOTE, "images", None, "1 of 15 images here are in no split: more/x.jpg."),
    ),
    "a size of train, which nobody reads, is wrong": (
        lambda s: (
            [s.append("train/localization.txt", f"train/{k}.jpg,1,1,2,3") for k in range(6)]
            + [s.append("train/image_sizes.txt", f"train/{k}.jpg,120,9{k}") for k in range(6)]
        ),
        ("size", WARNING, "train/image_sizes.txt", 6, "120x90 pixels large, not 120x95"),
    ),
    "a box of train, which nobody reads, is inverted": (
        lambda s: (
            [s.append("train/localization.txt", f"train/{k}.jpg,9,1,2,3") for k in range(6)]
            + [s.append("train/image_sizes.txt", f"train/{k}.jpg,120,90") for k in range(6)]
        ),
        ("box", WARNING, "train/localization.txt", 6, "is inverted"),
    ),
}
MASKS = {
    "a mask is missing": (
        lambda s: (s.masks / "val-1.png").unlink(),
        ("mask-missing", ERROR, "masks/val-1.png", None, "val/localization.txt, line 2"),
    ),
    "an ignore mask is missing": (
        lambda s: (s.masks / "test-1-ignore.png").unlink(),
        ("mask-missing", ERROR, "masks/test-1-ignore.png", None, "line 2"),
    ),
    "a mask is cut off": (
        lambda s: truncate(s.masks / "val-1.png"),
        ("mask-damaged", ERROR, "masks/val-1.png", None, "; replace it."),
    ),
    "a mask has another shape": (
        lambda s: s.save_mask("val-1.png", slice(20, 50), (90, 90)),
        ("mask-shape", ERROR, "masks/val-1.png", None, "90x90 pixels large, but its image val/1"),
    ),
    "a mask lies while its image stands": (
        lambda s: s.save("val/1.jpg", photograph(7, 90, 120), exif=turned(6)),
        ("turned-size", ERROR, "masks/val-1.png", None, "data.exif_orientation=true"),
    ),
    "a mask is smaller": (
        lambda s: s.save_mask("val-1.png", slice(10, 30), (45, 60)),
        ("mask-size", NOTE, "val/localization.txt", None, "1 masks have other sizes"),
    ),
    "a mask marks nothing": (
        lambda s: s.save_mask("val-1.png", slice(0)),
        ("mask-empty", WARNING, "masks/val-1.png", None, "marks no pixel"),
    ),
    "all masks of a split mark nothing": (
        lambda s: [s.save_mask(f"val-{k}.png", slice(0)) for k in range(4)],
        ("masks-empty", ERROR, "val/localization.txt", None, "no pixel of its masks is marked"),
    ),
    "an ignore mask covers all": (
        lambda s: s.save_mask("val-1-ignore.png", slice(None)),
        ("ignored", WARNING, "masks/val-1-ignore.png", None, "covers the image val/1.jpg wholly"),
    ),
    "a mask's path leads out": (
        lambda s: (
            s.replace("val/localization.txt", 2, "val/1.jpg,../stray.png,val-1-ignore.png"),
            (s.masks / "val-1.png").rename(s.folder / "stray.png"),
        ),
        ("outside", ERROR, "val/localization.txt", 2, "'../stray.png' lies outside of"),
    ),
    "a mask has no path": (
        lambda s: s.replace("val/localization.txt", 2, "val/1.jpg,,val-1-ignore.png"),
        ("metadata", ERROR, "val/localization.txt", 2, "the mask's path is empty"),
    ),
    "masks are listed twice": (
        lambda s: s.append("val/masks.txt", "val/1.jpg,val-1.png,"),
        ("metadata", ERROR, "val/masks.txt", None, "lists masks already"),
    ),
}
