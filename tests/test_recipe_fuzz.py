"""Any valid recipe survives YAML; any invalid field is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.errors import ConfigError
from tacit.recipe import Recipe

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=20)
SHARE = st.floats(0, 0.99, allow_nan=False)
POSITIVE = st.floats(1e-9, 1e6, allow_nan=False, allow_infinity=False)
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), POSITIVE, TEXT)
OPTIONS = st.dictionaries(TEXT, st.one_of(SCALAR, st.lists(SCALAR, max_size=3)), max_size=3)
MAYBE = st.one_of(st.none(), st.integers(1, 10_000))

RECIPES = st.fixed_dictionaries(
    {},
    optional={
        "method": TEXT,
        "options": OPTIONS,
        "data": TEXT,
        "split": st.sampled_from(["all", "train", "test"]),
        "image_size": st.one_of(st.none(), st.integers(8, 512)),
        "encoder": st.one_of(st.none(), TEXT),
        "encoder_options": OPTIONS,
        "views": TEXT,
        "views_options": OPTIONS,
        "n_views": st.one_of(st.none(), st.integers(1, 12)),
        "batch_size": MAYBE,
        "accumulate": st.integers(1, 64),
        "epochs": st.one_of(st.none(), POSITIVE),
        "steps": MAYBE,
        "max_time": st.one_of(st.none(), POSITIVE, st.sampled_from(["90s", "1h30m", "00:10:00"])),
        "optimizer": st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from(["sgd", "lars", "adam", "adamw", "muon"]),
                "lr": POSITIVE,
                "momentum": SHARE,
                "betas": st.tuples(SHARE, SHARE),
            },
        ),
        "schedule": st.fixed_dictionaries(
            {}, optional={"warmup": SHARE, "milestones": st.lists(SHARE, max_size=4)}
        ),
        "precision": st.sampled_from(["auto", "32", "bf16"]),
        "seed": st.integers(0, 2**63 - 1),
        "strict": st.booleans(),
        "loggers": st.lists(st.sampled_from(["wandb", "mlflow"]), max_size=2),
    },
)


@given(RECIPES)
def test_a_valid_recipe_survives_yaml(values) -> None:
    recipe = Recipe.parse(values)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


@given(RECIPES, st.sampled_from(sorted(Recipe.model_fields)))
def test_a_field_of_the_wrong_kind_is_named(values, field) -> None:
    with pytest.raises(ConfigError, match=field):
        Recipe.parse({**values, field: object()})


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", str(2**63), str(-(2**70)), "1e999"])
@pytest.mark.parametrize(
    "field", ["seed", "epochs", "clip_norm", "checkpoint_every", "optimizer.lr", "schedule.warmup"]
)
def test_an_impossible_number_is_named(field, value) -> None:
    outer, _, inner = field.partition(".")
    if value == str(2**63) and field in ("epochs", "clip_norm", "checkpoint_every", "optimizer.lr"):
        value = ".inf"  # as a float it is large, not impossible
    text = f"{outer}: {{{inner}: {value}}}" if inner else f"{outer}: {value}"
    with pytest.raises(ConfigError, match=field):
        Recipe.from_yaml(text)


@given(RECIPES, st.text("abcdefghij_", min_size=1, max_size=12))
def test_an_unknown_field_is_named(values, name) -> None:
    if name in Recipe.model_fields:
        return
    with pytest.raises(ConfigError, match=f"no field '{name}'"):
        Recipe.parse({**values, name: 1})


@given(st.text(max_size=60))
def test_any_text_is_a_recipe_or_a_clear_error(text) -> None:
    try:
        recipe = Recipe.from_yaml(text)
    except ConfigError as error:
        message = str(error)
    else:
        message = f"recipe {recipe.method}"
    assert message.startswith("recipe")
