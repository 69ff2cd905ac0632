#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "buffer.h"
#include "matrix.h"
#include "secateur/secateur.h"

namespace secateur::binding {

using Ref = std::tuple<int, std::int64_t>;
using Activation = std::tuple<int, float, float>;
using Shape = std::vector<std::int64_t>;
using Pair = std::tuple<std::int64_t, std::int64_t>;
using Names = std::vector<std::string>;
using Nanoseconds = std::vector<std::int64_t>;

class Program {
 public:
  explicit Program(const std::optional<std::string>& isa);

  std::int64_t constant(nanobind::handle array);
  void finish(std::int64_t arena_bytes, int threads);
  void run(nanobind::list inputs, nanobind::list outputs, int threads) const;
  // Of one input and one output, whose memory is as large as it must be.
  void run(const void* input, void* output, int threads) const;
  // Whether its one input and its one output hold no more than float32 arrays of these shapes.
  bool takes(const Shape& input, const Shape& output) const;
  Nanoseconds time(nanobind::list inputs, nanobind::list outputs, int threads, int repeats) const;
  std::vector<Nanoseconds> time_steps(nanobind::list inputs, nanobind::list outputs, int threads, int repeats) const;
  std::string isa() const { return secateur_isa_name(isa_); }
  Names steps() const;
  std::int64_t packed_bytes() const;
  Shape input_bytes() const;
  Shape output_bytes() const;

  void convolution(const std::string& kernel, nanobind::object weights, Ref source, Ref output, Ref bias, Ref residual,
                   Activation activation, std::int64_t images, std::int64_t in_channels, std::int64_t in_height,
                   std::int64_t in_width, std::int64_t out_channels, std::int64_t out_height, std::int64_t out_width,
                   std::int64_t kernel_height, std::int64_t kernel_width, std::int64_t stride_height,
                   std::int64_t stride_width, std::int64_t pad_top, std::int64_t pad_left, std::int64_t dilation_height,
                   std::int64_t dilation_width, std::int64_t groups, std::int64_t pool_height, std::int64_t pool_width);
  Names convolution_kernels(std::int64_t images, std::int64_t in_channels, std::int64_t in_height, std::int64_t in_width,
                            std::int64_t out_channels, std::int64_t out_height, std::int64_t out_width,
                            std::int64_t kernel_height, std::int64_t kernel_width, std::int64_t stride_height,
                            std::int64_t stride_width, std::int64_t pad_top, std::int64_t pad_left,
                            std::int64_t dilation_height, std::int64_t dilation_width, std::int64_t groups,
                            std::int64_t pool_height, std::int64_t pool_width) const;
  void linear(const std::string& kernel, nanobind::object weights, bool columns, Ref source, Ref output, Ref bias,
              Ref residual, Activation activation, Ref workspace, std::int64_t rows);
  Names linear_kernels(const Matrix& weights, bool columns, std::int64_t rows) const;
  std::int64_t linear_workspace(const std::string& kernel, const Matrix& weights, bool columns, std::int64_t rows) const;

  void elementwise(Ref source, Ref output, std::int64_t count, Activation activation);
  void binary(const std::string& kind, Ref left, Ref right, Ref output, const Shape& left_shape, const Shape& right_shape,
              const Shape& output_shape, Activation activation);
  void pool(const std::string& kind, Ref source, Ref output, std::int64_t images, std::int64_t channels, std::int64_t in_h,
            std::int64_t in_w, std::int64_t out_h, std::int64_t out_w, Pair kernel, Pair strides, Pair pads, Pair dilations,
            bool count_padding, Pair pads_end);
  void softmax(Ref source, Ref output, std::int64_t outer, std::int64_t size, std::int64_t inner);
  void log_softmax(Ref source, Ref output, std::int64_t outer, std::int64_t size, std::int64_t inner);
  void layer_norm(Ref source, Ref output, Ref scale, Ref bias, std::int64_t outer, std::int64_t size, float epsilon);
  void local_response_norm(Ref source, Ref output, std::int64_t images, std::int64_t channels, std::int64_t plane,
                           std::int64_t size, float alpha, float beta, float k);
  void concat(const std::vector<Ref>& sources, const Shape& sizes, Ref output, std::int64_t outer);
  void slice(Ref source, Ref output, const Shape& shape_in, const Shape& starts, const Shape& steps, const Shape& shape_out);
  void pad(Ref source, Ref output, const Shape& shape_in, const Shape& before, const Shape& shape_out,
           const std::string& mode, float value);
  void transpose(Ref source, Ref output, const Shape& shape_in, const Shape& permutation);
  void reduce(const std::string& kind, Ref source, Ref output, const Shape& shape_in, const Shape& axes);
  void expand(Ref source, Ref output, const Shape& shape_in, const Shape& shape_out);
  void gather(Ref source, Ref indices, Ref output, std::int64_t outer, std::int64_t size, std::int64_t inner,
              std::int64_t count);
  void matmul(Ref left, Ref right, Ref output, const Shape& left_shape, const Shape& right_shape, const Shape& output_shape);
  void copy(Ref source, Ref output, std::int64_t count);

 private:
  struct Destroy {
    void operator()(secateur_program* program) const { secateur_program_destroy(program); }
  };

  // What the program reads goes after the program.
  std::vector<Buffer> constants_;
  std::vector<nanobind::object> weights_;  // of each layer; none where they were packed anew
  int isa_;
  std::unique_ptr<secateur_program, Destroy> c_;
};

}  // namespace secateur::binding
