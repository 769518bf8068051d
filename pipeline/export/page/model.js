// The network: unpacked from the page and run by onnxruntime-web.

/** Decode a base64 text. */
function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let k = 0; k < bytes.length; k += 1) bytes[k] = binary.charCodeAt(k);
  return bytes;
}

/** Take a part out of the page, which then no longer holds it in memory. */
async function unpack(id) {
  const element = document.getElementById(id);
  const packed = new Blob([fromBase64(element.textContent)]);
  element.remove();
  const stream = packed.stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Say in a sentence what this browser lacks; null for nothing. */
function missingAbility() {
  if (typeof WebAssembly !== "object") {
    return (
      "This browser does not run WebAssembly, which the network needs: switch it on, or open " +
      "the page in a current Firefox, Chrome, Edge or Safari."
    );
  }
  if (typeof DecompressionStream !== "function" || typeof createImageBitmap !== "function") {
    return "This browser is too old: open the page in a current Firefox, Chrome, Edge or Safari.";
  }
  return null;
}

/** Give a module that was unpacked an address of its own. */
async function moduleAddress(id) {
  return URL.createObjectURL(new Blob([await unpack(id)], { type: "text/javascript" }));
}

/** Load the network; give a function of its input as 8-bit values and a class. */
async function loadModel({ size, maps, one_run: oneRun }) {
  const [height, width] = sidesOf(size);
  const pixels = height * width;
  const ort = await import(await moduleAddress("runtime"));
  // given both, it looks for no file beside the page
  ort.env.wasm.wasmPaths = { mjs: await moduleAddress("loader") };
  ort.env.wasm.wasmBinary = (await unpack("binary")).buffer;
  ort.env.wasm.numThreads = 1; // several need headers that a file does not have
  ort.env.wasm.proxy = false;
  const session = await ort.InferenceSession.create(await unpack("graph"), {
    executionProviders: ["wasm"],
  });

  async function runOnce(square, label) {
    const images = new Float32Array(3 * pixels);
    for (let k = 0; k < pixels; k += 1) {
      for (let c = 0; c < 3; c += 1) images[c * pixels + k] = square[3 * k + c] / 255;
    }
    const feeds = { images: new ort.Tensor("float32", images, [1, 3, height, width]) };
    if (maps === "label") {
      feeds.labels = new ort.Tensor("int64", BigInt64Array.of(BigInt(label)), [1]);
    }
    const found = await session.run(feeds);
    return { probabilities: found.probabilities.data, saliency: found.saliency.data };
  }

  /** Classify and explain; class -1 stands for the most probable one, which not all graphs know. */
  return async function run(square, label) {
    if (maps !== "label" || label >= 0 || oneRun) return runOnce(square, label);
    const first = await runOnce(square, 0);
    const [predicted] = ranked(first.probabilities);
    return predicted === 0 ? first : runOnce(square, predicted);
  };
}
