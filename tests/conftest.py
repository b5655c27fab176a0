"""What several tests need: small networks, small drives."""

import pytest
import torch

from wmlib.mdn_rnn import MDNRNN
from wmlib.vae import VAE
from wmlib.world_model import WorldModel


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def world_model() -> WorldModel:
    """Untrained, with the paper's sizes."""
    return WorldModel(VAE(), MDNRNN())


@pytest.fixture
def ball_model() -> WorldModel:
    """Untrained, for the world without actions; a small memory."""
    return WorldModel(VAE(), MDNRNN(action_size=0, hidden_size=16))
