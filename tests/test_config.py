import json
import re
from dataclasses import asdict

import pytest

from wmlib.pipeline.config import Config, EnvConfig, Machine
from wmlib.pipeline.scales import SCALES, dreaming, get_chapter_config, get_config, get_machine


def test_the_environment_variable_selects_the_scale(monkeypatch):
    monkeypatch.delenv("WM_SCALE", raising=False)
    assert get_config().scale == "laptop"
    monkeypatch.setenv("WM_SCALE", "smoke")
    assert get_config() == get_config("smoke") != get_config("laptop")
    assert get_chapter_config().retrain
    assert get_machine().workers == 0
    monkeypatch.setenv("WM_SCALE", "huge")
    for get in (get_config, get_chapter_config, get_machine):
        with pytest.raises(ValueError, match="one of smoke, laptop, paper, got 'huge'"):
            get()


def column(config, name):
    return tuple(getattr(row, name) for row in config.rounds)


def test_a_single_value_applies_to_all_rounds_and_a_tuple_sets_their_number():
    laptop = get_config("laptop")
    assert column(laptop.change(generations=7), "generations") == (7, 7, 7)
    two = laptop.change(generations=(7, 8), population=10)
    assert (len(two.rounds), column(two, "generations")) == (2, (7, 8))
    assert two.search.population == 10
    assert column(two, "vae_epochs") == column(laptop, "vae_epochs")[:2]
    episodes = column(laptop, "episodes")
    assert column(laptop.change(num_rounds=5), "episodes") == (*episodes, *episodes[-1:] * 2)
    for wrong in (
        {"num_rounds": 5, "generations": (7, 8)},
        {"generations": (1, 2), "episodes": (1, 2, 3)},
    ):
        with pytest.raises(ValueError, match=r"lists of \[2, [35]\] entries"):
            laptop.change(**wrong)


def test_a_part_is_changed_by_its_name_or_by_a_unique_field():
    config = get_config("laptop").change(vae={"batch_size": 7}, population=9, directions=3)
    assert (config.vae.batch_size, config.rnn.batch_size) == (7, 32)
    assert (config.search.population, config.search.directions) == (9, 3)
    with pytest.raises(ValueError, match="batch_size is in vae, rnn, dream: say which"):
        config.change(batch_size=3)
    with pytest.raises(ValueError, match="populatoin is no setting"):
        config.change(populatoin=3)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dream", [False, True])
def test_saved_settings_are_loaded_unchanged(tmp_path, scale, dream):
    config = get_config(scale, dream).change(seed=3, temperature=0.5, generations=(1, 2, 3))
    config.save(tmp_path, "car_racing")
    assert Config.load(tmp_path, "car_racing") == config
    assert config.in_dreams == dream


def test_damaged_or_incomplete_settings_are_refused(tmp_path):
    """Missing values are not replaced by defaults: the file holds every setting of the run."""
    config = get_config("smoke")
    config.save(tmp_path, "car_racing")
    with pytest.raises(ValueError, match="is of car_racing, not of ball"):
        Config.load(tmp_path, "ball")
    file = tmp_path / "settings.json"
    for damaged in (file.read_text(encoding="utf-8")[:40], "[1]"):
        file.write_text(damaged, encoding="utf-8")
        with pytest.raises(ValueError, match=r"settings\.json is damaged"):
            Config.load(tmp_path, "car_racing")

    def load(change):
        values = json.loads(json.dumps({"world": "car_racing", **asdict(config)}))
        change(values)
        file.write_text(json.dumps(values), encoding="utf-8")
        return Config.load(tmp_path, "car_racing")

    assert load(lambda values: None) == config
    for change, message in (
        (lambda v: v["search"].update(population="lots"), "population must be an integer, got 'lo"),
        (lambda v: v["search"].update(population=1), "population must be 4 or more, got 1"),
        (lambda v: v["dream"].pop("temperature"), "lacks dream.temperature"),
        (lambda v: v["rounds"][1].pop("sigma"), "lacks rounds.sigma"),
        (lambda v: v.update(cluster="tcp://elsewhere"), "has an unknown setting, cluster"),
        (lambda v: v.update(rounds=5), "rounds must be a list, got 5"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            load(change)


def test_settings_of_the_machine_are_not_stored_with_a_run(tmp_path):
    get_config("smoke").save(tmp_path, "car_racing")
    stored = (tmp_path / "settings.json").read_text(encoding="utf-8")
    assert not any(f'"{name}"' in stored for name in asdict(Machine()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"population": 3}, "population must be 4 or more, got 3"),
        ({"population": 8.5}, "population must be an integer, got 8.5"),
        ({"check_every": 0}, "check_every must be 1 or more, got 0"),
        ({"generations": (5, 0)}, "generations must be 1 or more, got 0"),
        ({"num_rounds": 0}, "num_rounds must be 1 or more, got 0"),
        ({"score_tracks": 1}, "score_tracks must be 2 or more, got 1"),
        ({"dropout": 2.0}, "dropout must be 0 to 0.99, got 2.0"),
        ({"temperature": float("nan")}, "temperature must be 1e-06 or more, got nan"),
        ({"policy": "netwroks"}, "policy must be one of smooth, networks, varied, got 'netwroks'"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"frame_size": 100}, "frame_size must be one of 64, 96, got 100"),
    ],
)
def test_values_that_are_not_allowed_are_named(wrong, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        get_config("smoke").change(**wrong)


def test_a_config_dataclass_validates_its_fields():
    with pytest.raises(ValueError, match="workers must be 0 or more, got -1"):
        Machine(workers=-1)
    with pytest.raises(ValueError, match="num_envs must be an integer, got True"):
        EnvConfig(num_envs=True)


def test_a_config_in_dreams_has_more_rounds_and_freezes_v_in_the_last():
    for scale in SCALES:
        config = dreaming(get_config(scale))
        assert config.in_dreams
        assert len(config.rounds) > len(get_config(scale).rounds)
        assert column(config, "vae_epochs")[-1] == 0


def test_returns_are_extrapolated_to_what_is_left_of_an_episode_or_to_a_shorter_lap():
    config = get_config("laptop", dream=True).change(start_before=150, max_steps=1000)
    for skip, lap, expected in ((2, 0, 463), (2, 1000, 463), (2, 800, 400), (1, 801, 801)):
        assert config.change(frame_skip=skip, lap_steps=lap).extrapolated_steps == expected
    assert config.change(max_steps=2000).extrapolated_steps == 963


def test_the_chapters_steps_take_equally_long_whatever_the_frame_skip():
    for repeat in (1, 2, 4):
        chapter = get_chapter_config(get_config("laptop")).at_pace(repeat)
        steps = (chapter.context, chapter.horizon, chapter.agent_steps, chapter.rollout_start)
        assert tuple(repeat * count for count in steps) == (100, 120, 400, 300)
    assert get_chapter_config(get_config("laptop")).at_pace(200).context == 1
