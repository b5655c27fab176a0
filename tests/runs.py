"""Small runs for tests: weights and logs of one, fingerprints, and commands on it."""

import hashlib

import numpy as np
import torch

from wmlib.files import write_log
from wmlib.models.checkpoints import save_controller, save_world_model
from wmlib.models.controller import Controller
from wmlib.tools.cli import main

SMOKE = ["--scale", "smoke"]
CONTROLLER = "controller.safetensors"


def fingerprints(folder):
    """The sha256 of the weights of V, M and C in a folder, in this order."""
    names = ("vae", "mdn_rnn", "controller")
    files = [folder / f"{name}.safetensors" for name in names]
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def save_run(folder, world_model, seed=0):
    """Write a world model, a random C, and a row of each log to a folder."""
    torch.manual_seed(seed)
    save_world_model(world_model, folder)
    save_controller(Controller(np.random.default_rng(seed).normal(size=867)), folder / CONTROLLER)
    for name in ("collect", "encode", "vae", "mdn_rnn", "evolution"):
        write_log([{"round": 0, "seconds": 1.0}], folder / f"{name}.jsonl")


def error_of(capsys, *arguments):
    """The one-line message of a command that exits with 1."""
    assert main([str(a) for a in arguments]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("python -m wmlib: ")
    return error
