"""The recipe where the user names no method: the most accuracy in minutes on a CPU."""

from __future__ import annotations

from tacit.recipe import OptimizerConfig, Recipe, ScheduleConfig

METHOD = "dcl"


TEXTURE_VIEWS = {"vflip": 0.5, "turn": 0.75}  # patches of photographs have no up side
PHOTOS_EPOCHS = 14  # some minutes on two CPU cores


def default_recipe(data: str) -> Recipe:
    """DCL, whose gradient survives small batches, with choices measured on two CPU cores.

    Against the paper's own recipe (`tacit pretrain dcl ...`): Muon instead of Adam, views at three
    quarters of the image's side (half the computation), batch norm on the projector's output, and
    crops of at least a fifth of the image. `photos` patches are also turned and mirrored.
    """
    return Recipe(
        method=METHOD,
        options={"temperature": 0.1, "last_bn": True},
        views="dcl",
        views_options={"area": (0.2, 1.0), **(TEXTURE_VIEWS if data == "photos" else {})},
        view_scale=0.75,
        batch_size=256,
        epochs=PHOTOS_EPOCHS if data == "photos" else None,
        optimizer=OptimizerConfig(
            name="muon", lr=0.02, scale_lr=False, momentum=0.95, weight_decay=0.01
        ),
        schedule=ScheduleConfig(name="cosine", warmup=0.05),
    )
