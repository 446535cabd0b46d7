// Separable resizing, as Pillow does it.
//
// For each pixel of a new row `taps` says which of the old ones it is made of:
// {start, weights}, old pixel start + i having weights[i].

// The nearest pixel.
export function nearestTaps(size, newSize) {
  return Array.from({length: newSize}, (_, i) => ({
    start: Math.floor(((2 * i + 1) * size) / (2 * newSize)),
    weights: [1],
  }));
}

// A triangle around the new pixel's centre, two old pixels wide or, where there are
// fewer new ones (so that none is left out), two new ones.
export function triangleTaps(size, newSize) {
  const scale = size / newSize;
  const radius = Math.max(scale, 1);
  return Array.from({length: newSize}, (_, i) => {
    const centre = (i + 0.5) * scale;
    const start = Math.max(Math.floor(centre - radius + 0.5), 0);
    const end = Math.min(Math.floor(centre + radius + 0.5), size);
    const weights = [];
    for (let old = start; old < end; old++) {
      weights.push(Math.max(1 - Math.abs(old + 0.5 - centre) / radius, 0));
    }
    const sum = weights.reduce((a, b) => a + b);
    return {start, weights: weights.map((weight) => weight / sum)};
  });
}

// Rows of pixels with `stride` numbers each, of which the first `channels` are kept:
// (rows, width, stride) -> (rows, taps.length, channels).
export function resizeRows(pixels, width, stride, channels, taps) {
  const rows = pixels.length / (width * stride);
  const resized = new Float32Array(rows * taps.length * channels);
  let place = 0;
  for (let row = 0; row < rows; row++) {
    for (const {start, weights} of taps) {
      const first = (row * width + start) * stride;
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        for (let i = 0; i < weights.length; i++) {
          sum += weights[i] * pixels[first + i * stride + channel];
        }
        resized[place++] = sum;
      }
    }
  }
  return resized;
}

// (height, length) -> (taps.length, length): rows of `length` numbers become others.
export function resizeColumns(rows, length, taps) {
  const resized = new Float32Array(taps.length * length);
  taps.forEach(({start, weights}, row) => {
    weights.forEach((weight, i) => {
      const old = (start + i) * length;
      for (let x = 0; x < length; x++) {
        resized[row * length + x] += weight * rows[old + x];
      }
    });
  });
  return resized;
}
