#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <optional>

#include "buffer.h"
#include "errors.h"

namespace secateur::binding {

// Holds the arrays it is a view of.
class Matrix {
 public:
  Matrix(int layout, int type, std::int64_t lines, std::int64_t length, nanobind::handle values, nanobind::handle indices,
         nanobind::handle starts)
      : values_(values, "values", false) {
    if (!indices.is_none()) indices_.emplace(indices, "indices", false);
    if (!starts.is_none()) starts_.emplace(starts, "starts", false);
    const std::int64_t value_bytes = type == SECATEUR_FLOAT32 ? 4 : 2;
    const std::int64_t index_bytes = layout == SECATEUR_INDEX16 ? 2 : 1;
    expect_items("values", values_, value_bytes);
    if (indices_) expect_items("indices", *indices_, index_bytes);
    if (starts_) expect_items("starts", *starts_, 4);
    view_ = {layout,
             type,
             lines,
             length,
             values_.bytes() / value_bytes,
             values_.data(),
             indices_ ? indices_->data() : nullptr,
             starts_ ? static_cast<const std::uint32_t*>(starts_->data()) : nullptr};
    check(checked(indices_ ? indices_->bytes() / index_bytes : 0, starts_ ? starts_->bytes() / 4 : 0));
  }

  const secateur_matrix* view() const { return &view_; }
  std::int64_t entries() const { return view_.entries; }
  std::int64_t nonzeros() const { return nonzeros_; }

  nanobind::ndarray<nanobind::numpy, float, nanobind::ndim<2>> to_dense() const {
    auto* numbers = new float[static_cast<std::size_t>(view_.lines * view_.length)];
    nanobind::capsule owner(numbers, [](void* p) noexcept { delete[] static_cast<float*>(p); });
    secateur_matrix_to_dense(&view_, numbers);
    return {numbers, {static_cast<std::size_t>(view_.lines), static_cast<std::size_t>(view_.length)}, owner};
  }

 private:
  secateur_status checked(std::int64_t indices, std::int64_t starts) {
    const nanobind::gil_scoped_release unlocked;
    const secateur_status status = secateur_matrix_check(&view_, indices, starts);
    nonzeros_ = status == SECATEUR_OK ? secateur_matrix_nonzeros(&view_) : 0;
    return status;
  }

  static void expect_items(const char* what, const Buffer& buffer, std::int64_t bytes) {
    if (buffer.item_bytes() == bytes) return;
    const std::string message = std::string(what) + ": expected elements of " + std::to_string(bytes) + " bytes, found " +
                                std::to_string(buffer.item_bytes());
    throw nanobind::value_error(message.c_str());
  }

  Buffer values_;
  std::optional<Buffer> indices_, starts_;
  secateur_matrix view_{};
  std::int64_t nonzeros_ = 0;
};

}  // namespace secateur::binding
