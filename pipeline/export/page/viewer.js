// The large picture with its map and box, the classes, and what is written below them.

const BOX_COLOR = "rgb(48, 160, 255)";
const MOST_CLASSES = 5;

const byId = (id) => document.getElementById(id);

/** Sort classes by their probabilities, the most probable first. */
function ranked(probabilities) {
  const order = Array.from(probabilities, (_, label) => label);
  return order.sort((a, b) => probabilities[b] - probabilities[a] || a - b);
}

function percent(probability) {
  return `${(100 * probability).toFixed(1)}\u00a0%`;
}

/** Show a result: the picture, the map, the box, classes and figures. */
function showResult(result, names, onChoice) {
  const { picture, colors, box } = result;
  const { width, height } = picture;
  drawPixels(byId("photo"), picture.data, width, height);
  drawPixels(byId("map"), colors, width, height);
  byId("stage").style.setProperty("--ratio", width / height);
  byId("frame").setAttribute("viewBox", `0 0 ${width} ${height}`);
  const rectangle = byId("rectangle");
  rectangle.toggleAttribute("hidden", box === null);
  if (box !== null) {
    const [x0, y0, x1, y1] = box;
    const sides = { x: x0 + 0.5, y: y0 + 0.5, width: x1 - x0, height: y1 - y0 };
    for (const [name, value] of Object.entries(sides)) rectangle.setAttribute(name, value);
  }
  byId("photo").setAttribute("aria-label", describe(result, names));
  byId("picture-name").textContent = result.name;
  byId("class-name").textContent = names[result.predicted];
  byId("class-probability").textContent = percent(result.probabilities[result.predicted]);
  byId("explained").textContent = whatIsShown(result, names);
  byId("figures").textContent =
    `${width} x ${height} pixels. ` +
    (box === null ? "No box. " : `Box: x ${box[0]} to ${box[2]}, y ${box[1]} to ${box[3]}. `) +
    `Time: ${Math.round(result.milliseconds)} ms.`;
  const list = byId("classes");
  const focused = list.contains(document.activeElement);
  list.replaceChildren(
    ...result.ranking.slice(0, MOST_CLASSES).map((label) => {
      const item = document.createElement("li");
      item.append(classRow(label, result, names, onChoice));
      return item;
    }),
  );
  if (focused) list.querySelector('[aria-pressed="true"]')?.focus(); // the old one is gone
  byId("result").hidden = false;
}

/** Make a row of the list of classes: a button where the class can be chosen. */
function classRow(label, { probabilities, explained }, names, onChoice) {
  const row = document.createElement(onChoice === null ? "div" : "button");
  row.className = "class";
  if (onChoice !== null) {
    row.type = "button";
    row.setAttribute("aria-pressed", String(label === explained));
    row.addEventListener("click", () => onChoice(label));
  }
  const name = document.createElement("span");
  name.textContent = names[label];
  const share = document.createElement("span");
  share.textContent = percent(probabilities[label]);
  const bar = document.createElement("span");
  bar.className = "bar";
  bar.style.setProperty("--share", probabilities[label]);
  row.append(name, share, bar);
  return row;
}

/** Say of which class the map is. */
function whatIsShown({ explained, flat }, names) {
  if (flat) return "The map is flat: nothing stands out.";
  if (explained === null) return "The map is one for all classes: where the object is.";
  return `The map shows where the evidence for ${names[explained]} lies.`;
}

/** Describe the picture for those who do not see it. */
function describe(result, names) {
  const { width, height } = result.picture;
  const place =
    result.box === null
      ? "no box"
      : `box from ${Math.round((100 * result.box[0]) / width)} to ` +
        `${Math.round((100 * result.box[2]) / width)} % of the width and from ` +
        `${Math.round((100 * result.box[1]) / height)} to ` +
        `${Math.round((100 * result.box[3]) / height)} % of the height`;
  return `${result.name} with its map: ${names[result.predicted]}, ${place}`;
}

/** Draw picture, map and box as they are shown, on a new canvas of the picture's size. */
function composed({ picture, colors, box }, opacity, withBox) {
  const { width, height } = picture;
  const { canvas, context } = newCanvas(width, height);
  const blended = overlay(picture.data, colors, opacity);
  context.putImageData(new ImageData(blended, width, height), 0, 0);
  if (withBox && box !== null) {
    const [x0, y0, x1, y1] = box;
    context.strokeStyle = BOX_COLOR;
    context.lineWidth = Math.max(1, Math.floor(Math.min(width, height) / 100));
    context.strokeRect(x0 + 0.5, y0 + 0.5, x1 - x0, y1 - y0);
  }
  return canvas;
}
