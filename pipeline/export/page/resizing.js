// Bilinear resizing with antialiasing, integer by integer as Pillow does it: see
// datamodules/resampling.py. An image is {data, width, height, channels}, 8 bits per value, red first.

const WEIGHT_BITS = 22;

/** Give width and height to resize to, and left and top of the square in the result. */
function placement(width, height, size, centerCrop) {
  if (!centerCrop) return { edges: [size, size], corner: [0, 0] };
  const short = Math.min(width, height);
  const length = centerCrop === true ? size : centerCrop; // of the shorter edge
  const round = centerCrop === true ? Math.floor : halfEven;
  const edges = [width, height].map((edge) => Math.floor((length * edge) / short));
  return { edges, corner: edges.map((edge) => round((edge - size) / 2)) };
}

/** Resize an image to the network's square; 8-bit values (size, size, 3). */
function toSquare(image, size, centerCrop, downFirst) {
  const { edges, corner } = placement(image.width, image.height, size, centerCrop);
  const columns = taps(image.width, edges[0], corner[0], size);
  const rows = taps(image.height, edges[1], corner[1], size);
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
