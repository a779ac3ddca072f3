"""Numbers as people read them: three significant digits, no exponents, a unit."""

from math import floor, isfinite, log10

MINUS = "\N{MINUS SIGN}"


def digits(value: float, count: int = 3) -> str:
    """`count` significant digits, thousands apart; integers above are whole."""
    if not isfinite(value):
        return "-"
    if value == 0:
        return "0"
    places = max(0, min(12, count - 1 - floor(log10(abs(value)))))
    text = f"{value:,.{places}f}"
    if places and len(text.lstrip("-0.,").replace(".", "").replace(",", "")) > count:
        text = f"{value:,.{places - 1}f}"  # 9.996 rounds up to a digit more
    return text


def seconds(value: float, count: int = 3) -> str:
    """A duration with the unit that suits it, from microseconds to minutes."""
    size = abs(value)
    if size == 0:
        return "0 ms"
    if size < 1e-3:
        return f"{digits(value * 1e6, count)} µs"
    if size < 0.99995:
        return f"{digits(value * 1e3, count)} ms"
    if size < 600:
        return f"{digits(value, count)} s"
    return f"{digits(value / 60, count)} min"


def exact(value: float) -> str:
    """A duration that somebody chose: no zeros after what was said."""
    return f"{plain(value * 1e3)} ms" if value < 1 else f"{plain(value)} s"


def milli(value: float) -> str:
    """Always in milliseconds, for columns that are compared."""
    return f"{digits(value * 1e3, 4)} ms"


def rate(value: float) -> str:
    return f"{digits(value)}/s"


def tokens_rate(value: float) -> str:
    return f"{digits(value, 4)} tok/s"


def change(value: float) -> str:
    """A part as signed per cent."""
    return f"{value:+.1%}".replace("-", MINUS)


def plain(value: float) -> str:
    """A tick of an axis: as few digits as tell it."""
    text = f"{value:,.10f}".rstrip("0").rstrip(".") if abs(value) < 1e15 else f"{value:.0e}"
    if "." in text and abs(value) >= 1e-9:
        text = f"{float(f'{value:.4g}'):,.10f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def duration_tick(value: float) -> str:
    """A tick of a logarithmic axis of seconds, with its unit."""
    if value < 0.9995e-3:
        return f"{plain(value * 1e6)} µs"
    if value < 0.9995:
        return f"{plain(value * 1e3)} ms"
    return f"{plain(value)} s"
