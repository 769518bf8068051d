#!/usr/bin/env bash
# hydra-core 1.3.2 and 1.3.8 with omegaconf 2.3.0: `instantiate` works on a copy of the node that it is
# given, and leaves that node as it was. But a reference within the node to another node of the same
# configuration (`loss: ${loss}`) is followed out of the copy, and the node that it leads to is
# resolved in place: after the call its own `${...}` are plain values in the caller's configuration.
# Who changes a value of the configuration later, or saves it unresolved to resume from, then finds
# that some keys follow the change and others do not, by what was instantiated before.
# Seen: before ${epochs}; after instantiating the node itself ${epochs}; after instantiating a node
# that refers to it 3, and 3 it stays when epochs becomes 10.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for version in 1.3.2 1.3.8; do
    "$folder/venv/bin/pip" install --quiet "hydra-core==$version" "omegaconf==2.3.0"
    "$folder/venv/bin/python" - <<'PY'
from importlib.metadata import version

from hydra.utils import instantiate
from omegaconf import OmegaConf

config = OmegaConf.create(
    {
        "epochs": 3,
        "loss": {"_target_": "builtins.dict", "length": "${epochs}"},
        "module": {"_target_": "builtins.dict", "loss": "${loss}"},
    }
)


def raw():
    return OmegaConf.to_container(config, resolve=False)["loss"]["length"]


seen = [raw()]
instantiate(config.loss)
seen.append(raw())
instantiate(config.module)
seen.append(raw())
config.epochs = 10
seen.append(config.loss.length)
print("hydra-core", version("hydra-core"), "omegaconf", version("omegaconf"), seen)
assert seen == ["${epochs}", "${epochs}", 3, 3], seen
PY
done
echo "as described"
