"""Passes: each a pure function from a network to one that computes the same with less."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from secateur.compiler.network import Network
from secateur.compiler.passes.cleaning import drop_dead, drop_identities, share_constants
from secateur.compiler.passes.functions import fuse_functions
from secateur.compiler.passes.hoisting import hoist
from secateur.compiler.passes.layers import fold_affine, fold_padding, fuse_activations, fuse_residual
from secateur.compiler.passes.norms import fuse_layer_norm, fuse_local_response_norm

Pass = Callable[[Network], Network]

# Functions of several nodes are found before a layer takes one of those nodes in; what can stand right behind
# a convolution goes there; factors and shifts go into a layer before a residual closes it, and the activation
# comes last because it is applied last.
PASSES: tuple[Pass, ...] = (
    drop_identities,
    fuse_functions,
    fuse_layer_norm,
    fuse_local_response_norm,
    drop_dead,
    fold_padding,
    hoist,
    fold_affine,
    fuse_residual,
    fuse_activations,
    share_constants,
    drop_dead,
)


def optimise(network: Network) -> Network:
    """Apply every pass in order.

    Args:
        network: What ``lower`` gives.

    Returns:
        The same function, up to rounding.
    """
    return reduce(lambda before, step: step(before), PASSES, network)
