/* Secateur's core for C: programs of steps over planned memory.
 *
 * Every function that can fail returns a secateur_status; when it is not SECATEUR_OK, secateur_error() says in words
 * what was wrong. A program is built by one thread and, once finished, run by any number at once; where building fails,
 * all that is left to do is to destroy it. native/tests/example.c is a whole program.
 *
 * Tensors are float32 and row-major, unless said otherwise. Pointers to data need the alignment of their elements and
 * no more. Counts and sizes are in elements where their name does not say bytes.
 */
#ifndef SECATEUR_H
#define SECATEUR_H

#include <stddef.h>
#include <stdint.h>

#define SECATEUR_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  SECATEUR_OK = 0,
  SECATEUR_INVALID = 1, /* an argument cannot be */
  SECATEUR_MEMORY = 2,  /* there is no more memory, or no more threads */
  SECATEUR_FAILED = 3   /* anything else: a defect of the core */
} secateur_status;

/* Of the last call of this thread that failed; valid until its next one. */
SECATEUR_API const char* secateur_error(void);

/* ---- Instruction sets: 0 scalar, 1 AVX2 (with FMA, F16C, BMI2), 2 AVX-512 (F, BW, DQ, VL). */

/* NULL for an unknown one. */
SECATEUR_API const char* secateur_isa_name(int isa);
/* Whether this build and this processor have it. */
SECATEUR_API int secateur_has_isa(int isa);
/* By name. NULL: what the environment variable SECATEUR_ISA names, or else the best there is. */
SECATEUR_API secateur_status secateur_find_isa(const char* name, int* isa);

/* ---- Matrices: views of memory that the caller keeps alive and unchanged. */

enum { SECATEUR_DENSE = 0, SECATEUR_BITMASK = 1, SECATEUR_GAP8 = 2, SECATEUR_INDEX16 = 3 };
enum { SECATEUR_FLOAT32 = 0, SECATEUR_FLOAT16 = 1, SECATEUR_BFLOAT16 = 2 };

/* docs/format.md says what the layouts hold. */
typedef struct {
  int layout;
  int type;
  int64_t lines;
  int64_t length;
  int64_t entries;        /* of values */
  const void* values;     /* of the type */
  const void* indices;    /* bitmask: the mask, uint8; gap8: uint8; index16: uint16 */
  const uint32_t* starts; /* gap8 and index16: lines + 1 */
} secateur_matrix;

/* Checks everything a layout promises. A matrix that comes from outside must pass here before anything else is done
 * with it: all other functions trust it. `indices` and `starts` are the lengths of these arrays. */
SECATEUR_API secateur_status secateur_matrix_check(const secateur_matrix* matrix, int64_t indices, int64_t starts);
/* Entries that are not zero. */
SECATEUR_API int64_t secateur_matrix_nonzeros(const secateur_matrix* matrix);
/* Writes lines * length floats. */
SECATEUR_API void secateur_matrix_to_dense(const secateur_matrix* matrix, float* dense);

/* ---- Programs. */

typedef struct secateur_program secateur_program;

enum {
  SECATEUR_NONE = 0,
  SECATEUR_ARENA = 1,   /* index: an offset in bytes, a multiple of 64 */
  SECATEUR_INPUT = 2,   /* index: which; likewise below */
  SECATEUR_OUTPUT = 3,
  SECATEUR_CONSTANT = 4
};

/* Where a tensor lies. */
typedef struct {
  int space;
  int64_t index;
} secateur_ref;

/* In the order of secateur/activation.h: 0 none, 1 relu, ... */
typedef struct {
  int kind;
  float alpha;
  float beta;
} secateur_activation;

SECATEUR_API secateur_status secateur_program_create(int isa, secateur_program** program);
/* NULL is allowed. No call may be running. */
SECATEUR_API void secateur_program_destroy(secateur_program* program);

/* Memory the caller keeps alive and unchanged as long as the program. */
SECATEUR_API secateur_status secateur_program_constant(secateur_program* program, const void* data, int64_t bytes,
                                                       int64_t* index);

/* No more steps. Refuses steps that leave an arena of so many bytes. Packs the weights, on so many threads, of which at
 * least one: the caller's own. A program that could not be finished is what it was before. */
SECATEUR_API secateur_status secateur_program_finish(secateur_program* program, int64_t arena_bytes, int threads);

/* inputs and outputs: as many pointers as secateur_program_inputs and _outputs say, each to at least as many bytes as
 * secateur_program_input_bytes and _output_bytes say. Outputs overlap nothing else. At least one thread, the caller's
 * own among them. The first calls allocate an arena and start threads, which later calls use again. */
SECATEUR_API secateur_status secateur_program_run(const secateur_program* program, const void* const* inputs,
                                                  void* const* outputs, int threads);
/* Nanoseconds of whole runs: `repeats` of them. */
SECATEUR_API secateur_status secateur_program_time(const secateur_program* program, const void* const* inputs,
                                                   void* const* outputs, int threads, int repeats, int64_t* nanoseconds);
/* Nanoseconds of each step of each run: `repeats` times secateur_program_steps of them, run by run. */
SECATEUR_API secateur_status secateur_program_time_steps(const secateur_program* program, const void* const* inputs,
                                                         void* const* outputs, int threads, int repeats,
                                                         int64_t* nanoseconds);

/* Of a finished program, as all below. */
SECATEUR_API int64_t secateur_program_steps(const secateur_program* program);
/* Valid as long as the program. */
SECATEUR_API const char* secateur_program_step_name(const secateur_program* program, int64_t step);
/* Layers, in the order in which they were added: how much memory what was packed anew of their weights takes, and whether
 * the matrix's own memory, or some of it, is used in place and must outlive the program. */
SECATEUR_API int64_t secateur_program_layers(const secateur_program* program);
SECATEUR_API int64_t secateur_program_packed_bytes(const secateur_program* program, int64_t layer);
SECATEUR_API int secateur_program_reads_matrix(const secateur_program* program, int64_t layer);
SECATEUR_API int64_t secateur_program_inputs(const secateur_program* program);
SECATEUR_API int64_t secateur_program_outputs(const secateur_program* program);
SECATEUR_API int64_t secateur_program_input_bytes(const secateur_program* program, int64_t index);
SECATEUR_API int64_t secateur_program_output_bytes(const secateur_program* program, int64_t index);

/* ---- Layers: steps with weights. A matrix's memory must be there, unchanged, until secateur_program_finish is over, and
 * as long as the program where secateur_program_reads_matrix says so. */

enum {
  SECATEUR_SPARSE_COLUMNS = 0,
  SECATEUR_SPARSE_IMAGES = 1,
  SECATEUR_PANEL_COLUMNS = 2,
  SECATEUR_PANEL_IMAGES = 3,
  SECATEUR_DEPTHWISE = 4,
  SECATEUR_WINOGRAD = 5,
  SECATEUR_WINOGRAD4 = 6,
  SECATEUR_SPARSE_COLUMNS_256 = 7, /* in vectors of 256 bits where there are wider ones */
  SECATEUR_SPARSE_IMAGES_256 = 8,
  SECATEUR_PANEL_COLUMNS_256 = 9,
  SECATEUR_PANEL_IMAGES_256 = 10,
  SECATEUR_WINOGRAD_256 = 11,
  SECATEUR_WINOGRAD4_256 = 12,
  SECATEUR_WINOGRAD4_STREAMED = 13,
  SECATEUR_CONVOLUTION_KERNELS = 14 /* how many there are */
};

/* A 1-D convolution has height 1. The padding at the bottom and the right follows from the output's size. Where there are
 * pool windows, what is written is the output's maxima over windows that lie one after another from its first pixel; the
 * rest at the bottom and the right is dropped. */
typedef struct {
  int64_t images, in_channels, in_height, in_width;
  int64_t out_channels, out_height, out_width;
  int64_t kernel_height, kernel_width;
  int64_t stride_height, stride_width;
  int64_t pad_top, pad_left;
  int64_t dilation_height, dilation_width;
  int64_t groups;
  int64_t pool_height, pool_width; /* 1: none */
} secateur_convolution_shape;

SECATEUR_API secateur_status secateur_convolution_applicable(const secateur_program* program, int kernel,
                                                             const secateur_convolution_shape* shape, int* applicable);
/* weights: one line per output channel, of in_channels / groups * kernel_height * kernel_width. bias (out_channels) and
 * residual (as the output; none where it is pooled) may be SECATEUR_NONE. output = activation(convolution + bias +
 * residual). */
SECATEUR_API secateur_status secateur_convolution(secateur_program* program, int kernel,
                                                  const secateur_convolution_shape* shape, const secateur_matrix* weights,
                                                  secateur_ref source, secateur_ref output, secateur_ref bias,
                                                  secateur_ref residual, secateur_activation activation);

enum {
  SECATEUR_INPUTS = 0,
  SECATEUR_OUTPUTS = 1,
  SECATEUR_DENSE_ROWS = 2,
  SECATEUR_SPARSE_BATCH = 3,
  SECATEUR_PANEL_BATCH = 4,
  SECATEUR_SPARSE_BATCH_256 = 5, /* in vectors of 256 bits where there are wider ones */
  SECATEUR_PANEL_BATCH_256 = 6,
  SECATEUR_STRIPS = 7, /* several outputs at once, inputs picked from registers: sparse layers */
  SECATEUR_DENSE_BATCH = 8, /* several rows times vectors of outputs: dense and nearly dense weights */
  SECATEUR_BITMASK_ROWS = 9, /* output by output, values spread over vectors of inputs: neither few weights nor nearly all */
  SECATEUR_LINEAR_KERNELS = 10 /* how many there are */
};

/* columns: the matrix's lines are inputs and its length is outputs; else lines are outputs and the length is inputs. */
SECATEUR_API secateur_status secateur_linear_applicable(const secateur_program* program, int kernel,
                                                        const secateur_matrix* weights, int columns, int64_t rows,
                                                        int* applicable);
/* Bytes of arena that the layer needs for itself. */
SECATEUR_API secateur_status secateur_linear_workspace(const secateur_program* program, int kernel,
                                                       const secateur_matrix* weights, int columns, int64_t rows,
                                                       int64_t* bytes);
/* output[rows, outputs] = activation(source[rows, inputs] weights^T + bias + residual). workspace: in the arena, or
 * SECATEUR_NONE where it needs none. */
SECATEUR_API secateur_status secateur_linear(secateur_program* program, int kernel, const secateur_matrix* weights,
                                             int columns, int64_t rows, secateur_ref source, secateur_ref output,
                                             secateur_ref bias, secateur_ref residual, secateur_activation activation,
                                             secateur_ref workspace);

/* ---- Steps without weights. Source and output must not overlap, except that elementwise and binary steps may write an
 * element where they read it. A shape is `rank` sizes; secateur/steps.h says what each step computes. */

enum { SECATEUR_ADD, SECATEUR_SUBTRACT, SECATEUR_MULTIPLY, SECATEUR_DIVIDE, SECATEUR_POWER, SECATEUR_MINIMUM, SECATEUR_MAXIMUM };
enum { SECATEUR_POOL_MAX, SECATEUR_POOL_AVERAGE };
enum { SECATEUR_REDUCE_MEAN, SECATEUR_REDUCE_SUM, SECATEUR_REDUCE_MAX };
enum { SECATEUR_PAD_CONSTANT, SECATEUR_PAD_REFLECT, SECATEUR_PAD_EDGE };

typedef struct {
  const int64_t* sizes;
  int64_t rank;
} secateur_shape;

SECATEUR_API secateur_status secateur_elementwise(secateur_program* program, secateur_ref source, secateur_ref output,
                                                  int64_t count, secateur_activation activation);
SECATEUR_API secateur_status secateur_binary(secateur_program* program, int kind, secateur_ref left, secateur_ref right,
                                             secateur_ref output, secateur_shape left_shape, secateur_shape right_shape,
                                             secateur_shape output_shape, secateur_activation activation);

/* A 1-D pool has height 1. */
typedef struct {
  int64_t images, channels, in_height, in_width, out_height, out_width;
  int64_t kernel_height, kernel_width;
  int64_t stride_height, stride_width;
  int64_t pad_top, pad_left, pad_bottom, pad_right;
  int64_t dilation_height, dilation_width;
} secateur_pool_shape;

SECATEUR_API secateur_status secateur_pool(secateur_program* program, int kind, secateur_ref source, secateur_ref output,
                                           const secateur_pool_shape* shape, int count_padding);
SECATEUR_API secateur_status secateur_softmax(secateur_program* program, secateur_ref source, secateur_ref output,
                                              int64_t outer, int64_t size, int64_t inner);
SECATEUR_API secateur_status secateur_log_softmax(secateur_program* program, secateur_ref source, secateur_ref output,
                                                  int64_t outer, int64_t size, int64_t inner);
SECATEUR_API secateur_status secateur_layer_norm(secateur_program* program, secateur_ref source, secateur_ref output,
                                                 secateur_ref scale, secateur_ref bias, int64_t outer, int64_t size,
                                                 float epsilon);
SECATEUR_API secateur_status secateur_local_response_norm(secateur_program* program, secateur_ref source,
                                                          secateur_ref output, int64_t images, int64_t channels,
                                                          int64_t plane, int64_t size, float alpha, float beta, float k);
SECATEUR_API secateur_status secateur_concat(secateur_program* program, const secateur_ref* sources,
                                             const int64_t* sizes, int64_t count, secateur_ref output, int64_t outer);
SECATEUR_API secateur_status secateur_slice(secateur_program* program, secateur_ref source, secateur_ref output,
                                            secateur_shape shape_in, secateur_shape starts, secateur_shape steps,
                                            secateur_shape shape_out);
SECATEUR_API secateur_status secateur_pad(secateur_program* program, secateur_ref source, secateur_ref output,
                                          secateur_shape shape_in, secateur_shape before, secateur_shape shape_out,
                                          int mode, float value);
SECATEUR_API secateur_status secateur_transpose(secateur_program* program, secateur_ref source, secateur_ref output,
                                                secateur_shape shape_in, secateur_shape permutation);
SECATEUR_API secateur_status secateur_reduce(secateur_program* program, int kind, secateur_ref source,
                                             secateur_ref output, secateur_shape shape_in, secateur_shape axes);
SECATEUR_API secateur_status secateur_expand(secateur_program* program, secateur_ref source, secateur_ref output,
                                             secateur_shape shape_in, secateur_shape shape_out);
/* indices: int64. */
SECATEUR_API secateur_status secateur_gather(secateur_program* program, secateur_ref source, secateur_ref indices,
                                             secateur_ref output, int64_t outer, int64_t size, int64_t inner,
                                             int64_t count);
SECATEUR_API secateur_status secateur_matmul(secateur_program* program, secateur_ref left, secateur_ref right,
                                             secateur_ref output, secateur_shape left_shape, secateur_shape right_shape,
                                             secateur_shape output_shape);
SECATEUR_API secateur_status secateur_copy(secateur_program* program, secateur_ref source, secateur_ref output,
                                           int64_t count);

#ifdef __cplusplus
}
#endif

#endif
