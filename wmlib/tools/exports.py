"""Commands that put a finished run, with cards, into data/pretrained."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from wmlib.pipeline.rounds import run_name
from wmlib.tools.runs import RunCommand
from wmlib.tools.settings import BallSettings, CarSettings, Flat


@dataclass(frozen=True)
class ExportBall(RunCommand):
    """Put the weights of a finished run, with cards, into data/pretrained."""

    settings: Annotated[BallSettings, Flat]

    def __call__(self) -> None:
        """Run it."""
        from wmlib.tools import release

        with self.open(self.settings, "ball", True, changes=False) as (config, folder):
            print(f"exported: {release.export(config, folder, 'ball', self.machine)}")


@dataclass(frozen=True)
class ExportCar(RunCommand):
    """Score a finished run and put its weights, with cards, into data/pretrained."""

    settings: Annotated[CarSettings, Flat]
    tracks: int | None = None  # held-out tracks to score it on; default: the run's score_tracks
    world: ClassVar[str] = "car_racing"

    def __call__(self) -> None:
        """Run it."""
        from wmlib.tools import release

        with self.open(self.settings, self.world, True, changes=False) as (config, folder):
            name = run_name(config)
            target = release.export(config, folder, name, self.machine, self.tracks)
            print(f"exported: {target}")


@dataclass(frozen=True)
class ExportTakeCover(ExportCar):
    """Score a finished run of Take Cover and put its weights, with cards, into data/pretrained."""

    world: ClassVar[str] = "take_cover"
