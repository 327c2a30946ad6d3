"""DICOM: one image or a cine, as ultrasound scanners, dermatoscopes and archives write them.

`dicom_file` parses the file, `dicom_pixels` decodes a frame, `dicom_display` makes it the image of a viewer, and
`dicom_regions` finds the region that shows tissue. Kinds of DICOM that no task reads are refused by name.
"""

from typing import Final

from PIL import Image

from src.pictures import dicom_display, dicom_regions, resolution
from src.pictures.decoder_errors import refused_if_damaged
from src.pictures.dicom_file import DicomFile, is_dicom, parse
from src.pictures.dicom_pixels import Frames
from src.pictures.picture import ImageRefused

__all__ = ["Cine", "first_frame", "is_dicom"]

FIRST_OF: Final = "The file holds {:,} frames; only the first was read."
NOT_READ: Final = "This DICOM file holds {}, which no model here reads."
SLIDE: Final = (
    "This DICOM file is a whole slide in many tiles; export the region to be read as one image, with its scale."
)
ENCRYPTED: Final = "This DICOM file is encrypted; decrypt it first."

MODALITIES: Final = {
    **{"CT": "computed tomography (CT)", "MR": "magnetic resonance (MR)", "CR": "a radiograph (CR)"},
    **{"DX": "a digital radiograph (DX)", "MG": "a mammogram (MG)", "PT": "positron emission tomography (PT)"},
    **{"NM": "nuclear medicine (NM)", "XA": "an angiogram (XA)", "RF": "fluoroscopy (RF)", "RG": "a radiograph (RG)"},
    **{"IO": "an intra-oral radiograph (IO)", "PX": "a panoramic radiograph (PX)", "BMD": "bone densitometry (BMD)"},
    **{
        "OP": "ophthalmic photography (OP)",
        "OPT": "ophthalmic tomography (OPT)",
        "OCT": "optical coherence tomography",
    },
    **{"ECG": "an electrocardiogram (ECG)", "SR": "a structured report (SR)", "PR": "a presentation state (PR)"},
    **{"KO": "a selection of images (KO)", "DOC": "a document (DOC)", "SEG": "a segmentation (SEG)"},
    **{"REG": "a registration (REG)", "RTIMAGE": "a radiotherapy image (RTIMAGE)", "RTDOSE": "a radiotherapy dose"},
    **{"RTPLAN": "a radiotherapy plan", "RTSTRUCT": "radiotherapy structures", "TG": "thermography (TG)"},
    **{"LS": "a laser surface scan (LS)", "M3D": "a 3D model (M3D)", "AU": "sound (AU)", "HD": "haemodynamics (HD)"},
}
"""The modalities that no task reads (PS3.3, C.7.3.1.1.1), and what they are called. All others are read."""
CLASSES: Final = {
    "1.2.840.10008.5.1.4.1.1.88.": MODALITIES["SR"],
    "1.2.840.10008.5.1.4.1.1.104.": "a document",
    "1.2.840.10008.5.1.4.1.1.11.": MODALITIES["PR"],
    "1.2.840.10008.5.1.4.1.1.66": "derived data (SEG, registration or parametric map)",
    "1.2.840.10008.5.1.4.1.1.9.": "a waveform",
    "1.2.840.10008.5.1.4.1.1.481.": "radiotherapy data",
    "1.2.840.10008.1.3.10": "a table of contents (DICOMDIR)",
}
"""The starts of SOP class UIDs that no task reads, and what they are called."""
WHOLE_SLIDE: Final = "1.2.840.10008.5.1.4.1.1.77.1.6"


class Cine:
    """The frames of a file, each decoded when it is read. Raises ImageRefused for a file that cannot be read."""

    def __init__(self, data: bytes) -> None:
        with refused_if_damaged():
            self._file = parse(data)
            _refuse_by_name(self._file)
            self._frames = Frames(self._file)
        self.count = self._frames.count
        """The number of frames."""

    def frame(self, index: int, notes: list[str]) -> Image.Image:
        """One frame, 8 bits a channel, cut to the region that shows tissue; counted from 0.

        Adds sentences to `notes`; raises ImageRefused.
        """
        with refused_if_damaged():
            image = dicom_display.image(self._frames.read(index), self._file, notes)
            box, item = dicom_regions.region(self._file, image.size, notes)
            if box != (0, 0, *image.size):
                image = image.crop(box)
            spacing = dicom_regions.spacing(self._file, item)
            profile = self._file.get("ICCProfile")
        if spacing is not None:
            image.info[resolution.KEY] = tuple(1000 * side for side in spacing)
            image.info[resolution.MEASURED] = True
        if isinstance(profile, bytes) and image.mode == "RGB":
            image.info["icc_profile"] = profile
        return image


def first_frame(data: bytes, notes: list[str]) -> Image.Image:
    """The image, or the first frame of a cine. Adds sentences to `notes`; raises ImageRefused."""
    cine = Cine(data)
    if cine.count > 1:
        notes.append(FIRST_OF.format(cine.count))
    return cine.frame(0, notes)


def _refuse_by_name(file: DicomFile) -> None:
    uid, modality = str(file.get("SOPClassUID", "")), str(file.get("Modality", "")).strip()
    name = next((name for start, name in CLASSES.items() if uid.startswith(start)), MODALITIES.get(modality))
    if name is not None:
        raise ImageRefused(NOT_READ.format(name))
    if file.pixels is None and file.get("EncryptedAttributesSequence"):
        raise ImageRefused(ENCRYPTED)
    if uid == WHOLE_SLIDE and file.number("NumberOfFrames", 1) > 1:
        raise ImageRefused(SLIDE)
