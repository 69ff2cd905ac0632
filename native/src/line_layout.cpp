#include "line_layout.h"

#include <numeric>
#include <utility>

#include "matrix_entries.h"

namespace secateur {
namespace {

constexpr std::int64_t BRIDGE = 256;  // positions that a filler advances
constexpr std::int64_t MAX_POSITIONS = 65536;
constexpr std::int64_t CACHED_BYTES = 16 << 20;  // in a third-level cache: from there, too, it is a fifth slower

void take_values(OwnedLines& lines, const Matrix& matrix, std::size_t entries) {
  const std::size_t bytes = entries * static_cast<std::size_t>(value_bytes(matrix.type));
  lines.values = aligned_bytes(bytes);
  std::memset(lines.values.get(), 0, bytes);
  lines.view.type = matrix.type;
  lines.view.entries = static_cast<std::int64_t>(entries);
}

// Values that are not zero, where they are if there are no others: then true.
bool begin_without_zeros(OwnedLines& lines, const Matrix& matrix, LayoutKind layout) {
  lines.view = matrix;
  lines.view.layout = layout;
  const std::int64_t nonzeros = count_nonzeros(matrix);
  if (nonzeros == matrix.entries) return true;
  take_values(lines, matrix, static_cast<std::size_t>(nonzeros));
  lines.view.values = lines.values.get();
  return false;
}

bool begins_at_cache_lines(const Matrix& matrix) {
  return reinterpret_cast<std::uintptr_t>(matrix.values) % ALIGNMENT == 0 &&
         matrix.length * value_bytes(matrix.type) % static_cast<std::int64_t>(ALIGNMENT) == 0;
}

bool fits_a_cache(const Matrix& matrix) {
  return matrix.lines * matrix.length * value_bytes(matrix.type) <= CACHED_BYTES;
}

}  // namespace

std::size_t OwnedLines::size() const {
  return (values == nullptr ? 0 : static_cast<std::size_t>(view.entries * value_bytes(view.type))) + bytes.size() +
         positions.size() * sizeof(std::uint16_t) + starts.size() * sizeof(std::uint32_t);
}

OwnedLines to_gaps(const Matrix& matrix) {
  OwnedLines out;
  // Twice: to count the entries, fillers included, and to write them.
  const auto walk = [&](auto entry) {
    std::int64_t line = -1;
    std::int64_t next = 0;
    each_nonzero(matrix, [&](std::int64_t at_line, std::int64_t position, std::int64_t source) {
      if (at_line != line) next = 0;
      line = at_line;
      for (; position - next >= BRIDGE; next += BRIDGE) entry(line, 255, -1);
      entry(line, static_cast<std::uint8_t>(position - next), source);
      next = position + 1;
    });
  };
  out.starts.assign(static_cast<std::size_t>(matrix.lines) + 1, 0);
  walk([&](std::int64_t line, std::uint8_t, std::int64_t) { ++out.starts[static_cast<std::size_t>(line) + 1]; });
  for (std::size_t line = 0; line + 1 < out.starts.size(); ++line) out.starts[line + 1] += out.starts[line];
  take_values(out, matrix, out.starts.back());
  out.bytes.reserve(out.starts.back());
  walk([&](std::int64_t, std::uint8_t gap, std::int64_t source) {
    if (source >= 0) copy_value(matrix, source, out.values.get(), static_cast<std::int64_t>(out.bytes.size()));
    out.bytes.push_back(gap);
  });
  out.view.layout = LayoutKind::gap8;
  out.view.lines = matrix.lines;
  out.view.length = matrix.length;
  out.view.values = out.values.get();
  out.view.indices = out.bytes.data();
  out.view.starts = out.starts.data();
  return out;
}

OwnedLines to_bitmask(const Matrix& matrix) {
  OwnedLines out;
  const bool in_place = begin_without_zeros(out, matrix, LayoutKind::bitmask);
  const auto mask_bytes = static_cast<std::size_t>((matrix.length + 7) / 8);
  const bool has_mask = matrix.layout == LayoutKind::bitmask;
  if (!has_mask) out.bytes.assign(mask_bytes * static_cast<std::size_t>(matrix.lines), 0);
  out.starts.assign(static_cast<std::size_t>(matrix.lines) + 1, 0);
  std::int64_t taken = 0;
  each_nonzero(matrix, [&](std::int64_t line, std::int64_t position, std::int64_t entry) {
    if (!in_place) copy_value(matrix, entry, out.values.get(), taken++);
    if (!has_mask) {
      const std::size_t at = static_cast<std::size_t>(line) * mask_bytes + static_cast<std::size_t>(position / 8);
      out.bytes[at] = static_cast<std::uint8_t>(out.bytes[at] | 1u << (position % 8));
    }
    ++out.starts[static_cast<std::size_t>(line) + 1];
  });
  std::partial_sum(out.starts.begin(), out.starts.end(), out.starts.begin());
  if (!has_mask) out.view.indices = out.bytes.data();
  out.view.starts = out.starts.data();
  return out;
}

OwnedLines to_positions(const Matrix& matrix) {
  OwnedLines out;
  const bool in_place = begin_without_zeros(out, matrix, LayoutKind::index16);
  const std::int64_t nonzeros = out.view.entries;
  out.positions.reserve(static_cast<std::size_t>(nonzeros));
  out.starts.assign(static_cast<std::size_t>(matrix.lines) + 1, 0);
  each_nonzero(matrix, [&](std::int64_t line, std::int64_t position, std::int64_t entry) {
    if (!in_place) copy_value(matrix, entry, out.values.get(), static_cast<std::int64_t>(out.positions.size()));
    out.positions.push_back(static_cast<std::uint16_t>(position));
    ++out.starts[static_cast<std::size_t>(line) + 1];
  });
  std::partial_sum(out.starts.begin(), out.starts.end(), out.starts.begin());
  out.view.indices = out.positions.data();
  out.view.starts = out.starts.data();
  return out;
}

OwnedLines written_out(const Matrix& matrix) {
  const std::int64_t size = value_bytes(matrix.type);
  OwnedLines out;
  out.line_step = static_cast<std::int64_t>(aligned_up(static_cast<std::size_t>(matrix.length * size))) / size;
  take_values(out, matrix, static_cast<std::size_t>(matrix.lines * out.line_step));
  each_nonzero(matrix, [&](std::int64_t line, std::int64_t position, std::int64_t source) {
    copy_value(matrix, source, out.values.get(), line * out.line_step + position);
  });
  out.view.layout = LayoutKind::dense;
  out.view.lines = matrix.lines;
  out.view.length = matrix.length;
  out.view.values = out.values.get();
  return out;
}

WalkedLines::WalkedLines(const Matrix& matrix, LayoutKind layout) : view_(matrix), line_step_(matrix.length) {
  switch (layout) {
    case LayoutKind::dense:
      if (matrix.layout == LayoutKind::dense && (begins_at_cache_lines(matrix) || !fits_a_cache(matrix))) return;
      owned_ = written_out(matrix);
      break;
    case LayoutKind::bitmask: owned_ = to_bitmask(matrix); break;
    case LayoutKind::gap8:
    case LayoutKind::index16:
      if (matrix.layout == layout || matrix.layout == LayoutKind::index16) return;
      if (layout == LayoutKind::index16 && matrix.length <= MAX_POSITIONS) {
        owned_ = to_positions(matrix);
      } else if (matrix.layout != LayoutKind::gap8) {
        owned_ = to_gaps(matrix);
      } else {
        return;
      }
      break;
  }
  view_ = owned_.view;
  reads_matrix_ = owned_.reads(matrix);
  if (layout == LayoutKind::dense) line_step_ = owned_.line_step;
}

}  // namespace secateur
