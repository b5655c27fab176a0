"""What a chapter lets you touch: ipywidgets over the trained networks.

An explorer has a `widget` to show, named controls that code can set as a hand would, and a
`contact_sheet` made by the same code for those who read without a kernel.
"""

from wmlib.view.explorers.controller import ControllerExplorer
from wmlib.view.explorers.drive import DreamDrive
from wmlib.view.explorers.latent import LatentExplorer
from wmlib.view.explorers.mixture import MixtureExplorer
from wmlib.view.explorers.player import DreamPlayer

__all__ = ["ControllerExplorer", "DreamDrive", "DreamPlayer", "LatentExplorer", "MixtureExplorer"]
