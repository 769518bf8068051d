"""One self-contained page out of a graph, onnxruntime-web, scripts, style and facts."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from learned_saliency.ops import Activation
from learned_saliency.pipeline.export.page.runtime import WebRuntime
from learned_saliency.pipeline.reports import table_rows

_FOLDER = Path(__file__).parent
# in the order in which they use each other
_SCRIPTS = ("resizing", "placing", "boxes", "colors", "pictures", "model", "viewer", "controls")
_GRAPH = re.compile(rb'<script type="text/plain" id="graph">([^<]*)</script>')


def read_scripts(*names: str) -> str:
    """Join scripts of the page, by their names without an ending, to one."""
    texts = [(_FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in names]
    return '"use strict";\n' + "".join(texts)


def build_page(
    graph: bytes,
    runtime: WebRuntime,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> bytes:
    """Build the page.

    Its content security policy allows only its own script and style and the WebAssembly inside, and
    no connection at all.

    Args:
        graph: The ONNX model.
        runtime: Files of onnxruntime-web.
        settings: Plain values that the scripts read.
        facts: Facts for the reader, see `pipeline.runs.facts.checkpoint_facts`; and
            ``activation`` and ``maps``, see `ExportedModel`.

    Returns:
        The HTML document in UTF-8.
    """
    script = f"(() => {{\n{read_scripts(*_SCRIPTS)}}})();\n"
    style = (_FOLDER / "style.css").read_text(encoding="utf-8")
    # `<` begins no tag in here, whatever a class is called
    plain = json.dumps(settings, ensure_ascii=False).replace("<", "\\u003c")
    parts = {
        "title": html.escape(f"{facts['method']} on {facts['data'] or facts['backbone']}"),
        "policy": f"default-src 'none'; script-src {_digest(script)} blob: 'wasm-unsafe-eval'; "
        f"style-src {_digest(style)}; img-src blob: data:; base-uri 'none'; form-action 'none'",
        "style": style,
        "script": script,
        "facts": _list_of_facts(facts, runtime),
        "metrics": _metrics(facts["metrics"].get("test")),
        "settings": plain,
        "graph": _packed(graph),
        "runtime": _packed(runtime.script.read_bytes()),
        "loader": _packed(runtime.loader.read_bytes()),
        "binary": _packed(runtime.binary.read_bytes()),
    }
    template = (_FOLDER / "index.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template).encode()


def read_graph(page: bytes) -> bytes:
    """Take the ONNX model out of a page.

    Raises:
        ValueError: If there is none in it.
    """
    found = _GRAPH.search(page)
    if found is None:
        raise ValueError("the page holds no graph")
    return gzip.decompress(base64.b64decode(found[1]))


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def _digest(text: str) -> str:
    """Name an inline script or style in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _list_of_facts(facts: Mapping[str, Any], runtime: WebRuntime) -> str:
    maps = {None: "one for all classes", "predicted": "of the most probable class"}
    rows = {
        "Method": facts["method"],
        "Network": facts["backbone"],
        "Layer": facts.get("layer"),
        "Trained on": facts["data"],
        "Classes": _count(facts),
        "Map": maps.get(facts["maps"], "of any class that you choose"),
        "Input": " x ".join(map(str, facts["input_size"])) + " pixels",
        "Box": f"around the largest region above {facts['box_threshold']:.3f} of the map's maximum",
        "Runs by": f"onnxruntime-web {runtime.version}, in this page, on the processor",
    }
    return "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>\n"
        for name, value in rows.items()
        if value is not None
    )


def _count(facts: Mapping[str, Any]) -> str:
    """Count the classes; say that they do not exclude each other, where it is so."""
    several = facts.get("activation") == Activation.SIGMOID
    return f"{len(facts['class_names'])}" + (", each there or not, by a sigmoid" if several else "")


def _metrics(results: Mapping[str, Mapping[str, float | None]] | None) -> str:
    """Make a table of a test's figures, one row per figure."""
    if not results:
        return "<p>There are no metrics of a test.</p>"
    known = {
        method: {name: math.nan if value is None else value for name, value in values.items()}
        for method, values in results.items()
    }
    methods, *figures = zip(*table_rows(known), strict=True)  # a page is narrow
    head = _row("th", ["test split, percent", *methods[1:]])
    body = "".join(_row("td", figure) for figure in figures)
    table = f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
    return f'<div class="wide" role="region" aria-label="Metrics" tabindex="0">{table}</div>'


def _row(kind: str, cells: Sequence[str]) -> str:
    first, *rest = (html.escape(cell) for cell in cells)
    others = "".join(f"<{kind}>{cell}</{kind}>" for cell in rest)
    return f'<tr><th scope="row">{first}</th>{others}</tr>'
