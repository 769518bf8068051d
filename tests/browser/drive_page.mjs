// Opens a page of `export.py format=html` in a browser without a network and gives it photographs.
// Called by check_page.py, which says how.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [modules, browserPath, page, folder, out] = process.argv.slice(2);
const require = createRequire(path.join(path.resolve(modules), "x.js"));
const { chromium } = require("playwright-core");
const axe = require.resolve("axe-core/axe.min.js");
const photographs = fs.readdirSync(folder).sort().map((name) => path.join(folder, name));

const browser = await chromium.launch({
  executablePath: browserPath,
  args: ["--no-sandbox", "--disable-gpu"],
});
const context = await browser.newContext();
await context.setOffline(true);
const view = await context.newPage();
const requests = [];
const messages = [];
view.on("request", (request) => requests.push(request.url().slice(0, 80)));
view.on("console", (message) => messages.push(`${message.type()}: ${message.text()}`));
view.on("pageerror", (error) => messages.push(`error: ${error.message}`));

async function shot(name, width, scheme) {
  await view.setViewportSize({ width, height: 900 });
  await view.emulateMedia({ colorScheme: scheme });
  await view.screenshot({ path: path.join(out, `${name}.png`), fullPage: true });
}

async function settled() {
  await view.evaluate(() => window.learnedSaliency.settled());
}

const began = Date.now();
await view.goto(pathToFileURL(path.resolve(page)).href);
await view.waitForFunction(() => window.learnedSaliency !== undefined);
await settled();
const loading = Date.now() - began;

const found = [];
for (const photograph of photographs) {
  await view.setInputFiles("#files", photograph);
  await settled();
  found.push(
    await view.evaluate(() => {
      const result = window.learnedSaliency.current();
      const encode = (values) => {
        const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
        let text = "";
        for (let k = 0; k < bytes.length; k += 1) text += String.fromCharCode(bytes[k]);
        return btoa(text);
      };
      const { name, picture, predicted, box, milliseconds } = result;
      return {
        name,
        width: picture.width,
        height: picture.height,
        predicted,
        probability: result.probabilities[predicted],
        box,
        milliseconds,
        pixels: encode(picture.data),
        square: encode(result.square),
        map: encode(result.map),
      };
    }),
  );
}

await view.setInputFiles("#files", { name: "text.jpg", mimeType: "image/jpeg", buffer: Buffer.from("no image") });
await settled();
const complaint = await view.textContent("#errors");
await view.evaluate(() => document.querySelector("details").setAttribute("open", ""));
await view.evaluate(fs.readFileSync(axe, "utf8")); // as a tag the page's policy forbids it
const faults = [];
for (const [name, width, scheme] of [
  ["wide", 1440, "light"],
  ["narrow", 390, "light"],
  ["wide-dark", 1440, "dark"],
  ["narrow-dark", 390, "dark"],
]) {
  await shot(name, width, scheme);
  const report = await view.evaluate(() => window.axe.run());
  for (const { id, impact, nodes } of report.violations) {
    faults.push({ view: name, id, impact, nodes: nodes.map((node) => node.html) });
  }
  const overflow = await view.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (overflow > 0) faults.push({ view: name, id: "wider than the window", pixels: overflow });
}
await browser.close();
const report = { loading, requests, messages, complaint, faults, found };
fs.writeFileSync(path.join(out, "report.json"), JSON.stringify(report));
