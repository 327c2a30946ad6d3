// Everything that the page does without the server. It computes no figure and no position itself: those come from
// src/page/views/threshold_costs.py and src/page/views/curves.py.

window.vigil = {
  // Show the figures and the positions for this threshold of the task's slider.
  follow(task, threshold) {
    const panel = document.querySelector(`#costs-${task} [data-columns]`);
    if (!panel) return;
    const columns = JSON.parse(panel.dataset.columns);
    const row = columns.at.indexOf(threshold);
    if (row < 0) return; // A threshold between two steps was typed, and the server sends its figures.
    for (const element of panel.querySelectorAll("[data-figure]")) {
      element.textContent = columns[element.dataset.figure][row];
    }
    for (const part of document.querySelectorAll(`#curves-${task} [data-move]`)) {
      part.setAttribute("transform", `translate(${columns[part.dataset.move][row]})`);
    }
  },
  // Open the tab `other` of `names` with `image` in it. Returns the values of the tabs and of each tab's image.
  handOver(names, image, other) {
    const same = { __type__: "update" };
    return [{ ...same, selected: other }, ...names.map((name) => (name === other ? image : same))];
  },
  // Save the file of a hidden download button. A click on that button itself would save the file that it had before.
  save(file) {
    const link = document.createElement("a");
    link.href = file.url;
    link.download = file.orig_name;
    link.click();
  },
};

// The slider was moved. Follow it at once, before Gradio does. Named thresholds and the reset button come through Gradio.
document.addEventListener("input", ({ target }) => {
  const slider = target.closest?.("[id^='threshold-']");
  if (slider) window.vigil.follow(slider.id.slice("threshold-".length), Number(target.value));
});

// Opacity and divider of a heat map.
document.addEventListener("input", ({ target }) => {
  const moves = target.dataset?.moves;
  if (moves) target.closest(".v-viewer").style.setProperty(moves, target.value);
});

// Draw image and heat map with the present opacity and divider, at the size of the larger of the two, and save them.
async function saveHeatMap(viewer) {
  const [base, over] = ["base", "over img"].map((part) => viewer.querySelector(`.v-${part}`));
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

document.addEventListener("click", ({ target }) => {
  const button = target.closest?.("[data-action]");
  const viewer = button?.closest(".v-viewer");
  if (!viewer) return;
  if (button.dataset.action === "save") saveHeatMap(viewer);
  else if (document.fullscreenElement) document.exitFullscreen();
  else viewer.requestFullscreen?.();
});

// Write the numbers of the part of a figure that is pointed at or tapped below the figure.
for (const kind of ["pointerover", "click"]) {
  document.addEventListener(kind, ({ target }) => {
    const part = target.closest?.("figure [data-readout]");
    if (part) part.closest("figure").querySelector(".v-readout").textContent = part.dataset.readout;
  });
}
