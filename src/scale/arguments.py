"""The arguments of `python -m src.score` for a run with `--out`: which there are, and which exclude others."""

import argparse
from collections.abc import Sequence
from typing import Any, Final

from src.scale.run import ENGINES, Settings, verify
from src.sources import ARCHIVES

DEVICES: Final = ("cpu", "cuda")
ONLY: Final = ("engine", "address", "shard", "workers", "part_size", "device")
"""The arguments that need --out."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    group = parser.add_argument_group("many images, on one machine or on many (docs/SCALE.md)")
    group.add_argument(
        "--out",
        metavar="DIR",
        help="a folder or an address such as s3://BUCKET/FOLDER: write the rows there as Parquet files, part by part; "
        "the same command continues a run; PATH may then also be a table of paths (.csv or .parquet with a column "
        "path), a .tar or .zip, or an address that fsspec reads: s3://, gs://, hf://datasets/…",
    )
    group.add_argument("--engine", choices=ENGINES, help="processes of this machine (default), or Ray")
    group.add_argument(
        "--address", metavar="ADDRESS", help="with --engine ray: a running cluster, or auto (default: this machine)"
    )
    group.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="score only the I-th of N shares of the parts, from 1/N to N/N; give all of them the same --out",
    )
    group.add_argument(
        "--workers", type=_count, metavar="N", help="processes (default: one on each core, or on each GPU)"
    )
    group.add_argument(
        "--part-size", type=_count, metavar="N", help="images of a part (default: 32 to 1,024, by their number)"
    )
    group.add_argument("--device", choices=DEVICES, help="what runs the networks (default: cpu)")
    group.add_argument(
        "--verify",
        action=_Verify,
        metavar="DIR",
        help="prove that the folder has one row for each image of its run and that every file is whole, and end",
    )


def check(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """End with exit status 2 if the arguments exclude each other."""
    if given.out is None:
        for argument in ONLY:
            if getattr(given, argument) is not None:
                parser.error(f"--{argument.replace('_', '-')} needs --out")
        return
    for argument in ("frames", "dicom"):
        if getattr(given, argument):
            parser.error(f"--out has one row for each file and no report, so it excludes --{argument}")
    if given.address is not None and given.engine != "ray":
        parser.error("--address needs --engine ray")
    if any(source.startswith(ARCHIVES) for source in given.paths):
        parser.error("a study in a DICOMweb archive is read without --out")


def settings(given: argparse.Namespace) -> Settings:
    """The settings of the run that these arguments describe."""
    return Settings(
        out=given.out,
        engine=given.engine or ENGINES[0],
        address=given.address,
        shard=given.shard or (0, 1),
        workers=given.workers,
        part_size=given.part_size,
        csv=given.csv,
    )


class _Verify(argparse.Action):
    """Ends like --help, whatever else is given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        parser.exit(verify(str(values)))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _shard(text: str) -> tuple[int, int]:
    """The number of the shard, from 0, and the number of shards."""
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N")
    return int(number) - 1, int(of)
