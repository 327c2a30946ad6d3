"""python -m train.publish and plain `hf upload`, with the real client, on a Hub that behaves and one that does not."""

import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi, ModelCard

from src.models import checkpoint_info, checkpoints
from src.models.predictor import Predictor
from tests import space
from tests.hub import Commit, Hub, Reply, instead
from tests.support import synthetic_checkpoints
from tests.support.synthetic_checkpoints import rewrite
from train import card, publish

pytestmark = pytest.mark.slow

REPO = "owner/vigil-breastmnist"
FOLDER = checkpoint_info.EMBEDDED / "breastmnist"
FILES = checkpoints.load("breastmnist", FOLDER).config.files


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logged in as the owner."""
    monkeypatch.setenv("HF_TOKEN", "hf_write")


def history(hub: Hub, repo: str = REPO, branch: str = "main") -> list[Commit]:
    """The commits of a branch, newest first."""
    repository = hub.repositories["model", repo]
    commits = [repository.at(branch)]
    while parent := commits[-1].parent:
        commits.append(repository.commits[parent])
    return commits


@pytest.mark.usefixtures("token")
def test_published_then_pulled_then_predicted(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish.main([str(FOLDER), REPO]) == 0
    said = capsys.readouterr().out
    newest, first = history(hub)  # the Hub's own, then one commit for everything
    assert first.message == "initial commit"
    assert f"Published: {REPO}, commit {newest.oid}" in said
    variable = re.search(r"^Use it with VIGIL_WEIGHTS_BREASTMNIST=(\S+)$", said, re.MULTILINE)
    assert variable

    held = hub.files(REPO)
    assert held.keys() == {".gitattributes", "README.md", *FILES}
    assert "model.safetensors" in newest.large
    for name in FILES:
        assert held[name] == (FOLDER / name).read_bytes()
    assert held["README.md"].decode() == card.card_text(FOLDER, REPO)
    assert f'timm.create_model("hf-hub:{REPO}"' in held["README.md"].decode()

    pulled, local = checkpoints.load("breastmnist", variable[1]), checkpoints.load("breastmnist", FOLDER)
    assert pulled.revision == newest.oid
    picture = card.ROOT / "examples" / "breastmnist" / "oval.png"
    assert Predictor(pulled).predict(picture).probabilities == Predictor(local).predict(picture).probabilities


@pytest.mark.usefixtures("token")
def test_the_same_again_makes_no_second_commit(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish.main([str(FOLDER), REPO]) == 0
    newest = history(hub)[0]
    hub.asked.clear()
    assert publish.main([str(FOLDER), REPO]) == 0
    assert history(hub)[0] == newest
    assert f"Already there: {REPO}, commit {newest.oid}" in capsys.readouterr().out
    assert not [line for line in hub.asked if "/commit/" in line or line.startswith("PUT")]


@pytest.mark.usefixtures("token")
def test_only_what_changed_is_uploaded(hub: Hub, tmp_path: Path) -> None:
    assert publish.main([str(FOLDER), REPO]) == 0
    folder = shutil.copytree(FOLDER, tmp_path / "changed")
    config = json.loads((folder / "config.json").read_text())
    config["vigil"]["seed"] = 5
    rewrite(folder / "config.json", config)
    hub.asked.clear()
    assert publish.main([str(folder), REPO]) == 0
    assert len(history(hub)) == 3
    assert not [line for line in hub.asked if line.startswith("PUT")]
    assert json.loads(hub.files(REPO)["config.json"])["vigil"]["seed"] == 5


@pytest.mark.usefixtures("token")
def test_a_branch_is_made_and_main_left_alone(hub: Hub) -> None:
    main = hub.put(REPO, {"README.md": b"theirs", "notes.txt": b"kept"})
    assert publish.main([str(FOLDER), REPO, "--revision", "v2"]) == 0
    assert history(hub) == [main]
    assert len(history(hub, branch="v2")) == 2
    assert hub.files(REPO, "v2").keys() == {"README.md", "notes.txt", *FILES}


@pytest.mark.usefixtures("token")
def test_private_is_for_new_repositories(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish.main([str(FOLDER), REPO, "--private"]) == 0
    assert hub.repositories["model", REPO].private
    open_to_all = hub.put("owner/open", {})
    assert publish.main([str(FOLDER), "owner/open", "--private"]) == 1
    assert "owner/open exists and is public" in capsys.readouterr().err
    assert history(hub, "owner/open") == [open_to_all]


@pytest.mark.usefixtures("token")
def test_dry_run_says_what_would_be_done_and_changes_nothing(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish.main([str(FOLDER), REPO, "--dry-run", "--revision", "next"]) == 0
    said = capsys.readouterr().out
    assert f"New public repository {REPO}\nNew branch next\n" in said
    assert len(re.findall(r" kB  new$", said, re.MULTILINE)) == len(FILES) + 1  # and the card
    assert hub.repositories == {}
    hub.put(REPO, {name: (FOLDER / name).read_bytes() for name in FILES} | {"README.md": b"old"})
    assert publish.main([str(FOLDER), REPO, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert re.findall(r"(\S+) +[\d.,]+ kB  (\w+)$", said, re.MULTILINE) == [
        *((name, "same") for name in FILES),
        ("README.md", "changed"),
    ]
    assert all(re.match(r"(GET|HEAD) |POST /api/(validate-yaml|models/.*/paths-info/)", line) for line in hub.asked)


def interrupt() -> Callable[[Reply], Reply]:
    """Ctrl-C, once, while the first reply is awaited: files are uploaded several at a time."""
    pressed = threading.Lock()

    def press(reply: Reply) -> Reply:
        if pressed.acquire(blocking=False):
            os.kill(os.getpid(), signal.SIGINT)
        return replace(reply, delay=1)

    return press


@pytest.fixture
def terminal() -> Iterator[None]:
    """Ctrl-C as in a terminal; a job in the background, as CI may be, ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


INTERRUPTIONS: dict[str, tuple[str, Callable[[], Callable[[Reply], Reply]], int, str]] = {
    "storage refuses": ("PUT /storage", lambda: instead(status=403), 1, "This token may not write"),
    "Ctrl-C amid the weights": ("PUT /storage", interrupt, 130, "interrupted"),
    "Ctrl-C at the branch": ("POST .*/branch/", interrupt, 130, "interrupted"),
    "the commit fails": ("POST .*/commit/", lambda: instead(status=500), 1, "The Hub is out of order (500)."),
    "someone was faster": ("POST .*/commit/", lambda: instead(status=412), 1, "was changed in the meantime"),
    "the metadata is refused": (
        "POST /api/validate-yaml",
        lambda: instead(status=400, body=b'"license" bad'),
        1,
        "license",
    ),
}


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("fault", INTERRUPTIONS)
@pytest.mark.usefixtures("token", "terminal")
def test_interrupted_it_leaves_the_hub_as_it_was(
    fault: str, existing: bool, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    request, change, status, sentence = INTERRUPTIONS[fault]
    branch = "next" if "branch" in fault else "main"
    before = hub.put(REPO, {"README.md": b"theirs"}) if existing else None
    hub.fault(request, change(), carried_out=False)
    assert publish.main([str(FOLDER), REPO, "--revision", branch]) == status
    assert sentence in capsys.readouterr().err
    if before:
        assert hub.repositories["model", REPO].branches == {"main": before.oid}
        assert history(hub) == [before]
    else:
        assert hub.repositories == {}
    hub.behave()
    assert publish.main([str(FOLDER), REPO, "--revision", branch]) == 0
    assert checkpoints.load("breastmnist", f"{REPO}@{branch}").source == REPO


@pytest.mark.usefixtures("token")
def test_a_commit_whose_answer_was_lost_is_found_the_next_time(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.put(REPO, {})
    hub.fault("POST .*/commit/", instead(status=504))
    assert publish.main([str(FOLDER), REPO]) == 1
    hub.behave()
    assert publish.main([str(FOLDER), REPO]) == 0
    assert f"Already there: {REPO}" in capsys.readouterr().out
    assert len(history(hub)) == 2


@pytest.mark.usefixtures("token", "terminal")
def test_ctrl_c_again_does_not_stop_it_from_clearing_up(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.fault("PUT /storage", interrupt(), carried_out=False)
    hub.fault("DELETE ", interrupt())
    assert publish.main([str(FOLDER), REPO]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert any(line.startswith("DELETE ") for line in hub.asked)
    assert hub.repositories == {}


@pytest.mark.usefixtures("token", "terminal")
def test_ctrl_c_twice_while_it_clears_up_ends_it_and_what_is_left_is_said(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = interrupt(), interrupt()

    def twice(reply: Reply) -> Reply:
        first(reply)
        time.sleep(0.5)  # signals that wait together count as one
        return second(reply)

    hub.fault("PUT /storage", interrupt(), carried_out=False)
    hub.fault("DELETE ", twice, carried_out=False)
    assert publish.main([str(FOLDER), REPO]) == 130
    said = capsys.readouterr().err
    assert f"deleting {REPO} again. Press Ctrl-C once more to leave it there." in said
    assert f"{REPO} was created, and could not be deleted again." in said
    assert "as it was" not in said
    assert hub.repositories


@pytest.mark.usefixtures("token")
def test_what_cannot_be_removed_again_is_said(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.fault("POST .*/commit/|DELETE ", instead(status=500), carried_out=False)
    assert publish.main([str(FOLDER), REPO]) == 1
    assert f"{REPO} was created, and could not be deleted again." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("token", "repo", "sentence"),
    [
        (None, REPO, "Log in first with hf auth login"),
        ("hf_wrong", REPO, "The Hub does not accept this token"),
        ("hf_read", REPO, f"This token may not write to {REPO}."),
        ("hf_write", "other/model", "This token may not write to other/model."),
        ("hf_write", "no owner/model", "Repo id must"),
    ],
)
def test_who_may_not_publish_is_told_so(
    token: str | None,
    repo: str,
    sentence: str,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    assert publish.main([str(FOLDER), repo]) == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.splitlines()) == 1
    assert hub.repositories == {}


@pytest.mark.usefixtures("token")
def test_a_hub_out_of_order_is_one_sentence(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.fault("whoami", instead(status=503))
    assert publish.main([str(FOLDER), REPO]) == 1
    assert capsys.readouterr().err == "publish: The Hub is out of order (503).\n"


def unevaluated(folder: Path) -> None:
    (folder / "evaluation.json").unlink()


def of_other_weights(folder: Path) -> None:
    rewrite(folder / "evaluation.json", {"weights_sha256": "0" * 64})


def half_evaluated(folder: Path) -> None:
    vigil = json.loads((folder / "config.json").read_text())["vigil"]
    members = [member["sha256"] for member in vigil["members"]]
    rewrite(folder / "evaluation.json", {"weights_sha256": vigil["sha256"], "members_sha256": members, "splits": {}})


def damaged(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def of_other_answers(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["vigil"]["temperature"] *= 1.5
    rewrite(folder / "config.json", config)


def no_checkpoint(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (unevaluated, "has no evaluation.json, so it is unknown how well it reads. Run python -m train.evaluate"),
        (of_other_weights, "evaluation.json was made from other weights."),
        (half_evaluated, "evaluation.json lacks figures that the card shows. Run python -m train.evaluate"),
        (damaged, "sha256 differs"),
        (of_other_answers, "the probabilities for no_mass.png differ from those in config.json"),
        (no_checkpoint, "is not a checkpoint folder"),
    ],
)
@pytest.mark.usefixtures("token")
def test_a_folder_that_is_not_whole_is_not_published(
    spoil: Callable[[Path], None], sentence: str, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "run")
    spoil(folder)
    assert publish.main([str(folder), REPO]) == 1
    assert sentence in capsys.readouterr().err
    assert hub.repositories == {}


def test_an_older_checkpoint_without_golden_values_is_whole(tmp_path: Path) -> None:
    folder = synthetic_checkpoints.write(tmp_path, "breastmnist")
    assert publish.check(folder).config.vigil.golden == {}


@pytest.mark.parametrize("folder", card.released(), ids=lambda folder: folder.name)
def test_the_hub_accepts_every_card(folder: Path, hub: Hub) -> None:
    ModelCard(card.card_text(folder, REPO)).validate(repo_type="model")
    with pytest.raises(ValueError, match="license"):
        ModelCard("---\nlicense: mine\n---\n").validate(repo_type="model")
    assert hub.asked == ["POST /api/validate-yaml"] * 2


@pytest.mark.usefixtures("token")
def test_plain_hf_upload_does_the_same(hub: Hub, tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "runs" / "skin")
    (folder / "training").mkdir()
    (folder / "training" / "last.pt").write_bytes(b"\x80\x04")
    space.hf(space.documented_command("hf upload OWNER/vigil-skin"), hub, tmp_path, tmp_path / "home")
    assert len(history(hub, "owner/vigil-skin")) == 2
    held = hub.files("owner/vigil-skin")
    assert held.keys() == {".gitattributes", "README.md", *FILES}
    assert checkpoints.load("breastmnist", "owner/vigil-skin").source == "owner/vigil-skin"
    assert HfApi().model_info("owner/vigil-skin").sha == history(hub, "owner/vigil-skin")[0].oid


TOP_LEVEL = [
    *("app.py", "pre-requirements.txt", "requirements.txt", "README.md", "LICENSE", "model_card.md"),
    *("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff"),
]
STAYS_OUT = [
    *("tests/space.py", "dev/LOG.md", "runs/skin/model.safetensors", "data/ham10000/ISIC_0.jpg", "ISIC_1.jpg"),
    *(".venv/bin/python", ".git/config", ".gradio/flagged.csv", "src/__pycache__/a.pyc", "scores.csv", ".env"),
]


def test_the_space_gets_what_the_app_needs_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    checkout = tmp_path / "vigil"
    for name in ("src", "train", "checkpoints", "examples", "docs"):
        shutil.copytree(card.ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in TOP_LEVEL:
        shutil.copy(card.ROOT / name, checkout / name)
    needed = {path.relative_to(checkout).as_posix() for path in checkout.rglob("*") if path.is_file()}
    for name in STAYS_OUT:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("mine")
    held = space.deploy(hub, checkout, tmp_path / "home")
    assert held.keys() == {".gitattributes", *needed}
    # Again, without a file: it does not stay behind.
    (checkout / "examples" / "examples.json").unlink()
    assert space.deploy(hub, checkout, tmp_path / "home").keys() == held.keys() - {"examples/examples.json"}
