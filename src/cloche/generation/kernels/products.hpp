// Matrix products of a few vectors with one large matrix, which is read from memory once.
//
// A matrix of n outputs and k inputs is stored in tiles of sixteen outputs: input after input, the
// sixteen weights that it has in them. So a tile is one stream of memory, a lane of a vector is an
// output, and no sum over lanes is needed. Each output of each vector is one chain of additions in
// the order of the inputs, however many vectors are multiplied together: what a vector gives does
// not depend on its company, bit by bit.

#pragma once

#include "numbers.hpp"

namespace cloche {

enum Kind : int32_t { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2, INT4 = 3 };

constexpr int INT8_GROUP = 64;  // inputs that share a scale
constexpr int INT4_GROUP = 32;  // inputs that share a scale and a minimum
constexpr int MOST_VECTORS = 16;

struct Matrix {
  const void* weights;
  const void* scales;  // int8: float32 [tile][group][16]; int4: words of (scale, minimum)
  const float* bias;   // [16 x tiles], or none
  int32_t tiles;
  int32_t inputs;  // a multiple of the group, and of sixteen
  int32_t kind;
};

template <int T, int R>
ALWAYS void finish(const Matrix& matrix, int tile, const Floats (&sums)[T][R], Floats* to) {
  for (int t = 0; t < T; t++) {
    const Floats bias =
        matrix.bias ? load<Floats>(matrix.bias + (size_t)(tile + t) * LANES) : Floats{};
    for (int r = 0; r < R; r++) to[t * R + r] = sums[t][r] + bias;
  }
}

// Weights of one tile and `count` inputs from `from` on are multiplied with R vectors, which stand
// input after input: inputs[k * R + r].

template <int T, int R>
APART void multiply_float32(const Matrix& matrix, int tile, const float* inputs, Floats* to) {
  Floats sums[T][R] = {};
  const int count = matrix.inputs;
  const float* weights[T];
  for (int t = 0; t < T; t++)
    weights[t] = (const float*)matrix.weights + (size_t)(tile + t) * count * LANES;
  for (int k = 0; k < count; k++) {
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) {
      const Floats w = load<Floats>(weights[t] + (size_t)k * LANES);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) sums[t][r] += w * inputs[k * R + r];
    }
  }
  finish<T, R>(matrix, tile, sums, to);
}

template <int T, int R>
APART void multiply_bfloat16(const Matrix& matrix, int tile, const float* inputs, Floats* to) {
  Floats sums[T][R] = {};
  const int pairs = matrix.inputs / 2;
  const uint32_t* weights[T];
  for (int t = 0; t < T; t++)
    weights[t] = (const uint32_t*)matrix.weights + (size_t)(tile + t) * pairs * LANES;
  for (int pair = 0; pair < pairs; pair++) {
    const float* x = inputs + (size_t)pair * 2 * R;
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) {
      const Words both = load<Words>(weights[t] + (size_t)pair * LANES);
      const Floats even = low_halves(both), odd = high_halves(both);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) sums[t][r] += even * x[r];
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) sums[t][r] += odd * x[R + r];
    }
  }
  finish<T, R>(matrix, tile, sums, to);
}

template <int T, int R>
APART void multiply_int8(const Matrix& matrix, int tile, const float* inputs, Floats* to) {
  Floats sums[T][R] = {};
  const int groups = matrix.inputs / INT8_GROUP;
  for (int group = 0; group < groups; group++) {
    const float* x = inputs + (size_t)group * INT8_GROUP * R;
    Floats part[T][R] = {};
    const int8_t* weights[T];
    for (int t = 0; t < T; t++)
      weights[t] = (const int8_t*)matrix.weights +
                   ((size_t)(tile + t) * groups + group) * INT8_GROUP * LANES;
    for (int k = 0; k < INT8_GROUP; k++) {
#pragma GCC unroll 4
      for (int t = 0; t < T; t++) {
        const Floats w = numbers_of(widen(weights[t] + k * LANES));
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) part[t][r] += w * x[k * R + r];
      }
    }
    for (int t = 0; t < T; t++) {
      const Floats scale = load<Floats>(
          (const float*)matrix.scales + ((size_t)(tile + t) * groups + group) * LANES);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) sums[t][r] += part[t][r] * scale;
    }
  }
  finish<T, R>(matrix, tile, sums, to);
}

// Two inputs stand in each byte, the first in the low half. A weight is scale x number + minimum,
// so the minimum is multiplied with the sum of the group's inputs: totals[group * R + r].
template <int T, int R>
APART void multiply_int4(const Matrix& matrix, int tile, const float* inputs, const float* totals,
                          Floats* to) {
  Floats sums[T][R] = {};
  const int groups = matrix.inputs / INT4_GROUP;
  for (int group = 0; group < groups; group++) {
    const float* x = inputs + (size_t)group * INT4_GROUP * R;
    Floats part[T][R] = {};
    const uint8_t* weights[T];
    for (int t = 0; t < T; t++)
      weights[t] = (const uint8_t*)matrix.weights +
                   ((size_t)(tile + t) * groups + group) * (INT4_GROUP / 2) * LANES;
    for (int pair = 0; pair < INT4_GROUP / 2; pair++) {
#pragma GCC unroll 4
      for (int t = 0; t < T; t++) {
        const Ints both = widen(weights[t] + pair * LANES);
        const Floats even = numbers_of(both & 15);
        const Floats odd = numbers_of(both >> 4);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) part[t][r] += even * x[2 * pair * R + r];
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) part[t][r] += odd * x[(2 * pair + 1) * R + r];
      }
    }
    for (int t = 0; t < T; t++) {
      const Words both = load<Words>(
          (const uint32_t*)matrix.scales + ((size_t)(tile + t) * groups + group) * LANES);
      const Floats scale = low_halves(both), minimum = high_halves(both);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        sums[t][r] += part[t][r] * scale;
        sums[t][r] += minimum * totals[group * R + r];
      }
    }
  }
  finish<T, R>(matrix, tile, sums, to);
}

// The products of R vectors with T tiles, into to[t * R + r].
template <int T, int R>
inline void multiply(const Matrix& matrix, int tile, const float* inputs, const float* totals,
                     Floats* to) {
  switch (matrix.kind) {
    case FLOAT32: return multiply_float32<T, R>(matrix, tile, inputs, to);
    case BFLOAT16: return multiply_bfloat16<T, R>(matrix, tile, inputs, to);
    case INT8: return multiply_int8<T, R>(matrix, tile, inputs, to);
    default: return multiply_int4<T, R>(matrix, tile, inputs, totals, to);
  }
}

// As many tiles at a time as leave sixteen chains of additions: `tiles` of them from `tile` on.
template <int R>
inline void multiply_tiles(const Matrix& matrix, int tile, int tiles, const float* inputs,
                           const float* totals, Floats* to) {
  constexpr int T = R <= 4 ? 4 : R == 8 ? 2 : 1;
  int done = 0;
  for (; done + T <= tiles; done += T)
    multiply<T, R>(matrix, tile + done, inputs, totals, to + done * R);
  if (T > 2 && done + 2 <= tiles) {
    multiply<2, R>(matrix, tile + done, inputs, totals, to + done * R);
    done += 2;
  }
  for (; done < tiles; done++)
    multiply<1, R>(matrix, tile + done, inputs, totals, to + done * R);
}

// How many vectors are multiplied together where there are `count`: what is missing is zeros.
inline int padded_count(int count) {
  int padded = 1;
  while (padded < count && padded < MOST_VECTORS) padded *= 2;
  return padded;
}

inline void multiply_any(const Matrix& matrix, int tile, int tiles, int vectors,
                         const float* inputs, const float* totals, Floats* to) {
  switch (vectors) {
    case 1: return multiply_tiles<1>(matrix, tile, tiles, inputs, totals, to);
    case 2: return multiply_tiles<2>(matrix, tile, tiles, inputs, totals, to);
    case 4: return multiply_tiles<4>(matrix, tile, tiles, inputs, totals, to);
    case 8: return multiply_tiles<8>(matrix, tile, tiles, inputs, totals, to);
    default: return multiply_tiles<16>(matrix, tile, tiles, inputs, totals, to);
  }
}

// One output's weights, as numbers: a token's row of an embedding.
inline void read_row(const Matrix& matrix, int row, float* to) {
  const int tile = row / LANES, lane = row % LANES, count = matrix.inputs;
  const size_t first = (size_t)tile * count * LANES;
  for (int k = 0; k < count; k++) {
    if (matrix.kind == FLOAT32) {
      to[k] = ((const float*)matrix.weights)[first + (size_t)k * LANES + lane];
    } else if (matrix.kind == BFLOAT16) {
      const size_t at = first + (size_t)(k / 2) * 2 * LANES + 2 * lane + k % 2;
      const uint32_t bits = (uint32_t)((const uint16_t*)matrix.weights)[at] << 16;
      std::memcpy(to + k, &bits, sizeof bits);
    } else {  // embeddings are int8 at the least
      const size_t group = (size_t)tile * (count / INT8_GROUP) + k / INT8_GROUP;
      const float scale = ((const float*)matrix.scales)[group * LANES + lane];
      to[k] = scale * ((const int8_t*)matrix.weights)[first + (size_t)k * LANES + lane];
    }
  }
}

}  // namespace cloche
