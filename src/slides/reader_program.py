"""The program of a reader process: it opens a slide and reads regions of it, as src/slides/readers.py asks.

It is started as `python -m src.slides.reader_program`. Requests come on standard input and replies go to standard
output, each a pickle after its length. It ends when standard input is closed, at any moment.
"""

import os
import pickle
import queue
import sys
import threading
from typing import IO, Any, Final

from src import outgoing
from src.memory_limit import limit_memory
from src.pictures.picture import ImageRefused
from src.slides.slide import UNREADABLE, Slide

LENGTH: Final = 8
"""Bytes of the length before each message."""
MEMORY: Final = 500_000_000
"""Bytes of address space that reading may take. A region of grid.BLOCK_SOURCE pixels takes some 100 MB while it is
converted and scaled, OpenSlide keeps a cache of 8 MB, and a tile of a strange size may take the rest."""
TOO_MUCH_MEMORY: Final = "Reading this slide takes more memory than a slide may take; it may be damaged."


def receive(stream: IO[bytes]) -> Any:
    """The next message. Raises EOFError where the stream ends."""
    length = int.from_bytes(_exactly(stream, LENGTH))
    return pickle.loads(_exactly(stream, length))


def send(stream: IO[bytes], message: Any) -> None:
    """Send a message."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(len(data).to_bytes(LENGTH))
    stream.write(data)
    stream.flush()


def _exactly(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


def main() -> None:
    """Answer requests until standard input is closed.

    The first request is the arguments of Slide, and its reply is `Slide.about`. Each later one is the arguments of
    `Slide.read`. A reply is whether it was done, and the result or the sentence of the refusal.
    """
    # Decoders print their errors, with the names of files.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    outgoing.shut()
    limit_memory(MEMORY)
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    slide = None
    while True:
        request = requests.get()
        try:
            if slide is None:
                slide = Slide(*request)
                reply: tuple[bool, Any] = True, slide.about
            else:
                reply = True, slide.read(*request)
        except ImageRefused as refusal:
            reply = False, str(refusal)
        except MemoryError:
            reply = False, TOO_MUCH_MEMORY
        except (OSError, ValueError, ArithmeticError):
            # Pillow's errors for regions of damaged files.
            reply = False, UNREADABLE
        send(out, reply)


def _listen(requests: "queue.SimpleQueue[Any]") -> None:
    """Pass the requests on. End the process where no more can come, even during a read that hangs."""
    try:
        while True:
            requests.put(receive(sys.stdin.buffer))
    except EOFError:
        os._exit(0)


if __name__ == "__main__":
    main()
