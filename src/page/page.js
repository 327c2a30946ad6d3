// Everything that the page does without the server. It computes no figure and no position itself: those come from
// src/page/views/cost_summary.py and src/page/views/curves.py.

document.documentElement.lang = document.querySelector(".v-languages [aria-current]").lang;

window.vigil = {
  // Show the figures and the positions for this threshold of the task's slider.
  follow(task, threshold) {
    for (const element of document.querySelectorAll(`#api-${task} [data-figure]`)) element.textContent = threshold;
    const source = document.querySelector(`#cost-${task} [data-columns]`);
    if (!source) return;
    const columns = JSON.parse(source.dataset.columns);
    const row = columns.at.indexOf(threshold);
    if (row < 0) return; // A threshold between two steps was typed, and the server sends its figures.
    const parts = (selector) => document.querySelectorAll(`:is(#cost-${task}, #costs-${task}) ${selector}`);
    for (const element of parts("[data-figure]")) {
      element.textContent = columns[element.dataset.figure][row];
    }
    for (const element of parts("[data-interval]")) {
      element.title = `${source.dataset.intervalName} ${columns[`${element.dataset.figure}_interval`][row]}`;
    }
    for (const people of parts(".v-people")) {
      for (const end of ["found", "referred"]) people.style.setProperty(`--v-${end}`, columns[`people.${end}`][row]);
    }
    for (const part of document.querySelectorAll(`#curves-${task} [data-move]`)) {
      part.setAttribute("transform", `translate(${columns[part.dataset.move][row]})`);
    }
  },
  // The texts in place of an answer: `reading` while `image` is read, and `none` if there is no image.
  waiting(image, reading, none) {
    if (image) unsent = null;
    return image ? reading : none;
  },
  // A text that differs from all earlier ones if something is to be done, so that it triggers an event.
  wanted(isWanted) {
    return isWanted ? String(performance.now()) : { __type__: "update" };
  },
  // Let a screen reader say the decision once. The decision itself follows the slider and would be said at each step.
  speak(decision) {
    const found = new DOMParser().parseFromString(decision, "text/html").querySelector("[data-spoken]");
    document.querySelector("#vigil-spoken").textContent = found?.dataset.spoken ?? "";
  },
  // Open the tab `other` of `names` with these values. Returns the values of the tabs, and for each of `values` those of
  // all of `names`.
  handOver(names, other, ...values) {
    const same = { __type__: "update" };
    const only = (value) => names.map((name) => (name === other ? value : same));
    return [{ ...same, selected: other }, ...values.flatMap(only)];
  },
  // `handOver` for an image of the table of many images, with the model and the threshold that decided there. `models` are
  // the present models of the tabs.
  handOverDecided(names, image, other, model, threshold, ...models) {
    if (models[names.indexOf(other)] !== model) window.vigil.keepThreshold(other, threshold);
    return window.vigil.handOver(names, other, image, threshold, model);
  },
  // Whether the section below this button of an accordion is open.
  isOpen(button) {
    const content = button.nextElementSibling;
    return content !== null && content.style.display !== "none";
  },
  // Save the file of a hidden download button. A click on that button itself would save the file that it had before.
  save(file) {
    const link = document.createElement("a");
    link.href = file.url;
    link.download = file.orig_name;
    link.click();
  },
};

// The slider was moved. Follow it at once, before Gradio does. The reset button comes through Gradio.
document.addEventListener("input", ({ target }) => {
  const slider = target.closest?.("[id^='threshold-']");
  if (slider) window.vigil.follow(slider.id.slice("threshold-".length), Number(target.value));
});

// On a wide screen, an example is a thumbnail, and its text is the tooltip.
document.addEventListener("pointerover", ({ target }) => {
  const example = target.closest?.(".v-example");
  if (example) example.title = example.textContent.trim();
});

// Opacity and divider of a heat map.
document.addEventListener("input", ({ target }) => {
  const moves = target.dataset?.moves;
  if (moves) target.closest(".v-viewer").style.setProperty(moves, target.value);
});

// Draw image and heat map with the present opacity and divider, at the size of the larger of the two, and save them.
async function saveHeatMap(viewer) {
  const [base, over] = ["base", "over img"].map((part) => viewer.querySelector(`.v-stage:not(.v-plain) .v-${part}`));
  await Promise.all([base.decode(), over.decode()]);
  const scale = Math.max(1, over.naturalWidth / base.naturalWidth);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [base.naturalWidth * scale, base.naturalHeight * scale];
  const draw = canvas.getContext("2d");
  draw.drawImage(base, 0, 0, canvas.width, canvas.height);
  const split = (canvas.width * parseFloat(viewer.style.getPropertyValue("--v-split"))) / 100;
  draw.beginPath();
  draw.rect(split, 0, canvas.width - split, canvas.height);
  draw.clip();
  draw.globalAlpha = parseFloat(viewer.style.getPropertyValue("--v-opacity")) / 100;
  const share = (side, whole) => (parseFloat(over.style[side]) / 100) * whole;
  draw.drawImage(
    over,
    share("left", canvas.width),
    share("top", canvas.height),
    share("width", canvas.width),
    share("height", canvas.height),
  );
  window.vigil.save({ url: canvas.toDataURL("image/png"), orig_name: "vigil-heat-map.png" });
}

// Show the plain image beside the image with the heat map, or only the latter again.
function placeBeside(viewer, button) {
  const screen = viewer.querySelector(".v-screen");
  const plain = screen.querySelector(".v-plain");
  if (plain) plain.remove();
  else {
    const stage = document.createElement("div");
    stage.className = "v-stage v-plain";
    const image = viewer.querySelector(".v-base").cloneNode();
    image.alt = button.dataset.plain;
    stage.append(image);
    screen.prepend(stage);
  }
  button.setAttribute("aria-pressed", String(!plain));
}

async function copyCode(button) {
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    getSelection().selectAllChildren(code); // a page without https has no clipboard
  }
}

// Choose a named threshold as a visitor who types it into the field of the slider.
function chooseThreshold({ dataset }) {
  const field = document.querySelector(`#${dataset.slider} input[type=number]`);
  field.value = dataset.value;
  for (const kind of ["input", "change", "blur"]) field.dispatchEvent(new Event(kind, { bubbles: kind !== "blur" }));
}

const ACTIONS = {
  save: saveHeatMap,
  beside: placeBeside,
  enlarge: (viewer) => (document.fullscreenElement ? document.exitFullscreen() : viewer.requestFullscreen?.()),
  copy: (_, button) => copyCode(button),
  open: (_, button) => window.vigil.openFromBatch(button),
  threshold: (_, button) => chooseThreshold(button),
  sort: (_, button) => window.vigil.sortBatch(button),
};

document.addEventListener("click", ({ target }) => {
  const button = target.closest?.("[data-action]");
  if (button) ACTIONS[button.dataset.action](button.closest(".v-viewer"), button);
});

// Gradio's accordions do not tell a screen reader whether they are open.
function describeAccordion(button) {
  button.setAttribute("aria-expanded", String(window.vigil.isOpen(button)));
  button.querySelector(".icon")?.setAttribute("aria-hidden", "true");
}

// Gradio draws a part late: the server sends it again, or its section is opened for the first time. The slider may have
// moved meanwhile, so the part follows it at once.
function catchUp(part) {
  const task = part.closest("[id^='cost-'], [id^='costs-'], [id^='curves-'], [id^='api-']")?.id.split("-")[1];
  const threshold = document.querySelector(`#threshold-${task} input[type=number]`)?.value;
  if (threshold) window.vigil.follow(task, Number(threshold));
}

// Texts that Gradio itself writes, in English or raw, and ours in their place: src/page/views/page_frame.py.
const { names: NAMES, messages: MESSAGES } = JSON.parse(document.querySelector(".v-header").dataset.texts);

// The names of Gradio's controls for a screen reader.
function translateNames(element) {
  for (const attribute of ["aria-label", "title"]) {
    const text = element.getAttribute(attribute) ?? "";
    const [start, ours] = NAMES.find(([english]) => text.startsWith(english)) ?? [];
    if (start && start !== ours) element.setAttribute(attribute, ours + text.slice(start.length));
  }
}

// A message of Gradio. If an image was not sent, the card says so, too.
function explain(message) {
  const text = message.textContent;
  const known = MESSAGES.find(({ start }) => text.startsWith(start));
  if (!known) return;
  // The server refuses an upload with a sentence. A proxy before it may send anything.
  const sentence = /^HTTP \d+: ([^<>{}]+\.)$/.exec(text)?.[1] ?? known.sentence;
  message.textContent = sentence;
  const card = [...document.querySelectorAll(".v-card")].find((one) => one.checkVisibility());
  if (!known.place || !card) return;
  unsent = { card, sentence };
  refuse(known.place);
}

// The card for whose image there is no answer because the connection failed, and the sentence that says so.
let unsent = null;

// Write the sentence into the card, in place of this part of it.
function refuse(place) {
  const refusal = document.querySelector("#v-unsent").content.cloneNode(true);
  refusal.querySelector("p:not(.v-word)").textContent = unsent.sentence;
  unsent.card.querySelector(place)?.replaceWith(refusal);
}

// The browser's sign for an image that it cannot draw says nothing. The image's name remains for a screen reader.
for (const [kind, opacity] of [["error", 0], ["load", 1]]) {
  document.addEventListener(kind, ({ target }) => {
    if (target.matches?.(".v-image .image-frame img")) target.style.opacity = opacity;
  }, true);
}

// <page-address>: the address of this page's server, as the visitor reached it.
customElements.define(
  "page-address",
  class extends HTMLElement {
    connectedCallback() {
      // Gradio empties the element when the server sends its surroundings again.
      if (!this.firstChild) this.textContent = (location.origin + location.pathname).replace(/\/$/, "");
    }
  },
);

// Complete what Gradio has drawn: `root` and the elements in it.
function complete(root) {
  const found = (selector) => [...(root.matches(selector) ? [root] : []), ...root.querySelectorAll(selector)];
  found(".gr-accordion > button").forEach(describeAccordion);
  found("[aria-label], [title]").forEach(translateNames);
  // Gradio's messages are a button around the button that closes them; the inner one is enough.
  for (const header of found(".toast-header")) {
    for (const name of ["role", "tabindex"]) header.removeAttribute(name);
    const title = header.querySelector(".toast-title").firstChild;
    title.data = NAMES.find(([english]) => english === title.data.trim())?.[1] ?? title.data;
  }
  found(".toast-message-text").forEach(explain);
  const [part] = found("[data-figure], [data-move]");
  if (part) catchUp(part);
}

new MutationObserver((changes) => {
  for (const { type, target, addedNodes } of changes) {
    if (type === "attributes") {
      if (target.dataset.testid === "accordion-content") describeAccordion(target.previousElementSibling);
      translateNames(target);
      continue;
    }
    if (target.localName === "page-address") target.connectedCallback();
    for (const node of addedNodes) if (node instanceof Element) complete(node);
  }
  if (unsent) refuse(".v-empty:not(.v-reading)"); // Gradio emptied the card meanwhile.
}).observe(document.body, {
  childList: true, subtree: true, attributes: true, attributeFilter: ["aria-label", "style", "title"],
});
complete(document.body);

// Write the numbers of the part of a figure that is pointed at or tapped below the figure.
for (const kind of ["pointerover", "click"]) {
  document.addEventListener(kind, ({ target }) => {
    const part = target.closest?.("figure [data-readout]");
    if (part) part.closest("figure").querySelector(".v-readout").textContent = part.dataset.readout;
  });
}

// Choose another frame of a cine.
document.addEventListener("change", ({ target }) => {
  if (!target.matches?.("select[data-frame-of]")) return;
  const wanted = document.querySelector(`#frame-${target.dataset.frameOf} :is(input, textarea)`);
  wanted.value = target.value;
  wanted.dispatchEvent(new Event("input", { bubbles: true }));
});

// Gradio takes files of a type image/* alone. A browser finds no such type for DICOM, and on some systems none for HEIC or
// TIFF. The server recognises a file by its content. So every file that a visitor gives as an image passes as one.
const FILE_TYPES = document.querySelector(".v-header").dataset.fileTypes;
const isImage = (file) => file.type.startsWith("image/");

function asImages(files) {
  const given = new DataTransfer();
  for (const file of files) {
    given.items.add(isImage(file) ? file : new File([file], file.name, { type: "image/unknown" }));
  }
  return given;
}

document.addEventListener("click", ({ target }) => {
  if (target.matches?.(".v-image input[type=file]")) target.accept = FILE_TYPES;
}, true);
document.addEventListener("change", (event) => {
  const { target } = event;
  if (!target.matches?.(".v-image input[type=file]") || [...target.files].every(isImage)) return;
  event.stopImmediatePropagation();
  target.files = asImages(target.files).files;
  target.dispatchEvent(new Event("change", { bubbles: true }));
}, true);

// A file can be dropped anywhere on the tab of a task, and the tab's image takes it. Elsewhere only the fields for files
// take one. The browser would open any other file in place of the page.
const FIELD = ".upload-container";
for (const kind of ["dragover", "drop"]) {
  document.addEventListener(kind, (event) => {
    if (!event.isTrusted || !event.dataTransfer.types.includes("Files")) return;
    const image = [...document.querySelectorAll(".v-place .v-image")].find((one) => one.checkVisibility());
    if (!image && event.target.closest?.(`${FIELD}, #v-early, input[type=file]`)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    event.dataTransfer.dropEffect = image ? "copy" : "none";
    const [file] = event.dataTransfer.files;
    if (kind === "dragover" || !image || !file) return;
    const dataTransfer = asImages([file]);
    image.querySelector(FIELD).dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer }));
  }, true);
}
