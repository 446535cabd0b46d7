// From a picture to what the net takes, as gpwjax' `Classifier.prepare` does.

import {nearestTaps, resizeColumns, resizeRows, triangleTaps} from "./resize.js";

const STRIP = 256; // rows: phones refuse a canvas of a whole large photograph

// Reads a picture file, turned as its EXIF data say. Rejects what is none.
export function decode(file) {
  return createImageBitmap(file, {
    // The numbers in the file, whatever screen this is.
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
}

// The middle square of a picture, or with `pad` all of it with black bars, as floats
// in [0, 1]: (size, size, 3).
export function prepare(bitmap, {size, pad, resize}) {
  const side = (pad ? Math.max : Math.min)(bitmap.width, bitmap.height);
  const smooth = side > size && resize === "bilinear";
  const taps = (smooth ? triangleTaps : nearestTaps)(side, size);
  const rows = new Float32Array(side * size * 3);
  for (let top = 0; top < side; top += STRIP) {
    const pixels = readStrip(bitmap, side, top, Math.min(STRIP, side - top));
    rows.set(resizeRows(pixels, side, 4, 3, taps), top * size * 3);
  }
  return resizeColumns(rows, size * 3, taps).map((value) => value / 255);
}

// Some rows of the square, RGBA; transparent pixels over white, the bars black.
function readStrip(bitmap, side, top, height) {
  const canvas = new OffscreenCanvas(side, height);
  const context = canvas.getContext("2d", {willReadFrequently: true});
  const left = -Math.trunc((bitmap.width - side) / 2);
  const above = -Math.trunc((bitmap.height - side) / 2) - top;
  context.fillStyle = "black";
  context.fillRect(0, 0, side, height);
  context.fillStyle = "white";
  context.fillRect(left, above, bitmap.width, bitmap.height);
  context.drawImage(bitmap, left, above);
  return context.getImageData(0, 0, side, height).data;
}
