"""What a check allows, and no more."""

import math

import pytest

from components.takeaway import Check


@pytest.mark.parametrize(
    ("difference", "tolerance", "holds"),
    [
        (0.0, 0.0, True),
        (1e-6, 1e-6, True),
        (math.nextafter(1e-6, 1), 1e-6, False),
        (1e-7, 1e-6, True),
        (math.nan, 1e-6, False),
        (math.inf, 1e-6, False),
        (math.nan, math.inf, False),
    ],
)
def test_a_check_holds_up_to_its_tolerance_and_never_without_a_number(difference, tolerance, holds):
    assert Check("what", difference, tolerance).holds is holds
