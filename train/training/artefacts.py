"""Artefacts of cameras, clinics and machines as albumentations transforms: hair, callipers, round frames, rulers,
borders and text.

An artefact is a shortcut if one source has it more often than another, or if one class is measured more often than the
other. Drawn onto images of every source and class, it predicts nothing. This module knows nothing of labels or sources.
"""

from typing import Any

import albumentations as A
import cv2
import numpy as np

_LETTERS = list("ABCDLRmM 0123456789./:-")


def _colour(level: int, channels: int) -> tuple[int, ...]:
    return (level,) * channels


def _write_text(out: np.ndarray, draw: np.random.Generator, colour: tuple[int, ...]) -> None:
    height, width = out.shape[:2]
    text = "".join(draw.choice(_LETTERS, int(draw.integers(2, 9))))
    at = (int(draw.uniform(0, 0.7) * width), int(draw.uniform(0.05, 1) * height))
    cv2.putText(out, text, at, cv2.FONT_HERSHEY_PLAIN, max(0.5, max(height, width) / 224), colour, 1, cv2.LINE_AA)


class _Artefact(A.ImageOnlyTransform):
    """An artefact drawn onto a copy of an RGB or grey uint8 image (H, W, C)."""

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:  # noqa: ARG002
        """The method that albumentations calls."""
        return self.drawn(np.ascontiguousarray(img).copy(), self.random_generator)

    def drawn(self, out: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """`out` (H, W, C) uint8 with the artefact on it."""
        raise NotImplementedError


class Hairs(_Artefact):
    """Draws 1 to `most` curved dark hairs, 1 to 2 px wide in an image of 224 px.

    About one dermatoscopic image in three has hair, which has nothing to do with the lesion.
    """

    def __init__(self, most: int = 12, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.most = most

    def drawn(self, out: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """The image with hairs."""
        height, width = out.shape[:2]
        side = max(height, width)
        dark = int(draw.integers(15, 70))
        colour = (dark + 15, dark + 5, dark)[: out.shape[2]]
        direction = draw.uniform(0, np.pi)  # the hairs of a patch of skin have similar directions
        for _ in range(int(draw.integers(1, self.most + 1))):
            angle, length = direction + draw.normal(0, 0.5), draw.uniform(0.2, 0.8) * side
            along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
            t = np.linspace(-0.5, 0.5, 16)[:, None]
            curve = draw.uniform(0, 1, 2) * (width, height) + length * (t * along + draw.normal(0, 0.4) * t**2 * across)
            thickness = max(1, round(side / 224 * draw.uniform(0.5, 1.8)))
            cv2.polylines(out, [curve.round().astype(np.int32)], False, colour, thickness, cv2.LINE_AA)
        return out


class Callipers(_Artefact):
    """Draws the marks of an ultrasound machine: pairs of crosses, dotted lines between them, and text.

    Lesions that somebody measured are more often malignant, so real marks are a shortcut.
    """

    def __init__(self, p: float = 0.3) -> None:
        super().__init__(p=p)

    def drawn(self, out: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """The image with callipers."""
        height, width = out.shape[:2]
        colour = _colour(int(draw.integers(150, 256)), out.shape[2])
        arm = max(2, round(max(height, width) / 224 * draw.uniform(2, 5)))
        for _ in range(int(draw.integers(1, 3))):
            ends = (draw.uniform(0.1, 0.9, (2, 2)) * (width, height)).round().astype(int)
            for x, y in ends.tolist():
                cv2.drawMarker(out, (x, y), colour, cv2.MARKER_CROSS, 2 * arm, 1)
            if draw.random() < 0.5:
                dots = np.linspace(ends[0], ends[1], max(4, int(np.linalg.norm(ends[0] - ends[1]) / (2 * arm))))
                for x, y in dots.round().astype(int).tolist():
                    out[min(max(y, 0), height - 1), min(max(x, 0), width - 1)] = colour
        if draw.random() < 0.3:
            _write_text(out, draw, colour)
        return out


class RoundFrame(_Artefact):
    """Darkens everything outside a central ellipse, like the round field of a dermatoscope, with a sharp or soft edge.

    The radius is 0.75 to 1.35 times half a side, so that the corners or the whole rim are black.
    """

    def __init__(self, p: float = 0.2) -> None:
        super().__init__(p=p)

    def drawn(self, out: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """The image in its frame."""
        height, width = out.shape[:2]
        radius, stretch = draw.uniform(0.75, 1.35), draw.uniform(0.85, 1.18)
        centre = draw.normal(0, 0.04, 2)
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        distance = np.hypot((x - centre[0]) / stretch, (y - centre[1]) * stretch) / radius
        softness = draw.choice([0.02, 0.08, 0.3])
        lit = np.clip((1 - distance) / softness + 0.5, 0, 1).astype(np.float32)[..., None]
        dark = draw.uniform(0, 25)
        return (out * lit + dark * (1 - lit)).astype(np.uint8)


class Borders(_Artefact):
    """Draws black, grey or white bars, up to a tenth of a side wide, along edges, as in scanned film or screenshots."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p=p)

    def drawn(self, out: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """The image between its borders."""
        height, width = out.shape[:2]
        level = int(draw.choice([0, 0, 10, 30, 128, 245, 255]))
        sides = draw.random(4) < draw.choice([0.3, 0.5, 1.0])
        top, bottom, left, right = (sides * draw.uniform(0.01, 0.1, 4) * (height, height, width, width)).astype(int)
        out[:top], out[height - bottom :], out[:, :left], out[:, width - right :] = level, level, level, level
        return out


class Ruler(_Artefact):
    """Draws a dark or light scale beside the middle, in any direction. Every fifth tick is longer."""

    def __init__(self, p: float = 0.15) -> None:
        super().__init__(p=p)

    def drawn(self, out: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """The image with a ruler."""
        height, width = out.shape[:2]
        side = max(height, width)
        level = int(draw.integers(0, 60)) if draw.random() < 0.8 else int(draw.integers(200, 256))
        colour = _colour(level, out.shape[2])
        angle = draw.choice([0, np.pi / 2, draw.uniform(0, np.pi)])
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        # The scale lies beside the middle, because the lesion is there.
        start = np.array([0.5, 0.5]) * (width, height) + across * side * draw.uniform(0.25, 0.48) * draw.choice([-1, 1])
        step, tick = side * draw.uniform(0.03, 0.09), side * draw.uniform(0.015, 0.04)
        count = int(draw.integers(6, 22))
        thickness = max(1, round(side / 224 * draw.uniform(0.5, 1.5)))
        first = start - along * step * count / 2
        lines = [(first, first + along * step * count)] if draw.random() < 0.6 else []
        for i in range(count + 1):
            at = first + along * step * i
            lines.append((at, at + across * tick * (2 if i % 5 == 0 else 1)))
        for line in lines:
            (x0, y0), (x1, y1) = np.stack(line).round().astype(int).tolist()
            cv2.line(out, (x0, y0), (x1, y1), colour, thickness, cv2.LINE_AA)
        return out


def _pixel(point: np.ndarray) -> tuple[int, int]:
    """The pixel (x, y) nearest to a point (2,)."""
    x, y = point.round().astype(int).tolist()
    return x, y


class Text(_Artefact):
    """Draws a few letters and digits in one colour, like dates, names of views or a depth."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p=p)

    def drawn(self, out: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """The image with text."""
        _write_text(out, draw, tuple(int(level) for level in draw.uniform(0, 256, (out.shape[2],))))
        return out
