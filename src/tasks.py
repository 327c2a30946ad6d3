"""The record of each task: its classes in model output order, which of them are malignant, and its wording.

Knows nothing of pixels, networks or the page. All other modules take the names of tasks and classes from here.
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

    `code` is the label in the dataset, `name` is the name on the page, and `urgency` says how soon a clinician usually
    sees such a finding.
    """

    code: str
    name: str
    malignant: bool
    urgency: Urgency


@dataclass(frozen=True)
class Licence:
    """The licence of a model's weights, which is that of its training data.

    `hub_id` is its name on the Hub. If that is "other", `name` and `link` say which licence it is.
    """

    hub_id: str
    name: str = ""
    link: str = ""

    @property
    def terms(self) -> str:
        """The licence in the words of a model card."""
        return f"{self.name}, {self.link}" if self.name else self.hub_id

    def metadata(self) -> dict[str, Any]:
        """The licence as metadata of a model card on the Hub."""
        own = {"license_name": self.name, "license_link": self.link} if self.name else {}
        return {"license": self.hub_id, **own}


@dataclass(frozen=True)
class Task:
    """The record of one task, which its tab, its endpoint and its checkpoint folders share.

    Wording: `title` names the tab. `modality` describes the images in a sentence, and `data_set` the training data.
    `look` names the kind of image, as in "This does not look like ...". A threshold's costs are counted in `units`,
    such as people, some of them with `disease`. The texts of the classes are in src/results/class_texts.json.

    Classes: `classes` has the order of the model's outputs. `reported_alone` are the codes of malignant classes whose
    own sensitivity is reported too. `default_threshold` is None if validation chooses the threshold; it is then in the
    checkpoint's config.

    Data: networks may learn from the datasets `sources`. No network may learn from `external_sources` or be chosen by
    them. `group` is the unit of independent evidence: images of one lesion or one case are not independent. `licence`
    is the licence of the weights. `limits` is a Markdown list of the data's limits for the model cards.

    Images: `input_side` is the side of the networks' input in pixels; images are scaled to it before their quality is
    measured. `colour` is "grey" if images lose their colour first. `crop_to_roi` crops to the scanned ultrasound field.
    `background` is the colour that transparent parts are filled with. `label_box` is the part of an image (left, upper,
    right, lower, as shares of width and height) that alone decides the label; None means the whole image. `camera` says
    whether the page offers the visitor's camera. `advice` maps the code of a flaw (src/pictures/flaws.py) to the
    advice that replaces the general one. `mpp` is the scale at which the networks learned tiles of `input_side`
    pixels, in micrometres per pixel; None for a task without a physical scale.
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
    units: str = "people"
    disease: str = "cancer"
    group: str = "image"
    background: Literal["black", "white"] = "black"
    label_box: tuple[float, float, float, float] | None = None
    mpp: float | None = None

    @property
    def codes(self) -> tuple[str, ...]:
        """The class codes in model output order."""
        return tuple(diagnosis.code for diagnosis in self.classes)

    @property
    def malignant(self) -> tuple[bool, ...]:
        """For each class, in model output order, whether it is malignant."""
        return tuple(diagnosis.malignant for diagnosis in self.classes)


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            Task(
                name="skin",
                title="Skin lesions",
                modality="a dermatoscopic image of one skin lesion",
                data_set="HAM10000, ISIC 2017 and ISIC's palms and soles",
                look="dermatoscopy",
                # Actinic keratoses and Bowen's disease (akiec) count as malignant, as in ISIC's screening question,
                # because they are intraepithelial carcinoma or its precursor and are treated.
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
                "  It names no patients, so two lesions of one person may be in different splits.\n"
                "- ISIC 2017 names no patients either. Its images are small, and more than a quarter show melanoma.\n"
                "- The palms and soles come from three collections. Their small images show melanomas and naevi only.\n"
                "  On dark skin, melanoma is often on palms and soles, so their figures stand by themselves. The\n"
                "  collections do not state the skin type.",
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
                modality="a breast ultrasound image (B-mode)",
                data_set="BUSI and BUS-BRA (the model of two networks also from Multi-REZ)",
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
                "  in Rio de Janeiro. Only BUSI has images without a lesion.\n"
                "- Multi-REZ, from which the model of two networks also learned, does not name its hospital.",
                input_side=224,
            ),
            Task(
                name="breastmnist",
                title="BreastMNIST",
                modality="a breast ultrasound image, reduced to 28×28 pixels",
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
                units="tiles",
                disease="metastasis",
                group="tile",
                background="white",  # an empty part of the slide
                # A tile is metastatic if there is tumour in the central 32×32 of its 96×96 pixels (arXiv:1806.03962).
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
                    "contrast": "choose a part with tissue",
                    "dark": "raise the lamp or exposure",
                    "overexposed": "lower the lamp or exposure, or choose a part with tissue",
                },
            ),
        )
    }
)
