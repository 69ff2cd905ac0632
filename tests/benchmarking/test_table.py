from __future__ import annotations

import io

from rich.console import Console

from secateur.benchmarking.result import Agreement, Row
from secateur.benchmarking.statistics import Median
from secateur.benchmarking.table import measurement_table

MEASURED = Row(
    "alexnet@paper", 16, 2, "onnxruntime", "threads=2", agreement=Agreement(agrees=True),
    latency=Median(119.4, 118.2, 120.6), least_ms=117.0, ratio=Median(1.98, 1.9, 2.1),
    file_bytes=243_864_007,
    load_ms=480.1, loaded_bytes=276_000_000, running_bytes=281_000_000,
)  # fmt: skip
ABSENT = Row("alexnet@paper", 16, 2, "mnn", absent=True, problem="absent: python has no module 'MNN'")


def shown(*rows: Row) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(measurement_table(rows))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_the_table_fits_eighty_columns_and_names_what_is_missing() -> None:
    text = shown(MEASURED, ABSENT)
    assert "alexnet@paper, batch 16, 2 threads" in text
    (line,) = (line for line in text.splitlines() if "119" in line)
    assert line.split() == ["onnxruntime", "119", "118-121", "1.98", "243.9", "MB", "480", "281.0", "MB"]
    assert "onnxruntime: fastest with threads=2" in text
    assert "mnn: absent: python has no module 'MNN'" in text


def test_every_work_has_its_table() -> None:
    text = shown(MEASURED, Row("vgg16@0.10", 1, 2, "mnn", problem="disagrees"))
    assert text.count("95 % interval") == 2


def test_json_is_flat_and_has_every_key_whatever_happened() -> None:
    record = MEASURED.to_json()
    assert list(record)[:8] == [
        "work", "batch", "threads", "engine", "median_ms", "low_ms", "high_ms", "least_ms",
    ]  # fmt: skip
    assert (record["median_ms"], record["agrees"], record["file_bytes"]) == (119.4, True, 243_864_007)
    assert (record["ratio"], record["ratio_low"], record["ratio_high"]) == (1.98, 1.9, 2.1)
    missing = ABSENT.to_json()
    assert missing.keys() == record.keys()
    assert (missing["median_ms"], missing["agrees"], missing["absent"]) == (None, False, True)
