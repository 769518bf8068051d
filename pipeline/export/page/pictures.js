// Reading of photographs: the pixels that the network is to see, and pictures to show and to keep.

const MOST_MEGAPIXELS = 40;
const MOST_MEGABYTES = 200;

/** Error whose message is a sentence for the reader, to follow the name of a file. */
class PictureError extends Error {}

/**
 * Decode an image file; give {canvas, data, width, height, channels}, 8-bit RGBA.
 *
 * As predict.py does, color profiles are ignored, transparent pixels are white, and EXIF data turn
 * the picture as a person sees it.
 */
async function readPicture(file) {
  if (file.size > MOST_MEGABYTES * 1e6) {
    throw new PictureError(`has ${Math.round(file.size / 1e6)} MB, more than ${MOST_MEGABYTES}.`);
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      colorSpaceConversion: "none",
      imageOrientation: "from-image",
    });
  } catch {
    throw new PictureError("is no image that this browser reads; choose a JPEG, PNG or WebP file.");
  }
  const { width, height } = bitmap;
  const megapixels = (width * height) / 1e6;
  if (megapixels > MOST_MEGAPIXELS) {
    bitmap.close();
    throw new PictureError(
      `is too large: ${width} x ${height} are ${Math.round(megapixels)} megapixels, more than ` +
        `${MOST_MEGAPIXELS}; make it smaller first.`,
    );
  }
  const { canvas, context } = newCanvas(width, height);
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { canvas, data: pixelsOf(context), width, height, channels: 4 };
}

function newCanvas(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  // in memory rather than on the graphics card, which rounds differently
  const context = canvas.getContext("2d", { willReadFrequently: true });
  return { canvas, context };
}

function pixelsOf(context) {
  return context.getImageData(0, 0, context.canvas.width, context.canvas.height).data;
}

/** Put RGBA pixels on a canvas of their size. */
function drawPixels(canvas, data, width, height) {
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
}

/** Tell whether pixels come back from a canvas as they were put there; some browsers alter them. */
function readsTruly() {
  const { context } = newCanvas(16, 16);
  const data = new Uint8ClampedArray(1024);
  data.forEach((_, k) => {
    data[k] = k % 4 === 3 ? 255 : (k * 89) % 256;
  });
  context.putImageData(new ImageData(data, 16, 16), 0, 0);
  return pixelsOf(context).every((value, k) => value === data[k]);
}

/** Encode a canvas as PNG and hand it to the reader as a file. */
async function download(canvas, name) {
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
