"""Tables of scores and labels, as a clinic uploads them."""

import csv
import io

import numpy as np


def table(rows: list[dict[str, object]], delimiter: str = ",") -> str:
    """A CSV file's text."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def scored() -> str:
    """A table of 300 images with scores and labels. About 120 of them are malignant."""
    rng = np.random.default_rng(0)
    ill = rng.random(300) < 0.4
    p = np.where(ill, rng.beta(4, 2, 300), rng.beta(1, 4, 300))
    return table(
        [
            {"path": f"{n}.png", "p_malignant": f"{p[n]:.6f}", "label": "malignant" if ill[n] else "benign"}
            for n in range(300)
        ]
    )
