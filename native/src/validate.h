// The door: after it every index of a matrix is trusted.
#pragma once

#include <cstdint>

#include "secateur/matrix.h"

namespace secateur {

// How long the arrays behind a matrix are, in elements of their own type (indices: uint8 or uint16).
struct MatrixArrays {
  std::int64_t values = 0;
  std::int64_t indices = 0;
  std::int64_t starts = 0;
};

// Checks everything that the layout promises. Throws std::invalid_argument that says in which line and entry, what was
// expected and what was found.
void validate(const Matrix& matrix, const MatrixArrays& arrays);

// Of a valid matrix: lines * length floats.
void to_dense(const Matrix& matrix, float* dense);

}  // namespace secateur
