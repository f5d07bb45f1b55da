// Attention of one token at a time: its keys and values are stored, then it looks back.

#pragma once

#include <algorithm>

#include "numbers.hpp"

namespace cloche {

// Keys and values of all rows, for each layer [row][kv_head][slots][padded head_dim], float32 or
// bfloat16. Every vector is padded with zeros to whole lanes. A layer with a window has fewer slots
// than a row may have tokens: token after token takes the oldest one's.
struct Cache {
  void* const* keys;
  void* const* values;
  const int32_t* slots;
  int32_t capacity;
  int32_t bfloat16;
};

struct Heads {
  int32_t queries;
  int32_t keys;
  int32_t dim;
  int32_t padded;  // dim, rounded up to whole lanes
  float eps;
  const float* cosines;  // [capacity][dim / 2]; none where nothing is turned
  const float* sines;
};

constexpr int LONGEST_HEAD = 512;

// A head's numbers of a token, normalised and turned by its position, padded with zeros.
inline void prepare_head(const Heads& heads, const float* from, const float* norm, int position,
                         float factor, float* to) {
  const int dim = heads.dim, half = dim / 2;
  std::memset(to, 0, sizeof(float) * heads.padded);
  std::memcpy(to, from, sizeof(float) * dim);
  if (norm) {
    float squares = 0.0f;
    for (int i = 0; i < dim; i++) squares += to[i] * to[i];
    const float scale = 1.0f / std::sqrt(squares / dim + heads.eps);
    for (int i = 0; i < dim; i++) to[i] = to[i] * scale * norm[i];
  }
  if (heads.cosines) {
    const float* cosine = heads.cosines + (size_t)position * half;
    const float* sine = heads.sines + (size_t)position * half;
    for (int i = 0; i < half; i++) {
      const float first = to[i], second = to[half + i];
      to[i] = first * cosine[i] - second * sine[i];
      to[half + i] = second * cosine[i] + first * sine[i];
    }
  }
  for (int i = 0; i < dim; i++) to[i] *= factor;
}

// Where a row's vectors of one head begin, in the layer whose memory and slots these are.
template <class Number>
inline Number* head_of(void* layer, int slots, const Heads& heads, int row, int head) {
  return (Number*)layer + ((size_t)row * heads.keys + head) * slots * heads.padded;
}

template <class Number>
inline void write_head(Number* to, const float* from, int padded) {
  for (int i = 0; i < padded; i += LANES) write_vector(to + i, load<Floats>(from + i));
}

// The values that a query finds among the tokens `first` to `last`; `scores` has room for them all.
template <class Number>
inline void look_back(const float* query, const Number* keys, const Number* values, int padded,
                      int slots, int first, int last, float* scores, float* found) {
  const int vectors = padded / LANES;
  const int count = last - first + 1;
  const int begin = first % slots;  // from there on, and around
  const auto place = [&](int t) {
    return (size_t)(begin + t < slots ? begin + t : begin + t - slots) * padded;
  };
  float highest = -INFINITY;
  for (int t = 0; t < count; t++) {
    const Number* key = keys + place(t);
    Floats products = {};
    for (int v = 0; v < vectors; v++)
      products += load<Floats>(query + v * LANES) * read_vector(key + v * LANES);
    scores[t] = sum(products);
    highest = scores[t] > highest ? scores[t] : highest;
  }
  Floats totals = {};
  int t = 0;
  for (; t + LANES <= count; t += LANES) {
    const Floats weights = exponential(load<Floats>(scores + t) - highest);
    store(scores + t, weights);
    totals += weights;
  }
  float total = sum(totals);
  for (; t < count; t++) {
    scores[t] = exponential(all(scores[t] - highest))[0];
    total += scores[t];
  }
  const float share = 1.0f / total;
  for (int v = 0; v < vectors; v += 4) {
    const int some = vectors - v < 4 ? vectors - v : 4;
    Floats sums[4] = {};
    for (int t = 0; t < count; t++) {
      const Number* value = values + place(t) + v * LANES;
      const float weight = scores[t];
      if (some == 4) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) sums[i] += weight * read_vector(value + i * LANES);
      } else {
        for (int i = 0; i < some; i++) sums[i] += weight * read_vector(value + i * LANES);
      }
    }
    for (int i = 0; i < some; i++) store(found + (v + i) * LANES, sums[i] * share);
  }
}

constexpr int KEYS_AT_ONCE = 64;  // even

// Sixteen queries that look back together, a lane each, over KEYS_AT_ONCE keys at a time; the
// largest score so far is kept, and what was gathered is scaled down when it grows.
// Source: Milakov and Gimelshein 2018, https://arxiv.org/abs/1805.02867
struct Lookers {
  Floats queries[LONGEST_HEAD];  // [dim], a lane for each query
  Words query_pairs[LONGEST_HEAD / 2];  // the same in bfloat16, two dimensions in a word
  Floats found[LONGEST_HEAD];
  Floats highest, totals;
  Ints positions;
  float keys[KEYS_AT_ONCE * LONGEST_HEAD], values[KEYS_AT_ONCE * LONGEST_HEAD];
};

// Hides what a query may not see, and makes weights of scores; what the found is to be scaled by.
inline Floats weigh(Lookers& own, Floats* scores, int first, int count, int window) {
  const Floats hidden = all(-1e30f);
  const bool all_seen = first + count - 1 <= own.positions[0] && !window;
  for (int t = 0; t < count && !all_seen; t++) {
    const Ints back = own.positions - (first + t);  // how far each query looks back
    scores[t] = back < 0 ? hidden : scores[t];
    if (window) scores[t] = back >= window ? hidden : scores[t];
  }
  Floats highest = own.highest;
  for (int t = 0; t < count; t++) highest = larger(highest, scores[t]);
  const Floats shrink = exponential(own.highest - highest);
  own.highest = highest;
  own.totals *= shrink;
  Floats totals = own.totals;
  for (int t = 0; t < count; t++) {
    const Floats weight = exponential(scores[t] - highest);
    scores[t] = all_seen ? weight : scores[t] <= -1e29f ? Floats{} : weight;
    totals += scores[t];
  }
  own.totals = totals;
  return shrink;
}

// Keys and values `first` to `first + count - 1`, which stand at `keys` and `values`.
template <class Number>
inline void look_at(Lookers& own, const Number* keys, const Number* values, int dim, int padded,
                    int first, int count, int window) {
  Floats scores[KEYS_AT_ONCE];
  for (int t = 0; t < count; t++)
    for (int d = 0; d < padded; d += LANES) {
      store(own.keys + t * padded + d, read_vector(keys + (size_t)t * padded + d));
      store(own.values + t * padded + d, read_vector(values + (size_t)t * padded + d));
    }
  for (int t = 0; t < count; t += 4) {
    Floats sums[4] = {};
    for (int d = 0; d < dim; d++)
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) sums[i] += own.queries[d] * own.keys[(t + i) * padded + d];
    for (int i = 0; i < 4; i++) scores[t + i] = sums[i];
  }
  const Floats shrink = weigh(own, scores, first, count, window);
  for (int d = 0; d + 8 <= padded; d += 8) {
    Floats sums[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) sums[i] = own.found[d + i] * shrink;
    for (int t = 0; t < count; t++)
#pragma GCC unroll 8
      for (int i = 0; i < 8; i++) sums[i] += scores[t] * own.values[t * padded + d + i];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) own.found[d + i] = sums[i];
  }
}

#if defined(__AVX512BF16__)
// The same in bfloat16 dot products: scores over two dimensions, values over two tokens at a time.
inline void look_at_pairs(Lookers& own, const uint16_t* keys, const uint16_t* values, int dim,
                          int padded, int first, int count, int window) {
  Floats scores[KEYS_AT_ONCE];
  const int pairs = (dim + 1) / 2;
  for (int t = 0; t < count; t += 4) {
    const uint32_t* key[4];
    for (int i = 0; i < 4; i++)
      key[i] = (const uint32_t*)(keys + (size_t)std::min(t + i, count - 1) * padded);
    __m512 sums[4] = {};
    for (int pair = 0; pair < pairs; pair++) {
      const __m512bh query = (__m512bh)own.query_pairs[pair];
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++)
        sums[i] = _mm512_dpbf16_ps(sums[i], query, (__m512bh)_mm512_set1_epi32((int)key[i][pair]));
    }
    for (int i = 0; i < 4; i++) scores[t + i] = (Floats)sums[i];
  }
  const Floats shrink = weigh(own, scores, first, count, window);
  Words weights[KEYS_AT_ONCE / 2];
  uint32_t* both = (uint32_t*)own.values;  // [pairs of tokens][padded]
  if (count % 2) scores[count] = Floats{};
  for (int t = 0; t < count; t += 2) {
    weights[t / 2] = to_bfloat16(scores[t]) | to_bfloat16(scores[t + 1]) << 16;
    const uint16_t* even = values + (size_t)t * padded;
    const uint16_t* odd = t + 1 < count ? even + padded : even;  // times 0
    for (int d = 0; d < padded; d += LANES)
      store(both + t / 2 * padded + d,
            __builtin_convertvector(load<Halves>(even + d), Words) |
                __builtin_convertvector(load<Halves>(odd + d), Words) << 16);
  }
  for (int d = 0; d + 8 <= padded; d += 8) {
    __m512 sums[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) sums[i] = (__m512)(own.found[d + i] * shrink);
    for (int t = 0; t < (count + 1) / 2; t++)
#pragma GCC unroll 8
      for (int i = 0; i < 8; i++)
        sums[i] = _mm512_dpbf16_ps(sums[i], (__m512bh)weights[t],
                                   (__m512bh)_mm512_set1_epi32((int)both[t * padded + d + i]));
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) own.found[d + i] = (Floats)sums[i];
  }
}
#endif

// Queries of up to sixteen tokens that stand behind one another, from `position` on; the last one
// of them is at `last`. `own.queries` is filled; what each finds is left in own.found.
template <class Number>
inline void look_back_together(Lookers& own, const Number* keys, const Number* values, int dim,
                               int padded, int slots, int position, int last, int window) {
  own.highest = all(-1e30f);
  own.totals = Floats{};
  for (int d = 0; d < padded; d++) own.found[d] = Floats{};
  for (int d = 0; d < dim; d += 2) {
    const Words odd = d + 1 < dim ? to_bfloat16(own.queries[d + 1]) : Words{};
    own.query_pairs[d / 2] = to_bfloat16(own.queries[d]) | odd << 16;
  }
  int32_t positions[LANES];
  for (int i = 0; i < LANES; i++) positions[i] = position + i;
  own.positions = load<Ints>(positions);
  // whole parts from the first token on, so that a sum does not depend on where the prompt is cut
  const int begin = window ? std::max(0, position - window + 1) / KEYS_AT_ONCE * KEYS_AT_ONCE : 0;
  for (int first = begin; first <= last; first += KEYS_AT_ONCE) {
    const int count = std::min(KEYS_AT_ONCE, last - first + 1);
    // fewer slots than tokens are whole parts too, so that a part is never torn
    const Number* some_keys = keys + (size_t)(first % slots) * padded;
    const Number* some_values = values + (size_t)(first % slots) * padded;
#if defined(__AVX512BF16__)
    if constexpr (sizeof(Number) == 2) {
      look_at_pairs(own, some_keys, some_values, dim, padded, first, count, window);
      continue;
    }
#endif
    look_at(own, some_keys, some_values, dim, padded, first, count, window);
  }
  const Floats share = 1.0f / own.totals;
  for (int d = 0; d < dim; d++) own.found[d] *= share;
}

}  // namespace cloche
