"""Runs a slide, is killed by SIGKILL at several moments, runs it again until it ends, and once more without a kill:

    python -m tests.support.killed_run SLIDE CHECKPOINT INTERRUPTED WHOLE KILLS

INTERRUPTED and WHOLE are the folders of the results. Prints how many blocks each run computed, and how it ended. Each
run is a process that is forked before torch has threads.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

from src.models import checkpoints
from src.models.predictor import Predictor
from src.slides.run import SILENT, Options, run

BLOCKS: Final = 2
"""Blocks that a run computes before it is killed."""


def main() -> None:
    """Run, kill, and run again."""
    slide, checkpoint = Path(sys.argv[1]), sys.argv[2]
    kills = int(sys.argv[5])
    for attempt in range(kills + 2):
        folder = Path(sys.argv[3 if attempt <= kills else 4])
        blocks, theirs = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(blocks)

            def advance(_: int, to: int = theirs) -> None:
                os.write(to, b".")

            progress = SILENT._replace(advance=advance)
            predictor = Predictor(checkpoints.load("histopathology", checkpoint))
            run(slide, folder, predictor, Options(0.3, stride=96), progress)
            os._exit(0)
        os.close(theirs)
        computed = 0
        while os.read(blocks, 1):
            computed += 1
            if computed == BLOCKS and attempt < kills:
                # Between two blocks, and at other moments.
                time.sleep(0.01 * attempt)
                os.kill(process, signal.SIGKILL)
        os.close(blocks)
        _, status = os.waitpid(process, 0)
        print(computed, os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
