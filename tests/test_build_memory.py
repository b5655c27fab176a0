"""Chapter 3's build cells: what a reader writes, and what she reads where it is wrong."""

import pytest
import torch
from readers import assert_right, assert_wrong, written

from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import State, WorldModel
from wmlib.view.build import memory, rollout

SIGNATURES = {
    "lstm_step": "x, h, c, w_ih, w_hh, b_ih, b_hh",
    "mdn_head": "output, dimensions, mixtures",
    "sample_mixture": "log_pi, mu, log_sigma, temperature",
    "open_loop": "world_model, state, actions, temperature, generator",
}


def cell(name, body):
    """The function with this body."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return written(f"def {name}({SIGNATURES[name]}):\n{lines}", name)


# Right, and not written as the solutions are.
RIGHT = {
    "lstm_step": """
n = h.shape[1]
gates = torch.nn.functional.linear(x, w_ih, b_ih) + torch.nn.functional.linear(h, w_hh, b_hh)
i, f, o = (torch.sigmoid(gates[:, k * n : (k + 1) * n]) for k in (0, 1, 3))
g = torch.tanh(gates[:, 2 * n : 3 * n])
new_c = f * c + i * g
return o * torch.tanh(new_c), new_c
""",
    "mdn_head": """
n = dimensions * mixtures
logits, mu, log_sigma = (part.reshape(-1, dimensions, mixtures) for part in output.split(n, 1))
return logits - logits.logsumexp(-1, keepdim=True), mu, log_sigma
""",
    "sample_mixture": """
noise = -torch.log(-torch.log(torch.rand_like(mu)))
k = (log_pi / temperature + noise).argmax(-1, keepdim=True)
sigma = (log_sigma.exp() ** 2 * temperature).sqrt()
return torch.normal(mu, sigma).gather(-1, k).squeeze(-1)
""",
    "open_loop": """
z = []
for action in actions.unbind(1):
    state, prediction = world_model.imagine(state, action, temperature, generator)
    z = [*z, state.z[:, None]]
return torch.cat(z, 1)
""",
}


@pytest.mark.parametrize("name", RIGHT)
def test_another_way_to_write_it_is_right(name, capsys):
    assert_right(cell(name, RIGHT[name]), capsys)


SAMPLE = """
k = torch.multinomial((WEIGHTS).flatten(0, 1), 1).view(*mu.shape[:2], 1)
mu, log_sigma = mu.gather(-1, k)[..., 0], log_sigma.gather(-1, k)[..., 0]
return mu + torch.randn_like(mu) * SIGMA
"""
SOFTMAX = "torch.softmax(log_pi / temperature, -1)"


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        (
            "lstm_step",
            RIGHT["lstm_step"].replace("(0, 1, 3)", "(0, 1, 2)").replace("2 * n : 3", "3 * n : 4"),
            "order i, f, g, o",
        ),
        ("lstm_step", RIGHT["lstm_step"].replace("tanh(new_c)", "tanh(c)"), "new cell state"),
        (
            "lstm_step",
            RIGHT["lstm_step"].replace("torch.tanh(gates", "torch.sigmoid(gates"),
            "candidate g goes through tanh",
        ),
        (
            "lstm_step",
            RIGHT["lstm_step"].replace("return o * torch.tanh(new_c)", "return o * new_c"),
            "through tanh before the output gate",
        ),
        ("lstm_step", RIGHT["lstm_step"].replace("(h, w_hh, b_hh)", "(h, w_hh)"), "has two biases"),
        ("lstm_step", "return x @ w_ih", "it raised RuntimeError"),
        (
            "mdn_head",
            RIGHT["mdn_head"].replace("logits - logits.logsumexp(-1, keepdim=True)", "logits"),
            "must sum to 1",
        ),
        (
            "mdn_head",
            RIGHT["mdn_head"].replace("mu, log_sigma\n", "mu, log_sigma.exp()\n"),
            "log sigma itself",
        ),
        (
            "mdn_head",
            "output = output.reshape(-1, dimensions, mixtures, 3)\n"
            "return output[..., 0].log_softmax(-1), output[..., 1], output[..., 2]",
            "First come all logits",
        ),
        (
            "mdn_head",
            "logits, mu, log_sigma = output.chunk(3, 1)\n"
            "parts = logits.log_softmax(1), mu, log_sigma\n"
            "return [part.view(-1, dimensions, mixtures) for part in parts]",
            "give the logits their shape",
        ),
        ("mdn_head", "return output.chunk(3, 1)", "shape of log_pi is (2, 8)"),
        (
            "sample_mixture",
            SAMPLE.replace("WEIGHTS", SOFTMAX).replace("SIGMA", "log_sigma.exp() * temperature"),
            "square root of the temperature",
        ),
        (
            "sample_mixture",
            SAMPLE.replace("WEIGHTS", "torch.exp(log_pi)").replace(
                "SIGMA", "log_sigma.exp() * temperature**0.5"
            ),
            "also changes the weights",
        ),
        (
            "sample_mixture",
            SAMPLE.replace("WEIGHTS", SOFTMAX).replace("SIGMA", "log_sigma * temperature**0.5"),
            "is a logarithm",
        ),
        (
            "sample_mixture",
            SAMPLE.replace("WEIGHTS", SOFTMAX)
            .replace("SIGMA", "log_sigma.exp() * temperature**0.5")
            .replace("torch.randn_like(mu) * ", ""),
            "multiplied by standard normal noise",
        ),
        (
            "sample_mixture",
            SAMPLE.replace("WEIGHTS", SOFTMAX)
            .replace("SIGMA", "log_sigma.exp() * temperature**0.5")
            .replace("randn_like", "rand_like"),
            "not rand_like",
        ),
        (
            "sample_mixture",
            "return (log_pi.exp() ** (1 / temperature) * mu).sum(-1)"
            " / (log_pi.exp() ** (1 / temperature)).sum(-1)",
            "mean of the whole mixture",
        ),
        (
            "open_loop",
            RIGHT["open_loop"].replace("state, prediction =", "after, prediction =").replace(
                "state.z[", "after.z["
            ),
            "same first state",
        ),
        (
            "open_loop",
            RIGHT["open_loop"]
            .replace("z = []", "z, real = [], state.z")
            .replace("return", "    state = state._replace(z=real)\nreturn"),
            "still reads the real z",
        ),
        ("open_loop", RIGHT["open_loop"].replace("temperature,", "1.0,"), "pass it on"),
        ("open_loop", RIGHT["open_loop"].replace(", generator)", ")"), "generator is not passed"),
        ("open_loop", RIGHT["open_loop"].replace("torch.cat(z, 1)", "torch.cat(z, 1)[:, 1:]"),
         "shape is (3, 3, 2)"),
        ("open_loop", RIGHT["open_loop"].replace("unbind(1)", "roll(-1, 1).unbind(1)"), "differ"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(name, body, said, capsys):
    assert_wrong(cell(name, body), said, capsys)


def test_lstm_step_and_mdn_head_are_those_of_the_package():
    mdn_rnn = MDNRNN()
    z, action, h = torch.randn(2, 32), torch.randn(2, 3), torch.randn(2, 256)
    weights = mdn_rnn.lstm.all_weights[0]
    ours = memory.lstm_step(torch.cat([z, action], 1), h, h, *weights)
    for mine, packages in zip(ours, mdn_rnn.step(z, action, h, h), strict=True):
        torch.testing.assert_close(mine, packages)
    log_pi, mu, log_sigma = memory.mdn_head(mdn_rnn.mixture(h), 32, 5)
    prediction = mdn_rnn.predict(h[:, None])
    torch.testing.assert_close(log_pi, prediction.log_pi[:, 0])
    torch.testing.assert_close((mu, log_sigma), (prediction.mu[:, 0], prediction.log_sigma[:, 0]))


def test_open_loop_is_the_packages_rollout():
    from wmlib.evaluation import open_loop_rollout

    world_model = WorldModel(VAE(), MDNRNN())
    frames = torch.randint(256, (8, 64, 64, 3), dtype=torch.uint8)
    actions = torch.randn(7, 3)
    theirs, _ = open_loop_rollout(
        world_model, frames, actions, 0, 1.0, 2, torch.Generator().manual_seed(3)
    )
    state: State = world_model.begin(frames[:1]).repeat(2)
    generator = torch.Generator().manual_seed(3)
    both = actions.expand(2, -1, -1)
    ours = rollout.open_loop(world_model, state, both, 1.0, generator)
    torch.testing.assert_close(ours, theirs)
