"""What kinds of errors there are."""

from __future__ import annotations

import pytest

from tacit.errors import ConfigError, DataError, TacitError


@pytest.mark.parametrize("kind", [DataError, ConfigError])
def test_what_is_wrong_with_a_value_is_a_value_error_too(kind: type[TacitError]) -> None:
    for caught in (kind, TacitError, ValueError):
        with pytest.raises(caught, match="a reason"):
            raise kind("a reason")
