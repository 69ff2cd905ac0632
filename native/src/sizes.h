// Shapes, checked.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

#include "secateur/steps.h"

namespace secateur {

// Every tensor of a program has fewer bytes than this; what is computed of its sizes then never overflows.
constexpr std::int64_t MOST_ELEMENTS = std::int64_t{1} << 48;

// The number of elements. Throws std::invalid_argument for a negative size or for too many.
template <class Sizes>
std::int64_t elements(const Sizes& sizes) {
  std::int64_t count = 1;
  bool empty = false;
  for (const std::int64_t size : sizes) {
    if (size < 0) throw std::invalid_argument("a size is " + std::to_string(size) + ", expected 0 or more");
    empty = empty || size == 0;
    // Empty tensors too: strides are made of their other sizes.
    if (size > 0 && count > MOST_ELEMENTS / size) throw std::invalid_argument("a tensor of more than 2^48 elements");
    count *= size > 0 ? size : 1;
  }
  return empty ? 0 : count;
}

inline std::int64_t elements(std::initializer_list<std::int64_t> sizes) {
  return elements<std::initializer_list<std::int64_t>>(sizes);
}

// Bytes of so many floats.
inline std::int64_t floats(std::int64_t count) { return count * static_cast<std::int64_t>(sizeof(float)); }

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Into how many items a step of so many units of work is cut: none is worth waking a thread for under two grains.
inline std::int64_t item_count(std::int64_t units, std::int64_t cost_of_unit, std::int64_t grain) {
  const std::int64_t work = units * cost_of_unit;
  if (work < 2 * grain) return 1;
  const std::int64_t wanted = work / grain;
  return wanted < units ? wanted : units;
}

inline void require(bool holds, const std::string& otherwise) {
  if (!holds) throw std::invalid_argument(otherwise);
}

// The same in a loop, where putting words together that nobody reads took longer than all else.
template <class Words>
void require_said(bool holds, Words otherwise) {
  if (!holds) require(false, otherwise());
}

inline std::string text(const Shape& shape) {
  std::string s = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) s += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return s + (shape.size() == 1 ? ",)" : ")");
}

}  // namespace secateur
