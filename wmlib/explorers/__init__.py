"""What a chapter lets you touch: ipywidgets over the trained networks.

An explorer has a `widget` to show, named controls that code can set as a hand would, and a
`contact_sheet` made by the same code for those who read without a kernel.
"""

from wmlib.explorers.controller import ControllerExplorer
from wmlib.explorers.drive import DreamDrive
from wmlib.explorers.latent import LatentExplorer
from wmlib.explorers.mixture import MixtureExplorer
from wmlib.explorers.player import DreamPlayer

__all__ = ["ControllerExplorer", "DreamDrive", "DreamPlayer", "LatentExplorer", "MixtureExplorer"]
