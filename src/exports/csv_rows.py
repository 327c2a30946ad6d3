"""The columns and rows of the CSV that `python -m src.score` and the tab "Many images" write."""

from src.exports.spreadsheet import is_formula
from src.models.prediction import Prediction
from src.results.gate_sentences import all_warnings
from src.results.thresholds import decide
from src.tasks import Task


def columns(task: Task) -> list[str]:
    """The CSV's header."""
    own = [f"p_{code}" for code in task.codes if f"p_{code}" != "p_malignant"]
    return ["path", "p_malignant", "decision", "prediction", *own, "quality", "error"]


def path_cell(path: str) -> str:
    """How a row names a path. A path that a spreadsheet would read as a formula begins with ./ there."""
    return f"./{path}" if is_formula(path) else path


def row(task: Task, path: str, answer: Prediction | str, threshold: float) -> dict[str, str]:
    """The row of one image. `answer` is its prediction, or a sentence on why there is none."""
    safe = path_cell(path)
    if isinstance(answer, str):
        return {"path": safe, "error": answer}
    return {
        "path": safe,
        **{f"p_{code}": f"{p:.6f}" for code, p in zip(task.codes, answer.probabilities, strict=True)},
        # It follows the classes, because a class called "malignant" shares this column.
        "p_malignant": f"{answer.p_malignant:.6f}",
        "decision": decide(answer.p_malignant, threshold),
        "prediction": task.codes[answer.top],
        "quality": "; ".join(all_warnings(answer)),
    }
