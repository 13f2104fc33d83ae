"""Which recipe a graph data set gets."""

import pytest

from tacit.options import build_recipe


@pytest.mark.parametrize("method", [None, "graphmae"])
def test_a_published_data_set_gets_its_own_configuration(method):
    recipe = build_recipe(method, "planetoid:citeseer@somewhere", {}, "graph")
    assert recipe.options["alpha"] == 1
    assert recipe.encoder_options["heads"] == 2
    assert recipe.epochs == 300
    assert build_recipe(method, "planetoid:cora", {}, "graph").epochs == 1500


def test_other_graphs_get_that_of_cora_and_other_methods_their_own():
    assert build_recipe("graphmae", "graph:mine.npz", {}, "graph").epochs == 1500
    assert build_recipe("selftask", "planetoid:citeseer", {}, "graph").encoder == "gcn"


def test_the_users_words_are_laid_over_it():
    recipe = build_recipe("graphmae", "planetoid:citeseer", {"epochs": 5, "alpha": 2.0}, "graph")
    assert recipe.epochs == 5
    assert recipe.options["alpha"] == 2.0


def test_molecules_have_their_form_of_graphmae() -> None:
    for method in (None, "graphmae-molecules"):
        recipe = build_recipe(method, "molecules:drugs.csv", {"steps": 3}, "graph")
        assert (recipe.method, recipe.encoder, recipe.steps) == (
            "graphmae-molecules",
            "molecule",
            3,
        )
    plain = build_recipe("graphmae", "molecules:drugs.csv", {}, "graph")
    assert (plain.method, plain.encoder) == ("graphmae", "gat")
