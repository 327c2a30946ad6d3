"""The models, pickled once, with their weights in memory that all worker processes share.

The weights are in a file without a name, so no other program finds it. It disappears with the last process that uses
it. A process may write into its view of the weights, and no other process sees the change.
"""

import io
import mmap
import os
import pickle
import tempfile
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

ALIGNED = 64
"""Torch's own alignment in bytes. With another one, sums could differ in the last bit between processes."""


class SharedModels:
    """An object, pickled, whose arrays, tensors and buffers are shared by all processes that receive it."""

    _pickled: bytes
    _spans: list[tuple[int, int]]
    _file: int

    def __init__(self, models: object) -> None:
        self._file = _nameless()
        stream, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
        _Pickler(stream, pickle.HIGHEST_PROTOCOL, buffer_callback=buffers.append).dump(models)
        self._pickled, self._spans = stream.getvalue(), []
        end = 0
        for buffer in buffers:
            start = -(-end // ALIGNED) * ALIGNED
            with buffer.raw() as raw:
                os.pwrite(self._file, raw, start)
                end = start + raw.nbytes
            self._spans.append((start, end))

    def send(self, connection: Connection, pid: int) -> None:
        """Send this to the process `pid` at the other end, which calls `receive`. Raises OSError."""
        connection.send_bytes(pickle.dumps((self._pickled, self._spans)))
        reduction.send_handle(connection, self._file, pid)

    @classmethod
    def receive(cls, connection: Connection) -> "SharedModels":
        """What the process at the other end sends. Raises OSError or EOFError if that process ends."""
        pickled, spans = pickle.loads(connection.recv_bytes())
        file = reduction.recv_handle(connection)
        received = cls.__new__(cls)
        received._pickled, received._spans, received._file = pickled, spans, file
        return received

    def unpickled(self) -> Any:
        """The object, with arrays, tensors and buffers in the shared memory."""
        length = os.fstat(self._file).st_size
        view = memoryview(mmap.mmap(self._file, length, mmap.MAP_PRIVATE) if length else b"")
        return pickle.loads(self._pickled, buffers=[view[start:end] for start, end in self._spans])

    def __del__(self) -> None:
        os.close(self._file)


def _nameless() -> int:
    """A new file without a name: in memory on Linux, else on the disk."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("models")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class _Pickler(pickle.Pickler):
    """Pickles tensors as numpy arrays. torch's own way needs torch.load, which this app never calls, or /dev/shm."""

    def reducer_override(self, value: object) -> Any:
        """As pickle.Pickler.reducer_override."""
        # Imported here, because the app's own process only passes the models on, and needs no torch for that.
        import torch

        return (_tensor, (value.numpy(),)) if type(value) is torch.Tensor else NotImplemented


def _tensor(values: np.ndarray) -> "torch.Tensor":
    import torch

    tensor = torch.from_numpy(values)
    return tensor if tensor.data_ptr() % ALIGNED == 0 else tensor.clone()
