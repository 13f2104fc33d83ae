"""The readable description of one view; a list of them, one a view, is a recipe's views."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tacit.views.crop import Interpolation

Probability = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]


class ViewsConfig(BaseModel):
    """One view: probabilities are per sample, sizes in pixels, strengths as in torchvision.

    The operations run in the order of the fields: crop + resize + mirror + turn, colour jitter
    (its four parts in random order), greyscale, blur, solarise, normalisation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(ge=1, description="side of the view in pixels")
    area: Range | None = Field(
        (0.08, 1.0), description="share of the image that a crop covers; null: the central square"
    )
    aspect: Range = Field((3 / 4, 4 / 3), description="width / height of the crop")
    interpolation: Interpolation = "bilinear"
    hflip: Probability = Field(0.5, description="probability of a left-right mirror")
    vflip: Probability = Field(0.0, description="probability of a top-bottom mirror")
    turn: Probability = Field(0.0, description="probability of a turn by 90, 180 or 270 degrees")
    jitter: Probability = Field(0.8, description="probability of the colour jitter")
    brightness: float = Field(0.4, ge=0, description="factor in [max(0, 1 - s), 1 + s]")
    contrast: float = Field(0.4, ge=0, description="factor in [max(0, 1 - s), 1 + s]")
    saturation: float = Field(0.4, ge=0, description="factor in [max(0, 1 - s), 1 + s]")
    hue: float = Field(0.1, ge=0, le=0.5, description="shift in [-s, s] turns of the circle")
    grey: Probability = Field(0.2, description="probability of greyscale")
    blur: Probability = Field(0.0, description="probability of the Gaussian blur")
    blur_sigma: Range = Field((0.1, 2.0), description="standard deviation of the blur, pixels")
    blur_kernel: int | None = Field(
        None, ge=1, description="taps of the blur, odd; null: a tenth of the side, made odd"
    )
    solarise: Probability = Field(0.0, description="probability of inverting the bright values")
    solarise_threshold: Probability = Field(0.5, description="values from here on are inverted")
    normalise: bool = Field(True, description="subtract the data's mean, divide by its std")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, most in (("area", 1.0), ("aspect", None), ("blur_sigma", None)):
            pair = getattr(self, name)
            if pair is None:
                continue
            low, high = pair
            if not 0 < low <= high or (most is not None and high > most):
                bound = f" <= {most:g}" if most is not None else ""
                raise ValueError(f"{name} must be two numbers 0 < low <= high{bound}, got {pair}")
        if self.blur > 0 and (self.kernel % 2 == 0 or self.kernel // 2 >= self.size):
            raise ValueError(
                f"blur_kernel must be odd and less than twice the view's side {self.size}, "
                f"got {self.kernel}"
            )
        return self

    @property
    def kernel(self) -> int:
        """Taps of the blur: ``blur_kernel``, or a tenth of the side made odd (at least 3)."""
        return self.blur_kernel or max(3, int(0.1 * self.size) // 2 * 2 + 1)

    @property
    def strengths(self) -> tuple[float, float, float, float]:
        return self.brightness, self.contrast, self.saturation, self.hue
