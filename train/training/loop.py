"""The training loop: a job of any kind -> the weights of its best epoch by validation.

One epoch is the unit of everything: seeded on its own, checkpointed at its end, so that a run killed at any moment and
resumed ends as the uninterrupted one does. Knows nothing of what is learned (`train.training.classifier`,
`train.training.segmentation`), of test splits or of what a released folder looks like.
"""

import json
import logging
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from timm.utils import ModelEmaV3, freeze
from torch import Tensor, nn
from tqdm import tqdm

from src.models.checkpoints import read_tensors
from src.tasks import TASKS
from train.training.dataset import Batches, Order, TrainingSet
from train.training.distributed import Processes
from train.training.optimisation import Updates, adamw, schedule
from train.training.recipe import Run

log = logging.getLogger(__name__)

ALONE = Processes()
LOOKED_AT = 10
"""Batches between two looks at the loss: each makes the processor wait for the GPU."""


class TrainingError(RuntimeError):
    """A run that cannot start or go on; the message says why in one sentence."""


@dataclass(frozen=True)
class Precision:
    """What the forward pass computes in. float16 needs its loss scaled; bfloat16 has float32's range."""

    device: torch.device
    dtype: torch.dtype | None

    @classmethod
    def best(cls, local_rank: int = 0) -> "Precision":
        """float16 on a CUDA device (a T4 has no bfloat16), bfloat16 on a CPU with instructions for it, else float32.

        Emulated bfloat16 is up to ten times slower than float32 (measured on AVX2), so it is not used.
        """
        if torch.cuda.is_available():
            return cls(torch.device("cuda", local_rank), torch.float16)
        able = torch.cpu.get_capabilities()
        return cls(torch.device("cpu"), torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else None)

    def autocast(self) -> torch.autocast:
        """A context for the forward pass."""
        return torch.autocast(self.device.type, dtype=self.dtype or torch.bfloat16, enabled=self.dtype is not None)


class Normalise:
    """uint8 (N, C, H, W) on the CPU -> normalised float32 on the device, channels last."""

    def __init__(self, recipe: Run, device: torch.device) -> None:
        self.mean = torch.tensor(recipe.mean, device=device).view(1, -1, 1, 1) * 255
        self.std = torch.tensor(recipe.std, device=device).view(1, -1, 1, 1) * 255
        self.device = device

    def __call__(self, pixels: Tensor) -> Tensor:
        """The batch as the network takes it."""
        pixels = pixels.to(self.device, non_blocking=True).float()
        return ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


class Job(ABC):
    """What one kind of training adds to the loop: its network, pictures, loss and judgement.

    `network` before training, `pictures` with their `labels` (class indices) and `sources` (names of their sets), for
    the order of an epoch. `some_unused`: not every parameter that learns takes part in every pass.
    """

    recipe: Run
    network: nn.Module
    pictures: TrainingSet
    labels: Sequence[int]
    sources: Sequence[str]
    some_unused: bool = False

    def learner(self) -> nn.Module:
        """The module whose call on normalised pictures gives what `loss` takes; it shares the network's parameters."""
        return self.network

    @abstractmethod
    def loss(self, answers: Any, targets: Tensor) -> Tensor:
        """The scalar to bring down, of the learner's `answers` to a batch and its `targets` on the same device."""

    @abstractmethod
    def judge(self, network: nn.Module, normalise: Normalise, precision: Precision) -> dict[str, float]:
        """The validation metrics of an epoch, the recipe's `select_by` among them: higher is better, but for "loss"."""


def load_pretrained(target: nn.Module, name: str, file: str, except_for: str | None = None) -> None:
    """Load a safetensors file into `target`, called `name`, all but the tensors whose names begin with `except_for`.

    Raises TrainingError for a file that does not fit.
    """
    spared = (except_for,) if except_for else ()
    tensors = {key: t for key, t in read_tensors(Path(file)).items() if not key.startswith(spared)}
    try:
        missing, unexpected = target.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise TrainingError(f"{file} does not fit {name}: shapes differ.") from error
    lacking = [key for key in missing if not key.startswith(spared) and "num_batches_tracked" not in key]
    if lacking or unexpected:
        raise TrainingError(
            f"{file} does not fit {name}: "
            f"{len(lacking)} tensors missing, {len(unexpected)} unknown, first {(lacking or unexpected)[0]}."
        )


def run(
    job: Job,
    out: Path,
    precision: Precision,
    resume: bool = False,
    workers: int | None = None,
    processes: Processes = ALONE,
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Train until the recipe's epochs or patience are over; the best epoch by validation wins.

    Writes into `out`: `metrics.jsonl` (a line an epoch), `last.pt` (everything `resume` needs) and `best.safetensors`.
    Returns the best epoch's float32 tensors and the metrics of every epoch. Raises TrainingError where `out` holds
    another run, or where the loss stops being a number. Of several `processes` each calls this; the first writes.
    """
    recipe, select_by = job.recipe, cast(Any, job.recipe).select_by
    out.mkdir(parents=True, exist_ok=True)
    last = out / "last.pt"
    if last.exists() and not resume:
        raise TrainingError(f"{out} already holds a run: add --resume to go on with it, or give another --out.")
    if recipe.batch_size % processes.count:
        raise TrainingError(f"{processes.count} processes cannot share batches of {recipe.batch_size}.")
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    network = job.network
    if recipe.frozen:  # without names timm freezes everything
        freeze(network, list(recipe.frozen), include_bn_running_stats=False)
    if recipe.gradient_checkpointing:
        cast(Any, network).set_grad_checkpointing()
    network = network.to(precision.device).to(memory_format=torch.channels_last)
    normalise = Normalise(recipe, precision.device)

    settings = recipe.optimiser
    optimiser = adamw(network, settings)
    scaler = torch.amp.GradScaler(precision.device.type, enabled=precision.dtype == torch.float16)
    average = ModelEmaV3(network, decay=recipe.ema_decay, use_warmup=True) if recipe.ema_decay else None

    history: list[dict[str, Any]] = []
    if resume and last.exists():
        state = torch.load(last, map_location=precision.device, weights_only=True)
        if state["recipe"] != recipe.model_dump_json():
            raise TrainingError(f"{last} is of another recipe; give another --out.")
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        scaler.load_state_dict(state["scaler"])
        if average is not None:
            average.module.load_state_dict(state["average"])
        history = json.loads(state["history"])
        log.info("resumed after epoch %d", len(history))

    order = Order(recipe, job.labels, TASKS[recipe.task].codes, job.sources)
    batches = Batches(order, recipe, len(history), processes.rank, processes.count)
    per_epoch = math.ceil(batches.per_epoch / settings.accumulate)
    set_learning_rates = schedule(
        optimiser,
        settings,
        recipe.epochs * per_epoch,
        round(settings.warmup_epochs * per_epoch),
        len(history) * per_epoch,
    )
    learner = processes.wrap(job.learner(), job.some_unused)
    updates = Updates(network, optimiser, scaler, settings)
    if workers is None:
        workers = max(1, (os.cpu_count() or 2) // processes.count - 1)
    loader = iter(job.pictures.loader(batches, workers))
    for epoch in range(len(history), recipe.epochs):
        if _out_of_patience(history, select_by, recipe.patience):
            log.info("no better epoch in %d: stopped early", recipe.patience)
            break
        # Dropout differs between processes, and each epoch's is the same after resuming.
        torch.manual_seed(recipe.seed * 100_003 + epoch + 1_000_003 * processes.rank)
        network.train()
        step, total = epoch * per_epoch, torch.zeros((), device=precision.device)
        bar = tqdm(
            range(1, batches.per_epoch + 1),
            desc=f"epoch {epoch + 1}/{recipe.epochs}",
            unit_scale=recipe.batch_size,
            unit="image",
            disable=not processes.first,
        )
        for batch in bar:
            pixels, targets = next(loader)
            set_learning_rates(step)
            targets = targets.to(precision.device, non_blocking=True)
            with precision.autocast():
                answers = learner(normalise(pixels))
            loss = job.loss(answers, targets)
            complete = batch % settings.accumulate == 0 or batch == batches.per_epoch
            updates.backward(loss, last=complete)
            total += loss.detach()
            if complete:
                step += 1
                if average is not None:
                    average.update(network, step=step)
            if batch % LOOKED_AT == 0 or batch == batches.per_epoch:
                mean = total.item() / batch
                if not math.isfinite(mean):
                    raise TrainingError(f"The loss is {mean} in epoch {epoch + 1}: lower the learning rate.")
                bar.set_postfix(loss=f"{mean:.3f}")
        judged = average.module if average is not None else network
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "lr": optimiser.param_groups[-1]["lr"],
            "train_loss": processes.mean(total.item() / batches.per_epoch),
        }
        if processes.first:
            row |= job.judge(judged, normalise, precision)
        # All must know it, to stop at the same epoch.
        row = processes.from_first(row)
        best_before = max((_score(past, select_by) for past in history), default=-math.inf)
        history.append(row)
        if processes.first:
            tqdm.write("  ".join(f"{key} {value:.4g}" for key, value in row.items()))
            if _score(row, select_by) > best_before:
                _replace(out / "best.safetensors", safetensors.torch.save(_tensors(judged)))
            _replace(out / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in history).encode())
            _save_state(last, network, optimiser, scaler, average, recipe, history)
    return safetensors.torch.load_file(out / "best.safetensors") if processes.first else {}, history


def _score(row: Mapping[str, Any], select_by: str) -> float:
    """An epoch's `select_by`, turned so that higher is better."""
    if select_by == "last":
        return row["epoch"]
    return -row[select_by] if select_by == "loss" else row[select_by]


def _out_of_patience(history: Sequence[Mapping[str, Any]], select_by: str, patience: int) -> bool:
    scores = [_score(row, select_by) for row in history]
    return bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= patience


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def _save_state(
    file: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: ModelEmaV3 | None,
    recipe: Run,
    history: Sequence[Mapping[str, Any]],
) -> None:
    state = {
        "recipe": recipe.model_dump_json(),
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "scaler": scaler.state_dict(),
        "average": average.module.state_dict() if average is not None else None,
        "history": json.dumps(history),
    }
    temporary = file.with_suffix(".writing")
    torch.save(state, temporary)
    temporary.replace(file)


def _replace(file: Path, content: bytes) -> None:
    """Write so that a kill in the middle leaves the old file whole."""
    temporary = file.with_suffix(file.suffix + ".writing")
    temporary.write_bytes(content)
    temporary.replace(file)
