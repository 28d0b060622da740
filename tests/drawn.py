"""What a figure shows, in short: its structure beside a committed file, so that a change of it is seen.

Kept are kinds, names, colours and dashes of traces, the ends and the middle of colour scales and where
they lie, types, ranges, titles and directions of axes, legends, shapes and annotations; of the data their
size, the first and the last value, and which colours stand for positive and for negative values. Numbers
are rounded to three digits and compared with a tolerance.

    RENEW_DRAWN=1 pytest -n 0 tests/pages/test_every_view.py -k defaults

writes the files anew; read their difference before you commit it.
"""

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

RENEW = bool(os.environ.get("RENEW_DRAWN"))
RELATIVE = 0.02  # other processors sum in another order, and training spreads that
ABSOLUTE, OF_DATA = 1e-9, 2e-3
NUMBER = re.compile(r"[−-]?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")
LONG = 60  # characters that are kept of a text
TRACE = (
    "type",
    "name",
    "mode",
    "orientation",
    "fill",
    "fillcolor",
    "opacity",
    "visible",
    "showlegend",
    "base",
)
TRACE_MORE = (
    "xaxis",
    "yaxis",
    "zmin",
    "zmid",
    "zmax",
    "zauto",
    "coloraxis",
    "reversescale",
    "texttemplate",
)
LINE = ("color", "dash", "shape", "width")
MARKER = ("symbol", "size", "cmin", "cmid", "cmax", "opacity")
AXIS = (
    "title",
    "type",
    "range",
    "autorange",
    "dtick",
    "tickformat",
    "side",
    "overlaying",
    "scaleanchor",
    "matches",
    "visible",
    "showticklabels",
    "categoryorder",
)
LAYOUT = ("barmode", "boxmode", "hovermode", "showlegend", "title")


def structure(figure: dict) -> dict:
    """The figure's traces and layout as a small JSON."""
    layout = figure.get("layout", {})
    made = {name: short(layout[name]) for name in LAYOUT if name in layout}
    made |= {name: axis(value) for name, value in sorted(layout.items()) if "axis" in name}
    if legend := layout.get("legend"):
        made["legend"] = {name: short(legend[name]) for name in ("orientation", "x", "y") if name in legend}
    for name in ("shapes", "annotations", "updatemenus", "sliders", "images"):
        if parts := layout.get(name):
            made[name] = [part_of(part) for part in ends(parts)] + [len(parts)]
    if frames := figure.get("frames"):
        made["frames"] = len(frames)
    return {"layout": made, "traces": [trace_of(trace) for trace in figure.get("data", [])]}


def axis(value: dict) -> dict:
    """One axis, or the scale of colours that several traces share."""
    if "colorscale" in value or "cmin" in value:
        kept = ("cmin", "cmid", "cmax", "reversescale", "showscale")
        return {name: short(value[name]) for name in kept if name in value} | scale_of(value)
    made = {name: short(value[name]) for name in AXIS if name in value}
    for name in ("tickvals", "ticktext", "categoryarray"):
        if name in value:
            made[name] = sample(value[name])
    return made


def trace_of(trace: dict) -> dict:
    made = {name: short(trace[name]) for name in (*TRACE, *TRACE_MORE) if trace.get(name) is not None}
    made |= scale_of(trace)
    for part, names in (("line", LINE), ("marker", MARKER)):
        held = trace.get(part) or {}
        kept = {name: short(held[name]) for name in names if np.ndim(held.get(name, [0])) == 0}
        kept |= scale_of(held)
        if part == "marker" and (color := held.get("color")) is not None:
            kept["color"] = color if isinstance(color, str) else colors(color, trace)
        if isinstance(held.get("pattern"), dict):
            kept["pattern"] = sample(held["pattern"].get("shape"))
        if kept:
            made[part] = kept
    for name in ("x", "y", "z", "text", "labels", "values"):
        if trace.get(name) is not None:
            made[name] = sample(trace[name])
    return made


def scale_of(part: dict) -> dict:
    """The colours at the ends and in the middle of a scale."""
    scale = part.get("colorscale")
    if not scale:
        return {}
    places = [scale[0], scale[len(scale) // 2], scale[-1]]
    bar = part.get("colorbar") or {}
    made = {"colorscale": [[rounded(place), color] for place, color in places]}
    return made | ({"colorbar": short(bar["title"])} if "title" in bar else {})


def colors(given: Any, trace: dict) -> dict[str, list[str]]:
    """For each colour of single points or bars: whether they lie above or below zero."""
    flat = list(np.ravel(np.asarray(given, dtype=object)))
    if not all(isinstance(color, str) for color in flat):
        return {"values": sample(given)}
    letter = "x" if trace.get("orientation") == "h" else "y"
    values = list(np.ravel(np.asarray(trace.get(letter, []), dtype=object)))
    made: dict[str, set[str]] = {}
    for place, color in enumerate(flat):
        value = values[place] if place < len(values) else None
        is_number = (
            isinstance(value, int | float | np.number) and math.isfinite(value) and abs(value) > ABSOLUTE
        )
        made.setdefault(color, set()).update(("+" if value > 0 else "-") if is_number else "")
    return {color: sorted(signs) for color, signs in made.items()}


def part_of(part: Any) -> Any:
    """A shape, annotation or menu in a line."""
    kept = ("type", "text", "x", "x0", "x1", "y", "y0", "y1", "xref", "yref", "fillcolor", "name")
    return {name: short(part[name]) for name in kept if part.get(name) is not None} | (
        {"line": {name: short(part["line"][name]) for name in LINE if name in part["line"]}}
        if isinstance(part.get("line"), dict)
        else {}
    )


def ends(values: Any) -> list:
    return [values[0], values[-1]] if len(values) > 1 else list(values)


def sample(values: Any) -> Any:
    """Shape, first and last of an array; ten words, since their order is what a row means."""
    if isinstance(values, str) or np.ndim(values) == 0:
        return short(values)
    flat = list(np.ravel(np.asarray(values, dtype=object)))
    shape = "×".join(map(str, np.shape(values) or (len(flat),)))
    if flat and all(isinstance(value, str) for value in flat):
        return [shape, *(short(value) for value in (flat if len(flat) <= 10 else [*flat[:5], *flat[-5:]]))]
    return [shape, *(short(value) for value in ends(flat))]


def short(value: Any) -> Any:
    """A property as JSON holds it: texts cut, numbers rounded."""
    if isinstance(value, dict):
        return (
            short(value["text"]) if "text" in value else {name: short(part) for name, part in value.items()}
        )
    if isinstance(value, str):
        return value if len(value) <= LONG else value[: LONG - 1] + "…"
    if isinstance(value, list | tuple | np.ndarray):
        return [short(part) for part in value]
    return rounded(value)


def rounded(value: Any) -> Any:
    if isinstance(value, bool | np.bool_) or value is None:
        return None if value is None else bool(value)
    if not isinstance(value, int | float | np.number):
        return str(value)
    number = float(value)
    if not math.isfinite(number):
        return None
    number = float(f"{number:.3g}") if abs(number) < 1000 else float(f"{number:.4g}")
    return int(number) if number == int(number) else number


def differences(now: Any, kept: Any, where: str = "") -> list[str]:
    """Where two structures differ by more than rounding."""
    if isinstance(now, dict) and isinstance(kept, dict):
        names = [*kept, *(name for name in now if name not in kept)]
        both = [(f"{where}.{name}", now.get(name, "—"), kept.get(name, "—")) for name in names]
    elif isinstance(now, list) and isinstance(kept, list) and len(now) == len(kept):
        both = [(f"{where}[{place}]", *pair) for place, pair in enumerate(zip(now, kept, strict=True))]
    else:
        near = OF_DATA if re.search(r"\.(x|y|z|text|values)\[\d+\]$", where) else ABSOLUTE
        return [] if is_same(now, kept, near) else [f"{where}: {now!r} in place of {kept!r}"]
    return [line for place, new, old in both for line in differences(new, old, place)]


def is_same(now: Any, kept: Any, near: float) -> bool:
    """Whether two values agree; the numbers in a text may differ by what rounding does."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in (now, kept)):
        return math.isclose(now, kept, rel_tol=RELATIVE, abs_tol=near)
    if not (isinstance(now, str) and isinstance(kept, str)) or NUMBER.sub("0", now) != NUMBER.sub(
        "0", kept
    ):
        return now == kept
    numbers = [
        [float(n.replace("−", "-").replace(",", "")) for n in NUMBER.findall(t)] for t in (now, kept)
    ]
    return all(
        math.isclose(*pair, rel_tol=RELATIVE, abs_tol=OF_DATA) for pair in zip(*numbers, strict=True)
    )


def written(value: Any) -> str:
    """JSON with a line for each value, and for each list or object that fits one."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    inner = re.compile(r"(?:\[|\{)\n\s*[^\[\]{}]*?\n\s*(?:\]|\})")
    for _turn in range(2):
        text = inner.sub(lambda found: joined(found[0]), text)
    return text + "\n"


def joined(text: str) -> str:
    line = re.sub(r"\n\s*", " ", text)
    return f"{line[0]}{line[2:-2]}{line[-1]}" if len(line) <= 100 else text


def assert_drawn(figures: dict[str, dict], path: Path, **counts: int) -> None:
    """Assert that these figures, and so many other things, are as the file says."""
    made = {name: structure(figure) for name, figure in figures.items()}
    counted = {name: count for name, count in counts.items() if count}
    now = json.loads(json.dumps(counted | made))
    if RENEW:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written(now), encoding="utf-8")
    lines = differences(now, json.loads(path.read_text(encoding="utf-8")))
    assert not lines, f"{path.name} differs (RENEW_DRAWN=1 writes it anew):\n" + "\n".join(lines[:40])
