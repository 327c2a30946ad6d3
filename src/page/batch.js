// The table of src/page/views/batch_table.py.
{
  const rowsOf = () => [...document.querySelectorAll(".v-batch tr[data-p]")];
  let chosen = null; // the data of the button that was clicked to open an image

  // Decide every row of the table at another threshold.
  window.vigil.decideBatch = (threshold) => {
    const rows = rowsOf();
    for (const row of rows) row.dataset.decision = Number(row.dataset.p) >= threshold ? "refer" : "no referral";
    const write = (name, text) => {
      for (const part of document.querySelectorAll(`.v-batch [data-${name}]`)) part.replaceChildren(text);
    };
    const referred = rows.filter((row) => row.dataset.decision === "refer").length;
    write("referred", referred);
    write("not-referred", rows.length - referred);
    write("threshold", threshold.toLocaleString(document.documentElement.lang, { maximumSignificantDigits: 6 }));
    document.querySelector(".v-batch .v-scores")?.style.setProperty("--v-at", threshold);
  };

  // Sort by the column of this button, or the other way round if the table is sorted by it.
  window.vigil.sortBatch = (button) => {
    const { key } = button.dataset;
    const numeric = key === "p";
    const head = button.closest("th");
    const first = numeric ? "descending" : "ascending";
    const order = head.ariaSort === first ? (numeric ? "ascending" : "descending") : first;
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.ariaSort = order;
    const compare = numeric
      ? (one, other) => Number(one.dataset.p) - Number(other.dataset.p)
      : (one, other) => one.dataset[key].localeCompare(other.dataset[key], undefined, { numeric: true });
    const sign = order === "ascending" ? 1 : -1;
    head.closest("table").tBodies[0].append(...rowsOf().sort((one, other) => sign * compare(one, other)));
  };

  // Open the image of this button: Gradio's hidden button asks the server for it.
  window.vigil.openFromBatch = (button) => {
    chosen = button.dataset;
    document.querySelector("#batch-open").click();
  };
  // The upload that has the chosen image, and the image's index in it; `whole` if the upload is the image.
  window.vigil.chosenUpload = (uploads, whole) => [
    uploads?.length ? [uploads[chosen.upload]] : null,
    chosen.member === "" ? whole : Number(chosen.member),
  ];

  // Save a text as a file, without a file on the server.
  window.vigil.saveText = (text, name) => {
    const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    window.vigil.save({ url, orig_name: name });
    URL.revokeObjectURL(url);
  };
}
