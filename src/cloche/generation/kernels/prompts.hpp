// Products of many vectors at once, as a prompt has them, at the speed of bfloat16 dot products.
//
// Vectors and weights are bfloat16 here, two inputs to a word, and each instruction multiplies and
// adds 32 pairs. Where the processor has no such instruction, or the weights are float32, prompts
// take the products of products.hpp.

#pragma once

#include <algorithm>
#include <vector>

#include "numbers.hpp"
#include "products.hpp"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace cloche {

constexpr int PAIR_VECTORS = 12;  // with two tiles: 24 chains of additions in 32 registers

inline bool multiplies_pairs(const Matrix& matrix) {
#if defined(__AVX512BF16__)
  return matrix.kind != FLOAT32;
#else
  (void)matrix;
  return false;
#endif
}

// Vectors first ... first + 11 of [count][length] as bfloat16: to[(k / 2) * 12 + r].
inline void pair_up(const float* rows, int length, int first, int count, int inputs,
                    uint32_t* to) {
  static thread_local std::vector<uint16_t> rounded;
  rounded.assign((size_t)PAIR_VECTORS * inputs, 0);
  for (int r = 0; r < PAIR_VECTORS && first + r < count; r++)
    for (int k = 0; k < inputs; k += LANES)
      write_vector(rounded.data() + (size_t)r * inputs + k,
                   load<Floats>(rows + (size_t)(first + r) * length + k));
  for (int k = 0; k < inputs / 2; k++)
    for (int r = 0; r < PAIR_VECTORS; r++)
      std::memcpy(to + k * PAIR_VECTORS + r, rounded.data() + (size_t)r * inputs + 2 * k,
                  sizeof(uint32_t));
}

// A tile's weights as bfloat16 pairs: its own memory, or `scratch` where they must be unpacked.
inline const uint32_t* unpack(const Matrix& matrix, int tile, uint32_t* scratch) {
  const int inputs = matrix.inputs, pairs = inputs / 2;
  if (matrix.kind == BFLOAT16)
    return (const uint32_t*)matrix.weights + (size_t)tile * pairs * LANES;
  const bool small = matrix.kind == INT4;
  const int group = small ? INT4_GROUP : INT8_GROUP;
  for (int pair = 0; pair < pairs; pair++) {
    const size_t scales = ((size_t)tile * (inputs / group) + 2 * pair / group) * LANES;
    Floats even, odd;
    if (small) {
      const Ints both =
          widen((const uint8_t*)matrix.weights + ((size_t)tile * pairs + pair) * LANES);
      const Words words = load<Words>((const uint32_t*)matrix.scales + scales);
      even = numbers_of(both & 15) * low_halves(words) + high_halves(words);
      odd = numbers_of(both >> 4) * low_halves(words) + high_halves(words);
    } else {
      const int8_t* at = (const int8_t*)matrix.weights + ((size_t)tile * inputs + 2 * pair) * LANES;
      const Floats scale = load<Floats>((const float*)matrix.scales + scales);
      even = numbers_of(widen(at)) * scale;
      odd = numbers_of(widen(at + LANES)) * scale;
    }
    store(scratch + (size_t)pair * LANES, to_bfloat16(even) | to_bfloat16(odd) << 16);
  }
  return scratch;
}

#if defined(__AVX512BF16__)
template <int T>
inline void multiply_pairs(const uint32_t* const (&weights)[T], int pairs, const uint32_t* inputs,
                           Floats (&sums)[T][PAIR_VECTORS]) {
  __m512 chains[T][PAIR_VECTORS];
  for (int t = 0; t < T; t++)
    for (int r = 0; r < PAIR_VECTORS; r++) chains[t][r] = _mm512_setzero_ps();
  for (int pair = 0; pair < pairs; pair++) {
    __m512bh w[T];
#pragma GCC unroll 2
    for (int t = 0; t < T; t++) w[t] = (__m512bh)_mm512_loadu_si512(weights[t] + (size_t)pair * LANES);
#pragma GCC unroll 12
    for (int r = 0; r < PAIR_VECTORS; r++) {
      const __m512bh x = (__m512bh)_mm512_set1_epi32((int)inputs[pair * PAIR_VECTORS + r]);
#pragma GCC unroll 2
      for (int t = 0; t < T; t++) chains[t][r] = _mm512_dpbf16_ps(chains[t][r], w[t], x);
    }
  }
  for (int t = 0; t < T; t++)
    for (int r = 0; r < PAIR_VECTORS; r++) sums[t][r] = (Floats)chains[t][r];
}
#endif

// One or two tiles times all vectors; what comes of each block goes to `take`.
template <class Take>
inline void multiply_prompt(const Matrix& matrix, int tile, int tiles, const uint32_t* inputs,
                            int stride, int count, const Take& take) {
#if defined(__AVX512BF16__)
  static thread_local std::vector<uint32_t> scratch;
  const int pairs = matrix.inputs / 2;
  scratch.resize((size_t)2 * pairs * LANES);
  const uint32_t* weights[2];
  for (int t = 0; t < tiles; t++)
    weights[t] = unpack(matrix, tile + t, scratch.data() + (size_t)t * pairs * LANES);
  if (tiles == 1) weights[1] = weights[0];
  for (int first = 0, block = 0; first < count; first += PAIR_VECTORS, block++) {
    Floats sums[2][PAIR_VECTORS];
    multiply_pairs<2>(weights, pairs, inputs + (size_t)block * stride, sums);
    for (int t = 0; t < tiles; t++)
      if (matrix.bias) {
        const Floats bias = load<Floats>(matrix.bias + (size_t)(tile + t) * LANES);
        for (int r = 0; r < PAIR_VECTORS; r++) sums[t][r] += bias;
      }
    take(tile, tiles, first, std::min(count - first, PAIR_VECTORS), PAIR_VECTORS, &sums[0][0]);
  }
#else
  (void)matrix, (void)tile, (void)tiles, (void)inputs, (void)stride, (void)count, (void)take;
#endif
}

}  // namespace cloche
