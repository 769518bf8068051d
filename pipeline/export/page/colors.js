// Colors of a map: see visualization/colors.py and overlays.py. Pictures are RGBA.

/** Color a map by a table of 256 colors, red first. */
function colorize(saliency, table) {
  const colors = new Uint8ClampedArray(saliency.length * 4);
  for (let k = 0; k < saliency.length; k += 1) {
    const level = 3 * halfEven(Math.fround(saliency[k] * 255));
    colors[4 * k] = table[level];
    colors[4 * k + 1] = table[level + 1];
    colors[4 * k + 2] = table[level + 2];
    colors[4 * k + 3] = 255;
  }
  return colors;
}

/** Show a map as gray levels, 0 black. */
function grayLevels(saliency) {
  const table = Array.from({ length: 768 }, (_, k) => Math.floor(k / 3));
  return colorize(saliency, table);
}

/** Lay colors over an image, both RGBA. */
function overlay(image, colors, opacity) {
  const result = new Uint8ClampedArray(image.length);
  for (let k = 0; k < image.length; k += 1) {
    result[k] = halfEven(image[k] * (1 - opacity) + colors[k] * opacity);
  }
  return result;
}
