// Keeps the page's files, so that it works offline after the first visit.

const VERSION = "VERSION_OF_FILES"; // gpwjax puts their digest here
const RUNTIME = "node_modules/onnxruntime-web/dist/";
const FILES = [
  "./",
  "gpwjax.json",
  "heatmap.js",
  "icon.svg",
  "index.html",
  "model.onnx",
  "net.js",
  "page.js",
  "preprocess.js",
  "resize.js",
  "style.css",
  `${RUNTIME}ort.wasm.bundle.min.mjs`,
  `${RUNTIME}ort-wasm-simd-threaded.wasm`,
];
// All pages of a host share its caches.
const OURS = `gpwjax ${registration.scope} `;
const NAME = OURS + VERSION;

async function keep() {
  const cache = await caches.open(NAME);
  await cache.addAll(FILES.map((file) => new Request(file, {cache: "no-cache"})));
  await skipWaiting();
}

async function forgetOthers() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith(OURS) && name !== NAME);
  await Promise.all(old.map((name) => caches.delete(name)));
  await clients.claim();
}

async function answer(request) {
  const cache = await caches.open(NAME);
  return (await cache.match(request, {ignoreSearch: true})) ?? fetch(request);
}

addEventListener("install", (event) => event.waitUntil(keep()));
addEventListener("activate", (event) => event.waitUntil(forgetOthers()));
addEventListener("fetch", (event) => event.respondWith(answer(event.request)));
