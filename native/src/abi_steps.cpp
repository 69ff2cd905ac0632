#include "abi.h"
#include "secateur/names.h"

using namespace secateur;
using namespace secateur::abi;

namespace {

template <class Kind, std::size_t N>
std::string titled(const char* step, const char* const (&names)[N], Kind kind) {
  return std::string(step) + " " + names[static_cast<std::size_t>(kind)];
}

}  // namespace

// Within each list below the step is made first: what it checks of the sizes makes the products after it safe.

secateur_status secateur_elementwise(secateur_program* program, secateur_ref source, secateur_ref output, int64_t count,
                                     secateur_activation act) {
  return add(program, "elementwise", [&](Isa isa) {
    const Activation a = activation(act);
    return Planned{titled("elementwise", ACTIVATION_NAMES, a.kind), make_elementwise(isa, ref(source), ref(output), count, a),
                   {use(ref(source), count)}, {use(ref(output), count)}};
  });
}

secateur_status secateur_binary(secateur_program* program, int kind, secateur_ref left, secateur_ref right,
                                secateur_ref output, secateur_shape left_shape, secateur_shape right_shape,
                                secateur_shape output_shape, secateur_activation act) {
  return add(program, "binary", [&](Isa isa) {
    const auto k = kind_of(kind, BinaryKind::maximum, "kind");
    const Shape l = shape(left_shape);
    const Shape r = shape(right_shape);
    const Shape o = shape(output_shape);
    return Planned{titled("binary", BINARY_NAMES, k),
                   make_binary(isa, k, ref(left), ref(right), ref(output), l, r, o, activation(act)),
                   {use(ref(left), elements(l)), use(ref(right), elements(r))},
                   {use(ref(output), elements(o))}};
  });
}

secateur_status secateur_pool(secateur_program* program, int kind, secateur_ref source, secateur_ref output,
                              const secateur_pool_shape* sizes, int count_padding) {
  return add(program, "pool", [&](Isa isa) {
    const auto k = kind_of(kind, PoolKind::average, "kind");
    const secateur_pool_shape& c = *sizes;
    const PoolShape s{c.images,       c.channels,   c.in_height,     c.in_width,     c.out_height,
                      c.out_width,    c.kernel_height, c.kernel_width, c.stride_height, c.stride_width,
                      c.pad_top,      c.pad_left,   c.pad_bottom,    c.pad_right,    c.dilation_height,
                      c.dilation_width};
    return Planned{titled("pool", POOL_NAMES, k), make_pool(isa, k, ref(source), ref(output), s, count_padding != 0),
                   {use(ref(source), s.images * s.channels * s.in_height * s.in_width)},
                   {use(ref(output), s.images * s.channels * s.out_height * s.out_width)}};
  });
}

secateur_status secateur_softmax(secateur_program* program, secateur_ref source, secateur_ref output, int64_t outer,
                                 int64_t size, int64_t inner) {
  return add(program, "softmax", [&](Isa isa) {
    return Planned{"softmax", make_softmax(isa, ref(source), ref(output), outer, size, inner),
                   {use(ref(source), outer * size * inner)}, {use(ref(output), outer * size * inner)}};
  });
}

secateur_status secateur_log_softmax(secateur_program* program, secateur_ref source, secateur_ref output,
                                     int64_t outer, int64_t size, int64_t inner) {
  return add(program, "log softmax", [&](Isa isa) {
    return Planned{"log softmax", make_softmax(isa, ref(source), ref(output), outer, size, inner, true),
                   {use(ref(source), outer * size * inner)}, {use(ref(output), outer * size * inner)}};
  });
}

secateur_status secateur_layer_norm(secateur_program* program, secateur_ref source, secateur_ref output,
                                    secateur_ref scale, secateur_ref bias, int64_t outer, int64_t size, float epsilon) {
  return add(program, "layer_norm", [&](Isa isa) {
    Planned p{"layer_norm", make_layer_norm(isa, ref(source), ref(output), ref(scale), ref(bias), outer, size, epsilon),
              {use(ref(source), outer * size)}, {use(ref(output), outer * size)}};
    if (ref(scale)) p.reads.push_back(use(ref(scale), size));
    if (ref(bias)) p.reads.push_back(use(ref(bias), size));
    return p;
  });
}

secateur_status secateur_local_response_norm(secateur_program* program, secateur_ref source, secateur_ref output,
                                             int64_t images, int64_t channels, int64_t plane, int64_t size, float alpha,
                                             float beta, float k) {
  return add(program, "local_response_norm", [&](Isa isa) {
    return Planned{"local_response_norm",
                   make_local_response_norm(isa, ref(source), ref(output), {images, channels, plane}, size, alpha, beta, k),
                   {use(ref(source), images * channels * plane)},
                   {use(ref(output), images * channels * plane)}};
  });
}

secateur_status secateur_concat(secateur_program* program, const secateur_ref* sources, const int64_t* sizes,
                                int64_t count, secateur_ref output, int64_t outer) {
  return add(program, "concat", [&](Isa) {
    std::vector<Ref> refs;
    for (int64_t i = 0; i < count; ++i) refs.push_back(ref(sources[i]));
    Planned p{"concat", make_concat(refs, Shape(sizes, sizes + count), ref(output), outer), {}, {}};
    int64_t total = 0;
    for (std::size_t i = 0; i < refs.size(); ++i) {
      p.reads.push_back(use(refs[i], outer * sizes[i]));
      total += outer * sizes[i];
    }
    p.writes.push_back(use(ref(output), total));
    return p;
  });
}

secateur_status secateur_slice(secateur_program* program, secateur_ref source, secateur_ref output,
                               secateur_shape shape_in, secateur_shape starts, secateur_shape steps,
                               secateur_shape shape_out) {
  return add(program, "slice", [&](Isa) {
    const Shape in = shape(shape_in);
    const Shape out = shape(shape_out);
    return Planned{"slice", make_slice(ref(source), ref(output), in, shape(starts), shape(steps), out),
                   {use(ref(source), elements(in))}, {use(ref(output), elements(out))}};
  });
}

secateur_status secateur_pad(secateur_program* program, secateur_ref source, secateur_ref output,
                             secateur_shape shape_in, secateur_shape before, secateur_shape shape_out, int mode,
                             float value) {
  return add(program, "pad", [&](Isa) {
    const auto m = kind_of(mode, PadMode::edge, "mode");
    const Shape in = shape(shape_in);
    const Shape out = shape(shape_out);
    return Planned{"pad", make_pad(ref(source), ref(output), in, shape(before), out, m, value),
                   {use(ref(source), elements(in))}, {use(ref(output), elements(out))}};
  });
}

secateur_status secateur_transpose(secateur_program* program, secateur_ref source, secateur_ref output,
                                   secateur_shape shape_in, secateur_shape permutation) {
  return add(program, "transpose", [&](Isa) {
    const Shape in = shape(shape_in);
    return Planned{"transpose", make_transpose(ref(source), ref(output), in, shape(permutation)),
                   {use(ref(source), elements(in))}, {use(ref(output), elements(in))}};
  });
}

secateur_status secateur_reduce(secateur_program* program, int kind, secateur_ref source, secateur_ref output,
                                secateur_shape shape_in, secateur_shape axes) {
  return add(program, "reduce", [&](Isa isa) {
    const auto k = kind_of(kind, ReduceKind::max, "kind");
    const Shape in = shape(shape_in);
    const Shape over = shape(axes);
    Planned p{titled("reduce", REDUCE_NAMES, k), make_reduce(isa, k, ref(source), ref(output), in, over),
              {use(ref(source), elements(in))}, {}};
    Shape kept = in;
    for (const int64_t axis : over) kept[static_cast<std::size_t>(axis)] = 1;
    p.writes.push_back(use(ref(output), elements(kept)));
    return p;
  });
}

secateur_status secateur_expand(secateur_program* program, secateur_ref source, secateur_ref output,
                                secateur_shape shape_in, secateur_shape shape_out) {
  return add(program, "expand", [&](Isa) {
    const Shape in = shape(shape_in);
    const Shape out = shape(shape_out);
    return Planned{"expand", make_expand(ref(source), ref(output), in, out),
                   {use(ref(source), elements(in))}, {use(ref(output), elements(out))}};
  });
}

secateur_status secateur_gather(secateur_program* program, secateur_ref source, secateur_ref indices,
                                secateur_ref output, int64_t outer, int64_t size, int64_t inner, int64_t count) {
  return add(program, "gather", [&](Isa) {
    return Planned{"gather", make_gather(ref(source), ref(indices), ref(output), outer, size, inner, count),
                   {use(ref(source), outer * size * inner), {ref(indices), count * static_cast<int64_t>(sizeof(int64_t))}},
                   {use(ref(output), outer * count * inner)}};
  });
}

secateur_status secateur_matmul(secateur_program* program, secateur_ref left, secateur_ref right, secateur_ref output,
                                secateur_shape left_shape, secateur_shape right_shape, secateur_shape output_shape) {
  return add(program, "matmul", [&](Isa isa) {
    const Shape l = shape(left_shape);
    const Shape r = shape(right_shape);
    const Shape o = shape(output_shape);
    return Planned{"matmul", make_matmul(isa, ref(left), ref(right), ref(output), l, r, o),
                   {use(ref(left), elements(l)), use(ref(right), elements(r))}, {use(ref(output), elements(o))}};
  });
}

secateur_status secateur_copy(secateur_program* program, secateur_ref source, secateur_ref output, int64_t count) {
  return add(program, "copy", [&](Isa) {
    return Planned{"copy", make_copy(ref(source), ref(output), count), {use(ref(source), count)}, {use(ref(output), count)}};
  });
}
