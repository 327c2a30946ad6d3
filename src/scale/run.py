"""A run: sources -> parts -> files -> manifest, by one of the engines, with sentences for the person who runs it."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tqdm import tqdm

from src.exports.csv_rows import columns
from src.exports.spreadsheet import Writer
from src.models import engine_choice
from src.models.checkpoints import Checkpoint
from src.models.forward import Precision
from src.scale import ledger, local_engine
from src.scale.addresses import ScaleError, StoreError, name
from src.scale.inputs import Inputs
from src.scale.local_engine import Outcome
from src.scale.parts import SUFFIX, Part, Run, Written, csv_rows, plan, table_of
from src.scale.process import PartFailed
from src.scale.store import Store
from src.scale.worker import Job, fingerprint
from src.tasks import TASKS

ENGINES: Final = ("local", "ray")
INTERRUPTED: Final = 130
MAX_NAMED: Final = 5
"""The most parts that are named with the reason why they are left."""


@dataclass(frozen=True)
class Settings:
    """How a run is spread over processes and machines. None of it changes a row, but for `part_size`.

    `engine`: one of ENGINES. `address`: that of a Ray cluster; None for a local one. `shard`: its number from 0 and the
    number of shards. `workers`: the number of processes; None for one on each core or GPU. `part_size`: images of a
    part, or None. `csv`: a file for all rows, or None.
    """

    out: str
    engine: str = "local"
    address: str | None = None
    shard: tuple[int, int] = (0, 1)
    workers: int | None = None
    part_size: int | None = None
    csv: str | None = None


@dataclass(frozen=True)
class Model:
    """What the rows depend on besides the images.

    `requested`: as for `checkpoints.load`, or None. `device`: "cpu" or "cuda". The others are as for `Predictor`.
    """

    checkpoint: Checkpoint
    requested: str | None
    threshold: float
    mpp: float | None
    precision: Precision
    device: str


def score(model: Model, inputs: Inputs, settings: Settings) -> int:
    """Score the images into the parts of `settings.out`, and close the folder if all are there.

    Returns the exit status. Raises ScaleError, StoreError and OSError.
    """
    config = model.checkpoint.config.vigil
    out = settings.out if "://" in settings.out else str(Path(settings.out).resolve())
    store = Store(out)
    job = Job(
        task=config.task,
        weights=_weights(model),
        fingerprint=fingerprint(model.checkpoint),
        threshold=model.threshold,
        mpp=model.mpp,
        precision=model.precision,
        engine=engine_choice.chosen(),
        device=model.device,
        out=out,
    )
    about = {
        "task": job.task,
        "model": config.name,
        "weights": job.fingerprint,
        "threshold": job.threshold,
        "mpp": job.mpp,
        "precision": job.precision,
        "engine": job.engine,
        "device": job.device,
    }
    run, parts = plan(about, inputs, settings.part_size)
    ledger.begin(store, run)
    number, of = settings.shard
    mine = parts[number::of]
    whole = {part.name: file for part, file in zip(mine, ledger.files(store, _names(mine)), strict=True) if file}
    skipped = len(whole)
    if skipped:
        _say(f"{skipped:,} of {len(mine):,} parts are there already.")
    missing = [part for part in mine if part.name not in whole]
    failed: list[PartFailed] = []
    try:
        for outcome in _progress(_engine(settings, missing, job), missing, job.task):
            if isinstance(outcome, PartFailed):
                failed.append(outcome)
            else:
                whole[outcome.name] = outcome
    except KeyboardInterrupt:
        left = [part for part in mine if part.name not in whole]
        images = sum(len(part.images) for part in left)
        _say(
            f"interrupted; {len(left):,} of {len(mine):,} parts with {images:,} images are left. The same command "
            "continues the run."
        )
        return INTERRUPTED
    for failure in failed[:MAX_NAMED]:
        _say(f"a part is left: {failure}")
    if failed:
        _say(f"{len(failed):,} of {len(mine):,} parts are left; the same command tries them again.")
    errors = sum(file.errors for file in whole.values())
    if errors:
        rows = sum(file.rows for file in whole.values())
        _say(f"{errors:,} of {rows:,} images failed; the column error says why.")
    if not failed:
        _close(store, run, parts, whole, inputs, settings)
    return 1 if errors or failed else 0


def verify(out: str) -> int:
    """Prove that a folder has one row for each image of its run, and print the result. Returns the exit status."""
    try:
        manifest, problems = ledger.verify(Store(out))
    except (ScaleError, StoreError) as error:
        _say(str(error))
        return 1
    except OSError as error:
        _say(f"{name(out)} cannot be read: {error.strerror or error}.")
        return 1
    for problem in problems:
        _say(problem)
    if problems:
        return 1
    _say(
        f"{manifest['rows']:,} rows in {len(manifest['parts']):,} parts, {manifest['errors']:,} with an error: one row "
        f"for each of the {manifest['inputs']['count']:,} images, and every file is whole."
    )
    return 0


def _weights(model: Model) -> str | None:
    """The checkpoint as `checkpoints.load` takes it on any machine; None for the embedded one."""
    for folder in (model.requested, model.checkpoint.source):
        if folder is not None and Path(folder).is_dir():
            return str(Path(folder).resolve())
    source = model.checkpoint.source
    return None if source == "embedded" else f"{source}@{model.checkpoint.revision}"


def _engine(settings: Settings, parts: Sequence[Part], job: Job) -> Iterator[Outcome]:
    if settings.engine == "local":
        return local_engine.score_parts(parts, job, settings.workers)
    # Imported here, because Vigil works without Ray.
    from src.scale.ray_engine import score_parts

    return score_parts(parts, job, settings.workers, settings.address)


def _progress(outcomes: Iterator[Outcome], parts: Sequence[Part], task: str) -> Iterator[Outcome]:
    with tqdm(desc=task, unit="image", total=sum(len(part.images) for part in parts)) as bar:
        for outcome in outcomes:
            if isinstance(outcome, Written):
                bar.update(outcome.rows)
            yield outcome


def _close(
    store: Store, run: Run, parts: Sequence[Part], whole: dict[str, Written], inputs: Inputs, settings: Settings
) -> None:
    """Close the folder if the parts of all shards are there, and write the CSV."""
    others = [part.name for part in parts if part.name not in whole]
    if others and len(store.names(SUFFIX)) < len(parts):
        _say("this shard is done. The last shard closes the folder, or the same command without --shard does.")
        return
    whole.update({file.name: file for file in ledger.files(store, others) if file})
    if len(whole) < len(parts):
        _say("this shard is done, and the parts of another are not whole.")
        return
    manifest = ledger.close(store, run, whole.values(), Counter(reason for _, reason in inputs.left_out))
    _say(f"{manifest['rows']:,} rows, {manifest['errors']:,} with an error, in {len(parts):,} parts of {store.called}.")
    if settings.csv is not None:
        _write_csv(store, run, _names(parts), Path(settings.csv))


def _write_csv(store: Store, run: Run, names: Sequence[str], file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = Writer(out, [*columns(TASKS[run.task]), *run.about["carried"]])
        for part in names:
            data = store.read(part)
            found = None if data is None else table_of(data)
            if found is None:
                raise ScaleError(f"{part} is no longer whole.")
            for row in csv_rows(run.task, found[0]):
                writer.write(row)


def _names(parts: Sequence[Part]) -> list[str]:
    return [part.name for part in parts]


def _say(sentence: str) -> None:
    print(f"score: {sentence}", file=sys.stderr)
