"""`--vary`: ranges, choices, and every mistake named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.errors import ConfigError
from tacit.registry import METHODS
from tacit.sweeps.space import Choice, Range, grid, parse_space, split_specs


def parse(*words):
    return parse_space(split_specs(words), [METHODS.get("simclr")])


def one(word):
    (dimension,) = parse(word).values()
    return dimension


def test_ranges_take_the_type_of_their_field():
    assert one("optimizer.lr=1e-4:1e-1:log") == Range(1e-4, 0.1, log=True)
    assert one("lr=1:10") == Range(1.0, 10.0)
    assert one("batch_size=32:256:32") == Range(32, 256, step=32, whole=True)
    assert one("n_views=2:4") == Range(2, 4, whole=True)
    assert one("temperature=0.1:0.5:0.1") == Range(0.1, 0.5, step=0.1)
    assert one("encoder.width=1:4") == Range(1, 4, whole=True)  # no type: as it is written


def test_choices_are_read_as_yaml():
    assert one("method=simclr,vicreg").values == ("simclr", "vicreg")
    assert one("lr=1e-3,0.1").values == (0.001, 0.1)
    assert one("optimizer.nesterov=true,false").values == (True, False)
    assert one("encoder=timm:resnet18,small").values == ("timm:resnet18", "small")
    area = one("views.area=[0.2, 1],[0.5, 1]")
    assert area.values == ([0.2, 1], [0.5, 1])
    assert [area.decode(label) for label in area.labels] == [[0.2, 1], [0.5, 1]]
    assert parse_space({"batch_size": [32, 64]})["batch_size"] == Choice((32, 64))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("optimizer.lrr=1:2", r"optimizer\.lrr.*Did you mean 'lr'"),
        ("temperatur=0.1:0.2", "temperatur.*Did you mean 'temperature'"),
        ("optimiser.lr=1:2", "Did you mean 'optimizer'"),
        ("batch_size", "FIELD=SPEC"),
        ("=1:2", "FIELD=SPEC"),
        ("batch_size=64.5:128", "batch_size takes whole numbers"),
        ("batch_size=32:128:1.5", "batch_size takes whole numbers"),
        ("lr=0.1:0.01", "low end is not below"),
        ("lr=0.1:0.1", "low end is not below"),
        ("lr=0:1:log", "begin above 0"),
        ("lr=0.1:1:2", "at most 0.9"),
        ("lr=0.1:1:-0.1", "step must be positive"),
        ("lr=0.1:1:linear", "is not a range"),
        ("lr=0.1", "nothing to vary"),
        ("lr=", "nothing to vary"),
        ("lr=[0.1,0.2", "cannot be read"),
        ("lr=0.1,0.2,0.1", "0.1 is there twice"),
    ],
)
def test_mistakes_are_named(word, message):
    with pytest.raises(ConfigError, match=message):
        parse(word)


def test_one_field_under_two_names():
    with pytest.raises(ConfigError, match="already varied as 'lr'"):
        parse("lr=0.1,0.2", "optimizer.lr=1:2")
    with pytest.raises(ConfigError, match="lr: the field is already varied"):
        parse("lr=0.1,0.2", "lr=1:2")
    with pytest.raises(ConfigError, match="Nothing to vary"):
        parse()


def test_grid():
    points = grid(parse("batch_size=32,64", "lr=0.1:0.3:0.1"))
    assert len(points) == 6
    assert points[1] == {"batch_size": 32, "lr": pytest.approx(0.2)}
    assert points[5] == {"batch_size": 64, "lr": pytest.approx(0.3)}
    with pytest.raises(ConfigError, match=r"lr=0\.1:1 has infinitely many"):
        grid(parse("lr=0.1:1"))
    with pytest.raises(ConfigError, match="batch_size=8:64:log has infinitely many"):
        grid(parse("batch_size=8:64:log"))


@given(
    st.integers(-1000, 1000),
    st.integers(1, 1000),
    st.integers(1, 50),
)
def test_whole_ranges_stay_within_their_ends(low, span, step):
    step = min(step, span)
    found = one(f"encoder.n={low}:{low + span}:{step}")
    values = found.grid()
    assert values == list(range(low, low + span + 1, step))
    distribution = found.distribution()
    assert all(distribution._contains(value) for value in values)


@given(
    st.floats(1e-12, 1e6, allow_nan=False), st.floats(1.001, 1e3, allow_nan=False), st.booleans()
)
def test_what_is_printed_is_read_back(low, factor, log):
    found = Range(float(f"{low:.12g}"), float(f"{low * factor:.12g}"), log)
    if found.low < found.high:
        assert one(f"lr={found}") == found
