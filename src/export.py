"""A checkpoint -> a network without PyTorch: `python -m src.export TASK --out DIR [--format onnx|openvino]`.

The network's graph contains every step after the resizing of an image. Its metadata has the preprocessing, the
temperature, the threshold and the names of the classes. For ONNX the command also writes predict.py, a program that
needs only onnxruntime, numpy and pillow.
"""

import argparse
import logging
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch

from src.command_line import runs_networks
from src.models import checkpoints, standalone
from src.tasks import TASKS

SAMPLE: Final = Path(standalone.__file__).with_name("standalone_sample.py")
INPUT, OUTPUT, KEY = "pixels", "probabilities", "vigil"
"""The names of the network's input and output, and the key of the metadata, which is JSON."""


def to_onnx(network: standalone.Standalone, about: standalone.Metadata, folder: Path) -> None:
    """Write model.onnx and predict.py. Raises ImportError where the package onnx is not installed."""
    import onnx

    file = folder / "model.onnx"
    with warnings.catch_warnings():
        # This exporter needs no further package. It warns that a later version of torch removes it, and of sizes that
        # become constants.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(
            network,
            (_example(about),),
            file,
            dynamo=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "n"}, OUTPUT: {0: "n"}},
        )
    model = onnx.load_model(file)
    model.metadata_props.add(key=KEY, value=about.model_dump_json())
    onnx.checker.check_model(model)
    onnx.save_model(model, file)
    shutil.copyfile(SAMPLE, folder / "predict.py")


def to_openvino(network: standalone.Standalone, about: standalone.Metadata, folder: Path) -> None:
    """Write model.xml and model.bin. Raises ImportError where OpenVINO is not installed."""
    from src.models import openvino_engine

    model = openvino_engine.converted(network, _example(about))
    model.input(0).set_names({INPUT})
    model.output(0).set_names({OUTPUT})
    model.set_rt_info(about.model_dump_json(), [KEY])
    openvino_engine.openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)


FORMATS: Final[dict[str, Callable[[standalone.Standalone, standalone.Metadata, Path], None]]] = {
    "onnx": to_onnx,
    "openvino": to_openvino,
}


@runs_networks("export")
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status: 1, with one sentence on standard error, if nothing was written."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.ERROR)
    try:
        checkpoint = (
            checkpoints.load(options.task, options.weights) if options.weights else checkpoints.find(options.task)
        )
        about = standalone.metadata(checkpoint)
        options.out.mkdir(parents=True, exist_ok=True)
        FORMATS[options.format](standalone.Standalone(checkpoint).eval(), about, options.out)
    except ImportError as error:
        return _failed(f"the format {options.format} needs the package {error.name}, which is not installed.")
    except (checkpoints.CheckpointError, OSError) as error:
        return _failed(str(error))
    if about.read != "picture":
        print(f"export: the network reads the {about.read} of an image, which must be cut out first.", file=sys.stderr)
    return 0


def _example(about: standalone.Metadata) -> torch.Tensor:
    return torch.zeros(1, about.side, about.side, 1 if about.mode == "L" else 3, dtype=torch.uint8)


def _failed(sentence: str) -> int:
    print(f"export: {sentence}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m src.export", description="Write the network of a task for machines without PyTorch."
    )
    parser.add_argument("task", choices=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write into")
    parser.add_argument("--format", choices=FORMATS, default="onnx", help="(default: onnx)")
    parser.add_argument("--weights", metavar="DIR|owner/repo@rev", help="as for src.score")
    return parser


if __name__ == "__main__":
    sys.exit(main())
