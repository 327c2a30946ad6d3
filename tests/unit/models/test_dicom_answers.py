"""An image gets the same answer as DICOM, in any transfer syntax, as it gets as a PNG."""

import io
from functools import cache

import pytest
from PIL import Image
from pydicom import uid

from src.models import checkpoint_info, checkpoints
from src.models.predictor import Predictor
from tests.support.app import ROOT
from tests.support.dicom_files import LOSSY, SYNTAXES, of_image

EXAMPLES = {"ultrasound": "spiculated.jpg", "skin": "irregular.jpg"}
CLOSE = 0.02


@cache
def predictor(task: str) -> Predictor:
    return Predictor(checkpoints.load(task, checkpoint_info.EMBEDDED / task))


@cache
def image(task: str) -> Image.Image:
    return Image.open(ROOT / "examples" / task / EXAMPLES[task]).convert("RGB")


@cache
def as_png(task: str) -> float:
    out = io.BytesIO()
    image(task).save(out, "PNG")
    return predictor(task).predict(out.getvalue()).p_malignant


@pytest.mark.parametrize("task", EXAMPLES)
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda one: uid.UID(one).keyword)
def test_a_transfer_syntax_does_not_change_the_answer(task: str, syntax: str) -> None:
    answer = predictor(task).predict(of_image(image(task), "RGB", syntax, Modality="XC"))
    assert answer.p_malignant == pytest.approx(as_png(task), abs=CLOSE if syntax in LOSSY else 1e-6)


@pytest.mark.parametrize("task", EXAMPLES)
def test_a_file_of_luminance_and_colour_is_answered_as_the_image_that_it_stores(task: str) -> None:
    """Its values are whole numbers, so that it stores another image than the PNG, by a level or two."""
    stored, out = image(task).convert("YCbCr").convert("RGB"), io.BytesIO()
    stored.save(out, "PNG")
    expected = predictor(task).predict(out.getvalue()).p_malignant
    answer = predictor(task).predict(of_image(image(task), "YBR_FULL", uid.ExplicitVRLittleEndian, Modality="XC"))
    assert answer.p_malignant == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_greys_do_not_change_the_answer(photometric: str) -> None:
    grey = image("ultrasound").convert("L")
    out = io.BytesIO()
    grey.save(out, "PNG")
    expected = predictor("ultrasound").predict(out.getvalue()).p_malignant
    answer = predictor("ultrasound").predict(of_image(grey, photometric, uid.ExplicitVRLittleEndian))
    assert answer.p_malignant == pytest.approx(expected, abs=1e-6)
