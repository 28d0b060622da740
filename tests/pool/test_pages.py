"""The tests of pages that read a network, run again with that network in the pool."""

import pytest

from tests.pages.test_attention import *  # noqa: F403  # every test of these two pages
from tests.pages.test_masks import (  # noqa: F401  # those whose numbers come from the network
    test_a_mask_in_one_layer_leaves_the_layers_before_it,
    test_checks_are_made_and_hold,
    test_stages_of_the_head,
    test_switched_cells_are_marked_run_in_the_network_and_undone,
    test_the_matrix_and_the_whole_network_are_those_of_transformers,
    test_the_networks_own_mask_changes_nothing,
)
from tests.pages.test_positions import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("through_pool")
