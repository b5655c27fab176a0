"""World Models, notebook by notebook: the code that the chapters import.

Folders are floors: each imports from those before it only, and `make lint` keeps it so. Read
`models` first (V, M, C, and the agent that carries them), then `envs` (the dream is one of them),
`rollout` (act), `training` (learn), `evaluation` (scores), `pipeline` (the recipes), `view` (what a
chapter shows) and `tools` (the command line). `provenance`, `files` and `paths` lie below them all.
Importing wmlib registers its environments with Gymnasium under "wmlib/".
"""

from wmlib import envs

__all__ = ["envs"]
__version__ = "0.1.0"
