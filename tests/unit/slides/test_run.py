"""A run over a drawn slide: its files, its resumption, and what it does with parts that cannot be read."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from examples.phantoms import histopathology, slide
from examples.phantoms.slide import DrawnSlide
from src.models import checkpoints
from src.models.predictor import Predictor
from src.pictures.picture import ImageRefused, Picture
from src.slides import files, run
from src.slides.run import Options
from src.slides.score_store import FILE, ScoreStore
from tests.support import slide_files
from tests.support.app import ROOT

OPTIONS = Options(threshold=0.3)


@pytest.fixture(scope="module")
def folder(slide_file: Path, predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a run over the drawn slide."""
    made = tmp_path_factory.mktemp("out") / "node"
    run.run(slide_file, made, predictor, OPTIONS)
    files.write_csv(made)
    return made


def read_report(folder: Path) -> dict:
    return json.loads((folder / files.REPORT).read_text(encoding="utf-8"))


def test_the_files_agree_with_each_other(folder: Path, drawn: DrawnSlide) -> None:
    report, tiles = read_report(folder), pq.read_table(folder / files.TILES).to_pandas()
    assert list(tiles) == list(files.COLUMNS)
    assert report["tiles"] == len(tiles) > 100
    assert report["highest"] == pytest.approx(tiles.p_malignant.max())
    assert report["high_quantile"] == pytest.approx(np.quantile(tiles.p_malignant, 0.999), abs=1e-6)
    assert report["calibrated"] is False
    assert "not probabilities" in report["meaning"]
    assert report["complete"]
    assert report["failed_blocks"] == []
    cell = report["stride_um"] / 1000
    assert report["area_mm2"] == pytest.approx((tiles.p_malignant >= 0.3).sum() * cell**2)
    assert report["tissue_fraction"] == pytest.approx(drawn.tissue.mean(), abs=0.03)
    lines = (folder / files.TABLE).read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(tiles) + 1
    assert Image.open(folder / files.TISSUE).size == (94, 70)
    assert Image.open(folder / files.HEAT_MAP).mode == "RGB"


def test_the_tiles_cover_all_tissue_and_little_else(folder: Path, drawn: DrawnSlide) -> None:
    tiles = pq.read_table(folder / files.TILES).to_pandas()
    centres = np.zeros(drawn.tissue.shape, bool)
    half = 16 * 0.97 / slide.FINE_MPP
    for x, y in zip(tiles.x + tiles.width / 2, tiles.y + tiles.height / 2, strict=True):
        part = tuple(slice(max(0, round((at - half) / 8)), round((at + half) / 8)) for at in (y, x))
        centres[part] = True
    assert centres[drawn.tissue].all(), "the part of a tile that decides its label reaches all tissue"
    assert centres.mean() < drawn.tissue.mean() + 0.15


def test_spots_are_apart_and_the_hottest_first(folder: Path) -> None:
    spots = read_report(folder)["spots"]
    scores = [spot["p_malignant"] for spot in spots]
    assert scores == sorted(scores, reverse=True)
    assert 2 <= len(spots) <= 10
    places = np.array([(spot["x_mm"], spot["y_mm"]) for spot in spots])
    distances = np.hypot(*(places[:, None] - places[None]).T)
    assert distances[~np.eye(len(spots), dtype=bool)].min() >= 0.2


def test_qupath_reads_the_geojson(folder: Path) -> None:
    """The rules of QuPath's reader (qupath.lib.io.QuPathTypeAdapters)."""
    collection = json.loads((folder / files.SPOTS).read_text(encoding="utf-8"))
    assert collection["type"] == "FeatureCollection"
    report = read_report(folder)
    names = set()
    for feature in collection["features"]:
        assert feature["type"] == "Feature"
        properties = feature["properties"]
        assert properties["objectType"] == "annotation"
        assert set(properties["classification"]) == {"name", "color"}
        assert all(0 <= value <= 255 for value in properties["classification"]["color"])
        assert all(isinstance(value, float) for value in properties["measurements"].values())
        assert feature["geometry"]["type"] == "Polygon"
        for ring in feature["geometry"]["coordinates"]:
            assert ring[0] == ring[-1]
            assert len(ring) >= 4
        names.add(properties["classification"]["name"])
    assert names == {"Hot spot", "Above threshold"}
    hot = [f for f in collection["features"] if f["properties"]["classification"]["name"] == "Above threshold"]
    assert sum(f["properties"]["measurements"]["area mm^2"] for f in hot) == pytest.approx(report["area_mm2"])
    assert len({feature["id"] for feature in collection["features"]}) == len(collection["features"])


def test_a_run_that_was_killed_ends_with_the_same_files(
    drawn: DrawnSlide, checkpoint_folder: Path, tmp_path: Path
) -> None:
    file = slide_files.write(tmp_path / "coarse.tif", drawn.pixels[::2, ::2], 0.97)
    interrupted, whole = tmp_path / "interrupted", tmp_path / "whole"
    arguments = map(str, (file, checkpoint_folder, interrupted, whole, 2))
    command = [sys.executable, "-m", "tests.support.killed_run", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "VIGIL_ENGINE": "torch"}, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    computed, statuses = zip(*(map(int, line.split()) for line in done.stdout.splitlines()), strict=True)
    assert statuses == (-signal.SIGKILL,) * 2 + (0, 0)
    assert computed[3] - sum(computed[:3]) in range(-2, 1), "nothing that was stored is computed again"
    assert computed[2] < computed[3] - 3
    for name in (files.TILES, files.REPORT, files.SPOTS, files.HEAT_MAP, files.TISSUE):
        assert (interrupted / name).read_bytes() == (whole / name).read_bytes(), name
    assert not list(interrupted.glob("*.part"))


def test_a_second_run_computes_nothing(
    slide_file: Path, predictor: Predictor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / files.TILES).read_bytes()
    monkeypatch.setattr(Predictor, "score_tiles", None)
    report = run.run(slide_file, folder, predictor, Options(threshold=0.9))
    assert report.threshold == 0.9
    assert (folder / files.TILES).read_bytes() == before, "a new threshold needs no new scores"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (Options(0.3, stride=96), "stride"),
        (Options(0.3, mpp=0.3), "micrometres"),
        (Options(0.3, all_tiles=True), "all"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(
    options: Options, named: str, slide_file: Path, predictor: Predictor, folder: Path
) -> None:
    with pytest.raises(ImageRefused, match=f"another run, which differs in .*{named}"):
        run.run(slide_file, folder, predictor, options)


def test_another_slide_in_the_same_folder_is_refused(
    drawn: DrawnSlide, predictor: Predictor, folder: Path, tmp_path: Path
) -> None:
    changed = drawn.pixels.copy()
    changed[1000:1100, 1000:1100] = 0
    other = slide_files.write(tmp_path / "node.tif", changed, slide.FINE_MPP, (1, 4, 16))
    with pytest.raises(ImageRefused, match="differs in slide"):
        run.run(other, folder, predictor, OPTIONS)


def test_two_runs_at_once_are_refused_and_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from src.slides.score_store import ScoreStore; "
        "store = ScoreStore(pathlib.Path(sys.argv[1]), {}); print('open', flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(ImageRefused, match="another process writes"):
            ScoreStore(tmp_path, {})
    finally:
        holder.kill()
        holder.communicate()
    ScoreStore(tmp_path, {}).close()


def test_a_damaged_store_is_named(slide_file: Path, predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(ImageRefused, match="damaged; delete it"):
        run.run(slide_file, tmp_path, predictor, OPTIONS)


def test_blocks_that_cannot_be_read_are_named_and_left_out(
    drawn: DrawnSlide, predictor: Predictor, tmp_path: Path
) -> None:
    file = slide_files.write(tmp_path / "spoiled.tif", drawn.pixels[::2, ::2], 0.97, (1, 8))
    slide_files.spoil(file, 0.1)
    report = run.run(file, tmp_path / "out", predictor, Options(0.3, stride=96))
    assert not report.complete
    assert 0 < len(report.failed_blocks) < report.blocks
    assert all(failed.width > 0 and failed.height > 0 for failed in report.failed_blocks)
    assert report.tiles > 0
    assert any("left out" in warning for warning in report.warnings)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_a_file_that_was_cut_off_is_refused(
    drawn: DrawnSlide, predictor: Predictor, keep: float, tmp_path: Path
) -> None:
    file = slide_files.write(tmp_path / "cut.tif", drawn.pixels, slide.FINE_MPP)
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    with pytest.raises(ImageRefused):
        run.run(file, tmp_path / "out", predictor, OPTIONS)


def test_an_empty_slide_offers_to_read_all_tiles(predictor: Predictor, tmp_path: Path) -> None:
    glass = np.full((1200, 1200, 3), (243, 240, 243), np.uint8)
    file = slide_files.write(tmp_path / "glass.tif", glass, 0.97)
    with pytest.raises(ImageRefused, match="--all-tiles"):
        run.run(file, tmp_path / "out", predictor, OPTIONS)
    report = run.run(file, tmp_path / "all", predictor, Options(0.3, stride=96, all_tiles=True))
    assert report.tiles == 13 * 13


def test_little_tissue_is_said(predictor: Predictor, tmp_path: Path) -> None:
    pixels = np.full((2400, 2400, 3), 243, np.uint8)
    pixels[1000:1070, 1000:1070] = (200, 120, 180)
    file = slide_files.write(tmp_path / "speck.tif", pixels, 0.97)
    report = run.run(file, tmp_path / "out", predictor, OPTIONS)
    assert 0 < report.tissue_fraction < 0.001
    assert any("--all-tiles" in warning for warning in report.warnings)


@pytest.mark.parametrize("options", [Options(0.3, stride=4), Options(0.3, stride=97), Options(0.3, mpp=3.0)])
def test_options_out_of_range_are_refused(
    options: Options, slide_file: Path, predictor: Predictor, tmp_path: Path
) -> None:
    with pytest.raises(ImageRefused, match="--"):
        run.run(slide_file, tmp_path / "out", predictor, options)


@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: pixels,
        lambda pixels: slide_files.reduced(pixels, 2),
        lambda pixels: slide_files.reduced(pixels, 4),
    ],
)
def test_the_same_tissue_at_three_scales_scores_the_same(
    change: Callable[[np.ndarray], np.ndarray], drawn: DrawnSlide, predictor: Predictor, folder: Path, tmp_path: Path
) -> None:
    pixels = change(drawn.pixels)
    factor = drawn.pixels.shape[0] / pixels.shape[0]
    file = slide_files.write(tmp_path / "copy.tif", pixels, slide.FINE_MPP * factor)
    run.run(file, tmp_path / "out", predictor, OPTIONS)
    first, second = (
        {
            (round((x * f + 157) / 127.7), round((y * f + 157) / 127.7)): p
            for x, y, p in pq.read_table(where / files.TILES).to_pandas()[["x", "y", "p_malignant"]].to_numpy()
        }
        for where, f in ((folder, 1), (tmp_path / "out", factor))
    )
    same = first.keys() & second.keys()
    assert len(same) > 0.9 * len(first)
    assert np.median([abs(first[cell] - second[cell]) for cell in same]) <= 0.03


@pytest.fixture(scope="module")
def embedded() -> Predictor:
    """The predictor of the embedded checkpoint, which has learned and has a gate."""
    return Predictor(checkpoints.find("histopathology"))


def test_drawn_tumour_scores_higher_than_the_drawn_node(
    slide_file: Path, drawn: DrawnSlide, embedded: Predictor, tmp_path: Path
) -> None:
    run.run(slide_file, tmp_path, embedded, OPTIONS)
    tiles = pq.read_table(tmp_path / files.TILES).to_pandas()
    rows, columns = ((tiles[at] + tiles[side] / 2) // slide.COARSE for at, side in (("y", "height"), ("x", "width")))
    inside = (rows < drawn.tumour.shape[0]) & (columns < drawn.tumour.shape[1])
    truth = drawn.tumour[rows[inside].astype(int), columns[inside].astype(int)]
    assert 10 < truth.sum() < len(truth) / 2
    assert roc_auc_score(truth, tiles.p_malignant[inside]) > 0.95


def test_each_tile_scores_as_a_single_image_does(embedded: Predictor, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    fields = [histopathology.tumour_field(rng), histopathology.node_field(rng), histopathology.stroma_field(rng)]
    tiles = [slide_files.reduced(field, 4) for field in fields]
    file = slide_files.write(tmp_path / "mosaic.tif", np.hstack(tiles), 0.97, compression="zlib")
    run.run(file, tmp_path / "out", embedded, Options(0.3, stride=96, all_tiles=True, all_views=True))
    scores = pq.read_table(tmp_path / "out" / files.TILES).to_pandas().p_malignant
    alone = [embedded.predict(Picture(Image.fromarray(tile), ())).p_malignant for tile in tiles]
    assert scores.tolist() == pytest.approx(alone, abs=0.02)


def test_what_is_no_lymph_node_is_said(embedded: Predictor, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (768, 768, 3), np.uint8)
    file = slide_files.write(tmp_path / "noise.tif", pixels, 0.97)
    report = run.run(file, tmp_path / "out", embedded, Options(0.3, stride=96, all_tiles=True))
    assert report.unlike_fraction is not None
    assert report.unlike_fraction > run.MUCH_UNLIKE
    assert any("do not look like" in warning for warning in report.warnings)
