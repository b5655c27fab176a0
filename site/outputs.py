"""A Sphinx extension: what the outputs of notebooks need to become parts of a page."""

import base64
import hashlib
import re
from pathlib import Path

from docutils import nodes
from sphinx.util.osutil import relative_uri

DATA_URI = re.compile(r'src="data:image/(\w+);base64,([^"]+)"')


def files_for_data_uris(app, doctree):
    """Put the images that HTML outputs carry as data URIs, such as GIFs, into files."""
    page = app.builder.get_target_uri(app.env.docname)

    def save(match):
        content = base64.b64decode(match[2])
        uri = f"_images/{hashlib.sha256(content).hexdigest()[:16]}.{match[1]}"
        file = Path(app.outdir, uri)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return f'src="{relative_uri(page, uri)}" loading="lazy"'

    for node in doctree.findall(nodes.raw):
        node[:] = [nodes.Text(DATA_URI.sub(save, node.astext()))]


def captions(app, doctree):
    """A paragraph that begins with "Figure 1.2." is the caption of the outputs before it."""
    images = []
    for node in doctree.findall(lambda n: isinstance(n, nodes.image | nodes.paragraph)):
        if isinstance(node, nodes.image):
            images.append(node)
        elif figure := re.match(r"Figure \d+\.\d+(?=\. )", node.astext()):
            node["classes"].append("caption")
            for image in images:
                image.setdefault("alt", figure[0])
            images = []


def missing_widgets(app, doctree):
    """Say where a running notebook would show a widget: that output needs a kernel."""
    for cell in list(doctree.findall(nodes.container)):
        if "cell_input" in cell["classes"] and cell.astext().rstrip().endswith(".widget"):
            text = "A running notebook shows a widget here. The contact sheet is by the same code."
            cell.parent += nodes.paragraph("", text, classes=["caption"])


def setup(app):
    """Called by Sphinx."""
    for change in (files_for_data_uris, captions, missing_widgets):
        app.connect("doctree-read", change)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
