"""The compiled masking of gradients. Thin over native/masking, and as trusting: an address is believed."""

from collections.abc import Sequence
from typing import final

def has_threads() -> bool:
    """Whether an OpenMP runtime is loaded, as torch brings one, whose threads can be shared."""

@final
class Masks:
    """Of several arrays each one's mask; whoever makes it keeps their memory alive.

    Args:
        masks: Of each the address of its bytes, 1 to keep and 0 to set to zero; how many there are; and the
            bytes of one value of the array: 1, 2, 4 or 8. Anything else is a ``ValueError``.
    """

    def __init__(self, masks: Sequence[tuple[int, int, int]]) -> None: ...
    def keep(self, addresses: Sequence[int], threads: int) -> None:
        """Set to zero what the masks leave out.

        Args:
            addresses: Of each array; 0 leaves it alone. Another number of them is a ``ValueError``.
            threads: How many torch works with.
        """
