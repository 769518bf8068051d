"""Bundles for tests: an evaluation of an untrained network, and changes of a bundle by a forger."""

import hashlib
import zipfile
import zlib
from pathlib import Path

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.evaluation.evaluate import EvaluationResult, evaluate
from learned_saliency.pipeline.runs.bundles import archive, facts

WORDS = ["methods=[gradcam]", "pictures.images=0"]


def evaluate_bundle(checkpoint: Path, folder: Path, *words: str) -> EvaluationResult:
    """Evaluate into ``folder`` with the bundle ``folder.zip``."""
    named = [f"checkpoint={checkpoint}", f"output_dir={folder}", f"bundle={folder}.zip"]
    return evaluate(compose_checked([*named, *WORDS, *words], "evaluate", complete=False))


def contents(path: Path) -> dict[str, bytes]:
    """Read all members of a bundle."""
    with zipfile.ZipFile(path) as read:
        return {name: read.read(name) for name in read.namelist()}


def forge(path: Path, members: dict[str, bytes], **changed) -> Path:
    """Write a bundle of other contents whose digests and checksums fit."""
    described = facts.read_facts(members[facts.FACTS])
    digests = {
        name: facts.Digest(len(content), hashlib.sha256(content).hexdigest())
        for name, content in members.items()
        if name != facts.FACTS
    }
    first = facts.write_facts(described._replace(members=digests, **changed))
    path.write_bytes(archived({**members, facts.FACTS: first}))
    return path


def archived(members: dict[str, bytes]) -> bytes:
    """Write the archive of these members."""
    listed = [archive.Member(name, len(c), zlib.crc32(c)) for name, c in members.items()]
    *begins, start = archive.offsets((m.name, m.size) for m in listed)
    body = b"".join(archive.local_header(m) + members[m.name] for m in listed)
    entries = [archive.directory_entry(m, at) for m, at in zip(listed, begins, strict=True)]
    end = archive.archive_end(len(listed), start, sum(map(len, entries)))
    return body + b"".join(entries) + end
