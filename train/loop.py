"""The training loop: a recipe and its samples -> the weights of the best epoch by validation.

One epoch is the unit of everything: seeded on its own, checkpointed at its end, so that a run killed at any moment and
resumed ends as the uninterrupted one does. Knows nothing of test splits or of what a released folder looks like.
"""

import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.torch
import timm
import torch
from timm.utils import ModelEmaV3, freeze
from torch import Tensor, nn
from tqdm import tqdm

from src.networks import EfficientNetV2MCBAM, Network
from src.predictor import class_logits
from src.tasks import TASKS
from src.weights import PretrainedConfig, build, read_tensors
from train import metrics
from train.augment import Augmentation
from train.data import Sample
from train.dataset import Batches, Order, TrainingSet, load_arrays, load_evaluation_tensor
from train.distributed import Processes
from train.losses import FocalLoss, class_weights
from train.optimisation import Updates, adamw, schedule
from train.recipe import Recipe

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


def pretrained_config(recipe: Recipe) -> PretrainedConfig:
    """How the recipe's released model turns a picture into its input."""
    return PretrainedConfig(
        input_size=(recipe.channels, recipe.image_size, recipe.image_size),
        mean=recipe.mean,
        std=recipe.std,
        interpolation=recipe.interpolation,
        crop_pct=1.0,
        crop_mode=recipe.crop_mode,
    )


def outputs(task: str, architecture: str) -> int:
    """How many logits a network of this task gives: our two-class networks from the literature have one."""
    classes = len(TASKS[task].codes)
    return 1 if architecture in ("vigil_attention_cnn96", "vigil_linear28") and classes == 2 else classes


def start(recipe: Recipe, pretrained: str) -> Network:
    """The network before training: from the Hub's ImageNet weights ("hub"), from a file of timm's key names, or "none".

    Raises TrainingError for a file that does not fit: everything but the classifier must be there.
    """
    number = outputs(recipe.task, recipe.architecture)
    rates: dict[str, Any] = {
        name: rate
        for name, rate in (("drop_rate", recipe.drop_rate), ("drop_path_rate", recipe.drop_path_rate))
        if rate
    }
    if pretrained == "hub" and not recipe.architecture.startswith("vigil_"):
        return cast(
            Network,
            timm.create_model(
                recipe.architecture, pretrained=True, num_classes=number, in_chans=recipe.channels, **rates
            ),
        )
    network = build(recipe.architecture, number, recipe.channels, **rates)
    if pretrained in ("hub", "none"):
        return network
    # ImageNet weights are for the backbone where our network has one of timm's inside.
    target = cast(Network, network.backbone) if isinstance(network, EfficientNetV2MCBAM) else network
    classifier = target.pretrained_cfg["classifier"]
    tensors = {name: t for name, t in read_tensors(Path(pretrained)).items() if not name.startswith(classifier)}
    try:
        missing, unexpected = target.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise TrainingError(f"{pretrained} does not fit {recipe.architecture}: shapes differ.") from error
    lacking = [name for name in missing if not name.startswith(classifier) and "num_batches_tracked" not in name]
    if lacking or unexpected:
        raise TrainingError(
            f"{pretrained} does not fit {recipe.architecture}: "
            f"{len(lacking)} tensors missing, {len(unexpected)} unknown, first {(lacking or unexpected)[0]}."
        )
    return network


def predict(network: nn.Module, pixels: Tensor, normalise: "Normalise", precision: Precision) -> np.ndarray:
    """Class logits float64 (N, C) of uint8 pictures (N, channels, H, W), in evaluation mode."""
    network.eval()
    rows = []
    with torch.no_grad(), precision.autocast():
        for batch in pixels.split(64):
            rows.append(class_logits(network(normalise(batch)).float()).cpu())
    return torch.cat(rows).double().numpy()


class Normalise:
    """uint8 (N, C, H, W) on the CPU -> normalised float32 on the device, channels last."""

    def __init__(self, config: PretrainedConfig, device: torch.device) -> None:
        self.mean = torch.tensor(config.mean, device=device).view(1, -1, 1, 1) * 255
        self.std = torch.tensor(config.std, device=device).view(1, -1, 1, 1) * 255
        self.device = device

    def __call__(self, pixels: Tensor) -> Tensor:
        pixels = pixels.to(self.device, non_blocking=True).float()
        return ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def train(
    recipe: Recipe,
    samples: Sequence[Sample],
    out: Path,
    pretrained: str = "none",
    resume: bool = False,
    workers: int | None = None,
    processes: Processes = ALONE,
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Train by `recipe` on the "train" samples, choosing the epoch on the "validation" ones.

    Writes into `out`: `metrics.jsonl` (a line an epoch), `last.pt` (everything `resume` needs) and `best.safetensors`.
    Returns the best epoch's float32 tensors and the metrics of every epoch. Raises TrainingError where `out` holds
    another run, or where the loss stops being a number. Of several `processes` each calls this; the first writes.
    """
    task = TASKS[recipe.task]
    out.mkdir(parents=True, exist_ok=True)
    last = out / "last.pt"
    if last.exists() and not resume:
        raise TrainingError(f"{out} already holds a run: add --resume to go on with it, or give another --out.")
    if recipe.batch_size % processes.count:
        raise TrainingError(f"{processes.count} processes cannot share batches of {recipe.batch_size}.")
    precision = Precision.best(processes.local_rank)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.manual_seed(recipe.seed)
    network = start(recipe, pretrained)
    if recipe.frozen:  # without names timm freezes everything
        freeze(network, list(recipe.frozen), include_bn_running_stats=False)
    if recipe.gradient_checkpointing:
        cast(Any, network).set_grad_checkpointing()
    network = network.to(precision.device).to(memory_format=torch.channels_last)
    config = pretrained_config(recipe)
    normalise = Normalise(config, precision.device)

    training = [sample for sample in samples if sample.split == "train"]
    labels = [sample.label for sample in training]
    # A quarter larger than the crops: what random crops zoom into keeps its detail, and memory its bounds.
    arrays = load_arrays(training, task, recipe.channels, round(1.25 * max(recipe.train_size or 0, recipe.image_size)))
    pictures = TrainingSet(arrays, labels, recipe.augmentation, recipe.size_in, recipe.seed)
    if processes.first:
        validation = [sample for sample in samples if sample.split == "validation"]
        held_out = load_evaluation_tensor(validation, task, config)
        truth = np.array([sample.label for sample in validation])

    weights = class_weights(labels, len(task.codes), recipe.loss.class_weight_power)
    loss_function = FocalLoss(
        recipe.loss.gamma, weights, recipe.loss.label_smoothing, recipe.loss.alpha, recipe.loss.cross_entropy
    ).to(precision.device)
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

    batches = Batches(Order(recipe, labels, task.codes), recipe, len(history), processes.rank, processes.count)
    per_epoch = math.ceil(batches.per_epoch / settings.accumulate)
    set_learning_rates = schedule(
        optimiser,
        settings,
        recipe.epochs * per_epoch,
        round(settings.warmup_epochs * per_epoch),
        len(history) * per_epoch,
    )
    auxiliary = bool(recipe.loss.auxiliary)
    learner = processes.wrap(
        _WithAuxiliary(network) if auxiliary else network,
        some_unused=isinstance(network, EfficientNetV2MCBAM) and not auxiliary,
    )
    updates = Updates(network, optimiser, scaler, settings)
    if workers is None:
        workers = max(1, (os.cpu_count() or 2) // processes.count - 1)
    loader = iter(pictures.loader(batches, workers))
    for epoch in range(len(history), recipe.epochs):
        if _out_of_patience(history, recipe):
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
            pixels, batch_labels = next(loader)
            set_learning_rates(step)
            batch_labels = batch_labels.to(precision.device, non_blocking=True)
            with precision.autocast():
                answers = learner(normalise(pixels))
            main, *more = answers if auxiliary else (answers,)
            loss = loss_function(class_logits(main), batch_labels)
            for logits in more:
                loss = loss + recipe.loss.auxiliary * loss_function(class_logits(logits), batch_labels)
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
            row |= metrics.quick(task, predict(judged, held_out, normalise, precision), truth)
        # All must know it, to stop at the same epoch.
        row = processes.from_first(row)
        best_before = max((past[recipe.select_by] for past in history), default=-math.inf)
        history.append(row)
        if processes.first:
            tqdm.write("  ".join(f"{key} {value:.4g}" for key, value in row.items()))
            if row[recipe.select_by] > best_before:
                _replace(out / "best.safetensors", safetensors.torch.save(_tensors(judged)))
            _replace(out / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in history).encode())
            _save_state(last, network, optimiser, scaler, average, recipe, history)
    return safetensors.torch.load_file(out / "best.safetensors") if processes.first else {}, history


class _WithAuxiliary(nn.Module):
    """A network with two heads as a module whose call gives the logits of both, as DistributedDataParallel needs it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = cast(EfficientNetV2MCBAM, network)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.forward_with_auxiliary(x)


def _out_of_patience(history: Sequence[Mapping[str, Any]], recipe: Recipe) -> bool:
    scores = [row[recipe.select_by] for row in history]
    return bool(scores) and len(scores) - 1 - int(np.argmax(scores)) >= recipe.patience


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def _save_state(
    file: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: ModelEmaV3 | None,
    recipe: Recipe,
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
