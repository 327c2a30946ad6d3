"""What a written DICOM object takes from the DICOM file of the image: its place in the study, and the patient.

Without the identity, nothing of the patient is read, and each UID is replaced by another one, always the same (the
basic profile of PS3.15, E.1).
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import HTJ2K, JPEG2000, UID, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from src.pictures import dicom_regions
from src.pictures.decoder_errors import refused_if_damaged
from src.pictures.dicom_file import DicomFile, parse
from src.pictures.picture import ImageRefused

UIDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
IMAGE: Final = (
    *("SOPClassUID", "NumberOfFrames", "BurnedInAnnotation", "LossyImageCompression", "Modality", "Rows", "Columns"),
    *("SequenceOfUltrasoundRegions", "InstanceNumber"),
)
IDENTITY: Final = (
    *("SpecificCharacterSet", "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
"""The attributes of patient and study by which an archive files an object."""
EMPTY: Final = tuple(word for word in IDENTITY if word not in ("SpecificCharacterSet", "IssuerOfPatientID"))
"""Those of them that every object has, without a value if need be (type 2)."""
LOSSY: Final = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K})
"""The transfer syntaxes that lose detail."""

FRAMES: Final = 0x52009229
"""The tag from which on a file describes its frames, of which a slide has a hundred thousand."""

NO_UIDS: Final = "The DICOM file does not state the UIDs of its study, series and image, so no report can refer to it."
NAMESPACE: Final = UUID("6f1b8a52-2d0e-5d0b-9b5b-0b6d3a3f6c11")


@dataclass(frozen=True)
class Source:
    """The image that a written object refers to. Its `repr` says nothing of the patient.

    `study`, `series` and `instance`: UIDs. `sop_class`: the UID of the image's class. `frame`: the number of the frame
    that was reported, counted from 1; None in a file of one image. `identity`: the attributes of IDENTITY to write;
    without any, the object is de-identified. `burned_in`: "YES" or "NO", whether texts that identify
    the patient are burnt into what was read of the image; "" where the file does not say. `number`: the number of the
    image in its series, 1 where the file states none. `lossy`: whether the image was compressed with loss.
    """

    study: str
    series: str
    instance: str
    sop_class: str
    frame: int | None
    identity: Dataset | None
    burned_in: str
    number: int
    lossy: bool

    def __repr__(self) -> str:
        return "Source()"

    @property
    def evidence(self) -> Dataset:
        """The image as an object refers to it, with empty attributes of patient and study."""
        data = Dataset()
        data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID = self.study, self.series, self.instance
        data.SOPClassUID = self.sop_class
        for keyword in EMPTY:
            setattr(data, keyword, "")
        return data

    def put_identity(self, data: Dataset) -> None:
        """Write patient and study into an object, as the file states them, or mark the object as de-identified.

        An object that shows the image is not marked so where a name could be burnt into the image.
        """
        if self.identity is None:
            removed = "Rows" not in data or self.burned_in == "NO"
            data.PatientIdentityRemoved = "YES" if removed else "NO"
            if removed:
                data.DeidentificationMethodCodeSequence = [
                    CodedConcept.from_code(codes.DCM.BasicApplicationConfidentialityProfile)
                ]
            return
        for element in self.identity:
            data[element.tag] = element


def source(data: bytes, frame: int | None, with_identity: bool) -> Source:
    """The image in the DICOM file `data`. `frame`: the index of the reported frame of a cine, counted from 0.

    Raises ImageRefused where `data` does not say which image it is.
    """
    with refused_if_damaged():
        file = parse(data, (*UIDS, *IMAGE, *(IDENTITY if with_identity else ())), FRAMES)
        uids = [_uid(file, keyword) for keyword in (*UIDS, "SOPClassUID")]
        count = file.number("NumberOfFrames", 1)
        whole = (file.number("Columns", 0), file.number("Rows", 0))
        number = file.number("InstanceNumber", 1)
        box, _ = dicom_regions.region(file, whole, [])
    study, series, instance, sop_class = uids
    if not with_identity:
        study, series, instance = (derived_uid("de-identified", uid) for uid in (study, series, instance))
    return Source(
        study,
        series,
        instance,
        sop_class,
        frame=(frame or 0) + 1 if count > 1 else None,
        identity=_identity(file) if with_identity else None,
        # Such texts lie outside of the region that shows tissue.
        burned_in=str(file.get("BurnedInAnnotation", "")).strip() if box == (0, 0, *whole) else "NO",
        number=number if 1 <= number < 2**31 else 1,
        lossy=file.syntax in LOSSY or str(file.get("LossyImageCompression", "")).strip() == "01",
    )


def derived_uid(*parts: object) -> str:
    """A UID that depends on these values alone (PS3.5, B.2: the UUID is made from a name, by RFC 4122)."""
    return f"2.25.{uuid5(NAMESPACE, chr(0).join(map(str, parts))).int}"


def _uid(file: DicomFile, keyword: str) -> str:
    value = file.get(keyword)
    if not isinstance(value, str) or not UID(value).is_valid:
        raise ImageRefused(NO_UIDS)
    return str(value)


def _identity(file: DicomFile) -> Dataset:
    kept = Dataset()
    for keyword in IDENTITY:
        if keyword in file.attributes:
            kept[keyword] = file.attributes[keyword]
    return kept
