// What the page does by itself, without asking the server: see src/page/costs.py and src/page/curves.py, where every figure and
// place it shows is made.

window.vigil = {
  // Put what stands beside a task's threshold slider to this threshold, where the board has it.
  follow(task, threshold) {
    const panel = document.querySelector(`#costs-${task} [data-board]`);
    if (!panel) return;
    const board = JSON.parse(panel.dataset.board);
    const row = board.at.indexOf(threshold);
    if (row < 0) return; // typed by hand: the server answers
    for (const shown of panel.querySelectorAll("[data-v]")) shown.innerHTML = board[shown.dataset.v][row];
    for (const part of document.querySelectorAll(`#curves-${task} [data-move]`)) {
      part.setAttribute("transform", `translate(${board[part.dataset.move][row]})`);
    }
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

// What is pointed at or tapped in a figure says its numbers below it.
for (const kind of ["pointerover", "click"]) {
  document.addEventListener(kind, ({ target }) => {
    const said = target.closest?.("figure [data-say]");
    if (said) said.closest("figure").querySelector(".v-readout").textContent = said.dataset.say;
  });
}
