// What the panels' kernel wants to know of weights without zeros: every panel takes all inputs of a block.
#pragma once

#include <cstdint>
#include <vector>

namespace secateur {

struct FullWalk {
  std::vector<std::uint8_t> indices;  // [panels][inputs]
  std::vector<std::uint16_t> counts;  // [panels]

  FullWalk(std::int64_t panels, std::int64_t inputs)
      : indices(static_cast<std::size_t>(panels * inputs)),
        counts(static_cast<std::size_t>(panels), static_cast<std::uint16_t>(inputs)) {
    for (std::int64_t i = 0; i < panels * inputs; ++i) {
      indices[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(i % inputs);
    }
  }
};

}  // namespace secateur
