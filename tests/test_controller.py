import pickle

import numpy as np
import pytest
import torch

from wmlib.controller import Controller, squash


def test_paper_size():
    assert Controller().num_parameters == 867


def test_flat_vector_is_weights_then_biases():
    flat = np.arange(15.0)
    controller = Controller(flat, feature_size=4, action_size=3)
    np.testing.assert_array_equal(controller.parameters, flat[None])
    weight, bias = flat[:12].reshape(3, 4), flat[12:]
    features = torch.tensor([[0.1, -0.2, 0.3, 0.01]])
    expected = squash(torch.tensor(weight @ features[0].numpy() + bias, dtype=torch.float32))
    torch.testing.assert_close(controller(features)[0], expected)


def test_a_population_acts_as_its_members():
    parameters = np.random.default_rng(0).normal(size=(5, 867))
    features, members = torch.randn(7, 288), np.array([4, 0, 0, 3, 1, 2, 4])
    together = Controller(parameters)(features, members)
    for row, member in enumerate(members):
        alone = Controller(parameters[member])(features[row : row + 1])
        torch.testing.assert_close(together[row], alone[0])


def test_actions_are_the_papers():
    raw = torch.tensor([[0.0, 0.0, 0.0], [9.0, 9.0, 9.0], [-9.0, -9.0, -9.0]])
    expected = torch.tensor([[0.0, 0.5, 0.0], [1.0, 1.0, 1.0], [-1.0, 0.0, 0.0]])
    torch.testing.assert_close(squash(raw), expected, atol=1e-6, rtol=0)


def test_a_controller_can_travel():
    controller = Controller(np.random.default_rng(0).normal(size=(2, 867)))
    there = pickle.loads(pickle.dumps(controller))
    np.testing.assert_array_equal(there.parameters, controller.parameters)
    features = torch.randn(2, 288)
    torch.testing.assert_close(there(features, [0, 1]), controller(features, [0, 1]))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="has 867 parameters, got 866"):
        Controller(np.zeros(866))
    with pytest.raises(ValueError, match="reads 288 features, got 32"):
        Controller()(torch.zeros(1, 32))
