// The box around the largest contour of a map: see metrics/boxes.py and ops/contours.py.

// Neighbors of a pixel, clockwise from the right one; y points down.
const STEPS_X = [1, 1, 0, -1, -1, -1, 0, 1];
const STEPS_Y = [0, 1, 1, 1, 0, -1, -1, -1];
const RIGHT = 0;
const LEFT = 4;

/** Give x0, y0, x1, y1 in pixels, the far corner inside the box; null for a map of zeros. */
function largestBox(saliency, width, height, threshold) {
  const levels = new Uint8Array(saliency.length);
  let most = 0;
  for (let k = 0; k < levels.length; k += 1) {
    levels[k] = Math.trunc(saliency[k] * 255);
    if (levels[k] > most) most = levels[k];
  }
  if (most === 0) return null;
  const level = Math.trunc(threshold * most);
  const stride = width + 2;
  const marks = new Int8Array(stride * (height + 2)); // with a frame of background
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      marks[(y + 1) * stride + x + 1] = levels[y * width + x] > level ? 1 : 0;
    }
  }
  const [x0, y0, x1, y1] = largestContour(marks, stride);
  return [x0 - 1, y0 - 1, Math.min(x1, width - 1), Math.min(y1, height - 1)];
}

/**
 * Follow all borders (Suzuki and Abe 1985) and keep the extent of the largest outer one.
 *
 * Holes have to be followed, too, so that what lies behind one is not taken for another region. Of
 * equally large contours the last one in the order of rows counts, which OpenCV lists first.
 */
function largestContour(marks, stride) {
  let best = { area: -1, extent: null };
  for (let start = stride + 1; start < marks.length - stride - 1; start += 1) {
    if (marks[start] === 0) continue;
    if (marks[start] === 1 && marks[start - 1] === 0) {
      const found = followBorder(marks, stride, start, LEFT);
      if (found.area >= best.area) best = found;
    } else if (marks[start] >= 1 && marks[start + 1] === 0) {
      followBorder(marks, stride, start, RIGHT);
    }
  }
  return best.extent;
}

/** Follow a border from a pixel whose neighbor in direction `outside` is background; mark it. */
function followBorder(marks, stride, start, outside) {
  const steps = STEPS_X.map((x, direction) => x + STEPS_Y[direction] * stride);
  let x = start % stride;
  let y = Math.floor(start / stride);
  const extent = [x, y, x, y];
  let back = outside;
  let turns = 0;
  while (turns < 8 && marks[start + steps[back]] === 0) {
    back = (back + 1) % 8;
    turns += 1;
  }
  if (turns === 8) {
    marks[start] = -2;
    return { area: 0, extent };
  }
  const last = start + steps[back];
  let at = start;
  let area = 0;
  for (;;) {
    let direction = back;
    let endsRight = false; // whether the pixel at the right was seen, and is background
    do {
      direction = (direction + 7) % 8;
      if (marks[at + steps[direction]] !== 0) break;
      endsRight ||= direction === RIGHT;
    } while (direction !== back);
    if (endsRight) marks[at] = -2;
    else if (marks[at] === 1) marks[at] = 2;
    const next = at + steps[direction];
    area += x * STEPS_Y[direction] - y * STEPS_X[direction]; // shoelace formula
    if (next === start && at === last) break;
    x += STEPS_X[direction];
    y += STEPS_Y[direction];
    extent[0] = Math.min(extent[0], x);
    extent[1] = Math.min(extent[1], y);
    extent[2] = Math.max(extent[2], x);
    extent[3] = Math.max(extent[3], y);
    at = next;
    back = (direction + 4) % 8;
  }
  return { area: Math.abs(area), extent };
}
