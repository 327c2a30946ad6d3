// Keeps tab, model, threshold and open sections in the page's address: see src/page/link.py.
{
  const opening = new URLSearchParams(location.search);
  const KEYS = ["tab", "model", "threshold", "open"];
  const NONE = "none"; // the value of "open" if no section is open
  const changed = {}; // tab -> its model, threshold and open sections, if they were changed
  let sections = {}; // tab -> section -> whether it is open
  // tab -> the threshold for the model that is about to be chosen, in place of the model's own.
  const pending = {};
  let openTab = null;

  function write() {
    const query = new URLSearchParams(location.search);
    for (const key of KEYS) query.delete(key);
    if (openTab) query.set("tab", openTab);
    for (const [key, value] of Object.entries(changed[openTab] ?? {})) if (value !== "") query.set(key, value);
    history.replaceState(history.state, "", `${location.pathname}?${query}${location.hash}`);
  }

  // Open the state that the address names. Returns the values of the tabs, of the models, of the thresholds and of the
  // sections; a value that the page does not know changes nothing. `models` has the models of each tab, and `atFirst`
  // the sections of each tab with controls, and whether they are open at first.
  window.vigil.openLink = (models, atFirst) => {
    const same = { __type__: "update" };
    const tabs = Object.keys(atFirst);
    sections = atFirst;
    const [tab, model, text, list] = KEYS.map((key) => opening.get(key) ?? "");
    const all = tabs.flatMap((name) => Object.keys(atFirst[name]));
    if (!Object.hasOwn(models, tab)) {
      openTab ??= Object.keys(models)[0]; // the page opens on its first tab
      return [same, ...tabs.map(() => same), ...tabs.map(() => same), ...all.map(() => same)];
    }
    const threshold = /^\d*\.?\d+$/.test(text) && Number(text) <= 1 ? Number(text) : null;
    const known = models[tab].includes(model) ? model : null;
    const open = list ? list.split(",") : null;
    if (known !== null && threshold !== null) pending[tab] = threshold;
    openTab = tab;
    changed[tab] = { ...(known !== null && { model: known }), ...(threshold !== null && { threshold }) };
    const only = (value) => tabs.map((name) => (name === tab && value !== null ? value : same));
    const opened = tabs.flatMap((name) =>
      Object.keys(atFirst[name]).map((key) => {
        if (name !== tab || !open) return same;
        sections[name][key] = open.includes(key);
        return { ...same, open: sections[name][key] };
      }),
    );
    if (open && Object.hasOwn(atFirst, tab)) changed[tab].open = openSections(tab);
    return [{ ...same, selected: tab }, ...only(known), ...only(threshold), ...opened];
  };

  function openSections(tab) {
    return Object.keys(sections[tab]).filter((key) => sections[tab][key]).join(",") || NONE;
  }

  // Write into the address that a section of a tab was opened or closed, once Gradio has drawn it.
  document.addEventListener("click", ({ target }) => {
    const button = target.closest?.("[id^='section-'] > button");
    if (!button) return;
    const [, tab, key] = button.parentElement.id.split("-");
    setTimeout(() => {
      sections[tab][key] = window.vigil.isOpen(button);
      window.vigil.recordState(tab, "open", openSections(tab));
    });
  });

  // Write into the address that a tab was opened, or that the control `key` of a tab has a new value.
  window.vigil.recordState = (tab, key, value) => {
    if (key) (changed[tab] ??= {})[key] = value;
    else openTab = tab;
    if (tab === openTab) write();
    if (!key) document.querySelector(`[data-tab-id="${tab}"]`)?.scrollIntoView({ block: "nearest", inline: "nearest" });
  };

  // Let the model that a tab is about to choose begin with this threshold.
  window.vigil.keepThreshold = (tab, threshold) => {
    pending[tab] = threshold;
  };
  // The threshold with which the chosen model of a tab begins; null for the model's own.
  window.vigil.takeThreshold = (tab) => {
    const threshold = pending[tab] ?? null;
    delete pending[tab];
    return threshold;
  };
  // A visitor who moves the slider overrides it.
  document.addEventListener("input", ({ target }) => {
    const slider = target.closest?.("[id^='threshold-']");
    if (slider) delete pending[slider.id.slice("threshold-".length)];
  });

  // Returns the text `copied`, or `inAddressBar` on a page without https, which has no clipboard.
  window.vigil.copyLink = async (copied, inAddressBar) => {
    try {
      await navigator.clipboard.writeText(location.href);
      return copied;
    } catch {
      return inAddressBar;
    }
  };

  // Open the page in another language, with the other parts of its address.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.(".v-languages a");
    if (!link) return;
    event.preventDefault();
    const query = new URLSearchParams(location.search);
    for (const [key, value] of new URLSearchParams(link.search)) query.set(key, value);
    location.search = query;
  });

  window.vigil.afterTwoSeconds = (value) => new Promise((done) => setTimeout(() => done(value), 2000));
}
