// LayoutCost: how long a stage of a layout of ranks works on a step, from what each rank computes, reads from
// its memory and sends to others. A first-order model, all in one place: layout_cost.cc has the formulas.
//
// A rank's time on a layer is the sum of
//   matrices      max(2 (rows + half_rows) elements ÷ (peak × efficiency), bytes of the weights ÷ memory)
//   attention     query-key pairs, and the history that is read, or expanded from latents, for each chunk
//   collectives   collective_us + message_us × peers + bytes sent ÷ link
//   layer_us
// but at least launch_us, and a step costs step_us besides on each stage. Nothing overlaps but the hand-over
// between stages.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "plan/cost_model.h"
#include "plan/parallel_layout.h"
#include "plan/step_work.h"
#include "sim/cluster_spec.h"
#include "sim/model_shape.h"

namespace penstock {

// Microseconds of one stage on one step.
struct StageTime {
  double compute_us = 0;     // matrices and attention
  double collective_us = 0;  // all-gathers, reduce-scatters, dispatch and combine of experts
  double fixed_us = 0;       // layer_us, step_us, and where launch_us is more than the device takes

  double total_us() const { return compute_us + collective_us + fixed_us; }
  void Add(const StageTime& other);
};

// Bytes that one rank sends for one layer and a step of `tokens`.
struct LayerBytes {
  double attention = 0;  // tensor parallel, before and after attention
  double mlp = 0;        // tensor parallel, before and after the MLP or the experts
  double experts = 0;    // dispatch and combine
  double context = 0;    // keys and values among the ranks of pcp

  double total() const { return attention + mlp + experts + context; }
};

class LayoutCost {
 public:
  // REQUIRES: dimensions of the layout >= 1, pp <= layers.
  LayoutCost(const ModelShape& model, const ClusterSpec& cluster, const ParallelLayout& layout);

  // `work` of the step of one replica; `peer_tokens`: tokens of the steps of the other replicas that go
  // together with it (lock_step()), in all.
  StageTime Time(const StepWork& work, int stage, double peer_tokens = 0) const;

  // Until the next stage has a step that a stage has ended.
  double TransferUs(double tokens) const;

  // Of a layer with experts (or of a dense one), on one rank.
  LayerBytes Sent(double tokens, double history, bool with_experts) const;
  // And before the first layer of a stage that is not the first: a rank hands over its own rows only.
  double EntryBytes(double tokens, int stage) const;

  // Weights of a rank of the stage that has the most.
  double WeightBytes() const;

  // Steps of all replicas go together: experts are spread over them.
  bool lock_step() const;
  const ParallelLayout& layout() const { return layout_; }

  // What a calibration of the engine would find: the product's own fit over a grid of chunks up to
  // `max_chunk` behind histories up to `max_len`, alone in the machine.
  CostModel Fit(int32_t max_chunk, int32_t max_len) const;

 private:
  struct Peers {
    double size = 1;    // ranks of the group
    double inside = 0;  // peers on the same node
    double outside = 0;
  };
  Peers GroupOf(double size, double stride) const;
  double ExpertRanks() const;
  double LinkUs(const Peers& peers, double bytes) const;
  double CollectiveUs(const Peers& peers, double bytes) const;
  double MatrixUs(double rows, double elements, bool int8) const;
  double ReadUs(double bytes) const;
  double AttentionUs(const StepWork& work) const;
  double DenseMlpUs(double tokens) const;
  double ExpertsUs(double tokens, double peer_tokens) const;
  StageTime LayerTime(const StepWork& work, double peer_tokens, bool with_experts) const;
  int LayersOf(int stage) const;
  int DenseLayersOf(int stage) const;
  double AttentionElements() const;  // of a layer, on one rank
  double gathered_bytes() const;     // of an activation

  const ModelShape model_;
  const ClusterSpec cluster_;
  const ParallelLayout layout_;
};

}  // namespace penstock
