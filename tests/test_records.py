from __future__ import annotations

import json
import os
import platform
import re
from importlib import metadata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur import records
from secateur.records import content_hash, provenance

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), values, max_size=5))
def test_the_hash_is_of_the_content_and_not_of_its_order(content: dict[str, object]) -> None:
    turned = dict(reversed(list(content.items())))
    assert content_hash(content) == content_hash(turned)
    assert re.fullmatch(r"[0-9a-f]{12}", content_hash(content))
    assert content_hash({"other": content}) != content_hash(content)


def test_the_hash_stays_what_it_is() -> None:
    # sha256 of {"a":1}: folders of old runs are found again by it
    assert content_hash({"a": 1}) == "015abd7f5cc5"


def test_a_number_that_json_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        content_hash({"a": float("inf")})


def test_provenance_is_complete_and_plain() -> None:
    found = provenance(configuration_hash="ab", seed=3, threads=2).to_json()
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["torch"] == metadata.version("torch")
    assert (found["seed"], found["threads"], found["configuration_hash"]) == (3, 2, "ab")
    assert found["cpu"]
    assert 1 <= found["cores"] <= (os.cpu_count() or 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["created"])
    assert re.fullmatch(r"([0-9a-f]{40}\+?)?", found["commit"])


def test_an_absent_package_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_PACKAGES", ("numpy", "no-such-package"))
    assert list(provenance(configuration_hash="", seed=0, threads=1).versions) == ["python", "numpy"]


def test_no_git_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance(configuration_hash="", seed=0, threads=1).commit == ""
