// The page's address holds tab, model and threshold: see src/page/link.py.
{
  const opening = new URLSearchParams(location.search);
  const KEYS = ["tab", "model", "threshold"];
  const left = {}; // tab -> its model and threshold, where they were moved
  const asked = {}; // tab -> the threshold of the link, until its model, which brings one of its own, is there
  let shown = null;

  function write() {
    const query = new URLSearchParams(location.search);
    for (const key of KEYS) query.delete(key);
    if (shown) query.set("tab", shown);
    for (const [key, value] of Object.entries(left[shown] ?? {})) if (value !== "") query.set(key, value);
    history.replaceState(history.state, "", `${location.pathname}?${query}${location.hash}`);
  }

  // What the address asks for, as far as there is such a thing: the values of the tabs, and of the models and thresholds
  // of those that have them. `known` has the models of each tab.
  window.vigil.opened = (known, tabs) => {
    const same = { __type__: "update" };
    const [tab, model, text] = KEYS.map((key) => opening.get(key) ?? "");
    if (!Object.hasOwn(known, tab)) return [same, ...tabs.map(() => same), ...tabs.map(() => same)];
    const at = /^\d*\.?\d+$/.test(text) && Number(text) <= 1 ? Number(text) : null;
    const other = known[tab].includes(model) ? model : null;
    if (other !== null && at !== null) asked[tab] = at;
    shown = tab;
    left[tab] = { ...(other !== null && { model: other }), ...(at !== null && { threshold: at }) };
    const only = (value) => tabs.map((name) => (name === tab && value !== null ? value : same));
    return [{ ...same, selected: tab }, ...only(other), ...only(at)];
  };

  // A tab was opened, or something on it moved: what stands there now.
  window.vigil.moved = (tab, key, value) => {
    if (key === "threshold" && tab in asked && value !== asked[tab]) {
      value = asked[tab];
      delete asked[tab];
    }
    if (key) (left[tab] ??= {})[key] = value;
    else shown = tab;
    if (tab === shown) write();
    return value;
  };

  // The visitor's own hand comes before what the link asked for.
  document.addEventListener("input", ({ target }) => {
    const slider = target.closest?.("[id^='threshold-']");
    if (slider) delete asked[slider.id.slice("threshold-".length)];
  });

  window.vigil.copyLink = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      return "Link copied";
    } catch {
      return "The link stands in the address bar"; // without https there is no clipboard
    }
  };

  window.vigil.later = (value) => new Promise((done) => setTimeout(() => done(value), 2000));
}
