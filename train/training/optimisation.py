"""The optimiser: AdamW's parameter groups, the learning rate of every update, and the update itself."""

from collections.abc import Callable
from typing import Any, cast

import torch
from timm.optim import create_optimizer_v2
from timm.optim import param_groups_weight_decay as by_weight_decay
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from src.models.networks import Network
from train.training.recipe import Optimiser


def adamw(network: nn.Module, settings: Optimiser) -> torch.optim.Optimizer:
    """AdamW for the parameters that learn; biases and norms have no weight decay."""
    if settings.backbone_lr is None:
        return create_optimizer_v2(
            network, opt="adamw", lr=settings.lr, weight_decay=settings.weight_decay, layer_decay=settings.layer_decay
        )
    # A network of several parts calls its pretrained part `backbone`. Of other networks, all but the classifier is
    # pretrained.
    backbone = (
        set(part.parameters())
        if isinstance(part := getattr(network, "backbone", None), nn.Module)
        else set(network.parameters()) - set(cast(Network, network).get_classifier().parameters())
    )
    groups: list[dict[str, Any]] = []
    for group in by_weight_decay(network, settings.weight_decay):
        for lr, inside in ((settings.backbone_lr, True), (settings.lr, False)):
            members = [parameter for parameter in group["params"] if (parameter in backbone) == inside]
            if members:
                groups.append({**group, "params": members, "lr": lr})
    return create_optimizer_v2(groups, opt="adamw", lr=settings.lr)


def schedule(
    optimiser: torch.optim.Optimizer, settings: Optimiser, updates: int, warmup: int, done: int = 0
) -> Callable[[int], None]:
    """A function that sets the learning rates for update i, from 0. It must be called before each update, in order.

    The run has `updates` in total, of which `warmup` raise the rate. `done` of them came before a resumed run, whose
    optimiser state is loaded already.
    """
    if settings.schedule == "cosine":
        return CosineLRScheduler(
            optimiser,
            t_initial=updates,
            lr_min=settings.lr_min,
            warmup_t=warmup,
            warmup_lr_init=settings.lr / 100,
            warmup_prefix=False,
            t_in_epochs=False,
        ).step_update
    # A resumed run uses the peaks in the optimiser's state, which is loaded already.
    peaks = [group["lr"] * group.get("lr_scale", 1.0) for group in optimiser.param_groups]
    # torch divides by the numbers of rising and of falling updates, so neither may be 0.
    total = max(updates, 4)
    rising = min(max(warmup, 2), total - 1) / total
    cycle = OneCycleLR(optimiser, peaks, total_steps=total, pct_start=rising, last_epoch=done - 1)

    def one_cycle(update: int) -> None:
        if update > cycle.last_epoch:
            cycle.step()

    return one_cycle


class Updates:
    """Backward passes and weight updates, with loss scaling for float16, accumulation and clipping.

    `accumulate` backward passes make one update. Each loss is divided by that number, so that the update equals that of
    one large batch.
    """

    def __init__(
        self,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        settings: Optimiser,
    ) -> None:
        self.network, self.optimiser, self.scaler, self.settings = network, optimiser, scaler, settings

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add the gradients of `loss`; the `last` of an update also changes the weights."""
        self.scaler.scale(loss / self.settings.accumulate).backward()
        if not last:
            return
        if self.settings.clip_norm is not None:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
