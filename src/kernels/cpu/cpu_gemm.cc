// The plan is by a small cost model: the time of the busiest thread, in multiplications of one number of k,
// plus the copying of activations that each tile does for itself.
//
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_gemm.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "base/check.h"
#include "base/checked_math.h"
#include "base/thread_team.h"

namespace penstock {
namespace {

constexpr int64_t kMaxTileCols = 1024;  // bounds the buffer of sums
constexpr double kCopyCols = 12;        // copying a row costs as much as multiplying it with so many columns
constexpr double kMinTileRows = 6;      // fewer rows than that take as long: the weights must be read anyway
constexpr int64_t kMinShareRows = 48;   // fewer rows for each thread are cut by columns as well
constexpr int64_t kTilesPerShare = 8;   // so that little is left to wait for at the end
constexpr double kUnevenness = 0.04;  // threads do not run at one speed: what one tile per thread costs more

}  // namespace

TileShape ChooseTileShape(const CpuOps& ops, int64_t num_rows, int64_t num_panels, int num_threads) {
  const int64_t min_row_tiles = CeilDiv(num_rows, ops.max_tile_rows);
  const int64_t min_col_tiles = CeilDiv(num_panels * ops.panel_cols, kMaxTileCols);
  const int64_t max_col_tiles = std::min(num_panels, std::max<int64_t>(min_col_tiles, 8 * num_threads));
  TileShape best;
  double best_cost = std::numeric_limits<double>::infinity();
  for (int64_t row_tiles = min_row_tiles; row_tiles <= min_row_tiles + num_threads; ++row_tiles) {
    const int64_t rows =
        std::min(RoundUp(CeilDiv(num_rows, row_tiles), ops.tile_row_multiple), ops.max_tile_rows);
    for (int64_t col_tiles = min_col_tiles; col_tiles <= max_col_tiles; ++col_tiles) {
      const int64_t panels = CeilDiv(num_panels, col_tiles);
      const int64_t num_tiles = CeilDiv(num_rows, rows) * CeilDiv(num_panels, panels);
      const int64_t rounds = CeilDiv<int64_t>(num_tiles, num_threads);
      const double tile_rows = static_cast<double>(std::min(rows, num_rows));
      const double columns = static_cast<double>(panels * ops.panel_cols);
      const double tile_cost = std::max(tile_rows, kMinTileRows) * columns + tile_rows * kCopyCols;
      const double uneven = num_threads > 1 ? kUnevenness / static_cast<double>(rounds) : 0.0;
      const double cost = static_cast<double>(rounds) * tile_cost * (1 + uneven);
      if (cost < best_cost) {
        best_cost = cost;
        best = {rows, panels};
      }
    }
    if (rows <= ops.tile_row_multiple) break;
  }
  return best;
}

CpuGemm::CpuGemm(const CpuOps& ops, ThreadTeam& team)
    : ops_(ops), team_(team), scratch_(team.size()), shares_(team.size()) {}

void CpuGemm::Run(std::span<const GemmProblem> problems) {
  double total_work = 0;
  const auto work = [](const GemmProblem& problem) {
    return std::max(static_cast<double>(problem.y.rows), kMinTileRows) * static_cast<double>(problem.y.cols) *
           static_cast<double>(problem.x.cols);
  };
  for (const GemmProblem& problem : problems) total_work += problem.y.rows > 0 ? work(problem) : 0;

  tiles_.clear();
  num_shares_ = 0;
  for (const GemmProblem& problem : problems) {
    if (problem.y.rows == 0) continue;
    if (problems.size() == 1 && problem.y.rows >= kMinShareRows * team_.size()) {
      AddSharesOfRows(problem);
      break;
    }
    // A share of the team for each problem, rounded up: tiles of about equal work.
    const double share = problems.size() == 1 ? 1.0 : 2 * work(problem) / total_work;
    const int num_threads = std::clamp(static_cast<int>(share * team_.size() + 0.99), 1, team_.size());
    AddTiles(problem, 0, problem.y.rows,
             ChooseTileShape(ops_, problem.y.rows, problem.w->num_panels(), num_threads));
  }
  if (num_shares_ == 0) {
    num_shares_ = 1;
    shares_[0].next = 0;
    shares_[0].end = tiles_.size();
  }
  const auto run = [&](int thread_idx) {
    for (size_t i = 0; i < num_shares_; ++i) {
      Share& share = shares_[(thread_idx + i) % num_shares_];
      for (size_t tile; (tile = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;)
        RunTile(tiles_[tile], thread_idx);
    }
  };
  if (tiles_.size() <= 1)
    run(0);
  else
    team_.Run(run);
}

void CpuGemm::AddSharesOfRows(const GemmProblem& problem) {
  num_shares_ = static_cast<size_t>(team_.size());
  const int64_t num_panels = problem.w->num_panels();
  for (size_t i = 0; i < num_shares_; ++i) {
    const auto num_shares = static_cast<int64_t>(num_shares_), share = static_cast<int64_t>(i);
    const int64_t begin = problem.y.rows * share / num_shares,
                  end = problem.y.rows * (share + 1) / num_shares;
    TileShape shape = ChooseTileShape(ops_, end - begin, num_panels, 1);
    if (num_shares_ > 1) {
      const int64_t col_tiles = CeilDiv(kTilesPerShare, CeilDiv(end - begin, shape.rows));
      shape.panels = std::min(shape.panels, CeilDiv(num_panels, col_tiles));
    }
    shares_[i].next = tiles_.size();
    AddTiles(problem, begin, end, shape);
    shares_[i].end = tiles_.size();
  }
}

void CpuGemm::AddTiles(const GemmProblem& problem, int64_t begin, int64_t end, const TileShape& shape) {
  CHECK_EQ(problem.x.cols, problem.w->k);
  CHECK_EQ(problem.y.cols, problem.w->n);
  CHECK_EQ(problem.w->panel_cols, ops_.panel_cols);
  CHECK_EQ(problem.w->dtype == DType::kI8, problem.x.dtype == DType::kI8);
  const int64_t num_panels = problem.w->num_panels();
  for (int64_t panel = 0; panel < num_panels;
       panel += shape.panels) {  // rows run fastest: they share the weights
    for (int64_t row = begin; row < end; row += shape.rows) {
      tiles_.push_back({&problem, row, std::min(row + shape.rows, end), panel,
                        std::min(panel + shape.panels, num_panels)});
    }
  }
}

void CpuGemm::RunTile(const Tile& tile, int thread_idx) {
  const GemmProblem& problem = *tile.problem;
  const bool gathered = problem.x_rows != nullptr;
  const float* x_scale = problem.x_scale;
  if (x_scale != nullptr && !gathered) x_scale += tile.row_begin;
  GemmTile task{.x = gathered ? problem.x.data : problem.x.RowPtr(tile.row_begin),
                .x_dtype = problem.x.dtype,
                .x_stride = problem.x.stride,
                .x_rows = gathered ? problem.x_rows + tile.row_begin : nullptr,
                .x_scale = x_scale,
                .num_rows = tile.row_end - tile.row_begin,
                .w = *problem.w,
                .panel_begin = tile.panel_begin,
                .panel_end = tile.panel_end,
                .y = problem.y.RowPtr(tile.row_begin),
                .y_dtype = problem.y.dtype,
                .y_stride = problem.y.stride,
                .bias = problem.bias,
                .accumulate = problem.accumulate};
  const size_t bytes = ops_.gemm_scratch_bytes(tile.panel_end - tile.panel_begin);
  task.scratch = static_cast<std::byte*>(scratch_.Get(thread_idx, bytes));
  ops_.gemm(task);
}

}  // namespace penstock
