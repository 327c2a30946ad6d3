"""The training loop: it trains any job and keeps the weights of the best epoch by validation.

Each epoch has its own seed and ends with a checkpoint, so a run that is killed at any moment and resumed ends like an
uninterrupted one. The jobs are in `train.training.classifier` and `train.training.segmentation`. This module knows
nothing of test splits or of released folders.
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
LOSS_CHECK_INTERVAL = 10
"""Batches between two checks of the loss: each check makes the processor wait for the GPU."""


class TrainingError(RuntimeError):
    """A run that cannot start or go on; the message says why in one sentence."""


@dataclass(frozen=True)
class Precision:
    """The device and the number format of the forward pass. float16 needs loss scaling; bfloat16 does not."""

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
        """Normalise a batch."""
        pixels = pixels.to(self.device, non_blocking=True).float()
        return ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


class Job(ABC):
    """One kind of training: its network, images, loss and validation.

    `network` is untrained or pretrained. `pictures` are the training images; `labels` (class indices) and `sources`
    (dataset names) have an entry per image and decide an epoch's order. `has_unused_parameters` is True where a forward
    pass may leave out parameters that learn.
    """

    recipe: Run
    network: nn.Module
    pictures: TrainingSet
    labels: Sequence[int]
    sources: Sequence[str]
    has_unused_parameters: bool = False

    def learner(self) -> nn.Module:
        """The module that turns normalised images into the outputs that `loss` takes, with the network's parameters."""
        return self.network

    @abstractmethod
    def loss(self, outputs: Any, targets: Tensor) -> Tensor:
        """The loss of a batch, a scalar: the learner's `outputs` against the `targets`, on the same device."""

    @abstractmethod
    def validate(self, network: nn.Module, normalise: Normalise, precision: Precision) -> dict[str, float]:
        """An epoch's validation metrics, including the recipe's `select_by`. Higher is better, except for "loss"."""


def load_pretrained(target: nn.Module, name: str, file: str, except_for: str | None = None) -> None:
    """Load a safetensors file into `target`, except tensors whose names begin with `except_for`.

    `name` is the network's, for messages. Raises TrainingError for a file that does not fit.
    """
    skipped = (except_for,) if except_for else ()
    tensors = {key: t for key, t in read_tensors(Path(file)).items() if not key.startswith(skipped)}
    try:
        missing, unexpected = target.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise TrainingError(f"{file} does not fit {name}: shapes differ.") from error
    lacking = [key for key in missing if not key.startswith(skipped) and "num_batches_tracked" not in key]
    if lacking or unexpected:
        raise TrainingError(
            f"{file} does not fit {name}: "
            f"{len(lacking)} tensors missing, {len(unexpected)} unknown, first {(lacking or unexpected)[0]}."
        )


class TrainingState:
    """What a run changes and what resuming needs: weights, optimiser, loss scale, weight average and history.

    `network` is moved to the device, and the parameters that the recipe names are frozen. `history` has the metrics of
    each epoch so far.
    """

    def __init__(self, job: Job, precision: Precision) -> None:
        recipe, network = job.recipe, job.network
        if recipe.frozen:  # without names timm freezes everything
            freeze(network, list(recipe.frozen), include_bn_running_stats=False)
        if recipe.gradient_checkpointing:
            cast(Any, network).set_grad_checkpointing()
        self.recipe, self.device = recipe, precision.device
        self.network = network.to(precision.device).to(memory_format=torch.channels_last)
        self.optimiser = adamw(self.network, recipe.optimiser)
        self.scaler = torch.amp.GradScaler(precision.device.type, enabled=precision.dtype == torch.float16)
        self.average = ModelEmaV3(self.network, decay=recipe.ema_decay, use_warmup=True) if recipe.ema_decay else None
        self.history: list[dict[str, Any]] = []

    @property
    def released(self) -> nn.Module:
        """The network that validation measures and `best.safetensors` keeps: the weight average where there is one."""
        return self.network if self.average is None else self.average.module

    def restore(self, file: Path) -> None:
        """Continue from what `save` wrote. Raises TrainingError for a file of another recipe."""
        state = torch.load(file, map_location=self.device, weights_only=True)
        if state["recipe"] != self.recipe.model_dump_json():
            raise TrainingError(f"{file} is of another recipe; give another --out.")
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        self.history = json.loads(state["history"])
        log.info("resumed after epoch %d", len(self.history))

    def save(self, file: Path) -> None:
        """Write the state; a kill in the middle leaves the old file whole."""
        state = {
            "recipe": self.recipe.model_dump_json(),
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.module.state_dict() if self.average is not None else None,
            "history": json.dumps(self.history),
        }
        temporary = file.with_suffix(".writing")
        torch.save(state, temporary)
        temporary.replace(file)


class EpochTrainer:
    """Trains one epoch after another on a job's training images; `processes` share each batch."""

    def __init__(
        self, job: Job, state: TrainingState, precision: Precision, processes: Processes, workers: int | None
    ) -> None:
        recipe, done = job.recipe, len(state.history)
        self.job, self.state, self.precision, self.processes = job, state, precision, processes
        self.normalise = Normalise(recipe, precision.device)
        order = Order(recipe, job.labels, TASKS[recipe.task].codes, job.sources)
        batches = Batches(order, recipe, done, processes.rank, processes.count)
        self.batches_per_epoch = batches.per_epoch
        self.updates_per_epoch = math.ceil(batches.per_epoch / recipe.optimiser.accumulate)
        self.set_learning_rates = schedule(
            state.optimiser,
            recipe.optimiser,
            recipe.epochs * self.updates_per_epoch,
            round(recipe.optimiser.warmup_epochs * self.updates_per_epoch),
            done * self.updates_per_epoch,
        )
        self.learner = processes.wrap(job.learner(), job.has_unused_parameters)
        self.updates = Updates(state.network, state.optimiser, state.scaler, recipe.optimiser)
        if workers is None:
            workers = max(1, (os.cpu_count() or 2) // processes.count - 1)
        self.loader = iter(job.pictures.loader(batches, workers))

    def train(self, epoch: int) -> float:
        """Train epoch number `epoch`, from 0; returns this process's mean loss. Raises TrainingError for a NaN."""
        recipe, state, processes = self.job.recipe, self.state, self.processes
        # Dropout differs between processes, and each epoch's is the same after resuming.
        torch.manual_seed(recipe.seed * 100_003 + epoch + 1_000_003 * processes.rank)
        state.network.train()
        step, total = epoch * self.updates_per_epoch, torch.zeros((), device=self.precision.device)
        bar = tqdm(
            range(1, self.batches_per_epoch + 1),
            desc=f"epoch {epoch + 1}/{recipe.epochs}",
            unit_scale=recipe.batch_size,
            unit="image",
            disable=not processes.first,
        )
        for batch in bar:
            self.set_learning_rates(step)
            complete = batch % recipe.optimiser.accumulate == 0 or batch == self.batches_per_epoch
            total += self._train_batch(complete)
            if complete:
                step += 1
                if state.average is not None:
                    state.average.update(state.network, step=step)
            if batch % LOSS_CHECK_INTERVAL == 0 or batch == self.batches_per_epoch:
                mean = total.item() / batch
                if not math.isfinite(mean):
                    raise TrainingError(f"The loss is {mean} in epoch {epoch + 1}: lower the learning rate.")
                bar.set_postfix(loss=f"{mean:.3f}")
        return total.item() / self.batches_per_epoch

    def _train_batch(self, complete: bool) -> Tensor:
        """The loss of the next batch, after its backward pass; `complete` also updates the weights."""
        pixels, targets = next(self.loader)
        targets = targets.to(self.precision.device, non_blocking=True)
        with self.precision.autocast():
            outputs = self.learner(self.normalise(pixels))
        loss = self.job.loss(outputs, targets)
        self.updates.backward(loss, last=complete)
        return loss.detach()


def run(
    job: Job,
    out: Path,
    precision: Precision,
    resume: bool = False,
    workers: int | None = None,
    processes: Processes = ALONE,
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Train for the recipe's epochs, or until its patience is over; the best epoch by validation is kept.

    Writes into `out`: `metrics.jsonl` (a line per epoch), `last.pt` (for `resume`) and `best.safetensors`. Returns the
    best epoch's float32 tensors and the metrics of every epoch. Where several `processes` share the training, each
    calls this function; the first one writes, and the others return no tensors. Raises TrainingError where `out` holds
    another run, or where the loss stops being a number.
    """
    recipe, select_by = job.recipe, cast(Any, job.recipe).select_by
    out.mkdir(parents=True, exist_ok=True)
    last = out / "last.pt"
    if last.exists() and not resume:
        raise TrainingError(f"{out} already holds a run: add --resume to go on with it, or give another --out.")
    if recipe.batch_size % processes.count:
        raise TrainingError(f"{processes.count} processes cannot share batches of {recipe.batch_size}.")
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    state = TrainingState(job, precision)
    if resume and last.exists():
        state.restore(last)
    trainer = EpochTrainer(job, state, precision, processes, workers)
    for epoch in range(len(state.history), recipe.epochs):
        if _out_of_patience(state.history, select_by, recipe.patience):
            log.info("stopped early: no better epoch in %d", recipe.patience)
            break
        mean_loss = trainer.train(epoch)
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "lr": state.optimiser.param_groups[-1]["lr"],
            "train_loss": processes.mean(mean_loss),
        }
        if processes.first:
            row |= job.validate(state.released, trainer.normalise, precision)
        # Every process gets the metrics, so that all of them stop after the same epoch.
        row = processes.from_first(row)
        best_before = max((_score(past, select_by) for past in state.history), default=-math.inf)
        state.history.append(row)
        if processes.first:
            tqdm.write("  ".join(f"{key} {value:.4g}" for key, value in row.items()))
            if _score(row, select_by) > best_before:
                _replace(out / "best.safetensors", safetensors.torch.save(_tensors(state.released)))
            _replace(out / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in state.history).encode())
            state.save(last)
    return safetensors.torch.load_file(out / "best.safetensors") if processes.first else {}, state.history


def _score(row: Mapping[str, Any], select_by: str) -> float:
    """An epoch's value of `select_by`, with its sign changed where lower is better."""
    if select_by == "last":
        return row["epoch"]
    return -row[select_by] if select_by == "loss" else row[select_by]


def _out_of_patience(history: Sequence[Mapping[str, Any]], select_by: str, patience: int) -> bool:
    scores = [_score(row, select_by) for row in history]
    return bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= patience


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def _replace(file: Path, content: bytes) -> None:
    """Write so that a kill in the middle leaves the old file whole."""
    temporary = file.with_suffix(file.suffix + ".writing")
    temporary.write_bytes(content)
    temporary.replace(file)
