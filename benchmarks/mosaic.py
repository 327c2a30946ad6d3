"""A mosaic of PatchCamelyon's test tiles as a slide: does a slide's score of each tile equal that of `src.score`?

    python -m benchmarks.mosaic --data DIR [--tiles 400]

Prints the largest difference, the AUC of the tiles in the slide, the share that the gate rejects, and how many hits a
coarse pass keeps (`--stride 96` first, and a fine one where it is warm). Keeps no file.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from src.models import checkpoints
from src.models.predictor import Predictor
from src.slides import files, run
from src.slides.run import Options
from tests.support import slide_files
from train.data import load
from train.data.samples import Sample

SIDE: Final = 96
SCALE: Final = 0.97


def mosaic(samples: list[Sample], columns: int) -> np.ndarray:
    """The tiles of `samples` beside each other, row by row, RGB uint8."""
    pixels = np.full((-(-len(samples) // columns) * SIDE, columns * SIDE, 3), 255, np.uint8)
    for number, sample in enumerate(samples):
        y, x = divmod(number, columns)
        pixels[y * SIDE : (y + 1) * SIDE, x * SIDE : (x + 1) * SIDE] = np.asarray(sample.picture().image)
    return pixels


def kept(fine: np.ndarray, threshold: float, warm: float) -> tuple[float, float]:
    """The share of hits that a coarse pass keeps, and the share of tiles that both passes read.

    `fine`: p(malignant) of cells a third of a tile apart, (H, W). The coarse pass reads every third one; around each
    with p >= `warm`, the fine pass reads all cells that the coarse tile or its neighbours show.
    """
    rows, columns = (size // 3 * 3 for size in fine.shape)
    fine = fine[:rows, :columns]
    coarse = np.pad(fine[1::3, 1::3] >= warm, 1)
    read = ndimage.binary_dilation(coarse, np.ones((3, 3)))[1:-1, 1:-1].repeat(3, axis=0).repeat(3, axis=1)
    hits = fine >= threshold
    both = read.copy()
    both[1::3, 1::3] = True
    return float((hits & both).sum() / max(1, hits.sum())), float(both.mean())


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mosaic", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds pcam")
    parser.add_argument("--tiles", type=int, default=400)
    options = parser.parse_args()
    samples = [sample for sample in load("histopathology", options.data) if sample.split == "test"]
    rng = np.random.default_rng(0)
    chosen = [samples[index] for index in rng.permutation(len(samples))[: options.tiles]]
    labels = np.array([sample.label for sample in chosen])
    predictor = Predictor(checkpoints.find("histopathology"))
    threshold = predictor.checkpoint.config.vigil.default_threshold
    columns = int(np.ceil(np.sqrt(len(chosen))))
    pixels = mosaic(chosen, columns)
    alone = predictor.predict_many([sample.picture() for sample in chosen], in_parts=False)
    expected = np.array([prediction.p_malignant for prediction in alone])  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as made:
        file = slide_files.write(Path(made) / "mosaic.tif", pixels, SCALE, compression="zlib")
        for all_views in (True, False):
            chosen_options = Options(threshold, SIDE, all_tiles=True, all_views=all_views)
            report = run.run(file, Path(made) / f"{all_views}", predictor, chosen_options)
            tiles = pq.read_table(Path(made) / f"{all_views}" / files.TILES).to_pandas()[: len(chosen)]
            found = tiles.p_malignant.to_numpy()
            print(
                f"{report.views} views: differs from src.score by {np.abs(found - expected).max():.4f} at most, "
                f"{np.median(np.abs(found - expected)):.4f} in the median; AUC {roc_auc_score(labels, found):.4f}, of "
                f"src.score {roc_auc_score(labels, expected):.4f}; the gate rejects {report.unlike_fraction:.1%}"
            )
        run.run(file, Path(made) / "fine", predictor, Options(threshold, SIDE // 3, all_tiles=True))
        fine = pq.read_table(Path(made) / "fine" / files.TILES).to_pandas().p_malignant.to_numpy()
        for warm in (0.3, 0.1, 0.05, 0.02):
            share, read = kept(fine.reshape(-1, 3 * columns), threshold, warm)
            print(
                f"coarse, then fine where p >= {warm:g}: keeps {share:.3f} of the hits, reads {read:.2f} of the tiles"
            )


if __name__ == "__main__":
    main()
