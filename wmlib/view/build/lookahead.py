"""Chapter 8's last exercise: in which of two dreams does the player survive?"""

import math
from itertools import count

import torch

from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import State, WorldModel
from wmlib.view.build.exercise import Exercise, Measured
from wmlib.view.build.survival import survive


def first_move(side, hold, controller):
    """A controller that moves to one side for its first `hold` steps, and then does what C does."""
    step = count()

    def act(features):
        return torch.full((len(features), 1), side) if next(step) < hold else controller(features)

    return act


def safer_side(world_model, controller, state, hold, steps):
    """For B moments: 1 where only the player that moves right first lives through all steps, -1
    where only the one that moves left first does, 0 where both or neither do; (B,) float.

    Each move is held for `hold` steps; then both do what the controller does. They have the same
    random numbers.
    """
    alive = []
    for side in (-1.0, 1.0):
        torch.manual_seed(0)
        moves = first_move(side, hold, controller)
        alive.append((survive(world_model, moves, state, steps) == steps).float())
    return alive[1] - alive[0]


def _lives(world_model, controller, state, hold, steps, seeds=(0, 0)):
    alive = []
    for side, seed in zip((-1.0, 1.0), seeds, strict=True):
        torch.manual_seed(seed)
        alive.append(survive(world_model, first_move(side, hold, controller), state, steps))
    return alive


def _other_random_numbers(world_model, controller, state, hold, steps):
    """The two players have other random numbers, so that chance alone lets one of them die: call
    torch.manual_seed with the same seed before each of the two dreams."""
    left, right = _lives(world_model, controller, state, hold, steps, seeds=(0, 1))
    return (right == steps).float() - (left == steps).float()


def _sides_exchanged(world_model, controller, state, hold, steps):
    """The sides are exchanged, or life and death are: 1 where the player that moves right (+1) is
    the one that lives."""
    return -safer_side(world_model, controller, state, hold, steps)


def _difference_of_steps(world_model, controller, state, hold, steps):
    """This is the difference of the steps survived: compare with `steps` first, who lived through
    all of them."""
    left, right = _lives(world_model, controller, state, hold, steps)
    return right - left


def _who_lives_longer(world_model, controller, state, hold, steps):
    """Where both die, neither side is safer, whoever dies first: compare the steps survived with
    `steps`."""
    left, right = _lives(world_model, controller, state, hold, steps)
    return (right - left).sign()


def _never_released(world_model, controller, state, hold, steps):
    """The move is held to the end: only the first `hold` steps are the player's choice, the others
    are C's."""
    return safer_side(world_model, controller, state, steps, steps)


def _never_moved(world_model, controller, state, hold, steps):
    """The two players do the same from the first step on: use first_move(side, hold,
    controller)."""
    return safer_side(world_model, controller, state, 0, steps)


def world_with_two_sides() -> WorldModel:
    """Where z[0] is 1 every move to the right is deadly, where it is -1 one to the left is.

    Two units of the LSTM are a logical "and" of z[0] and the action, a third keeps z[0] as it is.
    Nothing else kills, and z[1] is random.
    """
    m = MDNRNN(z_size=2, action_size=1, hidden_size=3, mixtures=1, reads_cell=True)
    for parameter in m.parameters():
        torch.nn.init.zeros_(parameter)
    weights, _, biases, _ = (part.data for part in m.lstm.all_weights[0])
    gates = biases.view(4, 3)  # input, forget, cell, output: open, shut, the values, open
    gates[0], gates[1], gates[3] = 50, -50, 50
    cell, bias = weights.view(4, 3, 3)[2], gates[2]
    cell[0, [0, 2]], cell[1, [0, 2]], cell[2, 0] = 20, -20, 20
    bias[:2] = -30
    end = math.tanh(1)
    m.done.weight.data[0, :2] = 200
    m.done.bias.data.fill_(200 * end)  # the sum is above 0 where one of the two units is positive
    m.mixture.weight.data[2, 2] = 1 / end  # after the logits, the mean of z[0]
    m.mixture.bias.data[4] = -50  # log sigma of z[0]
    return WorldModel(VAE(64, 2), m)


def sides(world_model: WorldModel, count: int = 60) -> State:
    """Moments of that world: z[0] is 1, 0, -1 by turns."""
    z = torch.zeros(count, world_model.vae.z_size)
    z[:, 0] = torch.tensor([1.0, 0.0, -1.0]).repeat(count)[:count]
    zeros = torch.zeros(count, world_model.mdn_rnn.hidden_size)
    return State(z, zeros, zeros, torch.zeros(count))


def _answers(function) -> Measured:
    world_model = world_with_two_sides()
    state = sides(world_model)

    def standing(features):
        return torch.zeros(len(features), 1)

    def right(features):
        return torch.ones(len(features), 1)

    asked = function(world_model, standing, state, 1, 3)
    goes_on = function(world_model, right, state, 1, 3)
    not_held = function(world_model, right, state, 0, 3)
    done = world_model.mdn_rnn.done
    for parameter in (done.weight, done.bias):
        torch.nn.init.zeros_(parameter)
    chance = function(world_model, standing, state, 1, 3)
    return {
        "the shape": tuple(asked.shape),
        "the answers where one side is deadly": asked.float(),
        "the answers for a C that always moves right": goes_on.float(),
        "the answers where no move is held": not_held.float(),
        "whether any answer is not 0 where death is chance, whatever the player does": (
            int(chance.any())
        ),
    }


EXERCISES = (
    Exercise(
        safer_side,
        _answers,
        hint="For each side, -1.0 and 1.0: torch.manual_seed(0); survive(world_model, "
        "first_move(side, hold, controller), state, steps) == steps says who lived through all "
        "steps. The answer is the difference of the two, as floats: right - left.",
        mistakes=(
            _other_random_numbers,
            _sides_exchanged,
            _difference_of_steps,
            _who_lives_longer,
            _never_released,
            _never_moved,
        ),
    ),
)
