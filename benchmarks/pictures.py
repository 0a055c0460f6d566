"""Style of the pictures that benchmarks draw, as settings of matplotlib."""

STYLE = {
    "svg.fonttype": "none",
    "font.size": 9,
    "font.sans-serif": ["DejaVu Sans"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.2,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
}
