"""The ablation of search spaces: what each space changes, and the command at smoke scale."""

import numpy as np
import pytest
import torch

from wmlib.files import read_log, write_log
from wmlib.models.checkpoints import load_world_model, world_model_digest
from wmlib.models.controller import Controller
from wmlib.paths import pretrained
from wmlib.pipeline.scales import get_config
from wmlib.provenance import Record, require
from wmlib.tools.cli import main
from wmlib.tools.search_ablation import (
    RAW_STEP,
    RESULTS,
    SEEDS,
    SPACES,
    record_of,
    search_spaces,
    step_size,
)
from wmlib.training.search_space import Directions


@pytest.fixture
def seen():
    """Correlated features of different sizes, with a mean that is not 0: (500, 12)."""
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(500, 12)) * np.geomspace(3, 0.1, 12) @ rng.normal(size=(12, 12))
    return torch.tensor(mixed + 2, dtype=torch.float32)


def test_each_space_changes_one_thing(seen):
    weights, components, scaled, balanced = search_spaces(seen, 4).values()
    y = {
        name: (seen.double().numpy() - space.mean) @ space.matrix.T
        for name, space in search_spaces(seen, 4).items()
    }
    assert tuple(y) == SPACES
    assert weights.num_parameters == Controller(feature_size=12).num_parameters
    assert components.num_parameters == scaled.num_parameters == balanced.num_parameters == 15
    for values in y.values():
        np.testing.assert_allclose(values.mean(0), 0, atol=1e-5)  # the bias alone sets the average
    np.testing.assert_allclose(components.matrix @ components.matrix.T, np.eye(4), atol=1e-9)
    deviations = y["components"].std(0, ddof=1)
    np.testing.assert_allclose(y["scaled"], y["components"] / np.sqrt(deviations), rtol=1e-6)
    factor = y["common factor"] / y["scaled"]
    np.testing.assert_allclose(factor, factor[0, 0])
    assert (y["common factor"] ** 2).sum(1).mean() == pytest.approx(1, rel=0.01)
    np.testing.assert_array_equal(balanced.matrix, Directions.of(seen, 4).matrix)


def test_first_candidates_differ_equally_in_every_space(seen):
    rng = np.random.default_rng(1)
    for name, space in search_spaces(seen, 4).items():
        points = step_size(space, seen) * rng.standard_normal((3000, space.num_parameters))
        raw = Controller(space.expand(points[:200]), feature_size=12)
        outputs = torch.stack([raw.raw(seen, np.full(len(seen), k)) for k in range(200)])
        assert outputs.square().mean().sqrt() == pytest.approx(RAW_STEP, rel=0.06), name


def test_the_command_makes_a_row_per_search_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WM_RUNS", str(tmp_path / "runs"))
    file = tmp_path / "search.jsonl"
    command = ["ablate", "search", "--scale", "smoke", "--out", str(file)]
    assert main(command) == 0
    rows = read_log(file)
    assert [(row["space"], row["seed"]) for row in rows] == [(n, k) for k in SEEDS for n in SPACES]
    assert all(np.isfinite([row["check"], row["check_std"], row["sigma"]]).all() for row in rows)
    write_log(rows[:-1], file)  # as if it had been interrupted
    assert main(command) == 0
    assert read_log(file)[:-1] == rows[:-1]
    last = read_log(file)[-1]
    assert (last["space"], last["seed"], last["sigma"]) == (
        SPACES[-1],
        SEEDS[-1],
        rows[-1]["sigma"],
    )
    rows[0]["record"]["settings"]["search"]["population"] = 99
    write_log(rows[:-1], file)
    assert main(command) == 1
    assert "was made with search = " in capsys.readouterr().err


def test_the_published_rows_are_complete_and_of_the_pretrained_world_model():
    rows = read_log(RESULTS)
    assert sorted((row["space"], row["seed"]) for row in rows) == sorted(
        (name, seed) for seed in SEEDS for name in SPACES
    )
    digest = world_model_digest(load_world_model(pretrained("car_racing")))
    assert {row["record"]["made_from"]["world_model"] for row in rows} == {digest}
    assert len({str(row["record"]["settings"]) for row in rows}) == 1
    wanted = record_of(get_config("laptop"), load_world_model(pretrained("car_racing")))
    for row in rows:  # the command would go on with them
        require(RESULTS, Record.from_dict(row["record"]), wanted)
