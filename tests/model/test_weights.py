"""Constants: arrays that are not the file's, which blocks share by name."""

from dataclasses import replace

import numpy as np
import pytest

from localllm.gguf.reader import open_gguf
from localllm.model.blocks.around import read_temperature
from localllm.model.layer_reader import LayerReader
from localllm.model.spec import configuration
from localllm.model.weights import Weights
from tests import tiny_models


@pytest.fixture
def file(tmp_path):
    with open_gguf(tiny_models.write(tmp_path / "m.gguf", "llama")) as opened:
        yield opened


def test_a_constant_of_one_name_has_one_value(file):
    weights = Weights(file)
    made = weights.constant("x", np.array([[0.1, np.nan], [2.0, -0.0]]))
    assert weights.constant("x", np.array([0.1, np.nan, 2.0, 0.0])) == made
    for other in ([0.1, np.nan, 2.0, 1.0], [0.1, np.nan, 2.0]):
        with pytest.raises(ValueError, match="'x' was made before, with other values"):
            weights.constant("x", np.array(other))


def test_layers_have_queries_of_their_own_temperatures(file):
    spec, config = configuration(file)
    factors = 0.1, 0.25, 0.1
    spec = replace(spec, temperature=lambda c, i: (1 << 20, factors[i], 0))
    weights, tables = Weights(file), []
    for i in range(3):
        read = read_temperature(LayerReader(weights, config, spec, i, 1e-6))
        assert read is not None
        tables.append(read.factors)
    assert tables[0] == tables[2]
    values = [weights._copies[f"constant {table.name}"] for table in tables]
    for factor, found in zip(factors, values, strict=True):
        np.testing.assert_allclose(found, np.log(np.arange(found.size) + 1.0) * factor + 1.0, rtol=1e-6)
