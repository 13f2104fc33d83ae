import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.errors import ConfigError, DataError
from tacit.options import build_recipe, check_words, place, split_words
from tacit.recipe import Recipe, parse_time


@settings(max_examples=50, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "batch_size": st.integers(1, 4096),
            "epochs": st.floats(0.01, 1000),
            "max_time": st.floats(1, 1e6),
            "seed": st.integers(0, 2**31),
            "data": st.text(max_size=30),
            "options": st.dictionaries(st.text(max_size=8), st.floats(-5, 5), max_size=3),
            "optimizer": st.fixed_dictionaries(
                {
                    "name": st.sampled_from(["sgd", "lars", "adam", "adamw"]),
                    "lr": st.floats(1e-6, 10),
                }
            ),
            "schedule": st.fixed_dictionaries(
                {"warmup": st.floats(0, 0.99), "milestones": st.lists(st.floats(0, 1), max_size=3)}
            ),
        },
    )
)
def test_any_valid_recipe_survives_yaml(values):
    recipe = Recipe.parse(values)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batchsize": 3}, ["batchsize", "Did you mean 'batch_size'"]),
        ({"optimizer": {"lrr": 1}}, ["optimizer.lrr", "Did you mean 'lr'"]),
        ({"batch_size": 0}, ["batch_size = 0"]),
        ({"optimizer": {"name": "rmsprop"}}, ["optimizer.name", "rmsprop"]),
        ({"schedule": {"warmup": 1.0}}, ["schedule.warmup"]),
        ({"n_views": 1_000_000}, ["n_views = 1000000", "less than or equal to 256"]),
        ({"max_time": "ten"}, ["max_time", "not a time"]),
    ],
)
def test_an_invalid_recipe_names_the_field(values, words):
    with pytest.raises(ConfigError) as error:
        Recipe.parse(values)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2", "!!python/object/apply:os.system ['true']"])
def test_yaml_that_is_no_recipe_is_refused(text):
    with pytest.raises(ConfigError):
        Recipe.from_yaml(text)


def test_times():
    assert parse_time("90s") == 90
    assert parse_time("1h30m") == 5400
    assert parse_time("00:10:00") == 600
    assert parse_time("15") == 15
    assert parse_time("1e-05") == 1e-5
    with pytest.raises(ValueError, match="not a time"):
        parse_time("10 minutes")


def test_changes_merge_into_nested_fields():
    recipe = Recipe().changed({"optimizer": {"lr": 3.0}})
    assert recipe.optimizer.lr == 3.0
    assert recipe.optimizer.momentum == Recipe().optimizer.momentum


def test_words_find_their_field():
    assert place("temperature", 0.2, ["temperature"]) == {"options": {"temperature": 0.2}}
    assert place("optimizer", "lars", []) == {"optimizer": {"name": "lars"}}
    assert place("schedule.warmup", 0.1, []) == {"schedule": {"warmup": 0.1}}
    with pytest.raises(ConfigError, match="Did you mean 'temperature'"):
        place("temprature", 0.2, ["temperature"])
    with pytest.raises(ConfigError, match="Did you mean 'views'"):
        place("view.blur", 0.2, [])


def test_method_defaults_then_user_words():
    recipe = build_recipe("simclr", "digits", {"temperature": 0.3, "lr": 0.7, "epochs": 2})
    assert recipe.method == "simclr"
    assert recipe.options["temperature"] == 0.3
    assert recipe.optimizer.lr == 0.7
    assert recipe.epochs == 2
    with pytest.raises(ConfigError, match="Did you mean 'simclr'"):
        build_recipe("simcrl", "digits", {})


@pytest.mark.parametrize(
    ("method", "data", "kind", "message"),
    [
        (
            "cifar11",
            "photos",
            ConfigError,
            "no method called 'cifar11'. Did you mean the data",
        ),
        ("planetoid", "cora", ConfigError, "is data, not a method. Write one word: planetoid:cora"),
        ("ucr:Gun", "dcl", ConfigError, "is data, not a method. The method comes first: dcl ucr:G"),
        ("Planetoid:cora", "photos", ConfigError, "is data, not a method"),
        ("photos", "digits", ConfigError, "is data, not a method. The method comes first, then"),
        ("graphmae", "cora", DataError, "Did you mean 'planetoid:cora'"),
        ("graphmae", "graphmae", DataError, "'graphmae' is a method, not data"),
        ("simclr", "graphmea", DataError, "Did you mean the method 'graphmae'"),
        (None, "photoss", DataError, "Did you mean 'photos'"),
    ],
)
def test_words_in_the_wrong_place(method, data, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        check_words(method, data)


def test_words_in_the_right_place(tmp_path):
    check_words("simcrl", "photos")  # the method is looked up later
    check_words("some.module:Class", np.zeros(3))
    check_words(None, "digits")
    (tmp_path / "a.CSV").touch()
    with pytest.raises(ConfigError, match=r"is data, not a method: write csv:.*a.CSV"):
        split_words(str(tmp_path / "a.CSV"), None)
    assert split_words("Planetoid:cora", None) == (None, "Planetoid:cora")


@pytest.mark.parametrize(
    ("method", "data", "kind", "name", "value"),
    [
        ("simclr", "ucr:GunPoint", "series", "image_size", 32),
        ("graphmae", "planetoid:cora", "graph", "views", "simclr"),
        ("graphmae", "planetoid:cora", "graph", "views.area", [0.2, 1]),
        ("st-mae", "fmri:x.npz", "fmri", "views", "none"),
    ],
)
def test_options_of_other_data_are_refused(method, data, kind, name, value):
    with pytest.raises(ConfigError, match=f"'{name}' means nothing for {kind} data"):
        build_recipe(method, data, {name: value}, kind)


def test_the_precision_32_may_be_a_number():
    assert Recipe.from_yaml("precision: 32").precision == "32"
    assert Recipe.from_yaml("precision: bf16").precision == "bf16"
    with pytest.raises(ConfigError, match="precision"):
        Recipe.from_yaml("precision: 16")
