import pytest

from wmlib.files import exclusive_lock, write_atomically


def test_what_a_killed_process_left_is_removed_by_the_next_that_has_the_lock(tmp_path):
    stale = tmp_path / "round0" / ".vae.checkpoint.0123456789ab"
    hidden = tmp_path / ".settings"
    stale.parent.mkdir()
    for file in (stale, hidden):
        file.write_text("", encoding="utf-8")
    with exclusive_lock(tmp_path):
        assert not stale.exists()
        assert hidden.exists()
        stale.write_text("", encoding="utf-8")  # by a worker of this run, say
        with exclusive_lock(tmp_path):
            assert stale.exists()


def test_a_write_that_fails_leaves_the_file_and_no_other(tmp_path):
    file = tmp_path / "a.txt"
    write_atomically(file, lambda path: path.write_text("before", encoding="utf-8"))

    def breaks(path):
        path.write_text("half", encoding="utf-8")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write_atomically(file, breaks)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert file.read_text(encoding="utf-8") == "before"
