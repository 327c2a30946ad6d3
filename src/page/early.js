// Takes an image before Gradio has drawn the page, and gives it to the page's own drop zone once that is there. It runs
// while the browser still reads the page, so page.js is not there yet.
{
  const early = document.getElementById("v-early");
  // Gradio takes its language from the browser, and the address may name another.
  Object.defineProperty(navigator, "language", { value: early.lang });
  const taken = early.querySelector("input");
  const said = early.querySelector("[role=status]");
  const address = new URLSearchParams(location.search);
  const named = address.get("tab");
  const titles = JSON.parse(early.dataset.titles); // the tabs that read an image -> their titles
  const tab = named ?? Object.keys(titles)[0];
  const DROPPING = ["dragover", "drop"];
  const LATE = 30_000; // milliseconds

  const keep = (files) => {
    if (files.length === 0) return;
    if (files !== taken.files) taken.files = files;
    said.textContent = `${files[0].name}: ${said.dataset.kept}`;
  };
  const drop = (event) => {
    event.preventDefault();
    if (event.type === "drop") keep(event.dataTransfer.files);
  };
  const paste = (event) => keep(event.clipboardData.files);

  // The drop zone of the tab that the address names, once Gradio has drawn it and page.js has opened the tab.
  function place() {
    if (!window.vigil?.openLink) return null;
    if (!document.querySelector(`[role=tab][data-tab-id="${tab}"][aria-selected=true]`)) return null;
    const inputs = document.querySelectorAll(".v-place .v-image input[type=file]");
    return [...inputs].find((input) => input.closest(".v-place").checkVisibility()) ?? null;
  }

  function handOver() {
    const input = place();
    if (!input) return;
    watching.disconnect();
    clearTimeout(late);
    document.removeEventListener("paste", paste);
    for (const kind of DROPPING) document.removeEventListener(kind, drop);
    early.remove();
    if (taken.files.length === 0) return;
    input.files = taken.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }

  const watching = new MutationObserver(handOver);
  const late = setTimeout(() => (said.textContent = said.dataset.late), LATE);
  if (!Object.hasOwn(titles, tab)) {
    // The address names another tab, or none.
    clearTimeout(late);
    early.remove();
  } else {
    const theme = address.get("__theme");
    if (theme === "light" || theme === "dark") early.style.colorScheme = theme;
    document.title ||= "Vigil"; // until Gradio sets it
    early.querySelector("h2").textContent = titles[tab];
    early.hidden = false;
    taken.addEventListener("change", () => keep(taken.files));
    for (const kind of DROPPING) document.addEventListener(kind, drop);
    document.addEventListener("paste", paste);
    watching.observe(document.documentElement, {
      childList: true, subtree: true, attributes: true, attributeFilter: ["aria-selected", "style"],
    });
  }
}
