// Takes pictures and shows what the net says of them.

import {drawHeat, drawPicture} from "./heatmap.js";
import {loadDescription, loadNet} from "./net.js";
import {decode, prepare} from "./preprocess.js";

const TOP = 5; // classes shown

const find = (selector, within = document) => within.querySelector(selector);
const results = find("#results");

let description;
// Whatever waits its turn: first the net, then picture by picture.
let queue = start();

async function start() {
  say("Loading the net …");
  try {
    description = await loadDescription();
    showFacts(description);
    const run = await loadNet(description);
    say("Ready.");
    saveForOffline();
    return run;
  } catch (error) {
    say(error.message, true);
    return null;
  }
}

function say(text, wrong = false) {
  const status = find("#status");
  status.textContent = text;
  status.classList.toggle("wrong", wrong);
}

function showFacts({facts}) {
  for (const [name, value] of facts) {
    const pair = document.createElement("div");
    pair.append(document.createElement("dt"), document.createElement("dd"));
    pair.firstChild.textContent = name;
    pair.lastChild.textContent = value;
    find("#facts").append(pair);
  }
}

function take(files) {
  for (const file of files) {
    queue = queue.then(async (run) => {
      if (run) await show(run, file);
      return run;
    });
  }
}

// Shows a picture file and what the net says of it, above those before.
async function show(run, file) {
  const name = file.name || "picture";
  say(`Reading ${name} …`);
  let bitmap;
  try {
    bitmap = await decode(file);
  } catch {
    say(`${name} is no picture that this browser can read.`, true);
    return;
  }
  try {
    const picture = prepare(bitmap, description);
    const answer = await run(picture);
    const order = [...answer.probabilities.keys()];
    order.sort((a, b) => answer.probabilities[b] - answer.probabilities[a]);
    results.prepend(card(name, picture, answer, order.slice(0, TOP)));
    const [best] = order;
    say(`${name}: ${description.classes[best]}, ${percent(answer.probabilities[best])}`);
  } catch (error) {
    say(`${name} cannot be classified: ${error.message}`, true);
  } finally {
    bitmap.close();
  }
}

// The article of a picture, with the classes of these numbers.
function card(name, picture, answer, numbers) {
  const article = find("#result").content.cloneNode(true).firstElementChild;
  find("h2", article).textContent = name;
  const canvas = find(".picture", article);
  drawPicture(canvas, picture, description.size);
  canvas.ariaLabel = `${name} as the net gets it`;
  const time = answer.milliseconds.toFixed(1);
  find(".time", article).textContent = `The net took ${time} ms.`;
  const heat = find(".heat", article);
  const opacity = find("input", article);
  const setOpacity = () => (heat.style.opacity = opacity.value / 100);
  opacity.addEventListener("input", setOpacity);
  setOpacity();
  for (const number of numbers) {
    find("ol", article).append(row(number, answer, article));
  }
  find("button", article).click();
  return article;
}

// The line of a class, a button that shows where the net sees it.
function row(number, answer, article) {
  const item = find("#class").content.cloneNode(true).firstElementChild;
  const probability = answer.probabilities[number];
  find(".name", item).textContent = description.classes[number];
  find("data", item).value = probability;
  find("data", item).textContent = percent(probability);
  find(".bar", item).style.setProperty("--share", probability);
  const button = find("button", item);
  button.addEventListener("click", () => {
    for (const other of article.querySelectorAll("button")) {
      other.ariaPressed = other === button;
    }
    showHeat(number, answer, article);
  });
  return item;
}

function showHeat(number, {maps, height, width}, article) {
  const count = description.classes.length;
  const map = maps.filter((_, i) => i % count === number);
  const canvas = find(".heat", article);
  drawHeat(canvas, map, height, width);
  const text = `where it sees ${description.classes[number]}`;
  find("figcaption", article).textContent = `What the net gets, and ${text}`;
  canvas.ariaLabel = `Heat map: ${text}`;
}

function percent(probability) {
  return `${(100 * probability).toFixed(1)}%`;
}

// Browsers allow this for https and localhost alone; the page works without.
async function saveForOffline() {
  const worker = navigator.serviceWorker;
  if (!worker) return;
  const updated = worker.controller !== null;
  worker.addEventListener("controllerchange", () => {
    // Another net in this folder; but take away no results.
    if (updated && !results.hasChildNodes()) location.reload();
  });
  try {
    await worker.register("service-worker.js");
    await worker.ready;
    find("#offline").hidden = false;
  } catch (error) {
    console.info("not saved for use offline:", error.message);
  }
}

for (const input of document.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => {
    take(input.files);
    input.value = ""; // so that the same picture can be chosen again
  });
}
addEventListener("paste", (event) => take(event.clipboardData.files));
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  if (!event.dataTransfer.files.length) say("What was dropped is no file.", true);
  take(event.dataTransfer.files);
});
