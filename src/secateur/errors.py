"""Every exception a user of Secateur can meet.

Each message says where, what was expected, what was found, and what to do about it.
"""

from __future__ import annotations


class SecateurError(Exception):
    """The root of all errors that Secateur raises on purpose."""


class ConfigurationError(SecateurError, ValueError):
    """A recipe, an option or an argument has a value that cannot be."""


class LayerSelectionError(SecateurError, ValueError):
    """A layer was asked for that is not there, cannot be pruned, or was asked for twice."""


class UnreachableTargetError(SecateurError, ValueError):
    """A density or a quality cannot be had from this network, or would leave a layer empty."""


class MaskError(SecateurError, ValueError):
    """A mask does not fit the weight it is meant for."""


class DataError(SecateurError, ValueError):
    """A data file or a data set is missing, damaged or not what it should be."""


class CheckpointError(SecateurError, RuntimeError):
    """A checkpoint or a run folder is damaged, unfinished or belongs to something else."""


class DivergenceError(SecateurError, ArithmeticError):
    """Training produced a loss that is not a finite number."""


class PeerError(SecateurError, RuntimeError):
    """The processes of one run do not agree, or one of them is gone."""


class UnsupportedModelError(SecateurError, ValueError):
    """A network uses something that the asked-for operation cannot handle."""


class InputError(SecateurError, ValueError):
    """What a network was called with is not what it takes."""


class FormatError(SecateurError, ValueError):
    """A compact file is damaged, or is not one, or was written by a version that this one cannot read."""


class StorageError(SecateurError, OSError):
    """The file system refused a write; what was finished before is untouched."""


class MissingExtraError(SecateurError, ImportError):
    """A part of Secateur needs an optional dependency that is not installed."""


class InterruptedRunError(SecateurError):
    """A run was interrupted by its user; it resumes where it stopped."""
