import pickle

import numpy as np
import pytest
import torch

from wmlib.models.controller import Controller, squash
from wmlib.training.search_space import Directions


def test_paper_size():
    assert Controller().num_parameters == 867


def test_without_a_bias_there_are_the_weights_alone():
    """The paper's C for VizDoom: one action from [z, c, h] of 64 + 512 + 512 numbers."""
    controller = Controller(feature_size=1088, action_size=1, bias=False)
    assert controller.num_parameters == 1088
    flat = np.arange(4.0)
    controller = Controller(flat, feature_size=4, action_size=1, bias=False)
    features = torch.tensor([[0.1, -0.2, 0.3, 0.01]])
    expected = np.tanh(flat @ features[0].numpy())
    assert controller(features).item() == pytest.approx(expected, rel=1e-6)
    again = Controller(flat, **controller.config)
    assert torch.equal(again(features), controller(features))
    with pytest.raises(ValueError, match="without a bias"):
        controller.with_fixed(slice(0, 2), torch.zeros(4))


def test_flat_vector_is_weights_then_biases():
    flat = np.arange(15.0)
    controller = Controller(flat, feature_size=4, action_size=3)
    np.testing.assert_array_equal(controller.parameters, flat[None])
    weight, bias = flat[:12].reshape(3, 4), flat[12:]
    features = torch.tensor([[0.1, -0.2, 0.3, 0.01]])
    expected = squash(torch.tensor(weight @ features[0].numpy() + bias, dtype=torch.float32))
    torch.testing.assert_close(controller(features)[0], expected)


def test_a_population_acts_like_its_members_one_by_one():
    parameters = np.random.default_rng(0).normal(size=(5, 867))
    features, members = torch.randn(7, 288), np.array([4, 0, 0, 3, 1, 2, 4])
    together = Controller(parameters)(features, members)
    for row, member in enumerate(members):
        alone = Controller(parameters[member])(features[row : row + 1])
        torch.testing.assert_close(together[row], alone[0])


def test_actions_are_squashed_as_in_the_paper():
    raw = torch.tensor([[0.0, 0.0, 0.0], [9.0, 9.0, 9.0], [-9.0, -9.0, -9.0]])
    expected = torch.tensor([[0.0, 0.5, 0.0], [1.0, 1.0, 1.0], [-1.0, 0.0, 0.0]])
    torch.testing.assert_close(squash(raw), expected, atol=1e-6, rtol=0)


def test_a_controller_can_be_pickled():
    controller = Controller(np.random.default_rng(0).normal(size=(2, 867)))
    loaded = pickle.loads(pickle.dumps(controller))
    np.testing.assert_array_equal(loaded.parameters, controller.parameters)
    features = torch.randn(2, 288)
    torch.testing.assert_close(loaded(features, [0, 1]), controller(features, [0, 1]))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="has 867 parameters, got 866"):
        Controller(np.zeros(866))
    with pytest.raises(ValueError, match="reads 288 features, got 32"):
        Controller()(torch.zeros(1, 32))


def features_in_two_directions():
    generator = torch.Generator().manual_seed(0)
    # They vary in two directions out of six, with SDs of 16 and 1, around a mean.
    hidden = torch.randn(4000, 2, generator=generator) * torch.tensor([16.0, 1.0])
    basis, _ = torch.linalg.qr(torch.randn(6, 2, generator=generator))
    return hidden @ basis.T + torch.arange(6.0)


def test_directions_are_the_principal_components_of_the_features():
    features = features_in_two_directions()
    directions = Directions.of(features, 2, action_size=3)
    projected = (features.double().numpy() - directions.mean) @ directions.matrix.T
    assert directions.num_parameters == 9
    # The SDs of 16 and 1 are scaled to a ratio of 4: variances of 16/17 and 1/17.
    np.testing.assert_allclose(np.cov(projected.T), np.diag([16, 1]) / 17, rtol=0.1, atol=0.02)


def test_blocks_of_features_count_alike_whatever_their_variance():
    torch.manual_seed(0)
    small, large = torch.randn(2000, 3), 100 * torch.randn(2000, 5)
    features = torch.cat([small, large], dim=1)
    plain, balanced = Directions.of(features, 3), Directions.of(features, 3, 3, (3, 5))
    assert np.abs(plain.matrix[:, :3]).max() < 0.01 * np.abs(balanced.matrix[:, :3]).max()
    y = (features.double().numpy() - balanced.mean) @ balanced.matrix.T
    np.testing.assert_allclose((y**2).sum(1).mean(), 1, rtol=1e-3)  # as without blocks
    again = torch.cat([small, 7 * large], dim=1)
    scaled = Directions.of(again, 3, 3, (3, 5))
    np.testing.assert_allclose(scaled.matrix[:, 3:] * 7, balanced.matrix[:, 3:], atol=1e-9)


@pytest.mark.parametrize("samples", [1, 10, 24])
def test_more_directions_than_the_samples_determine_are_refused(samples):
    """The others would be rounding errors divided by almost 0."""
    features = torch.randn(samples, 288)
    with pytest.raises(ValueError, match=f"1 to {samples - 1}, .* {samples} samples .*, got 24"):
        Directions.of(features, 24)


def test_there_are_at_most_as_many_directions_as_the_features_vary_in():
    features = torch.randn(25, 288)
    assert np.abs(Directions.of(features, 24).matrix).max() < 1
    features[:, 3:] = 0.5  # inactive
    assert Directions.of(features, 3).matrix.shape == (3, 288)
    for wrong in (0, 4):
        with pytest.raises(ValueError, match=f"must be 1 to 3, .*, got {wrong}"):
            Directions.of(features, wrong)


def test_a_point_is_a_linear_controller_on_those_directions():
    features = features_in_two_directions()
    directions = Directions.of(features, 2)
    points = np.random.default_rng(0).normal(size=(5, directions.num_parameters))
    raw = Controller(directions.expand(points), feature_size=6).raw(features[:5], np.arange(5))
    projected = (features[:5].double().numpy() - directions.mean) @ directions.matrix.T
    weight, bias = points[:, :6].reshape(5, 3, 2), points[:, 6:]
    np.testing.assert_allclose(raw, np.einsum("pak,pk->pa", weight, projected) + bias, atol=1e-4)
    assert not directions.expand(np.zeros(directions.num_parameters)).any()
