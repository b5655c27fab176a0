"""Chapter 1's exercises on M's loss."""

from wmlib.view.build.exercise import Exercise

EXERCISES: tuple[Exercise, ...] = ()
