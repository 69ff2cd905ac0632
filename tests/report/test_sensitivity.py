from __future__ import annotations

from rich.console import Console

from secateur.analysis.sensitivity import LayerSensitivity, Point, Sensitivity
from secateur.report.sensitivity import sensitivity_table


def layer(name: str, weights: int, *points: tuple[int, float]) -> LayerSensitivity:
    found = tuple(Point(kept, kept / weights, 0.1, error) for kept, error in points)
    return LayerSensitivity(name, f"{name}.weight", weights, found, True, "", 0.1)


def test_a_row_a_layer_and_a_column_a_density() -> None:
    scan = Sensitivity(
        100,
        0.05,
        1.5,
        (
            layer("fc1", 1000, (900, 1.5), (300, 1.75), (50, 21.25)),
            layer("fc2", 8, (7, 1.25), (2, 3.0)),
        ),
        0.1,
    )
    console = Console(width=80)
    with console.capture() as capture:
        console.print(sensitivity_table(scan))
    lines = [line.split() for line in capture.get().splitlines() if line.strip()]
    text = " ".join(word for line in lines for word in line)
    assert text.startswith(
        "points of error added to 1.50 %, by per cent of the layer's weights kept layer 90 30 5"
    )
    assert lines[-2] == ["fc1", "1K", "+0.00", "+0.25", "+19.8"]
    assert lines[-1] == ["fc2", "8", "-0.25", "+1.50", "-"]


def test_ten_densities_of_vgg_fit_into_eighty_columns() -> None:
    points = [(1000 - 97 * place, 1.0 + 8 * place) for place in range(10)]
    scan = Sensitivity(100, 0.05, 1.5, tuple(layer(f"conv{n}_1", 1000, *points) for n in range(3)), 0.1)
    console = Console(width=80)
    with console.capture() as capture:
        console.print(sensitivity_table(scan))
    assert "…" not in capture.get()
    assert capture.get().splitlines()[-2].split()[0] == "conv2_1"
