"""Chapter 4's exercises."""

from wmlib.view.build.exercise import Exercise

EXERCISES: tuple[Exercise, ...] = ()
