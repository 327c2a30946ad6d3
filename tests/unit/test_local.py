"""src/local.py: a clinic's table, its refusals with the row's number, and its figures against hand-computed cases."""

import json
import re
from pathlib import Path
from typing import Any, cast

import gradio as gr
import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from src import local
from src.exports.csv_rows import columns
from src.models import checkpoint_info
from src.models.checkpoint_info import CheckpointInfo
from src.page.endpoints import MODEL_EVENT
from src.page.tabs.clinic_tab import clinic_tab
from src.page.views import clinic
from src.results import local_validation, thresholds
from src.results.local_validation import TARGETS, Cases, TableRefused, as_text, auc, parse_table, read_text, validate
from src.results.thresholds import proportion_interval
from src.service.clinic_table import validate_table
from src.service.model_loading import ModelsInfo
from src.service.worker_pool import TOO_LONG, ThreadWorkerPool, WorkFailed
from src.tasks import TASKS
from tests.support.event_loop import run
from tests.support.score_tables import scored, table

SKIN, ULTRASOUND = TASKS["skin"], TASKS["ultrasound"]


def cases(ill: list[float], well: list[float], groups: list[str] | None = None) -> Cases:
    labels = ["malignant"] * len(ill) + ["benign"] * len(well)
    return Cases(ULTRASOUND, [*ill, *well], labels, groups, 0)


# Reading
def test_what_score_writes_is_read_with_a_label_column() -> None:
    row = dict.fromkeys(columns(SKIN), "")
    rows: list[dict[str, object]] = [
        {**row, "path": "a, b.jpg", "p_malignant": "0.912345", "p_mel": "0.9", "decision": "refer", "label": "mel"},
        {**row, "path": "broken.jpg", "error": "This file is not an image.", "label": ""},
        {**row, "path": "c.jpg", "p_malignant": "0.1", "quality": "Dark; blurred", "label": " NV "},
    ]
    read = parse_table(table(rows), SKIN)
    assert read == Cases(SKIN, [0.912345, 0.1], ["mel", "nv"], None, 1)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8", "utf-8-sig"])
def test_unicode_text_of_excel_is_read(encoding: str, tmp_path: Path) -> None:
    text = "p_malignant\tlabel\tpath\r\n0,25\tmalignant\tLäsion.jpg\r\n0,75\tbenign\tb.jpg\r\n"
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    (tmp_path / "scores.txt").write_bytes((mark + text).encode(encoding))
    read = parse_table(local_validation.read_text(tmp_path / "scores.txt"), ULTRASOUND)
    assert (read.scores, read.labels) == ([0.25, 0.75], ["malignant", "benign"])


def test_rows_after_a_sep_line_are_numbered_as_the_spreadsheet_does() -> None:
    with pytest.raises(TableRefused, match="Row 3: p_malignant is not a number"):
        parse_table("sep=;\np_malignant;label\nhalf;malignant\n", ULTRASOUND)


@pytest.mark.parametrize(
    "text",
    [
        "p_malignant,label\n0.25,malignant\n0.75,benign\n",
        "p_malignant;label\r\n0,25;malignant\r\n\r\n0,75;benign",
        "label\tP_Malignant \nMalignant\t0.25\nBENIGN\t0.75\n",
        "sep=;\r\np_malignant;label\r\n0,25;malignant\r\n0,75;benign",
        "sep=\t\np_malignant\tlabel\n0.25\tmalignant\n0.75\tbenign",
        'p_malignant,path,label\n0.25,"two\nlines",malignant\n0.75,x,benign',
    ],
)
def test_spreadsheets_own_ways_are_understood(text: str) -> None:
    read = parse_table(text, ULTRASOUND)
    assert read.scores == [0.25, 0.75]
    assert read.labels == ["malignant", "benign"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Row 1: there is no column p_malignant"),
        ("p_malignant\n0.5\n", "Row 1: there is no column label"),
        ("label,p_malignant,label\n", "Row 1: there are several columns label"),
        ("p_malignant,label\n0.5,benign\n0.5\n", "Row 3: it has 1 cells, but the header has 2"),
        ("p_malignant,label\n0.5,benign\n\n,benign\n", "Row 4: p_malignant is not a number from 0 to 1"),
        ("p_malignant,label\n1.5,benign\n", "Row 2: p_malignant is not a number from 0 to 1"),
        *(
            (f"p_malignant,label\n{cell},benign\n", "Row 2: p_malignant is not a number from 0 to 1")
            for cell in (
                "nan",
                "inf",
                "1e309",
                "0_1",
                "0_0.5",
                "０.５",
                "٠.٥",
                "½",
                "0x1",
                "0.5.1",
                "--1",
                "1e",
                ".",
                "True",
            )
        ),
        ("p_malignant,label\n0.5,\n", "Row 2: the label must be one of benign, malignant, normal"),
        ("p_malignant,label\n0.5,<b>mel</b>\n", "Row 2: the label must be one of benign, malignant, normal"),
        ("p_malignant,label\n0.5,1\n", "Row 2: the label is a number, but datasets differ"),
        ("p_malignant,label\n0.5,benign\n" + "0" * 200_000 + ",benign\n", "Row 3: it cannot be read as a row"),
        ("p_malignant,label\n", "no row with a score"),
        ("p_malignant,label,error\n,,broken\n", "no row with a score"),
        ("\x00\x01\ufffd" * 50, "Row 1: there is no column p_malignant"),
    ],
)
def test_a_malformed_table_gets_one_sentence_with_the_row(text: str, said: str) -> None:
    with pytest.raises(TableRefused, match=f"^(The table has )?{said}") as refused:
        parse_table(text, ULTRASOUND)
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "<b>" not in sentence, "no cell is repeated"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "The file is empty."),
        (b"PK\x03\x04\x14\0\x06\0", "This file is not a table of text; save the table as CSV."),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "This file is not a table of text; save the table as CSV."),
    ],
)
def test_a_file_that_is_no_table_gets_its_reason(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_bytes(content)
    with pytest.raises(TableRefused) as refused:
        read_text(file)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("cell", "score"), [("0", 0.0), ("1", 1.0), ("1.", 1.0), (".5", 0.5), ("+0.25", 0.25), ("-0", 0.0), ("2E-3", 0.002)]
)
def test_numbers_as_spreadsheets_write_them_are_read(cell: str, score: float) -> None:
    assert parse_table(f"p_malignant,label\n{cell},benign\n", ULTRASOUND).scores == [score]


def test_ten_times_the_scores_cost_little_more(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = 0

    def bound(*arguments: Any) -> float:
        nonlocal counted
        counted += 1
        return lower_bound(*arguments)

    lower_bound = thresholds.lower_bound
    monkeypatch.setattr(thresholds, "lower_bound", bound)
    asked = {}
    for n in (10_000, 100_000):
        rng, counted = np.random.default_rng(n), 0
        ill = rng.random(n) < 0.02  # few, so that much has to be looked at before a target is reached
        lines = zip(rng.permutation(n) / n, np.where(ill, "malignant", "benign"), strict=True)
        text = "p_malignant,label\n" + "".join(f"{score:.6f},{label}\n" for score, label in lines)
        shown = validate(parse_table(text, ULTRASOUND), 0.3)
        assert shown.targets[0.95].threshold is not None
        asked[n] = counted
    assert asked[100_000] < 2 * asked[10_000] < 400


def test_the_page_reads_tables_in_the_processes_that_may_be_killed() -> None:
    class Busy(ThreadWorkerPool):
        async def call(self, function: Any, *arguments: Any, **_: Any) -> Any:
            assert function is validate_table
            assert arguments == ("ultrasound", "/somewhere/table.csv")
            raise WorkFailed(TOO_LONG)

    with gr.Blocks() as page:
        busy = Busy({})
        busy.info = ModelsInfo(cast("dict[str, CheckpointInfo]", dict.fromkeys(TASKS)), {})
        clinic_tab(busy)
    (read,) = (function for function in page.fns.values() if function.name == "read")
    assert read.fn
    assert read.concurrency_id == MODEL_EVENT["concurrency_id"]
    answers, _ = run(read.fn({"path": "/somewhere/table.csv"}, "ultrasound"))
    assert set(answers) == set(map(str, TARGETS))
    assert all(TOO_LONG in answer for answer in answers.values())
    wrong: tuple[Any, ...] = ("kidney", None, ["skin"], {})
    for task in wrong:
        with pytest.raises(gr.Error):
            run(read.fn({"path": "/somewhere/table.csv"}, task))


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_validation, "MAX_ROWS", 2)
    text = "p_malignant,label\n" + "0.5,benign\n" * 3
    with pytest.raises(TableRefused, match="Row 4: the table has more than 2 rows"):
        parse_table(text, ULTRASOUND)


@pytest.mark.parametrize("task", TASKS)
def test_every_class_code_is_a_label_of_its_side(task: str) -> None:
    codes = TASKS[task].codes
    text = "p_malignant,label\n" + "".join(f"0.5,{code}\n" for code in codes)
    assert parse_table(text, TASKS[task]).counted() == ([0.5] * len(codes), list(TASKS[task].malignant))


def test_a_group_counts_once_by_its_worst_picture() -> None:
    text = table(
        [
            {"p_malignant": p, "label": label, "group": group}
            for p, label, group in [
                (0.9, "mel", "A"),
                (0.2, "bcc", "A"),
                (0.3, "nv", "A"),
                (0.1, "nv", "B"),
                (0.6, "nv", "B"),
                (0.7, "nv", ""),
                (0.8, "nv", ""),
            ]
        ]
    )
    read = parse_table(text, SKIN)
    assert read.counted() == ([0.2, 0.3, 0.6, 0.7, 0.8], [True, False, False, False, False])
    assert read.counted("mel") == ([0.9, 0.3, 0.6, 0.7, 0.8], [True, False, False, False, False])


# AUC
@pytest.mark.parametrize("seed", range(10))
def test_auc_is_scikit_learns_with_delongs_interval(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive = np.arange(60) < 20
    scores = (rng.normal(size=60) + positive).round(1)  # with ties
    found = auc(scores.tolist(), positive.tolist())
    assert found.value == pytest.approx(roc_auc_score(positive, scores))
    # DeLong's variance as his paper has it, pair by pair
    ill, well = scores[positive], scores[~positive]
    wins = (ill[:, None] > well) + 0.5 * (ill[:, None] == well)
    variance = wins.mean(axis=1).var(ddof=1) / len(ill) + wins.mean(axis=0).var(ddof=1) / len(well)
    reach = norm.ppf(0.975) * np.sqrt(variance) / (found.value * (1 - found.value))
    bounds = 1 / (1 + np.exp(-(np.log(found.value / (1 - found.value)) + np.array([-reach, reach]))))
    assert (found.low, found.high) == pytest.approx(tuple(bounds))


def test_auc_of_a_perfect_order_is_no_certainty() -> None:
    found = auc([0.9] * 30 + [0.1] * 200, [True] * 30 + [False] * 200)
    assert (found.value, found.low, found.high) == (1.0, *proportion_interval(30, 30))
    assert found.low == pytest.approx(0.884, abs=5e-4)


@pytest.mark.parametrize(
    ("scores", "positive"), [([0.5, 0.4], [True, True]), ([0.5], [False]), ([0.5] * 9, [True] * 4 + [False] * 5)]
)
def test_auc_without_anything_to_go_by_promises_nothing(scores: list[float], positive: list[bool]) -> None:
    found = auc(scores, positive)
    assert (found.low, found.high) == (0.0, 1.0)


def test_the_aucs_interval_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth = norm.cdf(2 / np.sqrt(2))
    positive = np.arange(150) < 40
    held = 0
    for _ in range(400):
        found = auc((rng.normal(size=150) + 2 * positive).tolist(), positive.tolist())
        held += found.low <= truth <= found.high
    assert held / 400 > 0.925


# The threshold
def test_the_threshold_that_keeps_a_sensitivity_by_hand() -> None:
    # 59 cancers without a miss prove 95%, so the lowest of them sets the threshold, rounded down.
    ill = [0.2014 + 0.01 * n for n in range(59)]
    shown = validate(cases(ill, [0.1] * 50 + [0.25] * 50), 0.3, [0.95])
    assert shown.targets[0.95].threshold == 0.201
    said = " ".join(shown.targets[0.95].sentences)
    assert "Set the threshold to 0.201. Then we can be 95% confident that at least 95% of malignant cases" in said
    assert "Of the 59 in this table, 59 are referred" in said
    # below the default lie 10 cancers, 0.2014 to 0.2914, and the 50 at 0.25
    assert "0.099 lower than Vigil's default of 0.3" in said
    assert "finds 10 more malignant cases and raises 50 more false alarms" in said
    assert [row[0] for row in shown.points] == ["0.3, Vigil's default", "0.5, standard", "0.201, 95% sensitivity"]
    assert shown.points[2][1:] == ["100.0% (93.9 to 100.0)", "50.0% (39.8 to 60.2)", "59", "0", "50"]
    assert shown.points[0][4:] == ["10", "0"]
    assert shown.sentences[0] == "The table has 159 cases: 59 malignant, 100 not."


def test_a_higher_threshold_than_the_default_is_said_as_such() -> None:
    shown = validate(cases([0.9] * 100, [0.4] * 100), 0.3, [0.9])
    said = " ".join(shown.targets[0.9].sentences)
    assert "0.6 higher than Vigil's default of 0.3" in said
    assert "finds 0 fewer malignant cases and raises 100 fewer false alarms" in said


def test_too_few_says_how_many_more() -> None:
    shown = validate(cases([0.9] * 42, [0.1] * 42), 0.3, [0.95])
    assert shown.targets[0.95].threshold is None
    said = " ".join(shown.targets[0.95].sentences)
    assert "all 42 were found, this would prove a sensitivity of no more than 93.1%" in said
    assert "At least 59 cases without a miss are needed, which is 17 more" in said
    assert len(shown.points) == 2


def test_a_threshold_that_refers_everyone_is_said_to_be_of_no_use() -> None:
    shown = validate(cases([0.0] + [0.9] * 58, [0.5] * 20), 0.3, [0.95])
    assert shown.targets[0.95].threshold == 0.0
    assert "refers every case" in " ".join(shown.targets[0.95].sentences)


@pytest.mark.parametrize(("ill", "well"), [(0, 30), (30, 0), (1, 1)])
def test_one_side_alone_is_no_error(ill: int, well: int) -> None:
    shown = validate(cases([0.7] * ill, [0.2] * well), 0.3)
    assert set(shown.targets) == set(TARGETS)
    for text in (as_text(shown), *(clinic.report(shown, target) for target in TARGETS)):
        assert not re.search(r"\bnan", text)


def test_melanoma_stands_on_its_own() -> None:
    labels = ["mel"] * 10 + ["bcc"] * 10 + ["nv"] * 30
    scores = [0.2] * 4 + [0.8] * 6 + [0.9] * 10 + [0.1] * 30
    shown = validate(Cases(SKIN, scores, labels, None, 0), 0.5, [0.8])
    assert shown.head[:4] == ["Threshold", "Sensitivity", "Sensitivity for mel", "Specificity"]
    assert shown.points[0][1].startswith("80.0% (")
    assert shown.points[0][2].startswith("60.0% (")
    with_only = validate(Cases(SKIN, scores, ["malignant"] * 20 + ["benign"] * 30, None, 0), 0.5, [0.8])
    assert "Sensitivity for mel" not in with_only.head


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "scores.csv"
    file.write_bytes(b"\xef\xbb\xbf" + scored().replace("7.png", "\udce4.png").encode("utf-8", "surrogateescape"))
    assert local.main(["breastmnist", str(file), "--target-sensitivity", "0.9"]) == 0
    said = capsys.readouterr().out
    default = json.loads((checkpoint_info.EMBEDDED / "breastmnist" / "config.json").read_text())["vigil"][
        "default_threshold"
    ]
    assert said.startswith("The table has 300 cases: ")
    assert f"{default:g}, Vigil's default" in said
    assert "Set the threshold to" in said
    assert "95% sensitivity" not in said
    file.write_text("p_malignant,label\n2,benign\n")
    assert local.main(["breastmnist", str(file)]) == 1
    assert capsys.readouterr().err == "local: Row 2: p_malignant is not a number from 0 to 1.\n"
    assert local.main(["breastmnist", str(tmp_path / "none.csv")]) == 1
    assert "cannot be opened" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        local.main(["breastmnist", str(file), "--target-sensitivity", "95"])
