import pytest
import torch

from secateur.pruning.allocation import ALLOCATIONS, erdos_renyi, erdos_renyi_kernel, uniform


def test_the_names() -> None:
    assert {
        "uniform": uniform,
        "erdos-renyi": erdos_renyi,
        "erdos-renyi-kernel": erdos_renyi_kernel,
    } == ALLOCATIONS


def test_erdos_renyi_counts_the_sides_and_not_the_kernel() -> None:
    shapes = {"conv": torch.Size([20, 10, 5, 5]), "fc": torch.Size([20, 10])}
    shares = erdos_renyi(shapes, 0.3)
    assert shares["conv"] == pytest.approx(shares["fc"]) == pytest.approx(0.3)


def test_erdos_renyi_is_in_proportion_to_the_sides() -> None:
    shares = erdos_renyi({"a": torch.Size([100, 400]), "b": torch.Size([50, 50])}, 0.1)
    assert shares["a"] / shares["b"] == pytest.approx((500 / 40_000) / (100 / 2_500))


def test_erdos_renyi_kernel_is_in_proportion_to_all_sides() -> None:
    shares = erdos_renyi_kernel({"a": torch.Size([64, 32, 3, 3]), "b": torch.Size([100, 200])}, 0.05)
    assert shares["a"] / shares["b"] == pytest.approx((102 / (64 * 32 * 9)) / (300 / 20_000))


def test_what_a_full_layer_cannot_take_goes_to_the_others() -> None:
    # fc3 and, once it is full, fc2 as well would be given more than they have.
    shapes = {
        "fc1": torch.Size([300, 784]),
        "fc2": torch.Size([10, 20]),
        "fc3": torch.Size([2, 3]),
    }
    shares = erdos_renyi(shapes, 0.5)
    assert shares["fc2"] == shares["fc3"] == 1.0
    assert shares["fc1"] * 235_200 == pytest.approx(0.5 * (235_200 + 200 + 6) - 200 - 6)


def test_a_vector_is_kept_whole_before_a_matrix_is() -> None:
    shapes = {"fc.weight": torch.Size([30, 30]), "fc.bias": torch.Size([30])}
    assert erdos_renyi(shapes, 0.2)["fc.bias"] == 1.0
    assert uniform(shapes, 0.2) == {"fc.weight": 0.2, "fc.bias": 0.2}
