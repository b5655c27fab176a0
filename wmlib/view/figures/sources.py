"""Code of the package, shown in a chapter."""

import inspect

from IPython.display import HTML
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer


def source(thing: object) -> HTML:
    """A class or function of wmlib as it stands in the package, coloured."""
    formatter = HtmlFormatter(noclasses=True, nobackground=True)
    return HTML(highlight(inspect.getsource(thing), PythonLexer(), formatter))
