#include <cstdlib>
#include <cstring>
#include <iterator>

#include "abi.h"
#include "secateur/names.h"
#include "matrix_entries.h"
#include "validate.h"

namespace secateur::abi {
namespace {

constexpr int ISAS = static_cast<int>(std::size(ISA_NAMES));
constexpr std::size_t ERROR_BYTES = 512;

// Fixed room: to say that there is no more memory must not need any.
char* last_error() noexcept {
  thread_local char message[ERROR_BYTES] = "";
  return message;
}

Isa find(const char* name, const char* who) {
  for (int i = 0; i < ISAS; ++i) {
    if (std::strcmp(name, ISA_NAMES[i]) != 0) continue;
    const auto isa = static_cast<Isa>(i);
    require(has_isa(isa), std::string(who) + "=" + name + ": this processor has no more than " +
                              ISA_NAMES[static_cast<int>(best_isa())]);
    return isa;
  }
  throw std::invalid_argument(std::string(who) + "=" + name + ": expected scalar, avx2 or avx512");
}

void require_threads(int threads) {
  require(threads >= 1, "threads: expected at least 1, found " + std::to_string(threads));
}

void expect_runnable(const Program& program, int threads) {
  require(program.finished(), "the program is not finished: it runs after that");
  require_threads(threads);
}

}  // namespace

secateur_status fail(secateur_status status, const char* message) noexcept {
  std::strncpy(last_error(), message, ERROR_BYTES - 1);
  return status;
}

}  // namespace secateur::abi

using namespace secateur;
using namespace secateur::abi;

const char* secateur_error(void) { return last_error(); }

const char* secateur_isa_name(int isa) { return 0 <= isa && isa < ISAS ? ISA_NAMES[isa] : nullptr; }

int secateur_has_isa(int isa) { return 0 <= isa && isa < ISAS && has_isa(static_cast<Isa>(isa)) ? 1 : 0; }

secateur_status secateur_find_isa(const char* name, int* isa) {
  return guarded([&] {
    const char* forced = std::getenv("SECATEUR_ISA");
    Isa found = best_isa();
    if (name != nullptr) {
      found = find(name, "isa");
    } else if (forced != nullptr && *forced != '\0') {
      found = find(forced, "SECATEUR_ISA");
    }
    *isa = static_cast<int>(found);
  });
}

secateur_status secateur_matrix_check(const secateur_matrix* matrix, int64_t indices, int64_t starts) {
  return guarded([&] { validate(view(*matrix), {matrix->entries, indices, starts}); });
}

int64_t secateur_matrix_nonzeros(const secateur_matrix* matrix) { return count_nonzeros(view(*matrix)); }

void secateur_matrix_to_dense(const secateur_matrix* matrix, float* dense) { to_dense(view(*matrix), dense); }

secateur_status secateur_program_create(int isa, secateur_program** program) {
  return guarded([&] {
    require(secateur_has_isa(isa) != 0, "isa: expected one that this processor has, found " + std::to_string(isa));
    *program = new secateur_program(static_cast<Isa>(isa));
  });
}

void secateur_program_destroy(secateur_program* program) { delete program; }

secateur_status secateur_program_constant(secateur_program* program, const void* data, int64_t bytes, int64_t* index) {
  return guarded([&] { *index = program->program.add_constant(data, bytes); });
}

secateur_status secateur_program_finish(secateur_program* program, int64_t arena_bytes, int threads) {
  return guarded([&] {
    require_threads(threads);
    program->program.finish(arena_bytes, threads);
  });
}

secateur_status secateur_program_run(const secateur_program* program, const void* const* inputs, void* const* outputs,
                                     int threads) {
  return guarded([&] {
    expect_runnable(program->program, threads);
    program->program.run(inputs, outputs, threads);
  });
}

secateur_status secateur_program_time(const secateur_program* program, const void* const* inputs, void* const* outputs,
                                      int threads, int repeats, int64_t* nanoseconds) {
  return guarded([&] {
    expect_runnable(program->program, threads);
    program->program.time(inputs, outputs, threads, repeats, nanoseconds);
  });
}

secateur_status secateur_program_time_steps(const secateur_program* program, const void* const* inputs,
                                            void* const* outputs, int threads, int repeats, int64_t* nanoseconds) {
  return guarded([&] {
    expect_runnable(program->program, threads);
    program->program.time_steps(inputs, outputs, threads, repeats, nanoseconds);
  });
}

int64_t secateur_program_steps(const secateur_program* program) {
  return static_cast<int64_t>(program->program.names().size());
}

const char* secateur_program_step_name(const secateur_program* program, int64_t step) {
  return program->program.names()[static_cast<std::size_t>(step)].c_str();
}

int64_t secateur_program_layers(const secateur_program* program) {
  return static_cast<int64_t>(program->program.memories().size());
}

int64_t secateur_program_packed_bytes(const secateur_program* program, int64_t layer) {
  return static_cast<int64_t>(program->program.memories()[static_cast<std::size_t>(layer)].packed_bytes);
}

int secateur_program_reads_matrix(const secateur_program* program, int64_t layer) {
  return program->program.memories()[static_cast<std::size_t>(layer)].reads_matrix ? 1 : 0;
}

int64_t secateur_program_inputs(const secateur_program* program) {
  return static_cast<int64_t>(program->program.input_bytes().size());
}

int64_t secateur_program_outputs(const secateur_program* program) {
  return static_cast<int64_t>(program->program.output_bytes().size());
}

int64_t secateur_program_input_bytes(const secateur_program* program, int64_t index) {
  return program->program.input_bytes()[static_cast<std::size_t>(index)];
}

int64_t secateur_program_output_bytes(const secateur_program* program, int64_t index) {
  return program->program.output_bytes()[static_cast<std::size_t>(index)];
}
