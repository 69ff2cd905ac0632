// The C ABI's refusals as Python exceptions, and names as numbers.
#pragma once

#include <nanobind/nanobind.h>

#include <optional>
#include <string>

#include "secateur/secateur.h"

namespace secateur::binding {

inline void check(secateur_status status) {
  switch (status) {
    case SECATEUR_OK: return;
    case SECATEUR_INVALID: throw nanobind::value_error(secateur_error());
    case SECATEUR_MEMORY: PyErr_SetString(PyExc_MemoryError, secateur_error()); break;
    case SECATEUR_FAILED: PyErr_SetString(PyExc_RuntimeError, secateur_error()); break;
  }
  throw nanobind::python_error();
}

inline int find_isa(const std::optional<std::string>& name) {
  int isa = 0;
  check(secateur_find_isa(name ? name->c_str() : nullptr, &isa));
  return isa;
}

template <std::size_t N>
int number_of(const std::string& name, const char* const (&names)[N], const char* what) {
  std::string known;
  for (std::size_t i = 0; i < N; ++i) {
    if (name == names[i]) return static_cast<int>(i);
    known += (i == 0 ? "" : ", ") + std::string(names[i]);
  }
  const std::string message = std::string(what) + ": expected one of " + known + ", found '" + name + "'";
  throw nanobind::value_error(message.c_str());
}

}  // namespace secateur::binding
