"""The model named in a multipart form (audio, files), read without decoding the form."""

import re

MOST_PARTS = 64
"""Parts looked at; forms of this API have a dozen fields at most."""
LONGEST_HEADERS = 2048
LONGEST_NAME = 256
FIELD = re.compile(
    rb'\r\ncontent-disposition:[ \t]*form-data[ \t]*;(?:[^\r\n]{0,256};)?[ \t]*name="?model"?[ \t]*[;\r]', re.IGNORECASE
)


def model_of(body: bytes) -> str:
    """Value of the field `model`, or "" when the form has none, or two that differ: an engine may take either.

    Parts are found by the form's own boundary, as an engine finds them: bytes of an uploaded file are never read.
    """
    found = ""
    delimiter = b"\r\n" + body[: max(0, body.find(b"\r\n", 0, LONGEST_NAME))]
    if len(delimiter) < 5:
        return ""
    at = len(delimiter) - 2
    for _ in range(MOST_PARTS):
        end = body.find(delimiter, at)
        if end < 0:
            return found
        blank = body.find(b"\r\n\r\n", at, min(end, at + LONGEST_HEADERS))
        if blank >= 0 and FIELD.search(body, at, blank + 2) is not None:
            value = body[blank + 4 : end].decode("utf-8", "replace").strip() if end - blank <= LONGEST_NAME + 4 else ""
            if not value or found not in ("", value):
                return ""
            found = value
        at = end + len(delimiter)
    return ""
