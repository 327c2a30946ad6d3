"""src/service/shared_models.py: models cross to other processes as they are, and share their memory."""

import multiprocessing
import os

import numpy as np
import pytest
import torch

from src.models import architectures, checkpoints
from src.service import shared_models
from src.service.shared_models import SharedModels
from tests.support import synthetic_checkpoints

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("architecture", sorted(architectures.CLASSIFIERS))
def test_networks_travel_as_they_are(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for way in ("load", "save"):
        monkeypatch.setattr(torch, way, None)
    channels, _ = synthetic_checkpoints.INPUT.get(architecture, (3, 96))
    network = checkpoints.build(architecture, 2, channels)
    ours, theirs = multiprocessing.Pipe()
    SharedModels({"network": network}).send(ours, os.getpid())
    there = SharedModels.receive(theirs).unpickled()["network"]
    for (name, tensor), (other, arrived) in zip(network.state_dict().items(), there.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(tensor, arrived)
        assert arrived.data_ptr() % shared_models.ALIGNED == 0


def test_models_are_shared_until_written_to() -> None:
    sent = SharedModels([torch.zeros(1000), np.zeros(3, dtype=np.float32), torch.zeros(0)])
    ours, theirs = multiprocessing.Pipe()
    received = []
    for _ in range(2):
        sent.send(ours, os.getpid())
        received.append(SharedModels.receive(theirs).unpickled())
    received[0][0].fill_(1)
    assert received[1][0].sum() == 0
    sent.send(ours, os.getpid())
    assert SharedModels.receive(theirs).unpickled()[0].sum() == 0
