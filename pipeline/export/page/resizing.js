// Bilinear resizing with antialiasing, integer by integer as Pillow does it: see
// datamodules/resampling.py. An image is {data, width, height, channels}, 8 bits per value, red first.

const WEIGHT_BITS = 22;

/** Give height and width of a size: the side of a square, or both. */
function sidesOf(size) {
  return Array.isArray(size) ? size : [size, size];
}

/** Give width and height to resize to, and left and top in the result of what is taken. */
function placement(width, height, size, centerCrop) {
  const [down, across] = sidesOf(size);
  if (!centerCrop) return { edges: [across, down], corner: [0, 0] };
  let [length, short] = [centerCrop, Math.min(width, height)]; // of the shorter edge
  let round = halfEven;
  if (centerCrop === true) {
    // the image just covers what is taken
    [length, short] = width * down < height * across ? [across, width] : [down, height];
    round = Math.floor;
  }
  const edges = [width, height].map((edge) => Math.floor((length * edge) / short));
  return { edges, corner: [round((edges[0] - across) / 2), round((edges[1] - down) / 2)] };
}

/** Resize an image to the network's input; 8-bit values (height, width, 3). */
function toSquare(image, size, centerCrop, downFirst) {
  const [down, across] = sidesOf(size);
  const { edges, corner } = placement(image.width, image.height, size, centerCrop);
  const columns = taps(image.width, edges[0], corner[0], across);
  const rows = taps(image.height, edges[1], corner[1], down);
  const lost = image.height - edges[1];
  if (downFirst && lost > 0 && lost > 2 * (image.width - edges[0])) {
    return passAcross(passDown(image, rows), columns).data;
  }
  return passDown(passAcross(image, columns), rows).data;
}

/** Compute the weights of a pass for `count` targets from `start` on: multiples of 2^-22. */
function taps(length, target, start, count) {
  const scale = length / target;
  const support = Math.max(scale, 1);
  const inverse = 1 / support;
  return Array.from({ length: count }, (_, index) => {
    const center = (start + index + 0.5) * scale;
    const first = Math.max(Math.trunc(center - support + 0.5), 0);
    const last = Math.min(Math.trunc(center + support + 0.5), length);
    const shares = new Float64Array(last - first);
    let total = 0;
    for (let k = first; k < last; k += 1) {
      const distance = Math.abs((k - center + 0.5) * inverse);
      shares[k - first] = distance < 1 ? 1 - distance : 0;
      total += shares[k - first];
    }
    const weights = new Int32Array(shares.length);
    shares.forEach((share, k) => {
      weights[k] = Math.trunc(0.5 + (share / total) * 2 ** WEIGHT_BITS);
    });
    return { first, weights };
  });
}

function passAcross(image, columns) {
  return pass(image, columns, {
    width: columns.length,
    height: image.height,
    lines: image.height,
    step: image.channels,
    stride: image.width * image.channels,
    place: (line, target) => (line * columns.length + target) * 3,
  });
}

function passDown(image, rows) {
  return pass(image, rows, {
    width: image.width,
    height: rows.length,
    lines: image.width,
    step: image.width * image.channels,
    stride: image.channels,
    place: (line, target) => (target * image.width + line) * 3,
  });
}

/** Sum up weighted pixels that lie `step` values apart, along lines that begin `stride` apart. */
function pass(image, sums, { width, height, lines, step, stride, place }) {
  const source = image.data;
  const data = new Uint8ClampedArray(width * height * 3);
  const half = 2 ** (WEIGHT_BITS - 1);
  sums.forEach(({ first, weights }, target) => {
    for (let line = 0; line < lines; line += 1) {
      let at = line * stride + first * step;
      let red = half;
      let green = half;
      let blue = half;
      for (let k = 0; k < weights.length; k += 1, at += step) {
        red += source[at] * weights[k];
        green += source[at + 1] * weights[k];
        blue += source[at + 2] * weights[k];
      }
      const to = place(line, target);
      data[to] = red >> WEIGHT_BITS;
      data[to + 1] = green >> WEIGHT_BITS;
      data[to + 2] = blue >> WEIGHT_BITS;
    }
  });
  return { data, width, height, channels: 3 };
}
