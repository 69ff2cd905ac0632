// The Python module secateur._masking. What its functions mean is said in _masking.pyi.
#include <nanobind/nanobind.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <tuple>

#include "masking.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Address = std::uintptr_t;

class Masks {
 public:
  explicit Masks(const std::vector<std::tuple<Address, std::size_t, unsigned>>& masks) {
    for (const auto& [keeps, count, bytes] : masks) {
      if (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8) {
        throw std::invalid_argument("a value has 1, 2, 4 or 8 bytes");
      }
      masks_.push_back({reinterpret_cast<const std::uint8_t*>(keeps), count, bytes});
    }
  }

  void keep(const std::vector<Address>& addresses, unsigned threads) const {
    if (addresses.size() != masks_.size()) throw std::invalid_argument("there is an address for every mask, or 0");
    std::vector<void*> arrays;
    arrays.reserve(addresses.size());
    for (const Address address : addresses) arrays.push_back(reinterpret_cast<void*>(address));
    secateur::masking::keep(masks_, arrays, threads);
  }

 private:
  std::vector<secateur::masking::Mask> masks_;
};

}  // namespace

NB_MODULE(_masking, module) {
  // A pruner may well live until the interpreter ends, on another thread or within a hook of torch.
  nb::set_leak_warnings(false);
  module.def("has_threads", &secateur::masking::has_threads);
  nb::class_<Masks>(module, "Masks")
      .def(nb::init<const std::vector<std::tuple<Address, std::size_t, unsigned>>&>(), "masks"_a)
      .def("keep", &Masks::keep, "addresses"_a, "threads"_a, nb::call_guard<nb::gil_scoped_release>());
}
