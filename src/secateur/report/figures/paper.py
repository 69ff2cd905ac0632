"""The paper's own numbers, to stand beside ours (arXiv 1506.02626v3; figures from its vector drawings)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class PaperRow:
    """A row of Tables 2 to 5.

    Attributes:
        weights: As printed.
        flop: As printed.
        activation: Act%.
        density: Weights%.
        flop_kept: FLOP%.
    """

    weights: str
    flop: str
    activation: float
    density: float
    flop_kept: float


TABLES: Mapping[str, Mapping[str, PaperRow]] = {
    "lenet-300-100": {
        "fc1": PaperRow("235K", "470K", 38, 8, 8),
        "fc2": PaperRow("30K", "60K", 65, 9, 4),
        "fc3": PaperRow("1K", "2K", 100, 26, 17),
        "total": PaperRow("266K", "532K", 46, 8, 8),
    },
    "lenet-5": {
        "conv1": PaperRow("0.5K", "576K", 82, 66, 66),
        "conv2": PaperRow("25K", "3200K", 72, 12, 10),
        "fc1": PaperRow("400K", "800K", 55, 8, 6),
        "fc2": PaperRow("5K", "10K", 100, 19, 10),
        "total": PaperRow("431K", "4586K", 77, 8, 16),
    },
    "alexnet": {
        "conv1": PaperRow("35K", "211M", 88, 84, 84),
        "conv2": PaperRow("307K", "448M", 52, 38, 33),
        "conv3": PaperRow("885K", "299M", 37, 35, 18),
        "conv4": PaperRow("663K", "224M", 40, 37, 14),
        "conv5": PaperRow("442K", "150M", 34, 37, 14),
        "fc1": PaperRow("38M", "75M", 36, 9, 3),
        "fc2": PaperRow("17M", "34M", 40, 9, 3),
        "fc3": PaperRow("4M", "8M", 100, 25, 10),
        "total": PaperRow("61M", "1.5B", 54, 11, 30),
    },
    "vgg-16": {
        "conv1_1": PaperRow("2K", "0.2B", 53, 58, 58),
        "conv1_2": PaperRow("37K", "3.7B", 89, 22, 12),
        "conv2_1": PaperRow("74K", "1.8B", 80, 34, 30),
        "conv2_2": PaperRow("148K", "3.7B", 81, 36, 29),
        "conv3_1": PaperRow("295K", "1.8B", 68, 53, 43),
        "conv3_2": PaperRow("590K", "3.7B", 70, 24, 16),
        "conv3_3": PaperRow("590K", "3.7B", 64, 42, 29),
        "conv4_1": PaperRow("1M", "1.8B", 51, 32, 21),
        "conv4_2": PaperRow("2M", "3.7B", 45, 27, 14),
        "conv4_3": PaperRow("2M", "3.7B", 34, 34, 15),
        "conv5_1": PaperRow("2M", "925M", 32, 35, 12),
        "conv5_2": PaperRow("2M", "925M", 29, 29, 9),
        "conv5_3": PaperRow("2M", "925M", 19, 36, 11),
        "fc6": PaperRow("103M", "206M", 38, 4, 1),
        "fc7": PaperRow("17M", "34M", 42, 4, 2),
        "fc8": PaperRow("4M", "8M", 100, 23, 9),
        "total": PaperRow("138M", "30.9B", 64, 7.5, 21),
    },
}

# Fig 4: how much of each of the 28 bands of LeNet-300-100's fc1 the dots cover. They overlap: only relative.
FIG4_BANDS = (
    *(0.00, 0.01, 0.06, 0.17, 0.33, 0.44, 0.50, 0.52, 0.56, 0.59, 0.60, 0.62, 0.63, 0.64),
    *(0.63, 0.65, 0.63, 0.63, 0.61, 0.60, 0.55, 0.53, 0.48, 0.44, 0.36, 0.23, 0.08, 0.02),
)

Points = tuple[tuple[float, float], ...]

# Fig 5, AlexNet: per cent of the parameters pruned away, change of top-5 accuracy in points.
FIG5: Mapping[str, Points] = {
    "L2, iterative": (
        *((87.5, 0.05), (88.9, 0.02), (90.0, -0.08), (91.7, -0.35), (92.8, -0.62), (93.8, -1.05)),
        *((94.7, -2.00), (95.8, -4.19)),
    ),
    "L2, no retraining": ((33.5, -0.03), (49.9, -0.12), (66.6, -0.93), (74.9, -2.16), (80.0, -4.07)),
    "L1, no retraining": (
        *((33.5, -0.01), (49.9, -0.09), (66.6, -0.28), (74.9, -0.65), (80.0, -1.26), (83.4, -2.10)),
        *((85.7, -2.98), (87.5, -4.43)),
    ),
    "L1, retrained with L1": (
        *((33.5, 0.0), (49.9, 0.0), (66.6, -0.14), (75.0, -0.22), (80.0, -0.37), (83.3, -0.57)),
        *((85.7, -0.82), (87.5, -1.07), (89.9, -1.81), (93.0, -4.13)),
    ),
    "L2, retrained with L2": (
        *((33.5, -0.02), (49.9, 0.02), (66.6, 0.17), (75.0, 0.15), (80.0, 0.02), (83.3, -0.18)),
        *((85.7, -0.47), (87.5, -0.82), (89.9, -1.59), (93.0, -3.88)),
    ),
}

# Fig 6, AlexNet: per cent of one layer's parameters pruned, change of accuracy in points.
FIG6: Mapping[str, Points] = {
    "conv1": ((15.5, -0.1), (28.6, -0.3), (39.4, -1.7), (47.9, -4.8), (55.0, -11.6), (60.9, -18.9)),
    "conv2": (*((46.4, -0.6), (55.0, -1.0), (62.0, -2.4), (68.1, -4.9), (73.2, -10.2), (77.1, -15.2)),),
    "conv3": (
        *((45.5, -0.3), (53.0, -0.7), (59.6, -1.6), (65.3, -2.5), (70.5, -4.1), (74.9, -5.9)),
        *((78.9, -8.4), (82.2, -12.3), (84.8, -16.3)),
    ),
    "conv4": (
        *((45.5, -0.3), (53.0, -0.6), (59.6, -0.9), (65.3, -1.7), (70.5, -2.7), (74.9, -4.2)),
        *((78.9, -6.7), (82.2, -9.5), (84.8, -13.7), (87.2, -18.3)),
    ),
    "conv5": (
        *((42.0, -0.3), (49.5, -0.5), (56.3, -0.7), (62.4, -1.3), (68.1, -2.5), (73.0, -4.0)),
        *((77.3, -6.4), (81.1, -9.5), (84.4, -13.5), (87.0, -17.7)),
    ),
    "fc1": (
        *((70.3, -0.33), (77.3, -0.74), (82.8, -1.81), (86.8, -3.47), (88.3, -4.79), (89.6, -6.93)),
        *((90.9, -9.9), (91.8, -14.9)),
    ),
    "fc2": (
        *((73.2, -0.33), (80.4, -0.74), (85.5, -1.81), (89.2, -3.47), (90.5, -4.79), (91.6, -6.93)),
        *((92.7, -9.9), (93.6, -14.9)),
    ),
    "fc3": (
        *((70.5, -0.66), (78.9, -1.3), (84.8, -2.7), (89.2, -4.9), (90.9, -6.5), (92.3, -8.3)),
        *((93.6, -10.8), (94.5, -13.7), (95.3, -16.8)),
    ),
}
