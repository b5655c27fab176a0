import subprocess

import numpy as np
import pytest

from wmlib import provenance
from wmlib.models.checkpoints import load_network, read_record, save_network
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.provenance import Record, require
from wmlib.rollout.episodes import EpisodeStore

ONE = Record({"episodes": "abc"}, {"epochs": 2, "sizes": (1, 2)})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Record({"episodes": "abd"}, ONE.settings), "from episodes = abc, .* from episodes = abd"),
        (Record(ONE.made_from, {"epochs": 3, "sizes": [1, 2]}), "epochs = 2, .* epochs = 3"),
        (Record({}, ONE.settings), "from episodes = abc, this would be from no episodes"),
        (Record(ONE.made_from, {"epochs": 2}), r"sizes = \[1, 2\], this would be with no sizes"),
        (Record(ONE.made_from, ONE.settings | {"new": 1}), "no new, this would be with new = 1"),
    ],
)
def test_every_key_of_both_records_counts(other, message):
    require("it", ONE, Record({"episodes": "abc"}, {"epochs": 2, "sizes": [1, 2]}))
    with pytest.raises(ValueError, match=f"^it was made .*{message}"):
        require("it", ONE, other)


def test_a_missing_record_does_not_count_as_an_equal_one():
    with pytest.raises(ValueError, match="does not say what it was made from"):
        require("it", None, Record())


def test_a_record_is_stored_with_weights_and_with_episodes(tmp_path):
    network = MDNRNN(hidden_size=4)
    save_network(network, tmp_path / "m.safetensors", record=ONE)
    assert read_record(tmp_path / "m.safetensors") == ONE
    assert load_network(MDNRNN, tmp_path / "m.safetensors").config == network.config
    save_network(network, tmp_path / "n.safetensors")
    assert read_record(tmp_path / "n.safetensors") is None
    store = EpisodeStore(tmp_path / "episodes")
    store.begin(ONE)
    assert EpisodeStore(tmp_path / "episodes").record == ONE
    assert ONE.code == EpisodeStore(tmp_path / "episodes").record.code == provenance.code_version()


def test_a_store_with_another_record_is_refused_or_rebuilt(tmp_path):
    store = EpisodeStore(tmp_path)
    store.begin(ONE)
    store.write("a", {"rewards": np.zeros(3)})
    store.begin(ONE)
    with pytest.raises(ValueError, match="made with epochs = 2"):
        store.begin(Record(ONE.made_from, {"epochs": 3, "sizes": [1, 2]}))
    assert store.names() == ["a"]
    store.begin(Record(), rebuild=True)
    assert (store.names(), store.record) == ([], Record())


def test_the_digest_of_a_store_is_that_of_its_content(tmp_path):
    digests = []
    for name, folder, value in (("a", "1", 0), ("a", "2", 0), ("a", "3", 1), ("b", "4", 0)):
        store = EpisodeStore(tmp_path / folder)
        store.write(name, {"rewards": np.full(3, float(value))})
        digests.append(store.digest())
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    (tmp_path / "1" / "a.zip").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="is damaged"):
        EpisodeStore(tmp_path / "1").digest()


def test_the_version_of_the_code_is_the_commit(tmp_path, monkeypatch):
    def version():
        provenance.code_version.cache_clear()
        return provenance.code_version()

    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert version() == provenance.metadata.version("wmlib")  # no checkout

    def git(*arguments):
        own = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", tmp_path, *own, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "wmlib").mkdir()
    (tmp_path / "wmlib" / "a.py").write_text("", encoding="utf-8")
    git("add", ".")
    git("commit", "-m", "a")
    commit = version()
    assert len(commit) == 12
    (tmp_path / "wmlib" / "a.py").write_text("1", encoding="utf-8")
    assert version() == commit + "+"
    monkeypatch.undo()
    version()
