// The memory of a Python object, held while it is needed.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>
#include <utility>

namespace secateur::binding {

// Of a C-contiguous array. The buffer protocol, and not nanobind's ndarray: a call of a tiny network takes three
// microseconds, and an exchange by DLPack most of one for every array.
class Buffer {
 public:
  Buffer(nanobind::handle object, const char* what, bool writable) {
    const int flags = writable ? PyBUF_WRITABLE : PyBUF_SIMPLE;
    if (PyObject_GetBuffer(object.ptr(), &view_, flags) == 0) return;
    PyErr_Clear();
    const std::string kind = nanobind::cast<std::string>(nanobind::str(nanobind::type_name(object.type())));
    const std::string message = std::string(what) + ": expected a C-contiguous " + (writable ? "writable " : "") +
                                "array, found " + kind;
    throw nanobind::value_error(message.c_str());
  }
  ~Buffer() {
    if (view_.obj != nullptr) PyBuffer_Release(&view_);
  }
  Buffer(Buffer&& other) noexcept : view_(std::exchange(other.view_, Py_buffer{})) {}
  Buffer& operator=(Buffer&&) = delete;

  void* data() const { return view_.buf; }
  std::int64_t bytes() const { return view_.len; }
  std::int64_t item_bytes() const { return view_.itemsize; }

 private:
  Py_buffer view_{};
};

}  // namespace secateur::binding
