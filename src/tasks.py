"""The four tasks: their classes in model output order, which of them are malignant, and how they are worded for people.

Knows nothing of pictures, networks or the page; everything else reads its names from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

DISCLAIMER = (
    "Research and education only. Vigil is not a medical device and gives no diagnosis; "
    "a clinician decides, whatever is shown here."
)

Urgency = Literal["urgent", "soon", "routine", "none"]


@dataclass(frozen=True)
class Diagnosis:
    """One class of a task.

    `code` is the data set's own label, `name` the plain name, `urgency` how soon such a finding is usually looked at.
    """

    code: str
    name: str
    malignant: bool
    urgency: Urgency


@dataclass(frozen=True)
class Licence:
    """The licence of a model's weights, which is that of its training data: `hub_id` as the Hub names it.

    A licence called "other" there has a `name` and a `link` of its own.
    """

    hub_id: str
    name: str = ""
    link: str = ""

    @property
    def terms(self) -> str:
        """The licence as a card names it."""
        return f"{self.name}, {self.link}" if self.name else self.hub_id

    def metadata(self) -> dict[str, Any]:
        """The licence as the metadata of a card on the Hub has it."""
        own = {"license_name": self.name, "license_link": self.link} if self.name else {}
        return {"license": self.hub_id, **own}


@dataclass(frozen=True)
class Task:
    """Everything that one task needs and no other: what a tab, an endpoint and a checkpoint folder share.

    `sources` names the data sets that its networks may learn from, `external_sources` those that no network may learn
    from or be chosen by. `licence` is that of its weights, `limits` a Markdown list of the data's limits for the cards.
    `input_side` is the side of its networks' input in pixels; images are scaled to it before their quality is measured.
    `camera`: the page offers the visitor's camera. `advice` maps a flaw's code (src/pictures/quality.py) to the advice
    that replaces the general one. The texts of its classes are in src/results/class_texts.json.

    `classes` stand in the order of the model's outputs. `colour` is what the model is shown: "grey" pictures lose their
    colour first. `crop_to_roi` crops to the scanned ultrasound field. `default_threshold` is None where validation
    chooses it (the checkpoint's config holds it then). `reported_alone` are malignant classes whose own sensitivity is
    reported besides the whole. What a threshold costs is told of so many of `counted` with and without `disease`;
    pictures of one `group` are no independent evidence. `background` is the colour that surrounds such pictures, with
    which transparent parts are filled. `label_box` is the part of the picture (left, upper, right, lower, in shares of
    width and height) that alone makes its label, where it is not the whole. `look` is what its pictures look like, as a
    sentence says it. `mpp`: the micrometres per pixel at which its networks learned tiles of `input_side` pixels; None
    for a task without a physical scale.
    """

    name: str
    title: str
    modality: str
    data_set: str
    look: str
    classes: tuple[Diagnosis, ...]
    colour: Literal["rgb", "grey"]
    sources: tuple[str, ...]
    licence: Licence
    limits: str
    input_side: int
    external_sources: tuple[str, ...] = ()
    camera: bool = False
    advice: Mapping[str, str] = field(default_factory=dict)
    crop_to_roi: bool = False
    default_threshold: float | None = None
    reported_alone: tuple[str, ...] = ()
    counted: str = "people"
    disease: str = "cancer"
    group: str = "picture"
    background: Literal["black", "white"] = "black"
    label_box: tuple[float, float, float, float] | None = None
    mpp: float | None = None

    @property
    def codes(self) -> tuple[str, ...]:
        """The class codes in model output order."""
        return tuple(diagnosis.code for diagnosis in self.classes)

    @property
    def malignant(self) -> tuple[bool, ...]:
        """One flag a class, in model output order."""
        return tuple(diagnosis.malignant for diagnosis in self.classes)


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            Task(
                name="skin",
                title="Skin lesions",
                modality="a dermatoscopic picture of one skin lesion",
                data_set="HAM10000",
                look="dermatoscopy",
                # Malignant as ISIC's screening question has it: actinic keratoses and Bowen's disease (akiec) are
                # intraepithelial carcinoma or its precursor and are treated, so they count.
                classes=(
                    Diagnosis("akiec", "Actinic keratosis or Bowen's disease", True, "soon"),
                    Diagnosis("bcc", "Basal cell carcinoma", True, "soon"),
                    Diagnosis("bkl", "Benign keratosis", False, "none"),
                    Diagnosis("df", "Dermatofibroma", False, "none"),
                    Diagnosis("mel", "Melanoma", True, "urgent"),
                    Diagnosis("nv", "Melanocytic naevus", False, "none"),
                    Diagnosis("vasc", "Vascular lesion", False, "routine"),
                ),
                colour="rgb",
                reported_alone=("mel",),
                group="lesion",
                sources=("ham10000", "isic2017", "acral"),
                licence=Licence("cc-by-nc-4.0"),
                limits="- HAM10000 comes from two centres, in Vienna and in Queensland, and shows mostly light skin.\n"
                "  It names no patients, so two lesions of one person may be in different splits.",
                input_side=224,
                camera=True,
                advice={
                    "narrow": "crop it to the lesion and some skin around it",
                    "focus": "retake it with the lens on the skin",
                    "contrast": "put the lesion in the middle, in even light",
                    "dark": "retake it with more light",
                    "overexposed": "retake it with less light or without flash",
                },
            ),
            Task(
                name="ultrasound",
                title="Breast ultrasound",
                modality="a breast ultrasound picture (B-mode)",
                data_set="BUSI and BUS-BRA",
                look="breast ultrasound",
                classes=(
                    Diagnosis("benign", "Benign lesion", False, "routine"),
                    Diagnosis("malignant", "Malignant lesion", True, "urgent"),
                    Diagnosis("normal", "No lesion", False, "none"),
                ),
                colour="grey",
                crop_to_roi=True,
                default_threshold=0.3,
                group="case",
                sources=("busi", "busbra", "multirez"),
                external_sources=("breast_usg",),
                licence=Licence("other", "busi-research-use", "https://doi.org/10.1016/j.dib.2019.104863"),
                limits="- BUSI comes from one hospital in Cairo and repeats images. BUS-BRA comes from one hospital\n"
                "  in Rio de Janeiro. Only BUSI has images without a lesion.",
                input_side=224,
            ),
            Task(
                name="breastmnist",
                title="BreastMNIST",
                modality="a breast ultrasound picture, seen at 28×28 pixels",
                data_set="BreastMNIST",
                look="breast ultrasound",
                classes=(
                    Diagnosis("malignant", "Malignant lesion", True, "urgent"),
                    Diagnosis("benign", "Benign lesion or none", False, "routine"),
                ),
                colour="grey",
                default_threshold=0.3,
                sources=("breastmnist",),
                licence=Licence("cc-by-4.0"),
                limits="- BreastMNIST is BUSI at 28×28 pixels. Its benign and its normal images are one class.",
                input_side=28,
            ),
            Task(
                name="histopathology",
                title="Histopathology",
                modality="an H&E-stained lymph node tile, 96×96 pixels at about 1 µm per pixel",
                data_set="PatchCamelyon",
                look="H&E-stained histology",
                classes=(
                    Diagnosis("normal", "No metastasis", False, "none"),
                    Diagnosis("metastatic", "Metastatic tissue", True, "urgent"),
                ),
                colour="rgb",
                default_threshold=0.3,
                counted="tiles",
                disease="metastasis",
                group="tile",
                background="white",  # an empty part of the slide
                # A tile is metastatic where its central 32×32 of 96×96 pixels hold one of tumour (arXiv:1806.03962).
                label_box=(1 / 3, 1 / 3, 2 / 3, 2 / 3),
                mpp=0.97,  # level 2 of Camelyon16's slides, which were scanned at 0.243 µm per pixel
                sources=("pcam",),
                licence=Licence("cc0-1.0"),
                limits="- PatchCamelyon comes from two hospitals in the Netherlands. A tile counts as metastatic if\n"
                "  there is tumour in its central 32×32 pixels. Tumour nearer the edge does not count.",
                input_side=96,
                advice={
                    **dict.fromkeys(
                        ("green_cast", "red_cast", "blue_cast", "yellow_cast"),
                        "set the white balance on an empty part of the slide",
                    ),
                    "focus": "refocus the slide and export it anew",
                    "contrast": "choose a place with tissue",
                    "dark": "raise the lamp or exposure",
                    "overexposed": "lower the lamp or exposure, or choose a place with tissue",
                },
            ),
        )
    }
)
