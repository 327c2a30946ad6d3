// What the page does by itself, without asking the server. Every figure and position that it shows is made in
// src/page/views/threshold_costs.py and src/page/views/curves.py.

window.vigil = {
  // Put what stands beside a task's threshold slider to this threshold, where the board has it.
  follow(task, threshold) {
    const panel = document.querySelector(`#costs-${task} [data-board]`);
    if (!panel) return;
    const board = JSON.parse(panel.dataset.board);
    const row = board.at.indexOf(threshold);
    if (row < 0) return; // typed by hand: the server answers
    for (const shown of panel.querySelectorAll("[data-v]")) shown.textContent = board[shown.dataset.v][row];
    for (const part of document.querySelectorAll(`#curves-${task} [data-move]`)) {
      part.setAttribute("transform", `translate(${board[part.dataset.move][row]})`);
    }
  },
  // What opens the tab `other` of `names` with `image` on it: the values of the tabs and of each tab's picture.
  handOver(names, image, other) {
    const same = { __type__: "update" };
    return [{ ...same, selected: other }, ...names.map((name) => (name === other ? image : same))];
  },
  // Save what a hidden download button holds: on a click of its own it would save what was made for the last one.
  save(file) {
    const link = document.createElement("a");
    link.href = file.url;
    link.download = file.orig_name;
    link.click();
  },
};

// The thumb or the keyboard: at once, before Gradio hears of it. Marks and the reset button come through Gradio.
document.addEventListener("input", ({ target }) => {
  const slider = target.closest?.("[id^='threshold-']");
  if (slider) window.vigil.follow(slider.id.slice("threshold-".length), Number(target.value));
});

// Opacity and divider of a heat map.
document.addEventListener("input", ({ target }) => {
  const moves = target.dataset?.moves;
  if (moves) target.closest(".v-view").style.setProperty(moves, target.value);
});

// Draw a heat map's layers as they stand on the page, at the size of the larger, and save them.
async function saveView(view) {
  const [base, over] = ["base", "over img"].map((part) => view.querySelector(`.v-${part}`));
  await Promise.all([base.decode(), over.decode()]);
  const scale = Math.max(1, over.naturalWidth / base.naturalWidth);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [base.naturalWidth * scale, base.naturalHeight * scale];
  const draw = canvas.getContext("2d");
  draw.drawImage(base, 0, 0, canvas.width, canvas.height);
  const split = (canvas.width * parseFloat(view.style.getPropertyValue("--v-split"))) / 100;
  draw.beginPath();
  draw.rect(split, 0, canvas.width - split, canvas.height);
  draw.clip();
  draw.globalAlpha = parseFloat(view.style.getPropertyValue("--v-opacity")) / 100;
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
  const asked = target.closest?.("[data-view]");
  const view = asked?.closest(".v-view");
  if (!view) return;
  if (asked.dataset.view === "save") saveView(view);
  else if (document.fullscreenElement) document.exitFullscreen();
  else view.requestFullscreen?.();
});

// What is pointed at or tapped in a figure says its numbers below it.
for (const kind of ["pointerover", "click"]) {
  document.addEventListener(kind, ({ target }) => {
    const said = target.closest?.("figure [data-say]");
    if (said) said.closest("figure").querySelector(".v-readout").textContent = said.dataset.say;
  });
}
