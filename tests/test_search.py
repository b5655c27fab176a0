"""Which mean of a search is its result."""

import numpy as np
import pytest

from wmlib.files import read_log
from wmlib.models.checkpoints import read_record
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.car_racing import run_all_rounds, training_env_spec
from wmlib.pipeline.checks import check_settings
from wmlib.pipeline.config import Machine
from wmlib.pipeline.fitness import Evaluated, MeanReturn
from wmlib.pipeline.scales import get_config
from wmlib.pipeline.search import evolve


class Distance(MeanReturn):
    """The nearer the first weight is to 1, the better; no episode is run."""

    def of(self, controllers, seeds):
        return Evaluated(-np.abs(controllers.parameters[:, 0] - 1), steps=1)


WORLD_MODEL = WorldModel(VAE(), MDNRNN())
CHECKS = {2: 5.0, 4: 9.0, 6: 9.0, 8: 1.0}  # by generation; the first of two equal ones counts


def run(folder, generations=8, **options):
    env_spec = training_env_spec(get_config("smoke"))
    fitness = Distance(env_spec, WORLD_MODEL, rollouts=1)
    checked = []

    def check(controller):
        checked.append(controller)
        return {"check": CHECKS[2 * len(read_checks(folder)) + 2]}

    options = {"check": check, "check_every": 2} | options
    settings = {"population": 4, "generations": generations, "sigma": 0.3}
    return evolve(fitness, folder, start=Controller(), **settings, **options), checked


def read_checks(folder):
    log = folder / "evolution.jsonl"
    return [row["check"] for row in read_log(log) if "check" in row] if log.exists() else []


def test_the_mean_with_the_best_check_is_selected(tmp_path):
    (controller, evolution), checked = run(tmp_path, select=True)
    assert read_checks(tmp_path) == list(CHECKS.values())
    assert np.array_equal(controller.parameters, checked[1].parameters)
    assert not np.array_equal(controller.parameters[0], evolution.mean)
    assert read_record(tmp_path / "controller.safetensors").settings["selected"] == 4


def test_without_selection_the_last_mean_is_the_result(tmp_path):
    (controller, evolution), checked = run(tmp_path)
    np.testing.assert_allclose(controller.parameters[0], evolution.mean, rtol=1e-6)
    assert np.array_equal(controller.parameters, checked[-1].parameters)
    assert "selected" not in read_record(tmp_path / "controller.safetensors").settings


def test_an_interrupted_search_selects_the_same_mean(tmp_path):
    (whole, _), _ = run(tmp_path / "whole", select=True)
    run(tmp_path / "cut", generations=6, select=True)
    log = tmp_path / "cut" / "evolution.jsonl"
    rows = log.read_text(encoding="utf-8").splitlines(keepends=True)
    log.write_text("".join(rows[:5]), encoding="utf-8")  # the best mean is only in the log now
    (resumed, _), checked = run(tmp_path / "cut", select=True)
    assert len(checked) == 2
    assert np.array_equal(resumed.parameters, whole.parameters)


def test_real_episodes_select_nothing_where_c_is_evolved_in_dreams():
    config = get_config("smoke", dream=True).change(select=True)
    with pytest.raises(
        ValueError, match=r"search\.select must be off where C is evolved in dreams"
    ):
        check_settings(config, Machine(0))


def test_an_odd_mirrored_population_is_refused_before_anything_is_trained():
    config = get_config("smoke").change(mirrored=True, population=5)
    with pytest.raises(ValueError, match=r"population must be even with search\.mirrored, got 5"):
        check_settings(config, Machine(0))


def test_a_run_selects_if_its_settings_say_so(tmp_path):
    config = get_config("smoke").change(num_rounds=1, generations=2, select=True, mirrored=True)
    run_all_rounds(config, tmp_path, Machine(0))
    checks = [row["check"] for row in read_log(tmp_path / "evolution.jsonl")]
    record = read_record(tmp_path / "controller.safetensors")
    assert record.settings["mirrored"]
    assert record.settings["selected"] == 1 + int(np.argmax(checks))


def test_selection_needs_a_check(tmp_path):
    with pytest.raises(ValueError, match=r"select=True chooses by the check .* check is None"):
        run(tmp_path, select=True, check=None)
