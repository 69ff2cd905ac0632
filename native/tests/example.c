/* A whole program over the C interface: y = softmax(relu(x W^T + b)) for a batch of two. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "secateur/secateur.h"

static void check(secateur_status status) {
  if (status == SECATEUR_OK) return;
  fprintf(stderr, "%s\n", secateur_error());
  exit(1);
}

int main(void) {
  /* Weights of 3 outputs and 4 inputs, of which five are not zero, by lines of outputs: rows {2, 0, 0, -1},
   * {0, 0, 0, 3} and {0, 1, 1, 0}. A gap counts the zeros before an entry. */
  static const float values[] = {2, -1, 3, 1, 1};
  static const uint8_t gaps[] = {0, 2, 3, 1, 0};
  static const uint32_t starts[] = {0, 2, 3, 5};
  static const float bias[] = {0.5f, -1, 0};
  static const float x[] = {1, 2, 3, 4, -1, 0.25f, 0.5f, 2};
  float y[6];
  const void* inputs[] = {x};
  void* outputs[] = {y};
  const secateur_ref none = {SECATEUR_NONE, 0}, source = {SECATEUR_INPUT, 0}, result = {SECATEUR_OUTPUT, 0};
  const secateur_ref hidden = {SECATEUR_ARENA, 0}, workspace = {SECATEUR_ARENA, 64};
  const secateur_activation relu = {1, 0, 0};
  const int rows = 2;

  secateur_matrix weights = {SECATEUR_GAP8, SECATEUR_FLOAT32, 3, 4, 5, values, gaps, starts};
  check(secateur_matrix_check(&weights, 5, 4));

  int isa = 0;
  secateur_program* program = NULL;
  check(secateur_find_isa(NULL, &isa));
  check(secateur_program_create(isa, &program));
  secateur_ref b = {SECATEUR_CONSTANT, 0};
  check(secateur_program_constant(program, bias, sizeof bias, &b.index));

  int kernel = 0, applicable = 0;
  for (; kernel < SECATEUR_LINEAR_KERNELS && !applicable; ++kernel) {
    check(secateur_linear_applicable(program, kernel, &weights, 0, rows, &applicable));
  }
  if (!applicable) return 1;
  --kernel;
  int64_t needed = 0;
  check(secateur_linear_workspace(program, kernel, &weights, 0, rows, &needed));
  check(secateur_linear(program, kernel, &weights, 0, rows, source, hidden, b, none, relu, workspace));
  check(secateur_softmax(program, hidden, result, rows, 3, 1));
  check(secateur_program_finish(program, 64 + needed, 1));

  check(secateur_program_run(program, inputs, outputs, 2));
  secateur_program_destroy(program);

  const double layer[2][3] = {{0, 11, 5}, {0, 5, 0.75}};
  for (int i = 0; i < rows; ++i) {
    const double total = exp(layer[i][0]) + exp(layer[i][1]) + exp(layer[i][2]);
    for (int j = 0; j < 3; ++j) {
      const double expected = exp(layer[i][j]) / total;
      printf("%g ", (double)y[3 * i + j]);
      if (fabs((double)y[3 * i + j] - expected) > 1e-5 * expected) return 1;
    }
  }
  printf("\n");
  return 0;
}
