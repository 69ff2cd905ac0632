// The Python module secateur._native: the C ABI in Python's words. What its functions mean is said in _native.pyi.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "known_calls.h"
#include "matrix.h"
#include "program.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace secateur::binding;

namespace {

std::string isa() { return secateur_isa_name(find_isa(std::nullopt)); }

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (int i = 0; secateur_isa_name(i) != nullptr; ++i) {
    if (secateur_has_isa(i) != 0) names.emplace_back(secateur_isa_name(i));
  }
  return names;
}

#define SECATEUR_SHAPE_ARGUMENTS                                                                                \
  "images"_a = 1, "in_channels"_a = 1, "in_height"_a = 1, "in_width"_a = 1, "out_channels"_a = 1, "out_height"_a = 1,  \
  "out_width"_a = 1, "kernel_height"_a = 1, "kernel_width"_a = 1, "stride_height"_a = 1, "stride_width"_a = 1,         \
  "pad_top"_a = 0, "pad_left"_a = 0, "dilation_height"_a = 1, "dilation_width"_a = 1, "groups"_a = 1,         \
  "pool_height"_a = 1, "pool_width"_a = 1

void bind_weighted(nb::class_<Program>& program) {
  program
      .def("convolution", &Program::convolution, "kernel"_a, "weights"_a, "source"_a, "output"_a, "bias"_a, "residual"_a,
           "activation"_a, nb::kw_only(), SECATEUR_SHAPE_ARGUMENTS)
      .def("convolution_kernels", &Program::convolution_kernels, nb::kw_only(), SECATEUR_SHAPE_ARGUMENTS)
      .def("linear", &Program::linear, "kernel"_a, "weights"_a, "columns"_a, "source"_a, "output"_a, "bias"_a, "residual"_a,
           "activation"_a, "workspace"_a, "rows"_a)
      .def("linear_kernels", &Program::linear_kernels, "weights"_a, "columns"_a, "rows"_a)
      .def("linear_workspace", &Program::linear_workspace, "kernel"_a, "weights"_a, "columns"_a, "rows"_a);
}

void bind_steps(nb::class_<Program>& program) {
  program.def("elementwise", &Program::elementwise, "source"_a, "output"_a, "count"_a, "activation"_a)
      .def("binary", &Program::binary, "kind"_a, "left"_a, "right"_a, "output"_a, "left_shape"_a, "right_shape"_a,
           "output_shape"_a, "activation"_a)
      .def("pool", &Program::pool, "kind"_a, "source"_a, "output"_a, "images"_a, "channels"_a, "in_h"_a, "in_w"_a,
           "out_h"_a, "out_w"_a, "kernel"_a, "strides"_a, "pads"_a, "dilations"_a, "count_padding"_a, "pads_end"_a)
      .def("softmax", &Program::softmax, "source"_a, "output"_a, "outer"_a, "size"_a, "inner"_a)
      .def("log_softmax", &Program::log_softmax, "source"_a, "output"_a, "outer"_a, "size"_a, "inner"_a)
      .def("layer_norm", &Program::layer_norm, "source"_a, "output"_a, "scale"_a, "bias"_a, "outer"_a, "size"_a, "epsilon"_a)
      .def("local_response_norm", &Program::local_response_norm, "source"_a, "output"_a, "images"_a, "channels"_a,
           "plane"_a, "size"_a, "alpha"_a, "beta"_a, "k"_a)
      .def("concat", &Program::concat, "sources"_a, "sizes"_a, "output"_a, "outer"_a)
      .def("slice", &Program::slice, "source"_a, "output"_a, "shape_in"_a, "starts"_a, "steps"_a, "shape_out"_a)
      .def("pad", &Program::pad, "source"_a, "output"_a, "shape_in"_a, "before"_a, "shape_out"_a, "mode"_a, "value"_a)
      .def("transpose", &Program::transpose, "source"_a, "output"_a, "shape_in"_a, "permutation"_a)
      .def("reduce", &Program::reduce, "kind"_a, "source"_a, "output"_a, "shape_in"_a, "axes"_a)
      .def("expand", &Program::expand, "source"_a, "output"_a, "shape_in"_a, "shape_out"_a)
      .def("gather", &Program::gather, "source"_a, "indices"_a, "output"_a, "outer"_a, "size"_a, "inner"_a, "count"_a)
      .def("matmul", &Program::matmul, "left"_a, "right"_a, "output"_a, "left_shape"_a, "right_shape"_a, "output_shape"_a)
      .def("copy", &Program::copy, "source"_a, "output"_a, "count"_a);
}

}  // namespace

NB_MODULE(_native, module) {
  import_numpy();
  module.def("isa", &isa);
  module.def("isas", &isas);

  nb::class_<Matrix>(module, "Matrix")
      .def(nb::init<int, int, std::int64_t, std::int64_t, nb::handle, nb::handle, nb::handle>(), "layout"_a, "type"_a,
           "lines"_a, "length"_a, "values"_a, "indices"_a.none(), "starts"_a.none())
      .def_prop_ro("entries", &Matrix::entries)
      .def_prop_ro("nonzeros", &Matrix::nonzeros)
      .def("to_dense", &Matrix::to_dense);

  nb::class_<Program> program(module, "Program");
  program.def(nb::init<std::optional<std::string>>(), "isa"_a = nb::none())
      .def("constant", &Program::constant, "array"_a)
      .def("finish", &Program::finish, "arena_bytes"_a, "threads"_a = 1)
      .def("run", nb::overload_cast<nb::list, nb::list, int>(&Program::run, nb::const_), "inputs"_a, "outputs"_a, "threads"_a)
      .def("time", &Program::time, "inputs"_a, "outputs"_a, "threads"_a, "repeats"_a)
      .def("time_steps", &Program::time_steps, "inputs"_a, "outputs"_a, "threads"_a, "repeats"_a)
      .def_prop_ro("isa", &Program::isa)
      .def_prop_ro("steps", &Program::steps)
      .def_prop_ro("packed_bytes", &Program::packed_bytes)
      .def_prop_ro("input_bytes", &Program::input_bytes)
      .def_prop_ro("output_bytes", &Program::output_bytes);
  bind_weighted(program);
  bind_steps(program);

  nb::class_<KnownCalls>(module, "KnownCalls")
      .def(nb::init<>())
      .def("add", &KnownCalls::add, "program"_a, "input_shape"_a, "output_shape"_a)
      .def("clear", &KnownCalls::clear)
      .def("run", &KnownCalls::run, "array"_a.none(), "threads"_a);
}
