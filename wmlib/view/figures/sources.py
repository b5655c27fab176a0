"""Source code of the package in a chapter."""

import inspect
from collections.abc import Callable

from IPython.display import HTML
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer


def source(thing: type | Callable) -> HTML:
    """The source code of a class or function, with syntax highlighting.

    Raises TypeError for another object, and OSError if its source file is not available.
    """
    formatter = HtmlFormatter(noclasses=True, nobackground=True)
    return HTML(highlight(inspect.getsource(thing), PythonLexer(), formatter))
