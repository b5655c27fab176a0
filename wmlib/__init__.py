"""World Models, notebook by notebook: the code that the chapters import.

Read it in the order data flows: `vae`, `mdn_rnn`, `controller`, `envs`, `world_model`, `drivers`,
`rollout`, `experience`, `training`, `evolution`, `evaluation`, `recipes`, `figures`, `explorers`.
Importing wmlib registers its environments with Gymnasium under "wmlib/".
"""

from wmlib import envs

__all__ = ["envs"]
__version__ = "0.1.0"
