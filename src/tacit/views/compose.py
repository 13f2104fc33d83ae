"""From a raw batch to a list of views."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import groupby
from typing import Literal, overload

import torch
from jaxtyping import Num
from torch import Tensor, nn

from tacit.errors import ConfigError
from tacit.views.config import ViewsConfig
from tacit.views.draws import Geometry
from tacit.views.eval_view import EvalView, check_images
from tacit.views.view import LARGE, View

log = logging.getLogger(__name__)

# glibc hands freed memory back to the system, and every large tensor then costs a page fault per
# 4 kB (half of the time of a 224-pixel view), until it has once seen a large block freed.
_LESSON_BYTES = 31 << 20
_PAYS = 1.5e9  # numbers in all views of a run that save the seconds of compiling


class Views(nn.Module):
    """All views of a batch: ``views(images, generator)`` is a list of normalised tensors.

    The same code runs on CPU and GPU, where the images are. Parameters are drawn on the
    generator's device (a CPU generator spares a GPU the waiting) and every sample has its own,
    but for the order of the four jitter operations, which is drawn once a chunk of samples.

    Parameters
    ----------
    configs : one description a view, in the order of the output (crop-major layout: all samples
        of view 0, then all of view 1; with multi-crop, the global views first).
    channels : channels of the images; colour operations need 1 or 3.
    mean, std : of each channel, in [0, 1] units.
    chunk : samples worked on at once; by default what fits the cache (CPU) or 256 MB (GPU). The
        random numbers depend on it, so fix it where CPU and GPU must agree.

    Raises
    ------
    ConfigError : no view, statistics that do not fit ``channels``, or a colour operation on
        images of neither 1 nor 3 channels.

    Examples
    --------
    >>> views = Views([ViewsConfig(size=16)] * 2, channels=3, mean=[0.5] * 3, std=[0.25] * 3)
    >>> x = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    >>> [v.shape for v in views(x, torch.Generator().manual_seed(0))]
    [torch.Size([4, 3, 16, 16]), torch.Size([4, 3, 16, 16])]
    """

    def __init__(
        self,
        configs: Sequence[ViewsConfig],
        *,
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        if not configs:
            raise ConfigError("at least one view is needed")
        if chunk is not None and chunk < 1:
            raise ConfigError(f"chunk must be at least 1, got {chunk}")
        torch.empty(_LESSON_BYTES, dtype=torch.uint8)
        self.configs = list(configs)
        self.channels, self.mean, self.std = channels, list(mean), list(std)
        runs = [(config, len(list(same))) for config, same in groupby(self.configs)]
        self.repeats = [count for _, count in runs]
        self.views = nn.ModuleList(
            View(config, channels=channels, mean=mean, std=std, chunk=chunk) for config, _ in runs
        )

    @overload
    def forward(
        self,
        images: Num[Tensor, "n c height width"],
        generator: torch.Generator,
        return_boxes: Literal[False] = False,
    ) -> list[Tensor]: ...

    @overload
    def forward(
        self,
        images: Num[Tensor, "n c height width"],
        generator: torch.Generator,
        return_boxes: Literal[True],
    ) -> tuple[list[Tensor], list[Geometry]]: ...

    def forward(
        self,
        images: Num[Tensor, "n c height width"],
        generator: torch.Generator,
        return_boxes: bool = False,
    ) -> list[Tensor] | tuple[list[Tensor], list[Geometry]]:
        """The views of raw images: uint8, or floating point in [0, 1].

        With ``return_boxes``, also the :class:`Geometry` of each view.
        """
        check_images(images, self.channels)
        grad = torch.is_grad_enabled() and images.requires_grad
        with (
            torch.autocast(images.device.type, enabled=False),
            torch.set_grad_enabled(grad),
        ):
            made = [
                view(images, generator, repeats) for view, repeats in zip(self.views, self.repeats)
            ]
        n = len(images)
        views = [one for several, _ in made for one in several.split(n)]
        if not return_boxes:
            return views
        boxes = [
            Geometry(*(f[i : i + n] for f in g)) for _, g in made for i in range(0, len(g[0]), n)
        ]
        return views, boxes

    def fuse(self, samples: float = math.inf) -> bool:
        """From now on, make each small view in one compiled pass, where numba is installed.

        That is for uint8 images on a CPU and views of at most 64 pixels; all others stay as they
        are. The views of a generator are the same up to rounding, more than twice as fast.
        Compiling takes some seconds at the first batch, and half a second in later processes.

        Parameters
        ----------
        samples : number that will be seen in all; nothing is done for few, which cost less than
            compiling.

        Returns
        -------
        bool : whether small views are made so.

        Examples
        --------
        >>> Views([ViewsConfig(size=16)], channels=1, mean=[0.5], std=[0.25]).fuse(samples=1000)
        False
        """
        small = sum(c.size**2 for c in self.configs if c.size <= LARGE)
        if small == 0 or samples * self.channels * small < _PAYS or find_spec("numba") is None:
            return False
        try:
            from tacit.views.fused import fused_views
        except ImportError as error:  # numba refuses a numpy that it does not know
            log.warning("numba cannot be used (%s): views are made without it.", error)
            return False
        for view in self.views:
            assert isinstance(view, View)
            view.fused = fused_views
        return True

    def eval_view(self) -> EvalView:
        """The deterministic view that goes with these: the first view's size and normalisation."""
        first = self.configs[0]
        plain = ([0.0] * self.channels, [1.0] * self.channels)
        mean, std = (self.mean, self.std) if first.normalise else plain
        return EvalView(first.size, mean, std)
