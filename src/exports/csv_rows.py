"""A prediction -> its row in the CSV of `python -m src.score` and of the tab "Many pictures"."""

from src.exports.spreadsheet import is_formula
from src.models.prediction import Prediction
from src.results.gate_sentences import all_warnings
from src.results.thresholds import decide
from src.tasks import Task


def columns(task: Task) -> list[str]:
    """The CSV's header."""
    own = [f"p_{code}" for code in task.codes if f"p_{code}" != "p_malignant"]
    return ["path", "p_malignant", "decision", "prediction", *own, "quality", "error"]


def row(task: Task, path: str, answer: Prediction | str, threshold: float) -> dict[str, str]:
    """One picture's line: `answer` is what the model says, or in one sentence why it says nothing."""
    safe = f"./{path}" if is_formula(path) else path
    if isinstance(answer, str):
        return {"path": safe, "error": answer}
    return {
        "path": safe,
        **{f"p_{code}": f"{p:.6f}" for code, p in zip(task.codes, answer.probabilities, strict=True)},
        # after the classes: of one called "malignant" this is the column
        "p_malignant": f"{answer.p_malignant:.6f}",
        "decision": decide(answer.p_malignant, threshold),
        "prediction": task.codes[answer.top],
        "quality": "; ".join(all_warnings(answer)),
    }
