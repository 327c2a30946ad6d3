"""The Evidence tab: every figure is evaluation.json's, nothing is claimed of few, no file from elsewhere breaks it."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.models import checkpoint_info, checkpoints
from src.models.config import VigilConfig
from src.models.evaluation import Metric, Proportion, parse
from src.page.views import evidence
from src.page.views.evidence import Model, Share
from src.results import formatting
from src.results.formatting import MIN_CASES
from src.tasks import TASKS
from tests.support import synthetic_checkpoints
from train import evaluate
from train.data import Sample
from train.evaluation import metrics


def text_of(metric: dict[str, Any]) -> str:
    return formatting.with_interval(Metric.model_validate(metric))


HISTORY = [{"epoch": n, "train_loss": 1 / n, "loss": 1.5 / n, "accuracy": 0.5 + n / 20} for n in (1, 2, 3)]


def split(n: int, source: str, seed: int) -> dict[str, Any]:
    """What train.evaluate says of `n` made-up ultrasound pictures, read well but not perfectly."""
    task, rng = TASKS["ultrasound"], np.random.default_rng(seed)
    labels = np.arange(n) % 3
    probabilities = rng.dirichlet([1, 1, 1], n) + 0.3 * np.eye(3)[labels]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    samples = [
        Sample(f"s{i}", int(labels[i]), f"g{i // 2}", "test", source, Path(), meta={"BIRADS": "4" if i < 150 else "5"})
        for i in range(n)
    ]
    return evaluate.round_figures(evaluate.evaluate_split(task, samples, probabilities, 0.3, np.full(n, 0.5)))


@pytest.fixture(scope="module")
def evaluation() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "RESAMPLES", 20)
        return {
            "task": "ultrasound",
            "training": {
                "sources": ["BUSI"],
                "n": 900,
                "groups": 800,
                "n_per_class": {"benign": 600, "malignant": 300},
            },
            "intervals": {"metrics": "95%, bootstrap", "proportions": "95%, Clopper-Pearson"},
            "splits": {"validation": split(60, "busi", 0), "test": split(156, "busi", 1)},
            "external": {"breast_usg": split(90, "breast_usg", 2)},
        }


def model(evaluation: Any, history: Any = HISTORY) -> Model:
    about = VigilConfig(
        task="ultrasound",
        name="Net",
        temperature=1,
        default_threshold=0.3,
        sha256="0" * 64,
        data=({"name": "BUSI", "licence": "research use", "citation": "Al-Dhabyani et al. 2020"},),
        history=tuple(history),
    )
    return Model(TASKS["ultrasound"], about, parse(evaluation))


def test_every_figure_of_every_set_is_shown_with_its_interval(evaluation: dict[str, Any]) -> None:
    page = evidence.page(model(evaluation))
    for found in (evaluation["splits"]["test"], evaluation["external"]["breast_usg"]):
        for metric in found["metrics"].values():
            assert text_of(metric) in page
        for share in ("sensitivity", "specificity", "ppv", "npv"):
            point = found["at_default_threshold"]["malignant"][share]
            assert f"{text_of(point)} <small>n = {point['of']}</small>" in page
        for row in found["confusion_matrix"]:
            assert all(f'%">{count:,}</span>' in page for count in row)
    assert "external, BrEaST (n = 90)" in page
    assert "900 images in 800 groups. Images per class: benign 600, malignant 300." in page
    assert "Al-Dhabyani et al. 2020" in page
    validation = evaluation["splits"]["validation"]["metrics"]["auc_malignant"]
    assert text_of(validation) not in page, "what choices were made on is no evidence"


def test_the_overview_has_test_split_and_external_dataset(evaluation: dict[str, Any]) -> None:
    overview = evidence.overview([model(evaluation)])
    for found in (evaluation["splits"]["test"], evaluation["external"]["breast_usg"]):
        point = found["at_default_threshold"]["malignant"]
        cells = (found["metrics"]["auc_malignant"], point["sensitivity"], point["specificity"])
        assert "</td><td>".join(text_of(cell) for cell in cells) + "</td><td>0.3</td>" in overview


def test_nothing_is_claimed_of_few(evaluation: dict[str, Any]) -> None:
    few = evaluation["splits"]["test"]["subgroups"]["BIRADS"]["5"]
    many = evaluation["splits"]["test"]["subgroups"]["BIRADS"]["4"]
    assert few["n"] == 6
    assert few["sensitivity"]["value"] is not None, "the file has it, the page must not"
    page = evidence.page(model(evaluation))
    rows = page.split('<th scope="row">')
    row = next(row for row in rows if row.startswith("5</th><td>6"))
    assert row.count("too few") == 3
    assert f"n = {few['sensitivity']['of']}<" in row
    row = next(row for row in rows if row.startswith("4</th><td>150"))
    assert "too few" not in row
    assert f"{many['auc_malignant']:.3f} (" in row
    assert f"n = {many['tp'] + many['fn']} + {many['tn'] + many['fp']}<" in row


@pytest.mark.parametrize(("of", "figure"), [(MIN_CASES - 1, None), (MIN_CASES, "0.900 (0.700 to 0.990)")])
def test_where_few_ends(of: int, figure: str | None) -> None:
    share = evidence.share_of(Proportion(value=0.9, interval=(0.7, 0.99), of=of))
    assert share == Share(figure, f"{of}")


def test_near_duplicates_are_said_with_their_n(evaluation: dict[str, Any]) -> None:
    assert "No image has a near-duplicate in training" in evidence.page(model(evaluation))
    changed = copy.deepcopy(evaluation)
    without = changed["splits"]["test"]["without_near_duplicates"]
    without["n"] = 140
    page = evidence.page(model(changed))
    assert "16 images have a near-duplicate in training" in page
    assert "n is 140" in page


def test_how_well_lesions_are_found_is_said_where_the_model_needs_it(evaluation: dict[str, Any]) -> None:
    changed = copy.deepcopy(evaluation)
    changed["splits"]["test"]["region"] = {"n": 150, "dice": 0.8123, "hit": 0.92, "empty": 0.75}
    page = evidence.page(model(changed))
    assert "Its Dice score is 0.812" in page
    assert "92.0%" in page
    assert "75.0%" in page
    assert "Dice" not in evidence.page(model(evaluation))


SEEDS = [
    {"seed": seed, "weights_sha256": f"{seed}", "splits": {"test": {"auc_malignant": auc, "sensitivity": 0.9}}}
    for seed, auc in ((0, 0.91), (1, 0.89), (2, 0.93))
]


def test_what_a_seed_is_worth_is_said_where_it_was_measured(evaluation: dict[str, Any]) -> None:
    assert "other seeds" not in evidence.page(model(evaluation))
    page = evidence.page(model(evaluation | {"seeds": SEEDS}))
    # BrEaST is not read for it, and what was not measured has no row.
    assert "<td>0.910 (0.890 to 0.930)</td><td>–</td>" in page
    assert "<td>0.900 (0.900 to 0.900)</td><td>–</td>" in page
    assert "seeds 0, 1, 2." in page
    assert page.count("<td>–</td>") == evidence.page(model(evaluation)).count("<td>–</td>") + 2


def test_datasets_that_a_network_never_saw_have_a_table(evaluation: dict[str, Any]) -> None:
    assert "never saw" not in evidence.page(model(evaluation))
    page = evidence.page(model(evaluation | {"left_out": left_out(evaluation)}))
    point = evaluation["splits"]["test"]["at_default_threshold"]["malignant"]
    assert "BUS-BRA (n = 1,415)" in page
    assert "<td>BUSI; Multi-REZ</td>" in page
    assert page.count(text_of(point["sensitivity"])) == 2, "in the table of the test split and in this one"
    assert "<td>ultrasound-sources</td>" in page
    empty = {"busbra": {"sources": ["BUS-BRA"], "n": 0}}
    assert "<td>–</td>" in evidence.page(model(evaluation | {"left_out": empty}))


def test_a_cross_validation_is_shown_where_there_was_one(evaluation: dict[str, Any]) -> None:
    test = evaluation["splits"]["test"]
    one = {key: test[key] for key in ("metrics", "at_default_threshold", "n", "groups")} | {
        "recipe": "ultrasound-sources",
        "by_fold": {"0": {"n": 9, "auc_malignant": 0.8123}, "1": {"n": 8, "auc_malignant": 0.9321}, "2": {"n": 8}},
        "promised": {"0.95": None, "0.9": {"threshold": 0.082, "found": 1117, "positives": 1120}},
    }
    assert "Cross-validation" not in evidence.page(model(evaluation))
    page = evidence.page(model(evaluation | {"out_of_fold": one}))
    assert "Each of 3 networks was trained without one fold" in page
    assert "<td>0.812 to 0.932</td>" in page
    assert "A sensitivity of 95% cannot be promised." in page
    assert "can be promised from the threshold 0.082, which refers 1,117 of 1,120 groups" in page


def test_what_a_network_promised_where_it_never_was_has_columns(evaluation: dict[str, Any]) -> None:
    one = left_out(evaluation)["busbra"]
    share = {"value": 0.0123, "interval": [0.01, 0.02]}
    point = {"sensitivity": {"value": 0.8412, "interval": [0.7, 0.9]}}
    two = {
        "busbra": one | {"promised": {"0.95": None, "0.9": point}, "refused": share, "unlike": share},
        "acral": one | {"sources": ["Palms"], "promised": {"0.95": None, "0.9": None}},
    }
    page = evidence.page(model(evaluation | {"left_out": two}))
    assert "Sensitivity where 90% was promised" in page
    assert "where 95% was promised" not in page, "no network could promise it"
    assert "<td>0.841 (0.700 to 0.900)</td><td>0.012 (0.010 to 0.020)</td><td>0.012 (0.010 to 0.020)</td>" in page
    assert "<td>not promised</td><td>–</td><td>–</td>" in page
    assert "own default threshold" not in page


def test_what_the_gate_takes_for_another_kind_is_said(evaluation: dict[str, Any]) -> None:
    changed = copy.deepcopy(evaluation)
    auroc = {"value": 0.99, "interval": [0.9, 1.0]}
    changed["splits"]["test"]["gate"] = {
        "refused": {"value": 0.004, "interval": [0.0, 0.02]},
        "against": {
            "skin": {"n": 30, "same_look": False, "auroc": auroc, "refused": 1.0},
            "strange/xray": {"n": 10, "same_look": False, "auroc": auroc, "refused": 0.6},
            "strange/ultrasound_other": {"n": 5, "same_look": True, "auroc": auroc, "refused": 0.4},
        },
    }
    page = evidence.page(model(changed))
    assert "takes 0.4% of these images for images of another kind" in page
    assert (
        "Of images of other kinds, the model recognises 90.0% as such. The lowest share of one kind is 60.0% (X-rays)."
        in page
    )
    assert "similar kinds, the model recognises 40.0% as such" in page


def left_out(evaluation: dict[str, Any]) -> dict[str, Any]:
    test = evaluation["splits"]["test"]
    return {
        "busbra": {key: test[key] for key in ("metrics", "at_default_threshold")}
        | {"sources": ["BUS-BRA"], "n": 1415, "learned_from": ["BUSI", "Multi-REZ"], "recipe": "ultrasound-sources"}
    }


def test_what_a_change_of_stain_costs_is_said_where_it_was_measured(evaluation: dict[str, Any]) -> None:
    changed = copy.deepcopy(evaluation)
    changed["splits"]["test"]["stain"] = {
        "Macenko": {
            "auc_malignant": {"value": 0.934, "interval": [0.92, 0.95]},
            "lost": {"value": 0.0071, "interval": [0.001, 0.012]},
        }
    }
    page = evidence.page(model(changed))
    assert "at random (Macenko), the AUC falls by 0.007 (0.001 to 0.012), to 0.934 (0.920 to 0.950)." in page
    assert "stain" not in evidence.page(model(evaluation))
    # The name of a change comes from a file that may be a stranger's.
    stain = changed["splits"]["test"]["stain"]
    stain["50% %(x)s <script>"] = stain.pop("Macenko")
    page = evidence.page(model(changed))
    assert "(50% %(x)s &lt;script&gt;)" in page


def test_an_older_evaluation_is_shown_too(evaluation: dict[str, Any]) -> None:
    older = copy.deepcopy(evaluation)
    del older["training"], older["external"]
    for found in older["splits"].values():
        del found["without_near_duplicates"]
        for values in found["subgroups"].values():
            for one in values.values():
                del one["auc_malignant_interval"]
    page = evidence.page(model(older))
    assert text_of(older["splits"]["test"]["metrics"]["auc_malignant"]) in page
    assert "not evaluated on that dataset" in page, "BrEaST's published figures stand alone then"


def hostile(content: Any, way: str) -> Any:
    """The same content with something else in every place."""
    if isinstance(content, dict):
        return {f"<script>{key}" if way == "keys" else key: hostile(value, way) for key, value in content.items()}
    if isinstance(content, list):
        return [hostile(value, way) for value in content]
    return {"strings": "<script>", "null": None, "keys": content, "list": [content]}[way]


@pytest.mark.parametrize("way", ["strings", "null", "keys", "list"])
@pytest.mark.parametrize(
    "part", ["intervals", "metrics", "confusion_matrix", "subgroups", "training", "splits", "seeds", "left_out", None]
)
def test_a_file_from_elsewhere_is_escaped_and_breaks_nothing(
    evaluation: dict[str, Any], way: str, part: str | None
) -> None:
    changed = copy.deepcopy(evaluation) | {"seeds": SEEDS, "left_out": left_out(evaluation)}
    if part is None:
        changed = hostile(changed, way)
    elif part in changed:
        changed[part] = hostile(changed[part], way)
    else:
        changed["splits"]["test"][part] = hostile(changed["splits"]["test"][part], way)
    for markup in (evidence.page(model(changed)), evidence.overview([model(changed)])):
        assert "<script>" not in markup
        assert "Net" in markup or "All models" in markup


def test_without_an_evaluation_nothing_is_claimed() -> None:
    assert "has no evaluation.json" in evidence.page(model(None))
    assert "<td>" not in evidence.overview([model(None)])


@pytest.mark.parametrize(
    "history",
    [
        (),
        HISTORY[:1],
        [{"epoch": 1, "loss": float("nan")}, {"epoch": 2, "loss": 0.5}],
        [{"epoch": "<script>", "loss": "1"}],
        [{"C": 0.0, "auc_malignant": 0.7}, {"C": 0.1, "auc_malignant": 0.8}],
        [{"other": 1}],
    ],
)
def test_any_history_is_drawn_or_left_out(evaluation: dict[str, Any], history: Any) -> None:
    page = evidence.page(model(evaluation, history))
    assert "<script>" not in page
    assert not re.search(r"\bnan\b", page)
    assert "format, so its figures" not in page


def test_a_curve_starts_and_ends_where_the_history_does(evaluation: dict[str, Any]) -> None:
    page = evidence.page(model(evaluation))
    assert "augmented images, last 0.333" in page
    assert page.count('class="v-dot-0"') == 2 * len(HISTORY)
    assert ">1</text>" in page
    assert ">3</text>" in page


# In the app
def test_the_served_model_comes_first_and_the_embedded_ones_follow(tmp_path: Path) -> None:
    embedded = checkpoints.load("breastmnist", checkpoint_info.EMBEDDED / "breastmnist")
    titles = [model.title for model in evidence.models([embedded])]
    assert titles == ["BreastMNIST, Five CNNs 28×28", "BreastMNIST, Logistic regression"]
    own = checkpoints.load("breastmnist", synthetic_checkpoints.write(tmp_path / "own", "breastmnist"))
    models = evidence.models([own])
    assert [model.title for model in models][1:] == titles
    assert models[0].title == f"BreastMNIST, made-up-breastmnist ({tmp_path / 'own'})"
    assert "format, so its figures" in evidence.page(models[0])


@pytest.mark.parametrize("folder", sorted(checkpoint_info.EMBEDDED.iterdir()), ids=lambda folder: folder.name)
def test_every_embedded_model_can_be_shown(folder: Path) -> None:
    config, content = (json.loads((folder / name).read_text()) for name in ("config.json", "evaluation.json"))
    shown = Model(TASKS[content["task"]], VigilConfig.model_validate(config["vigil"]), parse(content))
    page = evidence.page(shown)
    assert "format, so its figures" not in page
    assert "<polyline" in page
    left_out = "left_out" in content and TASKS[content["task"]].default_threshold is None
    assert ("own default threshold" in page) == left_out
    assert text_of(content["splits"]["test"]["metrics"]["auc_malignant"]) in evidence.overview([shown])


def test_the_plot_has_each_set_with_counts_and_interval(evaluation: dict[str, Any]) -> None:
    overview = evidence.overview([model(evaluation)])
    sets = [evaluation["splits"]["test"], *evaluation["external"].values()]
    for one in sets:
        point = one["at_default_threshold"]["malignant"]
        assert f"{point['tp']:,} of {point['tp'] + point['fn']:,} malignant images are referred" in overview
        assert f"{point['tn']:,} of {point['tn'] + point['fp']:,} other images are not referred" in overview
        assert f'style="left:{100 * point["sensitivity"]["value"]:.1f}%"' in overview
