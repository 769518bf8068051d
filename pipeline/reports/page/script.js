"use strict";
const byId = (id) => document.getElementById(id);

/** Open what is shown on demand alone before the page is printed, and close it again. */
function openForPrint() {
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details.printed:not([open])")];
    for (const part of opened) part.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const part of opened) part.open = false;
  });
}

/** Let the reader sort and filter the gallery. */
function controlGallery() {
  const { keys, values } = JSON.parse(byId("order-data").textContent);
  const list = byId("cards");
  const cards = [...list.children].map((node, place) => ({
    node,
    values: values[place],
    text: [node.querySelector("h3"), node.querySelector("dl")]
      .map((part) => part?.textContent ?? "")
      .join(" ")
      .toLowerCase(),
  }));
  const valueOf = (id) => byId(id)?.value ?? "";

  /** Find the key with the chosen name and group; undefined for the first order. */
  function chosenKey() {
    if (valueOf("order") === "") return undefined;
    const [name, group] = [valueOf("order"), valueOf("of")];
    const found = keys.findIndex((key) => key[0] === name && key[1] === group);
    return found === -1 ? keys.findIndex((key) => key[0] === name) : found;
  }

  /** Put the cards in order: those without a value are last, equal ones in the first order. */
  function sort() {
    const key = chosenKey();
    const sign = valueOf("direction") === "1" ? -1 : 1;
    const sorted = key === undefined ? cards : [...cards].sort((a, b) => {
      const [first, second] = [a.values[key], b.values[key]];
      if (first === null || second === null) return (first === null) - (second === null);
      return sign * (first - second);
    });
    list.append(...sorted.map((card) => card.node));
  }

  /** Offer the groups and the ends of the chosen order. */
  function offer() {
    const name = valueOf("order");
    const groups = keys.filter((key) => key[0] === name).map((key) => key[1]);
    const before = valueOf("of");
    byId("of").replaceChildren(...groups.map((group) => new Option(group, group)));
    if (groups.includes(before)) byId("of").value = before;
    byId("of-label").hidden = groups.length < 2;
    const key = keys[chosenKey()];
    byId("direction-label").hidden = key === undefined;
    if (key === undefined) return;
    byId("direction").replaceChildren(...key[3].map((end, place) => new Option(end, place)));
    byId("direction").value = key[2] ? "1" : "0";
  }

  function filter() {
    const [label, right] = [valueOf("class"), valueOf("right")];
    const text = valueOf("text").trim().toLowerCase();
    let shown = 0;
    for (const { node, text: own } of cards) {
      const fits =
        (label === "" || node.dataset.label === label) &&
        (right === "" || node.dataset.right === right) &&
        own.includes(text);
      node.hidden = !fits;
      shown += fits;
    }
    const count = `${shown} of ${cards.length} images`;
    if (byId("count").textContent !== count) byId("count").textContent = count;
  }

  function fillGroups() {
    const panels = [...list.querySelectorAll("[data-group]")];
    const groups = [...new Set(panels.map((panel) => panel.dataset.group))];
    byId("groups").hidden = groups.length < 2;
    for (const group of groups) {
      const box = document.createElement("input");
      const label = document.createElement("label");
      const name = document.createElement("bdi");
      box.type = "checkbox";
      box.checked = true;
      box.addEventListener("change", () => {
        for (const panel of panels) {
          if (panel.dataset.group === group) panel.hidden = !box.checked;
        }
      });
      name.textContent = group;
      label.append(box, name);
      byId("groups").append(label);
    }
  }

  function setOpacity() {
    document.documentElement.style.setProperty("--map", valueOf("opacity") / 100);
  }

  const names = [...new Set(keys.map((key) => key[0]))];
  byId("order").append(...names.map((name) => new Option(name, name)));
  fillGroups();
  byId("order").addEventListener("change", () => { offer(); sort(); });
  byId("of").addEventListener("change", () => { sort(); });
  byId("direction").addEventListener("change", sort);
  for (const id of ["class", "right"]) byId(id)?.addEventListener("change", filter);
  byId("text").addEventListener("input", filter);
  byId("opacity").addEventListener("input", setOpacity);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("controls").hidden = false;
  setOpacity();
  filter();
}

openForPrint();
if (byId("cards") !== null) controlGallery();
