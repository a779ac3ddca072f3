"""One HTML page, Markdown and SVG, whose numbers come from the runs."""
