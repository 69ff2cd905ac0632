"""The processes of a run: one, or several that train one network together and decide everything alike."""

from __future__ import annotations

import hashlib
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast, final

import torch
from accelerate.state import PartialState
from accelerate.utils import parse_flag_from_env
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from secateur.errors import PeerError, SecateurError
from secateur.pruning.masks import Masks
from secateur.pruning.modes import evaluating
from secateur.training.task import Part

T = TypeVar("T")

# Longer than anything one process does while the others wait: a budget of milliseconds is measured for
# minutes, and a network of gigabytes is written.
_PATIENCE = timedelta(minutes=30)
_DECODER = "DataLoader worker"  # how torch begins what it says of one that died
_SHOWN = 6  # differences in a message


@final
@dataclass(frozen=True)
class Processes:
    """This process among those that were started together.

    Every process runs the same program and takes every decision itself, on the same numbers. The first one
    alone reads and writes files; what it found, it tells the others.

    Args:
        rank: Which process this is, from 0.
        count: How many there are.
        device: Where this one computes.
        control: What Python values are exchanged through, over the network and past any accelerator.

    Example:
        >>> Processes().of_first(lambda: 3), Processes().gather("x")
        (3, ['x'])
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    control: distributed.ProcessGroup | None = field(default=None, repr=False)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that reads, writes and speaks."""
        return self.rank == 0

    @property
    def part(self) -> Part:
        """This process's share of every batch."""
        return Part(self.rank, self.count)

    def of_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, told to all; so is its error, which ends all of them alike.

        Args:
            make: Called on the first process only.

        Returns:
            The same value everywhere.

        Raises:
            SecateurError: What `make` raised.
        """
        if self.count == 1:
            return make()
        told: list[Any] = [None, None]
        if self.is_first:
            try:
                told[0] = make()
            except SecateurError as error:
                told[1] = error
        distributed.broadcast_object_list(told, src=0, group=self.control)
        if told[1] is not None:
            raise told[1]
        return cast(T, told[0])

    def gather(self, value: T) -> list[T]:
        """Every process's value, in the order of their ranks, told to all."""
        if self.count == 1:
            return [value]
        told: list[Any] = [None] * self.count
        distributed.all_gather_object(told, value, group=self.control)
        return told

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of every process's tensor, the same bits everywhere."""
        if self.count == 1:
            return tensor
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    def wrap(self, model: nn.Module, example: Callable[[], Tensor]) -> nn.Module:
        """The network as it is called in training: its gradients are the mean over all processes.

        Call it when everything is frozen that shall be: frozen parameters take no part.

        Args:
            model: The network, on this process's device.
            example: Gives one input, to see which parameters take part.

        Returns:
            PyTorch's ``DistributedDataParallel`` of the network; or the network itself on one process.
        """
        if self.count == 1:
            return model
        return DistributedDataParallel(
            model,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            # The gradients lie where they are exchanged: they are the only copy, as on one process.
            gradient_as_bucket_view=True,
            # Only asked for where there are such: it costs a walk through the graph in every step.
            find_unused_parameters=_has_unused(model, example().to(self.device)),
        )

    @contextmanager
    def normalising(self, model: nn.Module) -> Iterator[None]:
        """Let batch normalisation see the images of all processes, for a while.

        So PyTorch has it on GPUs. On CPUs each process normalises by its own images in training, and the
        running statistics are the first one's.

        Args:
            model: The network; its parameters, buffers and their names stay.
        """
        if self.count == 1 or self.device.type != "cuda":
            yield
            return
        with synchronised(model):
            yield

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the first one's buffers, such as running statistics of batch normalisation."""
        if self.count > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, src=0)

    def check_alike(self, values: Mapping[str, object], what: str, remedy: str) -> None:
        """End the run on all processes, with one message, where values differ that must not.

        Args:
            values: By name; compared with those of the first process.
            what: What they are, for the message.
            remedy: What to do about it, for the message.

        Raises:
            PeerError: They differ; it names each process that is not like the first, and in what.
        """
        told = self.gather(dict(values))
        said = [
            f"process {rank} of {self.count} differs from process 0 in {_differences(own, told[0])}"
            for rank, own in enumerate(told)
            if own != told[0]
        ]
        if said:
            raise PeerError(f"{what}: {'; '.join(said)}. {remedy}")

    def check_masks(self, masks: Masks) -> None:
        """Refuse masks that are not the same on every process, bit for bit.

        Args:
            masks: After a cut.

        Raises:
            PeerError: A mask differs; it names the processes and the layers.
        """
        self.check_alike(
            fingerprints(masks) if self.count > 1 else {},
            "the masks after a cut",
            "Nothing of this cut was kept. Weights must be the same everywhere before a cut: start all "
            "processes with the same versions on the same kind of processor, and change no weight on one of "
            "them alone",
        )

    @contextmanager
    def first_ahead(self) -> Iterator[None]:
        """Let the first process of every machine go through a block first: what it gets, the others find."""
        with self.noticing(), PartialState().local_main_process_first():
            yield

    @contextmanager
    def noticing(self) -> Iterator[None]:
        """Say in words when a block fails because another process is gone, one that decodes among them.

        Raises:
            PeerError: It is.
        """
        try:
            yield
        except SecateurError:
            raise
        except RuntimeError as error:
            # torch's handler of the signal raises it anywhere, not only where a picture is awaited.
            if str(error).startswith(_DECODER):
                raise PeerError(
                    f"a process that decodes pictures is gone ({_in_short(error)}). If nobody stopped it, "
                    "the system had no memory left for it: give fewer --workers (0 decodes in the training "
                    "process), or leave it more memory. What was finished is kept: the same command goes on "
                    "from there"
                ) from error
            if self.count == 1 or not _is_about_peers(error):
                raise
            raise PeerError(
                f"another process of this run has ended or is silent ({_in_short(error)}). Look for the "
                "message of the one that ended first: torchrun names it as the root cause. What was finished "
                "is kept: start the same command again, on as many processes as you like, and it goes on "
                "from there"
            ) from error


def join(patience: timedelta = _PATIENCE) -> Processes:
    """Join the processes that ``torchrun`` or ``accelerate launch`` started; or be the only one.

    Args:
        patience: How long a process waits for another one before it takes it for gone.

    Returns:
        This process among them; one GPU each where there are GPUs.

    Raises:
        PeerError: The others were not found in time.
    """
    has_accelerator = torch.cuda.is_available() or torch.backends.mps.is_available()
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not has_accelerator
    try:
        state = PartialState(cpu=cpu, timeout=patience)
    except RuntimeError as error:
        if not _is_about_peers(error):
            raise
        raise PeerError(
            f"the processes of this run did not find each other ({_in_short(error)}). Check "
            "that all were started, with the same number of processes, and that the machines reach each other"
        ) from error
    if state.num_processes == 1:
        return Processes(device=state.device)
    over_network = distributed.get_backend() == "gloo"
    control = None if over_network else distributed.new_group(backend="gloo", timeout=patience)
    return Processes(state.process_index, state.num_processes, state.device, control)


@contextmanager
def synchronised(model: nn.Module) -> Iterator[None]:
    """Put PyTorch's synchronised batch normalisation in the place of the ordinary one, for a while.

    Args:
        model: The network. Parameters and buffers are shared, not copied: what trains in there has trained.
    """
    replaced = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
    ]
    try:
        for parent, name, child in replaced:
            convert = cast(Callable[[nn.Module], nn.Module], nn.SyncBatchNorm.convert_sync_batchnorm)
            setattr(parent, name, convert(child))
        yield
    finally:
        for parent, name, child in replaced:
            setattr(parent, name, child)


def leave() -> None:
    """Let go of the other processes, when everything is done; PyTorch warns where nobody does."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def fingerprints(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """A hash of every tensor, bit for bit, with its type and shape.

    Args:
        tensors: By name, on any device.

    Returns:
        Sixteen hexadecimal digits by name.

    Example:
        >>> one, other = (fingerprints({"x": torch.tensor(value)}) for value in (0.0, -0.0))
        >>> one == other
        False
    """
    found = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        digest = hashlib.sha256(f"{plain.dtype} {tuple(plain.shape)}".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy().data)
        found[name] = digest.hexdigest()[:16]
    return found


def _differences(own: Mapping[str, object], first: Mapping[str, object]) -> str:
    names = [name for name in sorted(own.keys() | first.keys()) if own.get(name) != first.get(name)]
    said = [
        f"{name} ({reprlib.repr(own.get(name))}, not {reprlib.repr(first.get(name))})"
        for name in names[:_SHOWN]
    ]
    return ", ".join(said) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _has_unused(model: nn.Module, example: Tensor) -> bool:
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with evaluating(model):  # so that neither running statistics nor the draws of dropout move
        outputs = model(example)
    return any(gradient is None for gradient in torch.autograd.grad(outputs.sum(), moving, allow_unused=True))


def _in_short(error: RuntimeError) -> str:
    # What gloo says has the place in its sources before it and ends with advice for those who write such.
    said = str(error).splitlines()[0]
    return re.sub(r"^\[[^]]*\]\s*|\[[^]]*gloo/transport[^]]*\]\s*", "", said).partition(". ")[0][:200]


def _is_about_peers(error: RuntimeError) -> bool:
    # gloo raises plain RuntimeErrors; nothing but the place in its sources tells them from others.
    return isinstance(error, distributed.DistError) or "gloo/transport" in str(error)
