"""Every supported ONNX operator and what translates it: one small file for each family."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from secateur.compiler.builder import Builder
from secateur.compiler.operands import Call
from secateur.compiler.operators.activations import (
    clip,
    elu,
    gelu,
    hard_sigmoid,
    leaky_relu,
    plain,
    prelu,
    reciprocal,
    softsign,
    swish,
)
from secateur.compiler.operators.arithmetic import binary, power, variadic
from secateur.compiler.operators.convolution import convolution
from secateur.compiler.operators.linear import gemm, matmul
from secateur.compiler.operators.movement import (
    concat,
    depth_to_space,
    expand,
    gather,
    pad,
    reshape,
    slice_,
    space_to_depth,
    split,
    tile,
    transpose,
)
from secateur.compiler.operators.normalisation import (
    batch_normalisation,
    group_normalisation,
    instance_normalisation,
    layer_normalisation,
    local_response_normalisation,
    rms_normalisation,
)
from secateur.compiler.operators.pooling import global_pool, pool
from secateur.compiler.operators.reduction import reduce, reduce_of, softmax_of
from secateur.compiler.operators.resizing import resize
from secateur.compiler.operators.transposed import transposed_convolution
from secateur.format.graph import LogSoftmax, Softmax

Translator = Callable[[Call, Builder], None]

OPERATORS: Mapping[str, Translator] = {
    "Abs": plain("absolute"),
    "Add": binary("add"),
    "AveragePool": pool("average"),
    "BatchNormalization": batch_normalisation,
    "Cast": reshape,
    "CastLike": reshape,
    "Celu": elu,
    "Clip": clip,
    "Concat": concat,
    "Conv": convolution,
    "ConvTranspose": transposed_convolution,
    "DepthToSpace": depth_to_space,
    "Div": binary("divide"),
    "Dropout": reshape,
    "Elu": elu,
    "Erf": plain("erf"),
    "Exp": plain("exp"),
    "Expand": expand,
    "Flatten": reshape,
    "Gather": gather,
    "Gelu": gelu,
    "Gemm": gemm,
    "GlobalAveragePool": global_pool("mean"),
    "GlobalMaxPool": global_pool("max"),
    "GroupNormalization": group_normalisation,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": plain("hard_swish"),
    "Identity": reshape,
    "InstanceNormalization": instance_normalisation,
    "LRN": local_response_normalisation,
    "LayerNormalization": layer_normalisation,
    "LeakyRelu": leaky_relu,
    "LogSoftmax": softmax_of(LogSoftmax),
    "MatMul": matmul,
    "Max": variadic("maximum"),
    "MaxPool": pool("max"),
    "Mean": variadic("add"),
    "Min": variadic("minimum"),
    "Mul": binary("multiply"),
    "Neg": plain("negative"),
    "PRelu": prelu,
    "Pad": pad,
    "Pow": power,
    "RMSNormalization": rms_normalisation,
    "Reciprocal": reciprocal,
    "ReduceL1": reduce_of("absolute", "sum", None),
    "ReduceL2": reduce_of("square", "sum", "sqrt"),
    "ReduceMax": reduce("max"),
    "ReduceMean": reduce("mean"),
    "ReduceMin": reduce_of("negative", "max", "negative"),
    "ReduceSum": reduce("sum"),
    "ReduceSumSquare": reduce_of("square", "sum", None),
    "Relu": plain("relu"),
    "Reshape": reshape,
    "Resize": resize,
    "Selu": elu,
    "Sigmoid": plain("sigmoid"),
    "Slice": slice_,
    "Softmax": softmax_of(Softmax),
    "Softsign": softsign,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Sqrt": plain("sqrt"),
    "Squeeze": reshape,
    "Sub": binary("subtract"),
    "Sum": variadic("add"),
    "Swish": swish,
    "Tanh": plain("tanh"),
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": reshape,
    "Upsample": resize,
}
