"""Predictor: an image -> a Prediction. Page, API, command line, evaluation and tests get all probabilities from it.

It decodes an image once and runs each network's backbone once, on each part of an image that is read in parts. The
gate's verdict and Grad-CAM start from the same feature maps as the prediction; both belong to the checkpoint's first
network. The predictor knows nothing of Gradio, thresholds or
the origin of the weights. Concurrent calls are safe, because it keeps no state between them and because explanations
hook modules of their own.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from src.models import cine, engine, gate, grad_cam, part_sentences
from src.models.backbone import Backbone
from src.models.checkpoints import Checkpoint
from src.models.forward import Precision
from src.models.prediction import NOTHING_FOUND, Explanation, HeatMap, Parts, Prediction, RegionKind, Verdict
from src.models.preprocess import select_region, transform, visible
from src.models.probabilities import calibrated, class_logits, class_score
from src.models.tta import SYMMETRIES, views
from src.pictures import decode, magnification, parts, quality, scanned_field
from src.pictures.limits import MAX_BYTES, MAX_LOCAL_BYTES
from src.pictures.parts import Division, Part, PartKind
from src.pictures.picture import Box, ImageRefused, Picture, Shares
from src.read_ahead import read_ahead
from src.tasks import TASKS

ImageSource = Picture | Division | str | os.PathLike[str] | bytes | Callable[[], bytes]
"""A decoded image, its parts, the path of its file, the file's bytes, or a function that fetches these bytes."""


PARTS_AT_ONCE = 4
"""Parts of one image that pass the backbone together, each with all its views: this bounds the memory."""


@dataclass(frozen=True)
class _Part:
    """A part of an image, ready for the network, and what the prediction reports about it.

    `pixels`: the normalised input of each network, float32 (networks, C, side, side), on the CPU. `box`, `shown`,
    `region` and `warnings`: as in `Prediction`. `statistics`: `gate.picture_features`, float32 (1, PICTURE_FEATURES).
    """

    pixels: Tensor
    box: Box
    shown: Shares
    region: RegionKind
    warnings: tuple[str, ...]
    statistics: Tensor


@dataclass(frozen=True)
class _Prepared:
    """An image ready for the network.

    `parts`: the parts that are read, and `kind` is their kind, None for an image that is read whole. `size`: as in
    `Prediction`. `mpp`: the image's micrometres per pixel, None where they play no part.
    """

    parts: tuple[_Part, ...]
    kind: PartKind | None
    size: tuple[int, int]
    mpp: float | None

    @property
    def pixels(self) -> Tensor:
        """The networks' input of all parts, float32 (parts, networks, C, side, side), on the CPU."""
        return torch.stack([part.pixels for part in self.parts])


@dataclass(frozen=True)
class ForwardPass:
    """One pass over an image: the prediction, and the tensors of the first network that heat maps start from.

    `pixels`: its normalised input, float32 (1, C, side, side). `features`: the last feature map of each view of
    the test-time augmentation, float32 (views, channels, h, w). Both are on the predictor's device, and both are of the
    part that the prediction reports.
    """

    prediction: Prediction
    pixels: Tensor
    features: Tensor


class Predictor:
    """A checkpoint, ready to classify images on the CPU or a GPU.

    `checkpoint`: from `src.models.checkpoints`. `device`: torch's name of the device. `precision`: of the
    backbone. Raises EngineRefused as `engine.forward_of` does.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu", precision: Precision = "float32") -> None:
        self.checkpoint = checkpoint
        self.task = TASKS[checkpoint.config.vigil.task]
        self.device = torch.device(device)
        members = checkpoint.members
        self._networks = [network.to(self.device) for network in (checkpoint.network, *(m.network for m in members))]
        pretrained = checkpoint.config.pretrained_cfg
        self._backbones = [
            engine.forward_of(Backbone(network), self.device, pretrained.input_size, precision)
            for network in self._networks
        ]
        self._finders = [checkpoint.finder, *(member.finder for member in members)]
        self._temperatures = [1.0, *(member.temperature for member in members)]
        self._transform = transform(pretrained)
        self._to_pixels = transform(pretrained, normalise=False)

    def read(
        self, source: decode.Source, most: int = MAX_BYTES, mpp: float | None = None, frame: int | None = None
    ) -> Picture:
        """The image of a file of at most `most` bytes; of a cine, the frame with the highest p(malignant).

        `mpp`: the micrometres per pixel of the file; None if the file is to say it. `frame`: the index of the frame of
        a cine to return instead. Raises ImageRefused.
        """
        film = decode.Film(source, self.task.background, most)
        return cine.chosen(film, lambda picture: self.predict(picture.at(mpp)), frame).at(mpp)

    def predict_frames(self, source: decode.Source, mpp: float | None = None) -> Iterator[Prediction | ImageRefused]:
        """Classify each frame of a file; most files have one. Yields a prediction or a refusal per frame, in order.

        Raises ImageRefused for a file that cannot be opened. `mpp` is as for `read`.
        """
        film = decode.Film(source, self.task.background, MAX_LOCAL_BYTES)
        yield from cine.each_frame(film, lambda picture: self.predict(picture.at(mpp)))

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
        maps, statistics, members = [], [], []
        for chunk in pixels.split(PARTS_AT_ONCE):
            views = self._views(chunk[:, 0])
            features, found = self._backbones[0](torch.cat(views))
            maps.append(features.unflatten(0, (len(views), len(chunk))))
            statistics.append(found[: len(chunk)])
            members.append(self._member_logits(chunk))
        features = torch.cat(maps, dim=1)
        logits = self._class_logits(features.flatten(0, 1)).unflatten(0, features.shape[:2]).mean(dim=0)
        each = torch.cat([logits[None], torch.cat(members, dim=1)])
        prediction = self._prediction(prepared, each, self._verdicts(prepared.parts, torch.cat(statistics)))
        chosen = prediction.parts.chosen if prediction.parts is not None else 0
        return ForwardPass(prediction, pixels[chosen, :1], features[:, chosen])

    def heat_map(self, forward_pass: ForwardPass, explanation: Explanation, code: str | None = None) -> HeatMap:
        """A heat map of the evidence for the class `code`, by default the most probable class.

        `explanation`: any method but "none". The map explains the logits of the checkpoint's first network. With
        test-time augmentation these are the mean over the views. Raises ValueError for a `code` that is no class of the
        task.
        """
        index = forward_pass.prediction.top if code is None else self.task.codes.index(code)
        target = partial(class_score, index=index)
        config = self.checkpoint.config
        symmetries = SYMMETRIES[config.vigil.test_time_augmentation]
        side = forward_pass.pixels.shape[-1]
        values = grad_cam.grad_cam(self._networks[0], forward_pass.features, target, side, symmetries)
        if explanation == "Guided Grad-CAM":
            values = grad_cam.guided_grad_cam(self._networks[0], forward_pass.pixels, target, values, symmetries)
        left, upper, right, lower = (round(share * side) for share in forward_pass.prediction.shown)
        values = values[upper : max(lower, upper + 1), left : max(right, left + 1)]
        box = visible(forward_pass.prediction.box, config.pretrained_cfg)
        return HeatMap(explanation, self.task.codes[index], values, box)

    def gate_features(self, picture: Picture) -> tuple[Tensor, Tensor]:
        """The features that a gate needs of an image, whether the checkpoint has a gate or not.

        `gate.picture_features` (1, PICTURE_FEATURES) and `gate.network_features` (1, features) of the image without
        test-time augmentation, float32, on the CPU. Raises ImageRefused for an image that cannot be used.
        """
        part = self._prepare_part(parts.undivided(picture, self.task).parts[0], None)
        _, statistics = self._backbones[0](part.pixels[:1])
        return part.statistics, statistics.cpu()

    def chosen_part(self, picture: Picture) -> Division:
        """The part of an image that its prediction reports, as an image of its own; the image itself if it is whole.

        Raises ImageRefused as `predict` does.
        """
        division = parts.divide(picture, self.task)
        if division.kind is None:
            return division
        answered = self.predict(picture).parts if len(division.parts) > 1 else None
        chosen = division.parts[answered.chosen if answered is not None else 0]
        return parts.undivided(chosen.picture, self.task)

    def logits(self, pixels: Tensor) -> Tensor:
        """The first network's uncalibrated class logits (N, classes) of its input (N, C, side, side), float32.

        With test-time augmentation they are the mean over the views.
        """
        return self._run(pixels)[0]

    def tile_pixels(self, tiles: Sequence[Image.Image]) -> Tensor:
        """Tiles that show the networks' field, RGB -> their input before it is normalised, uint8 (N, C, side, side)."""
        channels = self.checkpoint.config.pretrained_cfg.input_size[0]
        fields = [scanned_field.Field(tile, (0, 0, *tile.size)) for tile in tiles]
        finder = self.checkpoint.finder
        return torch.stack([self._to_pixels(select_region(one, self.task, channels, finder).image) for one in fields])

    def score_tiles(self, pixels: Tensor, all_views: bool) -> tuple[np.ndarray, Tensor]:
        """p(malignant), float64 (N,), and `gate.network_features` (N, features) of `tile_pixels`.

        `all_views`: whether the logits are the mean over the views of the test-time augmentation, as in `predict`, or
        those of the tiles alone. Raises ImageRefused for logits that are not finite.
        """
        pretrained = self.checkpoint.config.pretrained_cfg
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (pretrained.mean, pretrained.std))
        normalised = ((pixels.float() / 255 - mean) / std).to(self.device)
        logits, features = self._run(normalised, all_views)
        members = self._member_logits(normalised[:, None].expand(-1, len(self._networks), -1, -1, -1), all_views)
        return self._calibrated(torch.cat([logits[None], members]).mean(dim=0))[1], features.cpu()

    def gate_scores(self, tiles: Sequence[Image.Image], network_features: Tensor) -> np.ndarray:
        """The gate's scores of tiles and their `score_tiles`, float64 (N,); NaN for a checkpoint without a gate."""
        if self.checkpoint.gate is None:
            return np.full(len(tiles), np.nan)
        side = self.checkpoint.config.pretrained_cfg.input_size[1]
        statistics = torch.from_numpy(gate.picture_features(tiles, self.task, side))
        return np.array([one.score for one in self.checkpoint.gate.verdicts(statistics, network_features)])

    def predict_many(
        self,
        sources: Iterable[ImageSource],
        batch_size: int = 32,
        workers: int = 2,
        mpp: float | None = None,
        in_parts: bool = True,
    ) -> Iterator[Prediction | ImageRefused]:
        """Classify many images in batches of `batch_size`. Yields a prediction or a refusal per image, in order.

        `mpp`: the micrometres per pixel of the images, whatever their files state; None for the scale that each file
        states. `in_parts`: whether an image may be read in parts (`parts.divide`); otherwise it is read whole.

        `workers` threads decode and resize images up to two batches ahead of the network. Memory does not grow with the
        number of images, because only the network's input is kept. At most `workers` images are in memory at full size,
        besides those that `sources` yields decoded.
        """
        batch: list[_Prepared | ImageRefused] = []
        prepare = partial(self._prepare_or_refuse, mpp=mpp, in_parts=in_parts)
        for item in read_ahead(prepare, sources, workers, 2 * batch_size):
            batch.append(item)
            if len(batch) == batch_size:
                yield from self._answers(batch, batch_size)
                batch = []
        yield from self._answers(batch, batch_size)

    def _run(self, pixels: Tensor, all_views: bool = True, number: int = 0) -> tuple[Tensor, Tensor]:
        """The logits of a network, and `gate.network_features` (N, features) of the images without augmentation.

        `number`: the network's, 0 for the first. Without `all_views`, the logits are those of the images alone.

        The views run one after another, so that a batch takes the same memory with test-time augmentation as without.
        """
        first, *others = self._views(pixels) if all_views else [pixels]
        backbone = self._backbones[number]
        features, statistics = backbone(first)
        maps = (features, *(backbone(view)[0] for view in others))
        return torch.stack([self._class_logits(one, number) for one in maps]).mean(dim=0), statistics

    def _member_logits(self, pixels: Tensor, all_views: bool = True) -> Tensor:
        """The members' logits, divided by their temperatures: (members, N, classes).

        `pixels`: the input of all networks, (N, networks, C, side, side).
        """
        if len(self._networks) == 1:
            return pixels.new_empty(0, len(pixels), len(self.task.codes))
        numbers = range(1, len(self._networks))
        return torch.stack([self._run(pixels[:, i], all_views, i)[0] / self._temperatures[i] for i in numbers])

    def _views(self, pixels: Tensor) -> list[Tensor]:
        return views(pixels, self.checkpoint.config.vigil.test_time_augmentation)

    def _class_logits(self, features: Tensor, number: int = 0) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            return class_logits(self._networks[number].forward_head(features))

    def _verdicts(self, parts: Sequence[_Part], network_features: Tensor) -> list[Verdict | None]:
        """The gate's verdict on each part; None for a checkpoint without a gate."""
        if self.checkpoint.gate is None:
            return [None] * len(parts)
        statistics = torch.cat([part.statistics for part in parts])
        return list(self.checkpoint.gate.verdicts(statistics, network_features.cpu()))

    def _answers(self, batch: Sequence[_Prepared | ImageRefused], at_once: int) -> Iterator[Prediction | ImageRefused]:
        read = [part for item in batch if isinstance(item, _Prepared) for part in item.parts]
        if read:
            chunks = [chunk.to(self.device) for chunk in torch.stack([part.pixels for part in read]).split(at_once)]
            runs = [self._run(chunk[:, 0]) for chunk in chunks]
            members = torch.cat([self._member_logits(chunk) for chunk in chunks], dim=1)
            batch_logits = torch.cat([torch.cat([logits for logits, _ in runs])[None], members])
            batch_verdicts = self._verdicts(read, torch.cat([statistics for _, statistics in runs]))
        start = 0
        for item in batch:
            if isinstance(item, ImageRefused):
                yield item
                continue
            own = slice(start, start + len(item.parts))
            start = own.stop
            try:
                prediction = self._prediction(item, batch_logits[:, own], batch_verdicts[own])
            except ImageRefused as refusal:
                yield refusal
            else:
                yield prediction

    def _prepare(self, source: ImageSource, mpp: float | None = None, in_parts: bool = True) -> _Prepared:
        if callable(source):
            source = source()
        if isinstance(source, Division):
            (kind, found), picture = source, source.parts[0].picture
        else:
            picture = source.at(mpp) if isinstance(source, Picture) else self.read(source, MAX_LOCAL_BYTES, mpp)
            kind, found = parts.divide(picture, self.task) if in_parts else parts.undivided(picture, self.task)
        prepared = tuple(self._prepare_part(part, kind) for part in found)
        return _Prepared(prepared, kind, picture.image.size, picture.mpp if kind == "tiles" else None)

    def _prepare_part(self, part: Part, kind: PartKind | None) -> _Part:
        channels, side, _ = self.checkpoint.config.pretrained_cfg.input_size
        picture, field, shown = part
        # Networks that read the same part share it.
        regions = {finder: select_region(field, self.task, channels, finder) for finder in dict.fromkeys(self._finders)}
        region = regions[self._finders[0]]
        warnings = quality.warnings(picture, field.image, self.task, side, self.checkpoint.evaluation.flaw_effects)
        if self.checkpoint.finder is not None and region.kind != "lesion":
            warnings = (*warnings, NOTHING_FOUND)
        if kind is None:
            warnings = (*magnification.warnings(field.image, self.task), *warnings)
        statistics = torch.from_numpy(gate.picture_features([field.image], self.task, side))
        inputs = {finder: self._transform(found.image) for finder, found in regions.items()}
        pixels = torch.stack([inputs[finder] for finder in self._finders])
        return _Part(pixels, region.box, shown, "tile" if kind == "tiles" else region.kind, warnings, statistics)

    def _prepare_or_refuse(self, source: ImageSource, mpp: float | None, in_parts: bool) -> _Prepared | ImageRefused:
        try:
            return self._prepare(source, mpp, in_parts)
        except ImageRefused as refusal:
            return refusal

    def _calibrated(self, logits: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The probabilities (N, classes) and p(malignant) (N,) of class logits (N, classes), float64.

        Raises ImageRefused for logits that are not finite.
        """
        raw = logits.cpu().double().numpy()
        if not np.isfinite(raw).all():
            # Finite weights can still overflow. A NaN is below every threshold, so it would mean "no referral".
            raise ImageRefused("The model's answer for this image is not a number; its weights may be damaged.")
        probabilities = calibrated(raw, self.checkpoint.config.vigil.temperature)
        return probabilities, probabilities[:, list(self.task.malignant)].sum(axis=1).clip(max=1.0)

    def _prediction(self, prepared: _Prepared, each: Tensor, verdicts: Sequence[Verdict | None]) -> Prediction:
        """The prediction from each network's class logits (networks, parts, classes) and the gate's verdicts."""
        config, logits = self.checkpoint.config, each.mean(dim=0)
        probabilities, p_malignant = self._calibrated(logits)
        raw, malignant = logits.cpu().double().numpy(), p_malignant.tolist()
        chosen, read_in = 0, None
        if prepared.kind is not None:
            accepted = [verdict is None or verdict.accepted for verdict in verdicts]
            counted = tuple(accepted if any(accepted) else [True] * len(accepted))
            chosen = max(range(len(malignant)), key=lambda i: (counted[i], malignant[i]))
            read_in = Parts(prepared.kind, tuple(malignant), counted, chosen, prepared.mpp)
        part = prepared.parts[chosen]
        about_parts = part_sentences.sentences(read_in, prepared.size, self.task) if read_in is not None else ()
        return Prediction(
            task=self.task,
            model=config.vigil.name,
            revision=self.checkpoint.revision,
            logits=tuple(raw[chosen].tolist()),
            probabilities=tuple(probabilities[chosen].tolist()),
            p_malignant=malignant[chosen],
            size=prepared.size,
            box=part.box,
            region=part.region,
            warnings=(*about_parts, *part.warnings),
            gate=verdicts[chosen],
            parts=read_in,
            shown=part.shown,
            members=tuple(self._calibrated(each[:, chosen])[1].tolist()) if len(each) > 1 else (),
        )
