"""spots.geojson: hot spots and the areas above the threshold as QuPath's annotations (GeoJSON, pixels of level 0)."""

import uuid
from collections.abc import Sequence
from typing import Any, Final

from src.slides.outlines import Area, areas
from src.slides.report import HotSpot
from src.slides.tiles import Tiles

COLOURS: Final = {"Hot spot": [200, 0, 0], "Above threshold": [68, 1, 84]}
NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://geojson.org/vigil/slide")
"""The ids of the annotations follow from the slide, so that the same run writes the same file."""


def collection(tiles: Tiles, spots: Sequence[HotSpot], threshold: float, fingerprint: str) -> dict[str, Any]:
    """The FeatureCollection: first the hot spots, then the areas with p(malignant) >= `threshold`, largest first."""
    features = [
        _feature(
            f"Hot spot {number}",
            "Hot spot",
            [_box(spot)],
            {"p_malignant": spot.p_malignant},
            f"{fingerprint} spot {number}",
        )
        for number, spot in enumerate(spots, start=1)
    ]
    for number, area in enumerate(areas(tiles.map, threshold), start=1):
        measured = {"highest p_malignant": area.highest, "area mm^2": area.cells * tiles.cell_mm**2}
        rings = _in_pixels(area, tiles)
        features.append(
            _feature(f"Area {number}", "Above threshold", rings, measured, f"{fingerprint} {threshold} area {number}")
        )
    return {"type": "FeatureCollection", "features": features}


def _feature(
    name: str, kind: str, rings: list[list[list[int]]], measurements: dict[str, float], about: str
) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(NAMESPACE, about)),
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {
            "objectType": "annotation",
            "name": name,
            "classification": {"name": kind, "color": COLOURS[kind]},
            "isLocked": False,
            "measurements": measurements,
        },
    }


def _box(spot: HotSpot) -> list[list[int]]:
    left, upper, right, lower = spot.x, spot.y, spot.x + spot.width, spot.y + spot.height
    return [[left, upper], [right, upper], [right, lower], [left, lower], [left, upper]]


def _in_pixels(area: Area, tiles: Tiles) -> list[list[list[int]]]:
    side = tiles.grid.stride * tiles.scale
    return [[[round(x * side), round(y * side)] for x, y in ring] for ring in area.rings]
