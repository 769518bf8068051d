#!/usr/bin/env bash
# mlflow-skinny 3.1.0 and 3.17.2, the store of files (`file:mlruns`; in 3.17.2 it works only with
# MLFLOW_ALLOW_FILE_STORE=true, while a store of SQLite needs packages that mlflow-skinny does not bring): a
# run keeps the absolute place of its artifacts. After the store was moved, curves that are logged to the
# run go to the new place, but artifacts go to the old one, which is made anew without a word; who
# lists the artifacts in the moved store finds those of before the move gone.
# Seen: the file logged before the move lies in the new place and is not listed; the one logged after
# it lies in the old place alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
export MLFLOW_ALLOW_FILE_STORE=true MLFLOW_DISABLE_TELEMETRY=true
for version in 3.1.0 3.17.2; do
    "$folder/venv/bin/pip" install --quiet "mlflow-skinny==$version"
    "$folder/venv/bin/python" - "$folder/$version" <<'PY'
import subprocess
import sys
from pathlib import Path

import mlflow
from mlflow import MlflowClient

folder = Path(sys.argv[1])
folder.mkdir()
client = MlflowClient((folder / "old").as_uri())
run = client.create_run(client.create_experiment("e")).info.run_id
client.log_text(run, "before", "before.txt")
(folder / "old").rename(folder / "new")
child = """
import sys
from pathlib import Path
from mlflow import MlflowClient
folder, run = Path(sys.argv[1]), sys.argv[2]
client = MlflowClient((folder / "new").as_uri())
listed = [a.path for a in client.list_artifacts(run)]
client.log_metric(run, "loss", 0.5)
client.log_text(run, "after", "after.txt")
print(listed)
"""
command = [sys.executable, "-c", child, str(folder), run]  # a process without MLflow's caches
listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
places = {p.name: p.relative_to(folder).parts[0] for p in folder.rglob("*.txt")}
curve = [p.relative_to(folder).parts[0] for p in folder.rglob("loss")]
print("mlflow", mlflow.__version__, listed, places, curve)
assert (listed, places, curve) == ("[]", {"before.txt": "new", "after.txt": "old"}, ["new"])
PY
done
echo "as described"
