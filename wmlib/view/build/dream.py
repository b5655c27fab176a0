"""Chapter 6's exercises."""

from wmlib.view.build.exercise import Exercise

EXERCISES: tuple[Exercise, ...] = ()
