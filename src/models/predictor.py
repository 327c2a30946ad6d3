"""Predictor: picture -> Prediction. The one way to a probability, for page, API, command line, evaluation and tests.

It decodes a picture once and runs the backbone once, and everything else starts from there: the gate's verdict comes
with the prediction, and Grad-CAM starts from the same feature map. It knows nothing of Gradio, of what a threshold
costs or of where weights come from. Concurrent calls are safe: it keeps no state between them, and explanations hook
modules of their own.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from src.models import engine, gate, grad_cam
from src.models.backbone import Backbone
from src.models.checkpoints import Checkpoint
from src.models.gate import Verdict
from src.models.lesion_finder import NOTHING_FOUND
from src.models.prediction import Explanation, HeatMap, Prediction, RegionKind
from src.models.preprocess import select_region, transform, visible
from src.models.probabilities import calibrated, class_logits, class_score
from src.models.tta import SYMMETRIES, views
from src.pictures import decode, quality, scanned_field
from src.pictures.picture import Box, ImageRefused, Picture
from src.tasks import TASKS

Source = Picture | str | os.PathLike[str] | bytes
"""A decoded picture, the path of its file, or the file's bytes."""


@dataclass(frozen=True)
class _Prepared:
    """Everything that is kept of a picture: `pixels` float32 (1, C, side, side) on the CPU, and what was found in it.

    `statistics` float32 (1, gate.PICTURE_FEATURES).
    """

    pixels: Tensor
    size: tuple[int, int]
    box: Box
    region: RegionKind
    warnings: tuple[str, ...]
    statistics: Tensor


@dataclass(frozen=True)
class Look:
    """One pass of the backbone over a picture: the prediction, and the tensors that heat maps start from.

    `pixels` float32 (1, C, side, side), `features` float32 (views, channels, h, w), on the predictor's device.
    """

    prediction: Prediction
    pixels: Tensor
    features: Tensor


class Predictor:
    """A checkpoint, ready to read pictures on the CPU or a GPU.

    `checkpoint` from `src.models.checkpoints`; `device` as torch names it.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        self.checkpoint = checkpoint
        self.task = TASKS[checkpoint.config.vigil.task]
        self.device = torch.device(device)
        self._network = checkpoint.network.to(self.device)
        self._backbone = engine.forward_of(Backbone(self._network), self.device)
        self._transform = transform(checkpoint.config.pretrained_cfg)

    def predict(self, source: Source, explanation: Explanation = "none", code: str | None = None) -> Prediction:
        """Read one picture.

        `explanation` adds a heat map that argues for the class `code`, by default the most probable one; it never
        changes the answer. Raises ImageRefused for a picture that cannot be read or answered.
        """
        look = self.look(source)
        if explanation == "none":
            return look.prediction
        return replace(look.prediction, heat_map=self.heat_map(look, explanation, code))

    def look(self, source: Source) -> Look:
        """Read one picture, and keep the tensors that heat maps start from. Raises ImageRefused as `predict` does."""
        prepared = self._prepare(source)
        pixels = prepared.pixels.to(self.device)
        features, statistics = self._backbone(torch.cat(self._views(pixels)))
        logits = self._class_logits(features).mean(dim=0)
        (verdict,) = self._verdicts([prepared], statistics[:1])
        return Look(self._prediction(prepared, logits, verdict), pixels, features)

    def heat_map(self, look: Look, explanation: Explanation, code: str | None = None) -> HeatMap:
        """A heat map, by any method but "none", that argues for the class `code`, by default the most probable one.

        It explains the logits that decide: with test-time augmentation, their mean over the views.
        """
        index = look.prediction.top if code is None else self.task.codes.index(code)
        target = partial(class_score, index=index)
        config = self.checkpoint.config
        symmetries = SYMMETRIES[config.vigil.test_time_augmentation]
        values = grad_cam.grad_cam(self._network, look.features, target, look.pixels.shape[-1], symmetries)
        if explanation == "Guided Grad-CAM":
            values = grad_cam.guided_grad_cam(self._network, look.pixels, target, values, symmetries)
        box = visible(look.prediction.box, config.pretrained_cfg)
        return HeatMap(explanation, self.task.codes[index], values, box)

    def gate_features(self, picture: Picture) -> tuple[Tensor, Tensor]:
        """The features that a gate judges a picture by, also of a checkpoint without a gate.

        `gate.picture_features` (1, PICTURE_FEATURES) and `gate.network_features` of the picture as it is (1, features),
        float32 on the CPU.
        """
        prepared = self._prepare(picture)
        _, statistics = self._backbone(prepared.pixels)
        return prepared.statistics, statistics.cpu()

    def logits(self, pixels: Tensor) -> Tensor:
        """The class logits that decide, before calibration, (N, classes), of normalised images (N, C, side, side)."""
        return self._run(pixels)[0]

    def predict_many(
        self, sources: Iterable[Source], batch_size: int = 32, workers: int = 2
    ) -> Iterator[Prediction | ImageRefused]:
        """Read many pictures in batches. Yields one answer a picture, in order: a prediction or a refusal.

        `workers` threads decode and scale up to two batches ahead of the network. Only the network's input is kept of a
        picture, so memory does not grow with their number or size: at any time at most `workers` pictures are in memory
        at their own size, besides those that `sources` itself hands over decoded.
        """
        batch: list[_Prepared | ImageRefused] = []
        for item in self._ahead(sources, 2 * batch_size, workers):
            batch.append(item)
            if len(batch) == batch_size:
                yield from self._answers(batch)
                batch = []
        yield from self._answers(batch)

    def _run(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """`logits`, and `gate.network_features` of the images as they are (N, features). One view after the other, so
        that a batch takes no more memory with test-time augmentation than without."""
        first, *others = self._views(pixels)
        features, statistics = self._backbone(first)
        logits = [self._class_logits(features), *(self._class_logits(self._backbone(view)[0]) for view in others)]
        return torch.stack(logits).mean(dim=0), statistics

    def _views(self, pixels: Tensor) -> list[Tensor]:
        return views(pixels, self.checkpoint.config.vigil.test_time_augmentation)

    def _class_logits(self, features: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            return class_logits(self._network.forward_head(features))

    def _verdicts(self, batch: Sequence[_Prepared], network_features: Tensor) -> list[Verdict | None]:
        """The gate's verdict on each picture; None for a checkpoint without a gate."""
        if self.checkpoint.gate is None:
            return [None] * len(batch)
        statistics = torch.cat([item.statistics for item in batch])
        return list(self.checkpoint.gate.verdicts(statistics, network_features.cpu()))

    def _ahead(self, sources: Iterable[Source], depth: int, workers: int) -> Iterator[_Prepared | ImageRefused]:
        """The prepared pictures in order, up to `depth` of them under way or waiting."""
        executor = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        waiting: deque[Future[_Prepared | ImageRefused]] = deque()
        try:
            for source in sources:
                waiting.append(executor.submit(self._prepare_or_refuse, source))
                if len(waiting) == depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # Where the caller stops early, pictures that have not begun never do.
            executor.shutdown(cancel_futures=True)

    def _answers(self, batch: Sequence[_Prepared | ImageRefused]) -> Iterator[Prediction | ImageRefused]:
        prepared = [item for item in batch if isinstance(item, _Prepared)]
        if prepared:
            batch_logits, statistics = self._run(torch.cat([item.pixels for item in prepared]).to(self.device))
            logits, verdicts = iter(batch_logits), iter(self._verdicts(prepared, statistics))
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

    def _prepare(self, source: Source) -> _Prepared:
        picture = source if isinstance(source, Picture) else decode.read(source, self.task.background)
        channels, side, _ = self.checkpoint.config.pretrained_cfg.input_size
        field = scanned_field.crop(picture.image, self.task)
        region = select_region(field, self.task, channels, self.checkpoint.finder)
        warnings = quality.warnings(picture, field.image, self.task, side, self.checkpoint.evaluation)
        if self.checkpoint.finder is not None and region.kind != "lesion":
            warnings = (*warnings, NOTHING_FOUND)
        statistics = torch.from_numpy(gate.picture_features(field.image, self.task, side))[None]
        pixels = self._transform(region.image)[None]
        return _Prepared(pixels, picture.image.size, region.box, region.kind, warnings, statistics)

    def _prepare_or_refuse(self, source: Source) -> _Prepared | ImageRefused:
        try:
            return self._prepare(source)
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
            warnings=prepared.warnings,
            gate=verdict,
        )
