// Matrices brought into another layout, for kernels that need it.
#pragma once

#include <cstdint>
#include <vector>

#include "aligned.h"
#include "secateur/matrix.h"

namespace secateur {

// A matrix that owns its arrays, but for the values where `values` is empty. Moving it keeps the view's pointers good.
struct OwnedLines {
  Matrix view;
  AlignedBytes values;
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint16_t> positions;
  std::vector<std::uint32_t> starts;
  std::int64_t line_step = 0;  // dense: values from line to line

  std::size_t size() const;
  // Whether some of the matrix's own arrays are used.
  bool reads(const Matrix& matrix) const {
    return view.values == matrix.values || (view.indices != nullptr && view.indices == matrix.indices);
  }
};

// The same lines as gaps of a byte.
OwnedLines to_gaps(const Matrix& matrix);

// The same lines as positions, of at most 65536. The values stay where they are, unless there are zeros among them.
OwnedLines to_positions(const Matrix& matrix);

// The same lines as a bitmask, with starts beside it. Values, and the mask itself, stay where they are if they can.
OwnedLines to_bitmask(const Matrix& matrix);

// The same lines with every zero in its place, each from the beginning of a cache line on.
OwnedLines written_out(const Matrix& matrix);

// A matrix as the kernels walk it that multiply it by one vector, in place where the file has it so.
class WalkedLines {
 public:
  // As dense, in place only where lines begin at cache lines or are too large for a cache: there AVX-512 reads others at
  // half the speed. As a bitmask with starts beside it; as gap8; or as index16, a fifth faster for a byte more an entry, where lines are short enough.
  WalkedLines(const Matrix& matrix, LayoutKind layout);
  const Matrix& view() const noexcept { return view_; }
  std::int64_t line_step() const noexcept { return line_step_; }
  std::size_t bytes() const noexcept { return owned_.size(); }
  bool reads_matrix() const noexcept { return reads_matrix_; }

 private:
  OwnedLines owned_;
  Matrix view_;
  std::int64_t line_step_;
  bool reads_matrix_ = true;
};

}  // namespace secateur
