"""The public verbs: pretrain, load, methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from tacit.data import ImageSource, Source, open_source
from tacit.data.spec import spec_modality
from tacit.errors import ConfigError
from tacit.methods.base import Method
from tacit.modalities import modality
from tacit.options import build_recipe, check_words
from tacit.recipe import Recipe
from tacit.registry import METHODS
from tacit.run import Run
from tacit.training.folder import RunFolder


def pretrain(
    method: str | type[Method] | None = None,
    data: Any = "photos",
    *,
    out: str | Path | None = None,
    encoder: str | nn.Module | None = None,
    recipe: Recipe | None = None,
    progress: bool = True,
    **options: Any,
) -> Run:
    """Train an encoder without labels.

    Parameters
    ----------
    method : name (`tacit methods` lists them), "module:Class", or a Method class, each with the
        paper's own recipe; None: tacit's default, the most accuracy in minutes on a CPU.
    data : source spec (`photos`, `cifar10`, `images:DIR`, ...), array, tensor or source.
    out : run folder; `runs/METHOD-DATA-TIME` by default.
    encoder : name (`small`, `resnet18`, `timm:NAME` ...) or the user's own nn.Module.
    recipe : a complete recipe instead of method and options; `recipe.changed({...})` is another.
    progress : show a progress bar.
    options : recipe fields and method options, for instance `epochs=100, temperature=0.2`.

    Returns
    -------
    Run : embed with it, evaluate it, write its report.

    Raises
    ------
    ConfigError : unknown name or option (with a suggestion). DataError : unusable data.

    >>> run = pretrain("dcl", "digits", epochs=1)  # doctest: +SKIP
    """
    if isinstance(method, type):
        method = f"{method.__module__}:{method.__qualname__}"
    module = encoder if isinstance(encoder, nn.Module) else None
    if isinstance(encoder, str):
        options["encoder"] = encoder
    name = data if isinstance(data, str) else getattr(data, "name", "array")
    if recipe is None:
        check_words(method, data)
        recipe = build_recipe(method, name, options, spec_modality(data))
    elif options:
        raise ConfigError("Give either a recipe or options, not both: recipe.changed({...}).")

    if module is None and recipe.encoder is not None:
        modality(recipe.modality).check_encoder(recipe.encoder)

    # Lightning takes seconds to import: only who trains waits for it.
    from tacit.training.fit import fit
    from tacit.training.launch import agree, join, rank
    from tacit.training.together import none_waits

    recipe = join(recipe)
    with none_waits(recipe):
        cls = METHODS.get(recipe.method)
        source = open_training(data, recipe, progress and rank() == 0)
        folder = agree(recipe, lambda: RunFolder.create(out, recipe.method, name))
        try:
            fit(recipe, folder, cls, source, encoder=module, progress=progress)
        except BaseException as error:
            if rank() == 0:
                folder.remove_if_empty(failed=isinstance(error, Exception))
            raise
    return Run(folder.path, encoder=module)


def open_training(data: Any, recipe: Recipe, progress: bool) -> Source:
    """The training source; images below 16 pixels are decoded to 32, where networks begin."""

    def opened(size: int | None) -> Source:
        return open_source(
            data, split=recipe.split, image_size=size, strict=recipe.strict, progress=progress
        )

    source = opened(recipe.image_size)
    if recipe.image_size is None and isinstance(source, ImageSource) and min(source.shape[1:]) < 16:
        return opened(32)
    return source


def load(path: str | Path, *, encoder: nn.Module | None = None) -> Run:
    """Open a run folder.

    Parameters
    ----------
    path : the folder.
    encoder : the user's own network, where the run was trained with one; it gets the weights.

    Raises
    ------
    TacitError : there is no run at this path.
    """
    return Run(path, encoder=encoder)
