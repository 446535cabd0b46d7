// The net of this folder, in onnxruntime-web.

const RUNTIME = new URL("node_modules/onnxruntime-web/dist/", import.meta.url).href;

// What gpwjax says of the net.
export async function loadDescription() {
  return (await load("gpwjax.json")).json();
}

// A file of this folder, as it is now: another net may have been put there.
async function load(name) {
  const response = await fetch(name, {cache: "no-cache"});
  if (!response.ok) throw new Error(`${name} cannot be loaded: ${response.status}`);
  return response;
}

// Gives `run`, which takes a picture of `prepare` and gives {probabilities, maps,
// height, width, milliseconds}; the maps are (height, width, classes).
export async function loadNet(description) {
  const ort = await loadRuntime();
  const model = await (await load("model.onnx")).arrayBuffer();
  const session = await ort.InferenceSession.create(model);
  const shape = [1, description.size, description.size, 3];

  async function run(picture) {
    const images = new ort.Tensor("float32", picture, shape);
    const start = performance.now();
    const {probabilities, maps} = await session.run({images});
    const milliseconds = performance.now() - start;
    const [, height, width] = maps.dims;
    return {
      probabilities: probabilities.data, maps: maps.data, height, width, milliseconds,
    };
  }

  // The first run makes room in memory, which is not the net's time.
  await run(new Float32Array(shape.reduce((a, b) => a * b)));
  return run;
}

async function loadRuntime() {
  try {
    const ort = await import(`${RUNTIME}ort.wasm.bundle.min.mjs`);
    ort.env.wasm.wasmPaths = {wasm: `${RUNTIME}ort-wasm-simd-threaded.wasm`};
    ort.env.wasm.numThreads = 1; // more need headers that few servers send
    return ort;
  } catch (error) {
    throw new Error(
      "onnxruntime-web is missing: run “npm install --ignore-scripts” in this " +
        "page's folder, then load the page again.",
      {cause: error},
    );
  }
}
