// CpuGemm: products of activations with packed weights, cut into tiles for the members of a team.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/thread_scratch.h"
#include "tensor/mat.h"

namespace penstock {

class ThreadTeam;

// y = x[rows] · wᵀ (+ bias) (+ y). Where w is int8, x is quantised (cpu_quantizer.h).
struct GemmProblem {
  ConstMat x;
  const int32_t* x_rows = nullptr;  // [y.rows] rows of x; null: all of x, in order
  const float* x_scale = nullptr;   // x quantised: of each row of x; null: 1
  const PanelMat* w = nullptr;
  Mat y;  // [rows, n]
  const float* bias = nullptr;
  bool accumulate = false;
};

// How a product of `num_rows` rows with `num_panels` panels is cut.
struct TileShape {
  int64_t rows = 0;
  int64_t panels = 0;
};

// Tiles for `num_threads` threads to take one by one: equal work, as little copying of activations as
// possible.
TileShape ChooseTileShape(const CpuOps& ops, int64_t num_rows, int64_t num_panels, int num_threads);

class CpuGemm {
 public:
  CpuGemm(const CpuOps& ops, ThreadTeam& team);

  // Computes all problems. Every element of y is the same whatever the team's size and the other rows.
  void Run(std::span<const GemmProblem> problems);

  size_t scratch_bytes() const { return scratch_.bytes(); }

 private:
  struct Tile {
    const GemmProblem* problem;
    int64_t row_begin, row_end;
    int64_t panel_begin, panel_end;
  };

  // The tiles of rows [begin, end).
  void AddTiles(const GemmProblem& problem, int64_t begin, int64_t end, const TileShape& shape);
  // Each thread its share of the rows, those that ThreadTeam::ParallelFor gives it: what it has just written
  // or will read next is in its own caches.
  void AddSharesOfRows(const GemmProblem& problem);
  void RunTile(const Tile& tile, int thread_idx);

  const CpuOps& ops_;
  ThreadTeam& team_;
  ThreadScratch scratch_;
  std::vector<Tile> tiles_;
  // Runs of tiles_, one for each thread, which takes those of others when its own are done; or one for all.
  struct alignas(64) Share {
    std::atomic<size_t> next{0};
    size_t end = 0;
  };
  std::vector<Share> shares_;
  size_t num_shares_ = 0;
};

}  // namespace penstock
