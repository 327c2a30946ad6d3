"""Predictor: image -> Prediction. The one way to a probability, for page, API, command line, evaluation and tests.

Knows nothing of Gradio, of what a threshold costs or of where weights come from. Safe for concurrent calls: it keeps no
state between them, and explanations hook modules of their own.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import timm.data
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from src.models import gate, grad_cam
from src.models.checkpoints import Checkpoint, PretrainedConfig, TestTimeAugmentation
from src.models.gate import Verdict
from src.models.lesion_finder import Box, LesionFinder
from src.models.tta import SYMMETRIES
from src.pictures import decode, quality
from src.pictures.decode import ImageRefused, Picture
from src.tasks import TASKS, Task

Explanation = Literal["Grad-CAM", "Guided Grad-CAM", "none"]
EXPLANATIONS: tuple[Explanation, ...] = ("Grad-CAM", "Guided Grad-CAM", "none")


RegionKind = Literal["picture", "field", "lesion"]
"""What the network was shown: the whole picture, the scanned field of an ultrasound picture, or the lesion in it."""

NOTHING_FOUND = "No lesion was found to look at closely; the whole scanned field was read."


@dataclass(frozen=True)
class HeatMap:
    """Where the network looked. `values` float32 (side, side) in 0..1 over `box` of the picture; all zero where nothing
    argues for the class `code`."""

    method: Explanation
    code: str
    values: np.ndarray
    box: Box


@dataclass(frozen=True)
class Prediction:
    """What a checkpoint says of one picture.

    `logits` and `probabilities` stand in the order of the task's classes, the first before calibration (the mean over
    the views, where the checkpoint asks for test-time augmentation), the second calibrated, in 0..1 and adding up to 1.
    `p_malignant` is the sum over the malignant classes. `box` is the part of the picture, of `size` (width, height),
    that the network saw, and `region` says what it is. `warnings` are for people. `gate` tells whether this is such a
    picture at all, and where not the first warning says so; None for a checkpoint without a gate.
    """

    task: Task
    model: str
    revision: str
    logits: tuple[float, ...]
    probabilities: tuple[float, ...]
    p_malignant: float
    size: tuple[int, int]
    box: Box
    region: RegionKind
    warnings: tuple[str, ...]
    heat_map: HeatMap | None = None
    gate: Verdict | None = None

    @property
    def top(self) -> int:
        """Index of the most probable class."""
        return int(np.argmax(self.probabilities))

    def classes(self) -> list[dict[str, Any]]:
        """code, name, probability and malignant of every class, most probable first."""
        order = sorted(range(len(self.probabilities)), key=lambda i: -self.probabilities[i])
        return [
            {
                "code": self.task.classes[i].code,
                "name": self.task.classes[i].name,
                "probability": self.probabilities[i],
                "malignant": self.task.classes[i].malignant,
            }
            for i in order
        ]


def class_logits(logits: Tensor) -> Tensor:
    """(N, 1) -> (N, 2): a single logit is that of class 1 of two, so that softmax gives its sigmoid. Else unchanged."""
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits


def calibrated(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Class logits (N, C) -> probabilities float64 (N, C), temperature-scaled (Guo et al. 2017, arXiv:1706.04599)."""
    return F.softmax(torch.as_tensor(logits, dtype=torch.float64) / temperature, dim=1).numpy()


def views(pixels: Tensor, kind: TestTimeAugmentation) -> list[Tensor]:
    """The views of a batch (N, C, side, side), of that shape, whose logits are averaged; the batch is the first."""
    return [symmetry.of(pixels) for symmetry in SYMMETRIES[kind]]


class View(NamedTuple):
    """What the network is shown of a picture: `image` is the part in `box`, in the task's colour."""

    image: Image.Image
    box: Box
    kind: RegionKind


def view(image: Image.Image, task: Task, channels: int, finder: LesionFinder | None = None) -> View:
    """What the network is shown of an upright RGB picture: its region of interest, in the task's colour.

    `channels` 1 gives mode L, 3 gives RGB (grey for a grey task). `finder` looks for the lesion in the scanned field;
    where it finds none, the field is shown.
    """
    whole = (0, 0, *image.size)
    box: Box = decode.region_of_interest(image) if task.crop_to_roi else whole
    shown = image.crop(box) if box != whole else image
    kind: RegionKind = "field" if task.crop_to_roi else "picture"
    lesion = finder.find(shown) if finder is not None else None
    if lesion is not None:
        left, upper, right, lower = lesion
        shown, kind = shown.crop(lesion), "lesion"
        box = left + box[0], upper + box[1], right + box[0], lower + box[1]
    if task.colour == "grey":
        shown = shown.convert("L")
    return View(shown.convert("L" if channels == 1 else "RGB"), box, kind)


def transform(config: PretrainedConfig, normalise: bool = True) -> Any:
    """timm's evaluation transform for a checkpoint: PIL image -> float32 (C, H, W), or uint8 where not normalised.

    The very one that `timm.data.create_transform(**timm.data.resolve_model_data_config(model))` gives anyone.
    """
    return timm.data.create_transform(
        input_size=config.input_size,
        mean=config.mean,
        std=config.std,
        interpolation=config.interpolation,
        crop_pct=config.crop_pct,
        crop_mode=config.crop_mode,
        normalize=normalise,
    )


@dataclass(frozen=True)
class _Prepared:
    """All that is needed of a picture once its pixels are scaled: `pixels` float32 (1, C, side, side) on the CPU.

    `statistics` float32 (1, gate.PICTURE_FEATURES); None for a checkpoint without a gate.
    """

    pixels: Tensor
    size: tuple[int, int]
    box: Box
    region: RegionKind
    warnings: tuple[str, ...]
    statistics: Tensor | None


@dataclass(frozen=True)
class Look:
    """One look at a picture: what the checkpoint says, and what it takes to explain why, on the predictor's device.

    `pixels` float32 (1, C, side, side), `features` float32 (views, channels, h, w).
    """

    prediction: Prediction
    pixels: Tensor
    features: Tensor


class Predictor:
    """A checkpoint made ready to read pictures on the CPU or a GPU.

    `checkpoint` from `src.models.checkpoints`; `device` as torch names it.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        self.checkpoint = checkpoint
        self.task = TASKS[checkpoint.config.vigil.task]
        self.device = torch.device(device)
        self._network = checkpoint.network.to(self.device)
        self._transform = transform(checkpoint.config.pretrained_cfg)

    def read(self, source: str | os.PathLike[str] | bytes) -> Picture:
        """Decode a picture as `src.pictures.decode` does. Raises ImageRefused with a sentence for the person."""
        return decode.read(source)

    def predict(
        self,
        picture: Picture | str | os.PathLike[str] | bytes,
        explanation: Explanation = "none",
        code: str | None = None,
    ) -> Prediction:
        """Read one picture. `explanation` adds a heat map that argues for the class `code`, by default the most
        probable one. The same picture gives the same answer, whatever is asked besides.

        Raises ImageRefused for a picture that cannot be read or answered.
        """
        look = self.look(picture)
        if explanation == "none":
            return look.prediction
        return replace(look.prediction, heat_map=self.heat_map(look, explanation, code))

    def look(self, picture: Picture | str | os.PathLike[str] | bytes) -> Look:
        """Read one picture and keep what explanations need; raises as `predict` does."""
        prepared = self._prepare(picture)
        pixels = prepared.pixels.to(self.device)
        with torch.inference_mode(False), torch.no_grad():
            features, stages = self._network.forward_intermediates(torch.cat(self._views(pixels)))
            logits = class_logits(self._network.forward_head(features)).mean(dim=0)
            (verdict,) = self._verdicts([prepared], [stage[:1] for stage in stages])
        return Look(self._prediction(prepared, logits, verdict), pixels, features)

    def heat_map(self, look: Look, explanation: Explanation, code: str | None = None) -> HeatMap:
        """Why `look` came out as it did: a map, not "none", that argues for the class `code`, by default the most
        probable one. It explains the logits that decide, their mean over the views where the checkpoint asks for those.
        """
        index = look.prediction.top if code is None else self.task.codes.index(code)
        target = partial(_class_score, index=index)
        symmetries = SYMMETRIES[self.checkpoint.config.vigil.test_time_augmentation]
        values = grad_cam.grad_cam(self._network, look.features, target, look.pixels.shape[-1], symmetries)
        if explanation == "Guided Grad-CAM":
            values = grad_cam.guided_grad_cam(self._network, look.pixels, target, values, symmetries)
        return HeatMap(explanation, self.task.codes[index], values, self._seen(look.prediction.box))

    def gate_features(self, picture: Picture) -> tuple[Tensor, Tensor]:
        """By what a gate judges a picture: `gate.picture_features` (1, PICTURE_FEATURES) and `gate.network_features` of
        the picture as it is (1, channels), float32 on the CPU. They do not need a checkpoint with a gate."""
        channels, side, _ = self.checkpoint.config.pretrained_cfg.input_size
        shown = view(picture.image, self.task, channels, self.checkpoint.finder).image
        with torch.inference_mode(False), torch.no_grad():
            _, stages = self._network.forward_intermediates(self._transform(shown)[None].to(self.device))
        statistics = torch.from_numpy(gate.picture_features(picture.image, self.task, side))[None]
        return statistics, gate.network_features(stages).cpu()

    def logits(self, pixels: Tensor) -> Tensor:
        """The logits that decide, before calibration: (N, C, side, side) as the network takes them -> (N, classes)."""
        return self._read(pixels)[0]

    def _read(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """`logits`, and the maps of the network's stages for the pictures as they are, each (N, channels, h, w)."""
        first, *others = self._views(pixels)
        with torch.inference_mode(False), torch.no_grad():
            features, stages = self._network.forward_intermediates(first)
            logits = [self._network.forward_head(features), *(self._network(one) for one in others)]
            return torch.stack([class_logits(one) for one in logits]).mean(dim=0), stages

    def _verdicts(self, batch: Sequence[_Prepared], stages: Sequence[Tensor]) -> list[Verdict | None]:
        """What the gate says of each picture, from the `stages` of `_read`."""
        keeper = self.checkpoint.gate
        if keeper is None:
            return [None] * len(batch)
        statistics = torch.cat([item.statistics for item in batch if item.statistics is not None])
        return list(keeper.verdicts(statistics, gate.network_features(stages).cpu()))

    def predict_many(
        self, pictures: Iterable[Picture | str | os.PathLike[str] | bytes], batch_size: int = 32, workers: int = 2
    ) -> Iterator[Prediction | ImageRefused]:
        """Read many pictures, batched; yields one answer a picture, in order, a refusal where one cannot be read.

        `workers` threads decode and scale up to two batches ahead of the network. Of a picture only the network's input
        is kept, so that memory stays the same however many and however large they are: at any time at most `workers`
        are there at their own size, besides those that `pictures` itself hands over decoded.
        """
        batch: list[_Prepared | ImageRefused] = []
        for item in self._ahead(pictures, 2 * batch_size, workers):
            batch.append(item)
            if len(batch) == batch_size:
                yield from self._answers(batch)
                batch = []
        yield from self._answers(batch)

    def _ahead(
        self, pictures: Iterable[Picture | str | os.PathLike[str] | bytes], depth: int, workers: int
    ) -> Iterator[_Prepared | ImageRefused]:
        """The prepared pictures in order, up to `depth` of them under way or waiting."""
        executor = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        waiting: deque[Future[_Prepared | ImageRefused]] = deque()
        try:
            for picture in pictures:
                waiting.append(executor.submit(self._prepare_or_refuse, picture))
                if len(waiting) == depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # Also where the caller stops early: what has not begun never does.
            executor.shutdown(cancel_futures=True)

    def _answers(self, batch: Sequence[_Prepared | ImageRefused]) -> Iterator[Prediction | ImageRefused]:
        prepared = [item for item in batch if isinstance(item, _Prepared)]
        if prepared:
            read, stages = self._read(torch.cat([item.pixels for item in prepared]).to(self.device))
            logits, verdicts = iter(read), iter(self._verdicts(prepared, stages))
        for item in batch:
            if isinstance(item, ImageRefused):
                yield item
                continue
            try:
                prediction = self._prediction(item, next(logits), next(verdicts))
            except ImageRefused as refusal:
                yield refusal
            else:
                yield prediction

    def _views(self, pixels: Tensor) -> list[Tensor]:
        return views(pixels, self.checkpoint.config.vigil.test_time_augmentation)

    def _prepare(self, picture: Picture | str | os.PathLike[str] | bytes) -> _Prepared:
        if not isinstance(picture, Picture):
            picture = self.read(picture)
        channels, side, _ = self.checkpoint.config.pretrained_cfg.input_size
        shown, box, region = view(picture.image, self.task, channels, self.checkpoint.finder)
        warnings = quality.warnings(picture, self.task, side, self.checkpoint.evaluation)
        if self.checkpoint.finder is not None and region != "lesion":
            warnings = (*warnings, NOTHING_FOUND)
        statistics = None
        if self.checkpoint.gate is not None:
            statistics = torch.from_numpy(gate.picture_features(picture.image, self.task, side))[None]
        return _Prepared(self._transform(shown)[None], picture.image.size, box, region, warnings, statistics)

    def _prepare_or_refuse(self, picture: Picture | str | os.PathLike[str] | bytes) -> _Prepared | ImageRefused:
        try:
            return self._prepare(picture)
        except ImageRefused as refusal:
            return refusal

    def _prediction(self, prepared: _Prepared, logits: Tensor, verdict: Verdict | None) -> Prediction:
        config = self.checkpoint.config
        raw = logits.cpu().double().numpy()
        if not np.isfinite(raw).all():
            # Finite weights can still overflow, and a NaN is below every threshold: it would read "no referral".
            raise ImageRefused("The model's answer for this picture is not a number; its weights may be damaged.")
        probabilities = calibrated(raw[None], config.vigil.temperature)[0]
        return Prediction(
            task=self.task,
            model=config.vigil.name,
            revision=self.checkpoint.revision,
            logits=tuple(raw.tolist()),
            probabilities=tuple(probabilities.tolist()),
            p_malignant=min(1.0, float(probabilities[list(self.task.malignant)].sum())),
            size=prepared.size,
            box=prepared.box,
            region=prepared.region,
            warnings=(*gate.remarks(verdict, self.task), *prepared.warnings),
            gate=verdict,
        )

    def _seen(self, box: Box) -> Box:
        """The part of `box` that reaches the network: timm's "center" keeps the central square only."""
        left, upper, right, lower = box
        if self.checkpoint.config.pretrained_cfg.crop_mode == "squash":
            return box
        side = min(right - left, lower - upper)
        left, upper = left + (right - left - side) // 2, upper + (lower - upper - side) // 2
        return left, upper, left + side, upper + side


def _class_score(logits: Tensor, index: int) -> Tensor:
    """The logit of a class; where there is only one logit, class 0's is its negative."""
    return (logits[0] if index == 1 else -logits[0]) if logits.numel() == 1 else logits[index]
