// What the reader does: choosing and dropping photographs, choosing a class, sliders and buttons.

const settings = JSON.parse(byId("settings").textContent);
const names = distinct(settings.class_names);
const labelOf = new Map(names.map((name, label) => [name, label]));
const chooses = settings.maps === "label"; // whether the map of any class can be had
const THUMBNAIL = 192; // pixels

let run = null; // the network, when it is loaded
let current = null; // the result that is shown
let waiting = Promise.resolve(); // one photograph after another

/** Explain a photograph: classes, the map in its place, the box. */
async function explain({ file, name }, label) {
  const began = performance.now();
  const { size, center_crop: centerCrop } = settings;
  const picture = await readPicture(file);
  const square = toSquare(picture, size, centerCrop, settings.down_first);
  const { probabilities, saliency } = await run(square, label);
  const ranking = ranked(probabilities);
  const flat = isFlat(saliency);
  const map = toOriginal(saliency, size, picture.width, picture.height, centerCrop);
  const threshold = settings.box_threshold;
  const box = flat ? null : largestBox(map, picture.width, picture.height, threshold);
  const colors = colorize(map, settings.colormap);
  const milliseconds = performance.now() - began;
  const predicted = ranking[0];
  const explained = settings.maps === null ? null : label === -1 ? predicted : label;
  const classes = { probabilities, ranking, predicted, explained };
  return { name, picture, square, saliency, map, box, flat, colors, milliseconds, ...classes };
}

/** Tell whether a map is constant, up to the rounding of single precision. */
function isFlat(saliency) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of saliency) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return high - low <= 1e-6;
}

/** Put their numbers behind names that several classes have. */
function distinct(classNames) {
  const counts = new Map();
  for (const name of classNames) counts.set(name, (counts.get(name) ?? 0) + 1);
  return classNames.map((name, label) => (counts.get(name) > 1 ? `${name} (${label})` : name));
}

/** Explain a photograph after those that wait; show it, or say what is wrong. */
function handle(item, label = -1) {
  waiting = waiting.then(async () => {
    if (run === null) return; // which was said
    say(`Looking at ${item.name} ...`);
    await new Promise((done) => setTimeout(done, 20)); // so that the words are seen
    try {
      const result = await explain(item, label);
      if (!item.shown) addThumbnail(item, result);
      show(item, result);
      const share = percent(result.probabilities[result.predicted]);
      say(`${item.name}: ${names[result.predicted]}, ${share}. ${whatIsShown(result, names)}`);
    } catch (error) {
      const reason = error instanceof PictureError ? error.message : `failed: ${error.message}`;
      complain(`${item.name} ${reason}`);
      say("");
    }
  });
  return waiting;
}

function show(item, result) {
  current = { item, ...result };
  showResult(result, names, chooses ? (label) => handle(item, label) : null);
  byId("class-choice").value = chooses && result.explained !== null ? names[result.explained] : "";
  for (const button of document.querySelectorAll("#pictures button")) {
    button.setAttribute("aria-pressed", String(button === item.shown));
  }
}

/** Add a small picture with its map that brings the photograph back when it is pressed. */
function addThumbnail(item, result) {
  const whole = composed(result, 0.5, true);
  const scale = Math.min(1, THUMBNAIL / Math.max(whole.width, whole.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(whole.width * scale));
  canvas.height = Math.max(1, Math.round(whole.height * scale));
  canvas.getContext("2d").drawImage(whole, 0, 0, canvas.width, canvas.height);
  const caption = document.createElement("span");
  const { predicted, probabilities } = result;
  caption.textContent = `${names[predicted]} ${percent(probabilities[predicted])}`;
  const button = document.createElement("button");
  button.type = "button";
  button.title = item.name;
  button.append(canvas, caption);
  button.addEventListener("click", () => handle(item));
  const entry = document.createElement("li");
  entry.append(button);
  if (item.bundled) byId("pictures").append(entry);
  else byId("pictures").prepend(entry); // the newest one is seen first
  byId("gallery").hidden = false;
  item.shown = button;
}

function say(text) {
  byId("status").textContent = text;
}

function complain(text) {
  const line = document.createElement("p");
  line.textContent = text;
  byId("errors").append(line);
}

function take(files) {
  byId("errors").replaceChildren();
  for (const file of files) handle({ file, name: file.name });
}

function chooseClass() {
  const text = byId("class-choice").value.trim();
  if (current === null || text === "") return;
  byId("errors").replaceChildren();
  const label = labelOf.get(text);
  if (label === undefined) complain(`No class is named "${text}"; choose one of the list.`);
  else if (label !== current.explained) handle(current.item, label);
}

function setOpacity() {
  const value = Number(byId("opacity").value);
  byId("map").style.opacity = value / 100;
  byId("opacity-value").textContent = `${value} %`;
}

function listen() {
  byId("files").addEventListener("change", (event) => {
    take([...event.target.files]);
    event.target.value = ""; // so that the same file can be chosen again
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      byId("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop") take([...event.dataTransfer.files]);
    });
  }
  byId("opacity").addEventListener("input", setOpacity);
  byId("with-box").addEventListener("change", (event) => {
    byId("frame").toggleAttribute("hidden", !event.target.checked);
  });
  byId("class-choice").addEventListener("change", chooseClass);
  byId("save-overlay").addEventListener("click", () => {
    const shown = composed(current, byId("opacity").value / 100, byId("with-box").checked);
    download(shown, `${current.name}.overlay.png`);
  });
  byId("save-map").addEventListener("click", () => {
    const { picture, map, name } = current;
    const { canvas } = newCanvas(picture.width, picture.height);
    drawPixels(canvas, grayLevels(map), picture.width, picture.height);
    download(canvas, `${name}.map.png`);
  });
}

/** Show the colors of a map's values as a bar. */
function fillBar() {
  const stops = Array.from({ length: 16 }, (_, k) => {
    const at = 3 * 17 * k;
    return `rgb(${settings.colormap.slice(at, at + 3).join(" ")})`;
  });
  byId("bar").style.background = `linear-gradient(to right, ${stops.join(", ")})`;
}

/** Load the network; say so where that fails. */
async function load() {
  say("The network is being loaded ...");
  try {
    run = await loadModel(settings);
  } catch (error) {
    say("");
    complain(`The network could not be loaded: ${error.message}`);
  }
}

/** Load the network, then show the photographs that came with the page. */
async function start() {
  say("");
  const missing = missingAbility();
  if (missing !== null) {
    complain(missing);
    return;
  }
  byId("files").disabled = false;
  if (chooses) {
    byId("class-list").append(...names.map((name) => new Option(name, name)));
    byId("choice").hidden = false;
  }
  if (!readsTruly()) {
    complain("This browser alters the pixels that pages read, so maps may differ a little.");
  }
  fillBar();
  setOpacity();
  listen();
  waiting = load();
  for (const { name, type, content } of settings.gallery) {
    handle({ name, file: new Blob([fromBase64(content)], { type }), bundled: true });
  }
  await waiting;
  if (run !== null) say("Ready for a photograph.");
}

// what a script that drives the page, or a reader's console, asks for
window.learnedSaliency = { current: () => current, settled: () => waiting };

start();
