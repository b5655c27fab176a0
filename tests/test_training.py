import math
from typing import NamedTuple

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.training.batches import Sequences
from wmlib.training.fit import fit, mdn_rnn_step, pick_device, vae_step


class FewBatches:
    """Four batches an epoch, the same ones for the same epoch."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return 4

    def __call__(self, epoch):
        for i in range(4):
            yield self.make(torch.Generator().manual_seed(10 * epoch + i))


def frames(generator):
    return torch.randint(0, 256, (3, 64, 64, 3), generator=generator).byte()


def sequences(generator):
    def noise(*shape):
        return torch.randn(*shape, generator=generator)

    return Sequences(
        mu=noise(2, 6, 4),
        logvar=noise(2, 6, 4),
        previous=noise(2, 6),
        actions=noise(2, 5, 3),
        rewards=noise(2, 5),
        done=torch.zeros(2, 5),
        mask=torch.ones(2, 5),
    )


class PowerCutError(Exception):
    pass


V = (VAE, vae_step, frames)
M = (lambda: MDNRNN(4, 3, 8), mdn_rnn_step, sequences)
M_WITH_REWARDS = (lambda: MDNRNN(4, 3, 8, reward_input=True), mdn_rnn_step, sequences)
# V has ten times M's weights, and nothing else that a checkpoint could forget.
CUTS = [(V, 5, True), (M_WITH_REWARDS, 5, True)]
CUTS += [(M, cut, anneal) for cut in (1, 5, 8) for anneal in (False, True)]


@pytest.mark.parametrize(("kind", "cut", "anneal"), CUTS)
def test_a_resumed_fit_equals_an_uninterrupted_one(tmp_path, kind, cut, anneal):
    make, step, batch = kind

    def run(checkpoint, step):
        torch.manual_seed(0)
        network = make()
        options = {"epochs": 3, "learning_rate": 1e-3, "seed": 5, "clip": 1.0, "anneal": anneal}
        options |= {"checkpoint": checkpoint, "save_seconds": -1, "device": "cpu"}
        history = fit(network, step, FewBatches(batch), **options)
        return network, history

    whole, whole_history = run(None, step)
    steps = 0

    def step_until_the_cut(*arguments):
        nonlocal steps
        steps += 1
        if steps > cut:
            raise PowerCutError
        return step(*arguments)

    with pytest.raises(PowerCutError):
        run(tmp_path / "checkpoint", step_until_the_cut)
    resumed, history = run(tmp_path / "checkpoint", step)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(whole_history, history, strict=True):
        assert a | {"seconds": 0} == b | {"seconds": 0}

    # A finished fit takes no further step.
    def never(*arguments):
        raise AssertionError("a finished fit took another step")

    again, _ = run(tmp_path / "checkpoint", never)
    assert torch.equal(next(again.parameters()), next(whole.parameters()))


def test_z_noise_scales_the_posterior_noise_of_ms_input():
    batch, mdn_rnn = sequences(torch.Generator().manual_seed(0)), MDNRNN(4, 3, 8)

    def losses(z_noise):
        """The losses of three draws of z."""
        generator = torch.Generator().manual_seed(1)
        return [mdn_rnn_step(mdn_rnn, batch, generator, z_noise).total.item() for _ in range(3)]

    assert len(set(losses(0.0))) == 1  # always V's mean
    assert len(set(losses(0.3))) == 3
    full_noise = mdn_rnn_step(mdn_rnn, batch, torch.Generator().manual_seed(1)).total.item()
    assert losses(1.0)[0] == full_noise


def test_other_settings_are_named(tmp_path):
    network = MDNRNN(4, 3, 8)
    common = {"seed": 0, "checkpoint": tmp_path / "c", "device": "cpu"}
    fit(network, mdn_rnn_step, FewBatches(sequences), epochs=1, learning_rate=1e-3, **common)
    with pytest.raises(ValueError, match=r"learning_rate = 0.001, .* learning_rate = 0.01"):
        fit(network, mdn_rnn_step, FewBatches(sequences), epochs=1, learning_rate=1e-2, **common)
    with pytest.raises(ValueError, match="another size of MDNRNN"):
        fit(
            MDNRNN(4, 3, 16),
            mdn_rnn_step,
            FewBatches(sequences),
            epochs=1,
            learning_rate=1e-3,
            **common,
        )
    content = (tmp_path / "c").read_bytes()
    (tmp_path / "c").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="c is damaged"):
        fit(network, mdn_rnn_step, FewBatches(sequences), epochs=1, learning_rate=1e-3, **common)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_stops_the_fit_and_keeps_the_checkpoint(tmp_path, what):
    class Loss(NamedTuple):
        total: torch.Tensor
        nll: torch.Tensor

    line, steps = torch.nn.Linear(1, 1, bias=False), 0
    torch.nn.init.ones_(line.weight)

    def step(network, batch, generator):
        nonlocal steps
        steps += 1
        total = network.weight.sum()
        if steps == 6 and what == "gradient":
            total = (total - total).sqrt()  # 0, with an infinite slope
        nll = torch.tensor(math.nan if steps == 6 and what == "loss" else 0.0)
        return Loss(total, nll)

    checkpoint = tmp_path / "line.checkpoint"
    with pytest.raises(
        ValueError, match=f"{'nll' if what == 'loss' else 'gradient'} is nan"
    ) as error:
        fit(line, step, FewBatches(lambda g: g), epochs=3, learning_rate=0.1, seed=0,
            device="cpu", checkpoint=checkpoint, save_seconds=-1)  # fmt: skip
    assert "in batch 2 of epoch 2 (step 6)" in str(error.value)
    assert f"{checkpoint} keeps the last good weights" in str(error.value)
    assert torch.isfinite(line.weight).all()
    with safe_open(checkpoint, framework="pt") as file:
        assert torch.equal(file.get_tensor("network.weight"), line.weight.data)


@pytest.mark.parametrize("reward_input", [False, True])
def test_only_an_m_with_reward_input_learns_from_previous_rewards(reward_input):
    losses = []
    for reward in (0.0, 9.0):
        torch.manual_seed(0)
        batch = sequences(torch.Generator().manual_seed(1))
        batch.previous = torch.full((2, 6), reward)
        m = MDNRNN(4, 3, 8, reward_input=reward_input)
        losses.append(mdn_rnn_step(m, batch, torch.Generator().manual_seed(2)))
    assert (losses[0] != losses[1]) == reward_input


def test_a_fit_that_began_on_another_kind_of_device_says_so(tmp_path):
    fitting = {"epochs": 1, "learning_rate": 1e-3, "seed": 0, "checkpoint": tmp_path / "c"}
    fit(MDNRNN(4, 3, 8), mdn_rnn_step, FewBatches(sequences), device="cpu", **fitting)
    with safe_open(tmp_path / "c", framework="pt") as file:
        metadata, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}
    tensors["generator"] = torch.zeros(16, dtype=torch.uint8)  # as CUDA's is
    save_file(tensors, tmp_path / "c", metadata=metadata)
    with pytest.raises(ValueError, match="another kind of device than cpu"):
        fit(MDNRNN(4, 3, 8), mdn_rnn_step, FewBatches(sequences), device="cpu", **fitting)


def test_an_annealed_fit_moves_half_as_far_as_a_constant_one(tmp_path):
    class Loss(NamedTuple):
        total: torch.Tensor

    def run(anneal, checkpoint=None):
        line = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(line.weight)
        slope = {"epochs": 5, "learning_rate": 1e-2, "seed": 0, "device": "cpu", "anneal": anneal}
        fit(line, lambda n, *_: Loss(n.weight.sum()), FewBatches(lambda g: g), **slope,
            checkpoint=checkpoint)  # fmt: skip
        return line.weight.item()

    # Where the slope is always the same, each of Adam's steps is as long as its learning rate.
    assert run(anneal=False) == pytest.approx(-20 * 1e-2, rel=1e-4)
    assert run(anneal=True) == pytest.approx(-(20 + 1) / 2 * 1e-2, rel=1e-4)
    run(anneal=True, checkpoint=tmp_path / "annealed")
    with pytest.raises(ValueError, match="anneal = True, this would be with anneal = False"):
        run(anneal=False, checkpoint=tmp_path / "annealed")


def test_the_history_holds_means_per_epoch():
    class Loss(NamedTuple):
        total: torch.Tensor
        part: torch.Tensor

    network = torch.nn.Linear(1, 1)
    count = 0

    def step(network, batch, generator):
        nonlocal count
        count += 1
        return Loss(network(torch.zeros(1)).sum() * 0 + count, torch.tensor(2.0 * count))

    batches = FewBatches(lambda generator: None)
    history = fit(network, step, batches, epochs=100, learning_rate=0.0, seed=0, device="cpu")
    assert [row["step"] for row in history] == list(range(4, 401, 4))
    assert [row["total"] for row in history[:2]] == [2.5, 6.5]
    assert history[1]["part"] == 13.0


def test_gradients_are_clipped_at_every_step():
    """The classic slip is to clip once, before training.

    Adam moves by its learning rate if all gradients are equal, as they are once they are clipped.
    """

    class Loss(NamedTuple):
        total: torch.Tensor

    def weight_after(clip):
        line = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(line.weight)
        slopes = FewBatches(lambda generator: (1000, 2, 100, 10)[generator.initial_seed()])
        fit(line, lambda network, slope, _: Loss(slope * network.weight.sum()), slopes, epochs=1,
            learning_rate=1e-3, seed=0, clip=clip, device="cpu")  # fmt: skip
        return line.weight.item()

    assert weight_after(clip=1.0) == pytest.approx(-4e-3, rel=1e-4)
    assert weight_after(clip=None) > -3.5e-3


def test_v_overfits_one_batch():
    """Two frames, each the negative of the other: without information in z, V reconstructs grey.

    (Of 8 seeds, the slowest falls below a tenth of its start in step 43.)
    """
    batch = torch.zeros(2, 64, 64, 3).byte()
    batch[0, :, :32] = batch[1, :, 32:] = 255
    history = fit(VAE(z_size=4), vae_step, FewBatches(lambda _: batch), epochs=15,
                  learning_rate=3e-3, seed=0, device="cpu")  # fmt: skip
    errors = [row["squared_error"] for row in history]
    assert errors[0] == pytest.approx(3 * 64 * 64 / 4, rel=0.1)  # all grey
    assert min(errors) < 0.1 * errors[0]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_m_overfits_one_batch(seed):
    """A z that is nearly certain has a density without bound: its NLL falls below 0."""
    torch.manual_seed(seed)
    batch = sequences(torch.Generator().manual_seed(seed))
    batch.logvar.fill_(-12.0)
    history = fit(MDNRNN(4, 3, 32), mdn_rnn_step, FewBatches(lambda _: batch), epochs=50,
                  learning_rate=1e-2, seed=seed, clip=1.0, device="cpu")  # fmt: skip
    first, last = history[0], history[-1]
    assert first["nll"] > 1.0
    assert last["nll"] < 0.0
    assert last["reward"] < 0.2 * first["reward"]
    assert last["done"] < 0.2 * first["done"]


def test_a_missing_device_is_named():
    assert pick_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no device 'cuda:3' on this machine, which has"):
            pick_device("cuda:3")
