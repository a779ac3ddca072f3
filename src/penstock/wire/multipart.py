"""The model named in a multipart form (audio, files), read without decoding the form."""

import re

MODEL = re.compile(
    rb'^content-disposition:[^\r\n]*?;[ \t]*name="?model"?[ \t]*(?:;[^\r\n]*)?\r\n'
    rb"(?:[^\r\n]+\r\n)*\r\n([^\r\n]{1,256})\r\n--",
    re.IGNORECASE | re.MULTILINE,
)


def model_of(body: bytes) -> str:
    """Value of the field `model`, or "" when the form has none."""
    match = MODEL.search(body)
    return match[1].decode("utf-8", "replace").strip() if match else ""
