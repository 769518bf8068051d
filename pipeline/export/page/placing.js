// A map of the network's input in its place in the photograph: see pipeline/prediction/placing.py.

/** Bring a map (height * width of the size) to the photograph's size; 0 where a center crop saw nothing. */
function toOriginal(saliency, size, width, height, centerCrop) {
  const [down, across] = sidesOf(size);
  const { edges, corner } = placement(width, height, size, centerCrop);
  const [x0, x1] = span(corner[0], across, edges[0], width);
  const [y0, y1] = span(corner[1], down, edges[1], height);
  const wide = resizeAxis(saliency, across, down, x1 - x0, true);
  const covered = resizeAxis(wide, x1 - x0, down, y1 - y0, false);
  if (x1 - x0 === width && y1 - y0 === height) return covered;
  const placed = new Float32Array(width * height);
  for (let y = y0; y < y1; y += 1) {
    placed.set(covered.subarray((y - y0) * (x1 - x0), (y - y0 + 1) * (x1 - x0)), y * width + x0);
  }
  return placed;
}

/** Find begin and end (exclusive) in the original of a part of its resized edge, in pixels. */
function span(start, size, resized, original) {
  const first = Math.min(halfEven((start * original) / resized), original - 1);
  return [first, Math.max(first + 1, halfEven(((start + size) * original) / resized))];
}

/** Round to the nearest integer, halves to the even one. */
function halfEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest === 0.5) return floor + (floor % 2 === 0 ? 0 : 1);
  return rest < 0.5 ? floor : floor + 1;
}

/** Resize one edge of a map: bilinearly if it grows, averaging if it shrinks. */
function resizeAxis(map, width, height, target, across) {
  const length = across ? width : height;
  const sums = target >= length ? linearSums(length, target) : areaSums(length, target);
  const [newWidth, newHeight] = across ? [target, height] : [width, target];
  const result = new Float32Array(newWidth * newHeight);
  for (let y = 0; y < newHeight; y += 1) {
    for (let x = 0; x < newWidth; x += 1) {
      const { first, weights } = sums[across ? x : y];
      let at = across ? y * width + first : first * width + x;
      let sum = 0;
      for (let k = 0; k < weights.length; k += 1, at += across ? 1 : width) {
        sum += map[at] * weights[k];
      }
      result[y * newWidth + x] = sum;
    }
  }
  return result;
}

/** Weights of OpenCV's INTER_LINEAR along an edge. */
function linearSums(length, target) {
  const scale = length / target;
  return Array.from({ length: target }, (_, index) => {
    const place = Math.fround((index + 0.5) * scale - 0.5);
    const first = Math.floor(place);
    const share = Math.fround(place - first);
    if (first < 0) return { first: 0, weights: [1] };
    if (first >= length - 1) return { first: length - 1, weights: [1] };
    return { first, weights: [Math.fround(1 - share), share] };
  });
}

/** Weights of OpenCV's INTER_AREA along an edge that shrinks: shares of covered cells. */
function areaSums(length, target) {
  const scale = length / target;
  return Array.from({ length: target }, (_, index) => {
    const begin = index * scale;
    const end = Math.min(begin + scale, length);
    const first = Math.floor(begin);
    const weights = [];
    for (let k = first; k < end; k += 1) {
      weights.push((Math.min(k + 1, end) - Math.max(k, begin)) / (end - begin));
    }
    return { first, weights };
  });
}
