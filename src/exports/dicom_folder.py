"""Reads images one by one and writes the DICOM objects of those that are DICOM files into a folder."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from src.exports import dicom_codes, dicom_report, heat_map
from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.pictures.archive import printable
from src.pictures.dicom import is_dicom
from src.pictures.limits import MAX_LOCAL_BYTES
from src.pictures.picture import ImageRefused
from src.results.decisions import decided


@dataclass
class DicomFolder:
    """A folder of DICOM objects, and what was written.

    `threshold`: the threshold of the decisions. `mpp`: the scale of all images in micrometres per pixel; None means the
    scale that each file states. `written`: the files. `other`: the number of images that are not DICOM files.
    `refused`: the paths of the DICOM files for which nothing could be written, each with a sentence that says why.
    """

    folder: Path
    predictor: Predictor
    threshold: float
    mpp: float | None
    written: list[Path] = field(default_factory=list)
    other: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    def read(self, paths: Iterable[str]) -> Iterator[Prediction | ImageRefused]:
        """Yields the prediction for each image, or its refusal, and writes its objects. Raises OSError where the folder
        cannot be written to."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            try:
                yield self._read(path)
            except ImageRefused as refusal:
                yield refusal

    def summary(self) -> Iterator[str]:
        """Sentences on what was written and what was not."""
        yield f"{len(self.written):,} DICOM objects are in {printable(str(self.folder))}."
        if self.other:
            yield f"{self.other:,} images are not DICOM files, so no report was written for them."

    def _read(self, path: str) -> Prediction:
        picture = self.predictor.read(path, MAX_LOCAL_BYTES, self.mpp)
        prediction = self.predictor.predict(picture, "Grad-CAM")
        data = Path(path).read_bytes()
        if not is_dicom(data):
            self.other += 1
            return prediction
        result = decided(self.predictor.checkpoint, prediction, "Grad-CAM", self.threshold, picture=picture)
        drawn = None
        if prediction.heat_map is not None:
            drawn = heat_map.draw(picture.image, prediction.heat_map, prediction.box, prediction.label_box)
        weights = self.predictor.checkpoint.config.vigil.sha256
        try:
            objects = dicom_report.objects(data, weights, result, drawn, with_identity=True)
        except ImageRefused as refusal:
            self.refused.append((path, str(refusal)))
        else:
            for name, content in objects.items():
                file = self.folder / name
                file.write_bytes(dicom_codes.encoded(content))
                self.written.append(file)
        return prediction
