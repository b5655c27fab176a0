"""Interactive explorers of the trained networks, made of ipywidgets.

An explorer has a `widget` to display, named controls whose `value` code can set, too, and a method
`contact_sheet`: a figure made by the same code, for readers without a running kernel.
"""

from wmlib.view.explorers.controller import ControllerExplorer
from wmlib.view.explorers.dream import DreamExplorer
from wmlib.view.explorers.latent import LatentExplorer
from wmlib.view.explorers.mixture import MixtureExplorer
from wmlib.view.explorers.player import DreamPlayer

__all__ = [
    "ControllerExplorer",
    "DreamExplorer",
    "DreamPlayer",
    "LatentExplorer",
    "MixtureExplorer",
]
