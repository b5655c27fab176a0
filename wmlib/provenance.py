"""What an artefact was made from, with which settings, by which version of the code.

Every artefact of a run (episodes, latents, V, M, C, logs, checkpoints) carries one `Record`, and
`require` compares it with the one that is wanted: equal, or one sentence that says what differs.
Nothing is inferred from a file that is missing.
"""

import hashlib
import json
import subprocess
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from wmlib.paths import ROOT


@lru_cache
def code_version() -> str:
    """The git commit of this checkout, "+" behind it if wmlib was edited since; or the version.

    Without git, or without a checkout, it is the version of the installed package.
    """
    try:
        if not (ROOT / ".git").exists():
            raise FileNotFoundError
        commit = _git("rev-parse", "--short=12", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--", "wmlib") else "")
    except (OSError, subprocess.CalledProcessError):
        return metadata.version("wmlib")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@dataclass(frozen=True)
class Record:
    """The origin of an artefact.

    made_from: content digests of everything it was made from, by name. settings: everything else
    that it depends on, as JSON has it. code: the version of the code, for people: it is kept but
    not compared, or no run could be resumed after a comment was changed.
    """

    made_from: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    code: str = field(default_factory=code_version, compare=False)

    def __post_init__(self):
        # As they come back from a file: lists instead of tuples, nothing that JSON does not know.
        for name in ("made_from", "settings"):
            object.__setattr__(self, name, json.loads(json.dumps(getattr(self, name))))

    @property
    def digest(self) -> str:
        """Twelve characters that stand for it (but for the code's version)."""
        text = json.dumps([self.made_from, self.settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """As one line of JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> "Record | None":
        """Read back what `to_json` made."""
        return cls.from_dict(json.loads(text))

    def to_dict(self) -> dict:
        """For a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict | None) -> "Record | None":
        """Read back what `to_dict` made; None if there is none."""
        return None if values is None else cls(**values)


def require(source: str | Path, record: Record | None, wanted: Record) -> None:
    """ValueError, in one sentence, if the source was not made from and with what is wanted now.

    Every key of both counts. record: None if the source has none, which is an error, too.
    """
    hint = "go on with the old one, or name another folder"
    if record is None:
        raise ValueError(
            f"{source} does not say what it was made from (another version of wmlib wrote it): "
            f"name another folder"
        )
    for name, word in (("made_from", "from"), ("settings", "with")):
        before, now = getattr(record, name), getattr(wanted, name)
        for key in (*before, *(k for k in now if k not in before)):
            if key not in now or key not in before or before[key] != now[key]:
                raise ValueError(
                    f"{source} was made {word} {_said(key, before)}, this would be {word} "
                    f"{_said(key, now)}: {hint}"
                )


def _said(key: str, values: dict) -> str:
    return f"{key} = {values[key]}" if key in values else f"no {key}"
