"""Several processes train one model: `torchrun --nproc-per-node 2 -m train RECIPE …`.

torchrun sets each process's rank in the environment; without it there is one process. The processes share each batch,
so a recipe's batch size means the same for any number of them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Processes:
    """This process: `rank` of `count`, and `local_rank` on its machine. Only the first one writes and logs."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that validates, saves and releases."""
        return self.rank == 0

    def wrap(self, network: nn.Module, has_unused_parameters: bool) -> nn.Module:
        """`network` with its gradients averaged over all processes after each backward pass.

        `has_unused_parameters` is True where a forward pass may leave out parameters that learn.
        """
        if self.count == 1:
            return network
        on_gpu = next(network.parameters()).is_cuda
        return DistributedDataParallel(
            # Batch norm then uses the whole batch. torch supports that on GPUs only.
            convert_sync_batchnorm(network) if on_gpu else network,
            device_ids=[self.local_rank] if on_gpu else None,
            find_unused_parameters=has_unused_parameters,
        )

    def mean(self, value: float) -> float:
        """The mean of `value` over all processes."""
        if self.count == 1:
            return value
        device = torch.device("cuda", self.local_rank) if dist.get_backend() == "nccl" else torch.device("cpu")
        total = torch.tensor(value, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return total.item() / self.count

    def from_first(self, value: Any) -> Any:
        """The first process's `value`, in every process."""
        if self.count == 1:
            return value
        shared = [value]
        dist.broadcast_object_list(shared, src=0)
        return shared[0]


@contextmanager
def join_processes() -> Iterator[Processes]:
    """The processes that torchrun started, for as long as the context lasts; one process without torchrun."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    processes = Processes(int(os.environ["RANK"]), count, int(os.environ["LOCAL_RANK"]))
    if torch.cuda.is_available():
        torch.cuda.set_device(processes.local_rank)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield processes
    finally:
        dist.destroy_process_group()
