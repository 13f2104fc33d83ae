import subprocess
import sys

import pytest

from tacit.errors import ConfigError
from tacit.methods.base import Method
from tacit.modalities import modality
from tacit.registry import METHODS, canonical


def test_every_method_file_is_a_method():
    for name in METHODS.names():
        cls = METHODS.get(name)
        assert issubclass(cls, Method)
        assert METHODS.name_of(cls) == name
        assert cls.paper.year > 2000
        assert cls.__doc__
        assert all(field.description for field in cls.Config.model_fields.values()), name


def test_names_are_forgiving():
    assert canonical("Mv_DHEL") == "mv-dhel"
    assert METHODS.get("SimCLR") is METHODS.get("simclr")


def test_unknown_names_get_a_suggestion():
    with pytest.raises(ConfigError, match="Did you mean 'byol'"):
        METHODS.get("biol")
    with pytest.raises(ConfigError, match="Cannot import"):
        METHODS.get("nowhere.at_all:Thing")
    with pytest.raises(ConfigError, match="no attribute"):
        METHODS.get("tacit.methods.base:Nothing")


def test_classes_can_be_imported_from_the_package():
    from tacit import methods

    for name in METHODS.names():
        cls = METHODS.get(name)
        assert getattr(methods, cls.__name__) is cls
    with pytest.raises(AttributeError, match="Did you mean 'SimCLR'"):
        _ = methods.SimCRL
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = methods.nothing_here


def test_import_is_light():
    code = "import sys, tacit, tacit.cli; print(any(m in sys.modules for m in ('torch', 'numpy')))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_only_training_imports_lightning():
    """It takes seconds, for which loading, evaluating and embedding should not wait."""
    code = (
        "import sys, tacit.api, tacit.labelled, tacit.embed_file; print('lightning' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_a_wrong_encoder_is_told_before_lightning_is_imported():
    code = (
        "import sys, tacit, tacit.errors\n"
        "try: tacit.pretrain('simclr', 'digits', encoder='resnet81')\n"
        "except tacit.errors.ConfigError as error: print(error)\n"
        "print('lightning' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    words, lightning = found.stdout.splitlines()
    assert words.startswith("unknown encoder 'resnet81'. Did you mean 'resnet18'?")
    assert lightning == "False"


@pytest.mark.parametrize(
    ("kind", "known", "unknown", "words"),
    [
        ("image", ["small", "ViT-S", "timm:any"], "smal", "Did you mean 'small'"),
        ("image", [], "tim:any", "timm:NAME"),
        ("series", ["resnet1d", "mapped:tcn"], "mapped:tnc", "Did you mean 'tcn'"),
        ("graph", ["gat", "molecule"], "gta", "Did you mean 'gat'"),
        ("fmri", ["gin"], "gni", "Did you mean 'gin'"),
    ],
)
def test_names_of_encoders_are_checked_without_building(kind, known, unknown, words):
    for name in known:
        modality(kind).check_encoder(name)
    with pytest.raises(ConfigError, match=words):
        modality(kind).check_encoder(unknown)
