"""A folder that looks like the npm package onnxruntime-web, without its content."""

from pathlib import Path


def web_runtime(folder: Path) -> Path:
    """Make it in ``folder``."""
    root = folder / "onnxruntime-web"
    (root / "dist").mkdir(parents=True)
    (root / "package.json").write_text('{"name": "onnxruntime-web", "version": "1.30.0"}')
    (root / "dist" / "ort.wasm.min.mjs").write_text("export const env = {};")
    (root / "dist" / "ort-wasm-simd-threaded.mjs").write_text("export default {};")
    (root / "dist" / "ort-wasm-simd-threaded.wasm").write_bytes(b"\0asm")
    return root
