// The table of src/page/views/batch_table.py, at another threshold.

// Each row shows the decision that its own p(malignant) has there.
window.vigil.decide = (at) => {
  const rows = [...document.querySelectorAll(".v-batch tr[data-p]")];
  for (const row of rows) row.dataset.decision = Number(row.dataset.p) >= at ? "refer" : "no referral";
  const say = (what, text) => document.querySelector(`.v-batch [data-${what}]`)?.replaceChildren(text);
  say("referred", rows.filter((row) => row.dataset.decision === "refer").length);
  say("at", at);
};

// Save a text that the page holds, without a file on the server.
window.vigil.saveText = (text, name) => {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  window.vigil.save({ url, orig_name: name });
  URL.revokeObjectURL(url);
};
