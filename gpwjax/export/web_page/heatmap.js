// What the net sees, and where: on canvases.

import {resizeColumns, resizeRows, triangleTaps} from "./resize.js";

// Matplotlib's viridis at nine equal steps, as in gpwjax/explain.py.
export const VIRIDIS = [
  [68, 1, 84],
  [71, 45, 123],
  [59, 82, 139],
  [44, 114, 142],
  [33, 145, 140],
  [39, 173, 129],
  [92, 200, 99],
  [170, 220, 50],
  [253, 231, 37],
];

// A picture (size, size, 3) of floats in [0, 1].
export function drawPicture(canvas, picture, size) {
  canvas.width = canvas.height = size;
  draw(canvas, (i) => [0, 1, 2].map((channel) => 255 * picture[3 * i + channel]));
}

// A map (height, width) of any scale, at least 0; its largest value is the brightest.
export function drawHeat(canvas, map, height, width) {
  const most = map.reduce((a, b) => Math.max(a, b)) || 1;
  const rows = resizeRows(map, width, 1, 1, triangleTaps(width, canvas.width));
  const smooth = resizeColumns(
    rows, canvas.width, triangleTaps(height, canvas.height),
  );
  draw(canvas, (i) => colour(smooth[i] / most));
}

// The colour of a value in [0, 1], between two of viridis.
function colour(value) {
  const place = value * (VIRIDIS.length - 1);
  const below = Math.min(Math.floor(place), VIRIDIS.length - 2);
  const share = place - below;
  return VIRIDIS[below].map((a, i) => a + share * (VIRIDIS[below + 1][i] - a));
}

// Gives pixel i the colour [red, green, blue] that `colourOf` has for it.
function draw(canvas, colourOf) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let i = 0; i < canvas.width * canvas.height; i++) {
    image.data.set([...colourOf(i), 255], 4 * i); // rounds
  }
  context.putImageData(image, 0, 0);
}
