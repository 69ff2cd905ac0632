"""The door to the compiled core: nothing else imports it."""

from __future__ import annotations

from typing import Literal

from secateur._native import KnownCalls
from secateur._native import Matrix as NativeMatrix
from secateur._native import Program as NativeProgram
from secateur._native import isa as native_isa
from secateur.errors import ConfigurationError

Isa = Literal["scalar", "avx2", "avx512"]

__all__ = ["Isa", "KnownCalls", "NativeMatrix", "NativeProgram", "best_isa"]


def best_isa() -> Isa:
    """The instruction set that programs run on here.

    Returns:
        ``scalar``, ``avx2`` or ``avx512``: the best of this processor, or what the environment variable
        ``SECATEUR_ISA`` asks for.

    Raises:
        ConfigurationError: ``SECATEUR_ISA`` asks for something that this processor or this build has not.
    """
    try:
        return native_isa()
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
