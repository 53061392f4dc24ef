"""The figures as a drawing: bars beside one another, and curves. An SVG without scripts."""

import math
from xml.sax.saxutils import escape

WIDTH = 800
LABELS = 300
BARS = (LABELS + 12, 620)
BAR, GAP = 8, 10
PLOT_HEIGHT = 200
RELAY = "relay"

# Its own ground, so that it can be read wherever it is shown; light or dark as the reader's screen.
LIGHT = {"ground": "#ffffff", "text": "#1f2328", "dim": "#59636e", "line": "#d1d9e0",
         "relay": "#bc4c00", "brokers": ["#0969da", "#9aa4ae", "#1a7f37", "#8250df"]}
DARK = {"ground": "#0d1117", "text": "#f0f6fc", "dim": "#9198a1", "line": "#3d444d",
        "relay": "#f0883e", "brokers": ["#4493f8", "#6e7681", "#3fb950", "#ab7df8"]}
SHAPES = """
text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
.title { font-size: 15px; font-weight: 600; } .end { text-anchor: end; } .middle { text-anchor: middle; }
path { fill: none; } .relay { stroke-width: 2; } .curve { stroke-width: 2.5; }
"""


def colours(scheme):
    rules = [f".ground {{ fill: {scheme['ground']}; }} text {{ fill: {scheme['text']}; }}",
             f".dim {{ fill: {scheme['dim']}; }} .line {{ stroke: {scheme['line']}; }}",
             f".relay {{ stroke: {scheme['relay']}; }}"]
    rules += [f".bar.b{at} {{ fill: {colour}; }} .curve.b{at} {{ stroke: {colour}; }}"
              for at, colour in enumerate(scheme["brokers"])]
    return "\n".join(rules) + "\n"


STYLE = f"{SHAPES}{colours(LIGHT)}@media (prefers-color-scheme: dark) {{\n{colours(DARK)}}}\n"


class Drawing:
    """Elements from the top down; `y` is where the next one goes."""

    def __init__(self):
        self.elements, self.y = [], 16

    def add(self, element):
        self.elements.append(element)

    def text(self, x, y, words, kind=""):
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(words)}</text>')

    def title(self, words, note):
        self.y += 14
        self.text(16, self.y, words, "title")
        self.y += 18
        self.text(16, self.y, note, "dim")
        self.y += 14

    def svg(self):
        height = self.y + 8
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
                f'width="{WIDTH}" height="{height:.0f}" role="img" aria-label="midge beside other brokers">\n'
                f"<style>{STYLE}</style>\n"
                f'<rect width="{WIDTH}" height="{height:.0f}" rx="8" class="ground"/>\n'
                + "\n".join(self.elements) + "\n</svg>\n")


def kind(names, name):
    """Each broker keeps its colour through all parts."""
    return f"b{names.index(name) % len(LIGHT['brokers'])}"


def written(number):
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def legend(drawing, names, with_relay):
    x = 16
    for name in names:
        drawing.add(f'<rect x="{x}" y="{drawing.y}" width="12" height="12" rx="2" class="bar {kind(names, name)}"/>')
        drawing.text(x + 18, drawing.y + 10, name)
        x += 40 + 7 * len(name)
    if with_relay:
        drawing.add(f'<path d="M{x + 6} {drawing.y}v12" class="relay"/>')
        drawing.text(x + 18, drawing.y + 10, "a relay that only copies")
    drawing.y += 24


def bars(drawing, rows, names):
    """A group of bars for each row, which has a scale of its own: its longest bar fills it."""
    left, right = BARS
    for (_, title, unit), found in rows.items():
        drawn = [name for name in names if name in found]
        scale = (right - left) / max([found[name] for name in drawn] + [1e-9])
        middle = drawing.y + BAR * len(drawn) / 2
        drawing.text(LABELS, middle + 4, title, "end")
        for at, name in enumerate(drawn):
            drawing.add(f'<rect x="{left}" y="{drawing.y + BAR * at}" width="{max(found[name] * scale, 1):.1f}" '
                        f'height="{BAR - 1}" rx="1" class="bar {kind(names, name)}"/>')
        if RELAY in found:
            x = left + min(found[RELAY] * scale, right - left)
            drawing.add(f'<path d="M{x:.1f} {drawing.y - 3}v{BAR * len(drawn) + 5}" class="relay"/>')
        figures = " / ".join(written(found[name]) for name in drawn)
        drawing.text(right + 12, middle + 4, f"{figures} {unit}", "dim")
        drawing.y += BAR * len(drawn) + GAP
    drawing.y += 8


def curves(drawing, found, names):
    """Microseconds over subscriptions, the latter by powers of ten."""
    left, right = 60, WIDTH - 120
    top, bottom = drawing.y + 6, drawing.y + PLOT_HEIGHT
    powers = sorted({at for points in found.values() for at in points})
    first, last = math.log10(powers[0]), math.log10(powers[-1])
    most = nice(max(y for points in found.values() for y in points.values()))

    def place(at, y):
        x = left + (math.log10(at) - first) / max(last - first, 1e-9) * (right - left)
        return x, bottom - y / most * (bottom - top)

    for step in range(5):
        y = bottom - step / 4 * (bottom - top)
        drawing.add(f'<path d="M{left} {y:.1f}H{right}" class="line"/>')
        drawing.text(left - 8, y + 4, written(most * step / 4) if step else "0", "dim end")
    for at in powers:
        drawing.text(place(at, 0)[0], bottom + 18, f"{at:,}", "dim middle")
    for name, points in found.items():
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in (place(at, y) for at, y in points.items()))
        drawing.add(f'<path d="M{path}" class="curve {kind(names, name)}"/>')
        for at, y in points.items():
            x, y = place(at, y)
            drawing.add(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" class="bar {kind(names, name)}"/>')
        drawing.text(x + 10, y + 4, name)
    drawing.y = bottom + 28


def nice(number):
    """The next number upwards that reads well at the end of an axis."""
    power = 10 ** math.floor(math.log10(number))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= number)


def figures(cpu, memory, growth):
    """All of it: rows of bars (`(section, title, unit)` to broker to figure), and curves."""
    names = list(growth)
    drawing = Drawing()
    drawing.title("CPU time per delivery", "Less is better; each row has its own scale.")
    legend(drawing, names, True)
    bars(drawing, cpu, names)
    drawing.title("Memory", "Resident bytes that each one adds, and the process as a whole.")
    bars(drawing, {row: found for row, found in memory.items() if row[2] != "times"}, names)
    drawing.title("CPU time per publish as subscriptions grow",
                  "Microseconds; every subscription has a filter of its own, every publish matches one.")
    curves(drawing, growth, names)
    return drawing.svg()
