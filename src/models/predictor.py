"""Predictor: an image -> a Prediction. Page, API, command line, evaluation and tests get all probabilities from it.

It decodes an image once and runs the backbone once. The gate's verdict and Grad-CAM start from the same feature maps as
the prediction. The predictor knows nothing of Gradio, thresholds or the origin of the weights. Concurrent calls are
safe, because it keeps no state between them and because explanations hook modules of their own.
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

ImageSource = Picture | str | os.PathLike[str] | bytes
"""A decoded image, the path of its file, or the file's bytes."""


@dataclass(frozen=True)
class _Prepared:
    """An image ready for the network, and everything that the prediction reports about it.

    `pixels`: the normalised network input, float32 (1, C, side, side), on the CPU. `size`, `box`, `region` and
    `warnings`: as in `Prediction`. `statistics`: `gate.picture_features`, float32 (1, PICTURE_FEATURES).
    """

    pixels: Tensor
    size: tuple[int, int]
    box: Box
    region: RegionKind
    warnings: tuple[str, ...]
    statistics: Tensor


@dataclass(frozen=True)
class ForwardPass:
    """One pass of the backbone over an image: the prediction, and the tensors that heat maps start from.

    `pixels`: the normalised network input, float32 (1, C, side, side). `features`: the last feature map of each view of
    the test-time augmentation, float32 (views, channels, h, w). Both are on the predictor's device.
    """

    prediction: Prediction
    pixels: Tensor
    features: Tensor


class Predictor:
    """A checkpoint, ready to classify images on the CPU or a GPU.

    `checkpoint`: from `src.models.checkpoints`. `device`: torch's name of the device.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        self.checkpoint = checkpoint
        self.task = TASKS[checkpoint.config.vigil.task]
        self.device = torch.device(device)
        self._network = checkpoint.network.to(self.device)
        self._backbone = engine.forward_of(Backbone(self._network), self.device)
        self._transform = transform(checkpoint.config.pretrained_cfg)

    def predict(self, source: ImageSource, explanation: Explanation = "none", code: str | None = None) -> Prediction:
        """Classify one image.

        `explanation`: the kind of heat map to add. It shows the evidence for the class `code`, by default the most
        probable class, and never changes the rest of the prediction. Raises ImageRefused for an image that cannot be
        decoded or whose logits are not finite, and ValueError for a `code` that is no class of the task.
        """
        forward_pass = self.forward_pass(source)
        if explanation == "none":
            return forward_pass.prediction
        return replace(forward_pass.prediction, heat_map=self.heat_map(forward_pass, explanation, code))

    def forward_pass(self, source: ImageSource) -> ForwardPass:
        """Classify one image and keep the tensors that heat maps start from. Raises ImageRefused as `predict` does."""
        prepared = self._prepare(source)
        pixels = prepared.pixels.to(self.device)
        features, statistics = self._backbone(torch.cat(self._views(pixels)))
        logits = self._class_logits(features).mean(dim=0)
        (verdict,) = self._verdicts([prepared], statistics[:1])
        return ForwardPass(self._prediction(prepared, logits, verdict), pixels, features)

    def heat_map(self, forward_pass: ForwardPass, explanation: Explanation, code: str | None = None) -> HeatMap:
        """A heat map of the evidence for the class `code`, by default the most probable class.

        `explanation`: any method but "none". With test-time augmentation the map explains the mean logits over the
        views, because those decide. Raises ValueError for a `code` that is no class of the task.
        """
        index = forward_pass.prediction.top if code is None else self.task.codes.index(code)
        target = partial(class_score, index=index)
        config = self.checkpoint.config
        symmetries = SYMMETRIES[config.vigil.test_time_augmentation]
        side = forward_pass.pixels.shape[-1]
        values = grad_cam.grad_cam(self._network, forward_pass.features, target, side, symmetries)
        if explanation == "Guided Grad-CAM":
            values = grad_cam.guided_grad_cam(self._network, forward_pass.pixels, target, values, symmetries)
        box = visible(forward_pass.prediction.box, config.pretrained_cfg)
        return HeatMap(explanation, self.task.codes[index], values, box)

    def gate_features(self, picture: Picture) -> tuple[Tensor, Tensor]:
        """The features that a gate needs of an image, whether the checkpoint has a gate or not.

        `gate.picture_features` (1, PICTURE_FEATURES) and `gate.network_features` (1, features) of the image without
        test-time augmentation, float32, on the CPU. Raises ImageRefused for an image that cannot be used.
        """
        prepared = self._prepare(picture)
        _, statistics = self._backbone(prepared.pixels)
        return prepared.statistics, statistics.cpu()

    def logits(self, pixels: Tensor) -> Tensor:
        """The uncalibrated class logits (N, classes) of normalised images (N, C, side, side), float32.

        With test-time augmentation they are the mean over the views.
        """
        return self._run(pixels)[0]

    def predict_many(
        self, sources: Iterable[ImageSource], batch_size: int = 32, workers: int = 2
    ) -> Iterator[Prediction | ImageRefused]:
        """Classify many images in batches of `batch_size`. Yields a prediction or a refusal per image, in order.

        `workers` threads decode and resize images up to two batches ahead of the network. Memory does not grow with the
        number of images, because only the network's input is kept. At most `workers` images are in memory at full size,
        besides those that `sources` yields decoded.
        """
        batch: list[_Prepared | ImageRefused] = []
        for item in self._ahead(sources, 2 * batch_size, workers):
            batch.append(item)
            if len(batch) == batch_size:
                yield from self._answers(batch)
                batch = []
        yield from self._answers(batch)

    def _run(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """`logits`, and `gate.network_features` (N, features) of the images without test-time augmentation.

        The views run one after another, so that a batch takes the same memory with test-time augmentation as without.
        """
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
        """The gate's verdict on each image; None for a checkpoint without a gate."""
        if self.checkpoint.gate is None:
            return [None] * len(batch)
        statistics = torch.cat([item.statistics for item in batch])
        return list(self.checkpoint.gate.verdicts(statistics, network_features.cpu()))

    def _ahead(self, sources: Iterable[ImageSource], depth: int, workers: int) -> Iterator[_Prepared | ImageRefused]:
        """The prepared images in order. At most `depth` of them are being prepared or are waiting."""
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
            # If the caller stops early, no further image is prepared.
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

    def _prepare(self, source: ImageSource) -> _Prepared:
        picture = source if isinstance(source, Picture) else decode.read(source, self.task.background)
        channels, side, _ = self.checkpoint.config.pretrained_cfg.input_size
        field = scanned_field.crop(picture.image, self.task)
        region = select_region(field, self.task, channels, self.checkpoint.finder)
        warnings = quality.warnings(picture, field.image, self.task, side, self.checkpoint.evaluation.flaw_effects)
        if self.checkpoint.finder is not None and region.kind != "lesion":
            warnings = (*warnings, NOTHING_FOUND)
        statistics = torch.from_numpy(gate.picture_features(field.image, self.task, side))[None]
        pixels = self._transform(region.image)[None]
        return _Prepared(pixels, picture.image.size, region.box, region.kind, warnings, statistics)

    def _prepare_or_refuse(self, source: ImageSource) -> _Prepared | ImageRefused:
        try:
            return self._prepare(source)
        except ImageRefused as refusal:
            return refusal

    def _prediction(self, prepared: _Prepared, logits: Tensor, verdict: Verdict | None) -> Prediction:
        config = self.checkpoint.config
        raw = logits.cpu().double().numpy()
        if not np.isfinite(raw).all():
            # Finite weights can still overflow. A NaN is below every threshold, so it would mean "no referral".
            raise ImageRefused("The model's answer for this image is not a number; its weights may be damaged.")
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
