"""The directions that a search for C uses: kept, and balanced where C reads c beside z and h."""

import numpy as np
import pytest
import torch

from wmlib.evaluation import features
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.search import search_directions
from wmlib.rollout.episodes import EpisodeStore
from wmlib.training.search_space import Directions


@pytest.fixture
def folder(tmp_path):
    """A folder with two episodes of noise."""
    rng, store = np.random.default_rng(0), EpisodeStore(tmp_path / "episodes")
    for name in ("1-0", "2-0"):
        episode = {
            "frames": rng.integers(0, 256, (41, 64, 64, 3), dtype=np.uint8),
            "actions": rng.uniform(-1, 1, (40, 1)).astype(np.float32),
            "rewards": np.ones(40, np.float32),
            "done": np.zeros(40, np.float32),
        }
        store.write(name, episode)
    return tmp_path


def model(reads_cell):
    torch.manual_seed(0)
    return WorldModel(VAE(z_size=8), MDNRNN(8, 1, 6, reads_cell=reads_cell))


@pytest.mark.parametrize("reads_cell", [False, True])
def test_they_are_kept_and_belong_to_one_world_model(folder, reads_cell):
    found = search_directions(model(reads_cell), folder, 4)
    assert found.matrix.shape == (4, 20 if reads_cell else 14)
    again = search_directions(model(reads_cell), folder, 4)
    np.testing.assert_array_equal(again.matrix, found.matrix)
    with pytest.raises(ValueError, match=r"directions\.npz"):
        search_directions(model(not reads_cell), folder, 4)


def test_z_c_and_h_count_alike(folder):
    world_model, store = model(True), EpisodeStore(folder / "episodes")
    recorded = [store.episode(name) for name in store.names()]
    seen = torch.cat([features(world_model, e["frames"], e["actions"]) for e in recorded])
    found = search_directions(world_model, folder, 4).matrix
    np.testing.assert_allclose(found, Directions.of(seen, 4, 1, (8, 6, 6)).matrix)
    assert not np.allclose(found, Directions.of(seen, 4, 1).matrix)
