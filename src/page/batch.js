// The table of src/page/views/batch_table.py.

// Decide every row of the table at another threshold.
window.vigil.decideBatch = (threshold) => {
  const rows = [...document.querySelectorAll(".v-batch tr[data-p]")];
  for (const row of rows) row.dataset.decision = Number(row.dataset.p) >= threshold ? "refer" : "no referral";
  const write = (name, text) => document.querySelector(`.v-batch [data-${name}]`)?.replaceChildren(text);
  write("referred", rows.filter((row) => row.dataset.decision === "refer").length);
  write("threshold", threshold);
};

// Save a text as a file, without a file on the server.
window.vigil.saveText = (text, name) => {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  window.vigil.save({ url, orig_name: name });
  URL.revokeObjectURL(url);
};
