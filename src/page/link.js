// Keeps tab, model and threshold in the page's address: see src/page/link.py.
{
  const opening = new URLSearchParams(location.search);
  const KEYS = ["tab", "model", "threshold"];
  const changed = {}; // tab -> its model and threshold, if they were changed
  // tab -> the threshold of the link. It waits until the model of the link is chosen, because that sets a threshold too.
  const pending = {};
  let openTab = null;

  function write() {
    const query = new URLSearchParams(location.search);
    for (const key of KEYS) query.delete(key);
    if (openTab) query.set("tab", openTab);
    for (const [key, value] of Object.entries(changed[openTab] ?? {})) if (value !== "") query.set(key, value);
    history.replaceState(history.state, "", `${location.pathname}?${query}${location.hash}`);
  }

  // Open the state that the address names. Returns the values of the tabs, of the models and of the thresholds; a value
  // that the page does not know changes nothing. `models` has the models of each tab, `tabs` the tabs with controls.
  window.vigil.openLink = (models, tabs) => {
    const same = { __type__: "update" };
    const [tab, model, text] = KEYS.map((key) => opening.get(key) ?? "");
    if (!Object.hasOwn(models, tab)) return [same, ...tabs.map(() => same), ...tabs.map(() => same)];
    const threshold = /^\d*\.?\d+$/.test(text) && Number(text) <= 1 ? Number(text) : null;
    const known = models[tab].includes(model) ? model : null;
    if (known !== null && threshold !== null) pending[tab] = threshold;
    openTab = tab;
    changed[tab] = { ...(known !== null && { model: known }), ...(threshold !== null && { threshold }) };
    const only = (value) => tabs.map((name) => (name === tab && value !== null ? value : same));
    return [{ ...same, selected: tab }, ...only(known), ...only(threshold)];
  };

  // Write into the address that a tab was opened, or that the control `key` of a tab has a new value.
  window.vigil.recordState = (tab, key, value) => {
    if (key === "threshold" && tab in pending && value !== pending[tab]) {
      value = pending[tab];
      delete pending[tab];
    }
    if (key) (changed[tab] ??= {})[key] = value;
    else openTab = tab;
    if (tab === openTab) write();
    return value;
  };

  // A visitor who moves the slider overrides the threshold of the link.
  document.addEventListener("input", ({ target }) => {
    const slider = target.closest?.("[id^='threshold-']");
    if (slider) delete pending[slider.id.slice("threshold-".length)];
  });

  window.vigil.copyLink = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      return "Link copied";
    } catch {
      return "The link is in the address bar"; // a page without https has no clipboard
    }
  };

  window.vigil.afterTwoSeconds = (value) => new Promise((done) => setTimeout(() => done(value), 2000));
}
