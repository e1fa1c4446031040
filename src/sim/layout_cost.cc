// Notation: n tokens of a step in a replica; each of the pcp ranks has n / pcp of them ("rows"), and with
// sequence parallelism each of the tp ranks norms and routes rows / tp ("own"). Activations are bf16.
//
// SPDX-License-Identifier: Apache-2.0
#include "sim/layout_cost.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "plan/cost_fit.h"

namespace penstock {
namespace {

constexpr double kUs = 1e6;
constexpr double kActivationBytes = 2;
constexpr double kPerWeight = 2;  // a multiplication and an addition
constexpr double kLogitBytes = 4;

// Of `items` that a rank of `size` gathers or scatters, the share that it sends.
double SentShare(double size) { return (size - 1) / size; }

// Of `num` bins, those that get one of `draws` items.
double ShareTouched(double draws, double num) { return 1 - std::pow(1 - 1 / num, draws); }

// Each block has two, the experts too.
double NumCollectives(const LayerBytes& bytes) {
  return (bytes.attention > 0 ? 2 : 0) + (bytes.mlp > 0 ? 2 : 0) + (bytes.experts > 0 ? 2 : 0) +
         (bytes.context > 0 ? 1 : 0);
}

}  // namespace

void StageTime::Add(const StageTime& other) {
  compute_us += other.compute_us;
  collective_us += other.collective_us;
  fixed_us += other.fixed_us;
}

LayoutCost::LayoutCost(const ModelShape& model, const ClusterSpec& cluster, const ParallelLayout& layout)
    : model_(model), cluster_(cluster), layout_(layout) {
  CHECK(layout.dp >= 1 && layout.pp >= 1 && layout.pcp >= 1 && layout.tp >= 1);
  CHECK_LE(layout.pp, model.num_layers);
}

bool LayoutCost::lock_step() const {
  return layout_.dp > 1 && layout_.expert_parallel && model_.num_experts > 0 && cluster_.lock_step > 0;
}

double LayoutCost::gathered_bytes() const {
  return model_.is_int8() && cluster_.int8_gather > 0 ? 1 : kActivationBytes;
}

double LayoutCost::ExpertRanks() const {
  return layout_.ranks_per_stage() * (lock_step() ? layout_.dp : 1.0);
}

// Ranks first, first + stride, …: how many of a rank's peers share its node.
LayoutCost::Peers LayoutCost::GroupOf(double size, double stride) const {
  const double together = std::clamp(std::floor(cluster_.devices_per_node / stride), 1.0, size);
  return {.size = size, .inside = together - 1, .outside = size - together};
}

// `bytes` go to all peers, the same to each.
double LayoutCost::LinkUs(const Peers& peers, double bytes) const {
  const double per_peer = bytes / (peers.size - 1) / cluster_.link_efficiency * kUs;
  return peers.inside * cluster_.intra_message_us + peers.outside * cluster_.inter_message_us +
         std::max(peers.inside * per_peer / cluster_.intra_bytes_per_s,
                  peers.outside * per_peer / cluster_.inter_bytes_per_s);
}

double LayoutCost::CollectiveUs(const Peers& peers, double bytes) const {
  return peers.size > 1 && bytes > 0 ? cluster_.collective_us + LinkUs(peers, bytes) : 0;
}

double LayoutCost::ReadUs(double bytes) const {
  return bytes / (cluster_.memory_bytes_per_s * cluster_.memory_efficiency) * kUs;
}

double LayoutCost::MatrixUs(double rows, double elements, bool int8) const {
  const double flops = (int8 ? cluster_.int8_flops : cluster_.bf16_flops) * cluster_.matmul_efficiency;
  const double compute_us = kPerWeight * (rows + cluster_.half_rows) * elements / flops * kUs;
  return std::max(compute_us, ReadUs(elements * (int8 ? 1 : 2)));
}

double LayoutCost::AttentionElements() const {
  const ModelShape& m = model_;
  const double tp = layout_.tp, qk = m.num_heads * m.query_key_dim();
  const double out = m.num_heads * m.value_dim() * m.hidden_dim / tp;
  if (!m.latent()) {
    const double kv_heads = std::max(m.num_kv_heads / tp, 1.0);
    return m.hidden_dim * (qk / tp + kv_heads * 2 * m.head_dim) + out;
  }
  const double first = m.hidden_dim * (m.q_lora_rank + m.kv_lora_rank + m.rope_dim);
  const double query = (m.q_lora_rank > 0 ? m.q_lora_rank : m.hidden_dim) * qk / tp;
  return first + query + m.kv_lora_rank * m.num_heads * (m.nope_dim + m.v_dim) / tp + out;
}

double LayoutCost::AttentionUs(const StepWork& work) const {
  const ModelShape& m = model_;
  const double tp = layout_.tp, pcp = layout_.pcp;
  const double rows = work.tokens / pcp, heads = m.num_heads / tp;
  const double attention_flops = cluster_.bf16_flops * cluster_.attention_efficiency;
  const double pairs = work.pairs / pcp + work.decode_context;
  const double out = heads * m.value_dim() * m.hidden_dim;
  if (!m.latent()) {
    const double kv_bytes = std::max(m.num_kv_heads / tp, 1.0) * 2 * m.head_dim * kActivationBytes;
    const double scores_us = kPerWeight * pairs * heads * 2 * m.head_dim / attention_flops * kUs;
    return MatrixUs(rows, AttentionElements() - out, m.is_int8()) + MatrixUs(rows, out, m.is_int8()) +
           std::max(scores_us, ReadUs((work.history + work.decode_context) * kv_bytes));
  }
  const double own = cluster_.sequence_parallel > 0 ? rows / tp : rows;
  const double qk = heads * m.query_key_dim();
  double us = MatrixUs(own, m.hidden_dim * (m.q_lora_rank + m.kv_lora_rank + m.rope_dim), m.is_int8()) +
              MatrixUs(rows, (m.q_lora_rank > 0 ? m.q_lora_rank : m.hidden_dim) * qk, m.is_int8()) +
              MatrixUs(rows, out, m.is_int8()) +
              ReadUs((work.history + work.decode_context) * (m.kv_lora_rank + m.rope_dim) * kActivationBytes);
  const double expansion = m.kv_lora_rank * heads * (m.nope_dim + m.v_dim);
  if (cluster_.expand_history > 0) {
    // Keys and values of the chunk and of all before it, by every rank for its heads; piece by piece, so that
    // they stay in the device's cache.
    const double tokens = work.tokens + work.history;
    us += kPerWeight * tokens * expansion / (cluster_.bf16_flops * cluster_.expand_efficiency) * kUs +
          kPerWeight * pairs * heads * (m.query_key_dim() + m.v_dim) / attention_flops * kUs;
  } else {
    us += MatrixUs(rows, expansion, false) +
          kPerWeight * pairs * heads * (2 * m.kv_lora_rank + m.rope_dim) / attention_flops * kUs;
  }
  return us;
}

double LayoutCost::DenseMlpUs(double tokens) const {
  return MatrixUs(tokens / layout_.pcp, 3 * model_.hidden_dim * model_.intermediate_dim / layout_.tp,
                  model_.is_int8());
}

// All experts of a rank as one operation over groups of rows.
double LayoutCost::ExpertsUs(double tokens, double peer_tokens) const {
  const ModelShape& m = model_;
  const bool spread = layout_.expert_parallel;
  const double ranks = spread ? std::min(ExpertRanks(), m.num_experts) : 1;
  const double elements = 3 * m.hidden_dim * m.moe_intermediate_dim / (spread ? 1 : layout_.tp);
  const double rows = tokens / layout_.pcp;
  const double routed = (spread ? tokens + peer_tokens : rows) * m.experts_per_token;
  const double touched = m.num_experts / ranks * ShareTouched(routed, m.num_experts);
  const double busiest = routed / ranks * (ranks > 1 ? cluster_.expert_imbalance : 1);
  const double flops = (m.is_int8() ? cluster_.int8_flops : cluster_.bf16_flops) * cluster_.matmul_efficiency;
  double us = std::max(kPerWeight * (busiest + touched * cluster_.half_rows) * elements / flops * kUs,
                       ReadUs(touched * elements * m.weight_bytes));
  // The router, on own rows; the shared experts there too where experts are spread and rows are cut anyway.
  const bool own_rows = cluster_.sequence_parallel > 0;
  us += MatrixUs(own_rows ? rows / layout_.tp : rows, m.hidden_dim * m.num_experts, false);
  if (m.num_shared_experts > 0) {
    const double shared = 3 * m.hidden_dim * m.moe_intermediate_dim * m.num_shared_experts;
    us += spread && own_rows ? MatrixUs(rows / layout_.tp, shared, m.is_int8())
                             : MatrixUs(rows, shared / layout_.tp, m.is_int8());
  }
  return us;
}

LayerBytes LayoutCost::Sent(double tokens, double history, bool with_experts) const {
  const ModelShape& m = model_;
  const double tp = layout_.tp, pcp = layout_.pcp, rows = tokens / pcp;
  const bool own_rows = cluster_.sequence_parallel > 0;
  const double hidden = rows * m.hidden_dim * SentShare(tp);
  LayerBytes bytes;
  // A reduce-scatter and a gather each; the gather as late as can be.
  double gathered = hidden * kActivationBytes;
  if (own_rows && m.latent() && m.q_lora_rank > 0) {
    gathered = rows * (m.q_lora_rank + m.kv_lora_rank + m.rope_dim) * SentShare(tp) * kActivationBytes;
  } else if (own_rows) {
    gathered = hidden * gathered_bytes();
  }
  bytes.attention = hidden * kActivationBytes + gathered;
  const bool spread = with_experts && layout_.expert_parallel;
  if (!spread || !own_rows)
    bytes.mlp = hidden * (kActivationBytes + (own_rows ? gathered_bytes() : kActivationBytes));
  if (spread) {
    const double ranks = ExpertRanks();
    const double others = (ranks - 1) * ShareTouched(m.experts_per_token, ranks);
    bytes.experts = rows / tp * others * m.hidden_dim * (gathered_bytes() + kActivationBytes);
  }
  const double kv_dim =
      m.latent() ? m.kv_lora_rank + m.rope_dim : 2 * std::max(m.num_kv_heads / tp, 1.0) * m.head_dim;
  const double kept = tokens + (cluster_.pcp_gathers_history > 0 ? history : 0);
  bytes.context = kept * kv_dim * kActivationBytes * SentShare(pcp);
  return bytes;
}

double LayoutCost::EntryBytes(double tokens, int stage) const {
  if (stage == 0 || cluster_.sequence_parallel > 0) return 0;
  return tokens / layout_.pcp * model_.hidden_dim * kActivationBytes * SentShare(layout_.tp);
}

StageTime LayoutCost::LayerTime(const StepWork& work, double peer_tokens, bool with_experts) const {
  const LayerBytes bytes = Sent(work.tokens, work.history, with_experts);
  const Peers tp = GroupOf(layout_.tp, 1), pcp = GroupOf(layout_.pcp, layout_.tp);
  StageTime time;
  time.compute_us =
      AttentionUs(work) + (with_experts ? ExpertsUs(work.tokens, peer_tokens) : DenseMlpUs(work.tokens));
  // Two collectives share the bytes of a block.
  const auto block_us = [&](double sent) { return sent > 0 ? 2 * CollectiveUs(tp, sent / 2) : 0; };
  time.collective_us = block_us(bytes.attention) + block_us(bytes.mlp) + CollectiveUs(pcp, bytes.context);
  if (bytes.experts > 0) {
    const Peers experts = GroupOf(ExpertRanks(), 1);
    // A third of the bytes, or half of them, goes out; all ranks wait for the one that gets the most back.
    time.collective_us += 2 * CollectiveUs(experts, bytes.experts / 2 * cluster_.expert_imbalance);
  }
  time.fixed_us = cluster_.layer_us;
  const double launch_us = cluster_.launch_us + NumCollectives(bytes) * cluster_.launch_collective_us;
  time.fixed_us += std::max(0.0, launch_us - time.total_us());
  return time;
}

int LayoutCost::LayersOf(int stage) const {
  return model_.num_layers / layout_.pp + (stage < model_.num_layers % layout_.pp ? 1 : 0);
}

int LayoutCost::DenseLayersOf(int stage) const {
  int first = 0;
  for (int before = 0; before < stage; ++before) first += LayersOf(before);
  if (model_.num_experts == 0) return LayersOf(stage);
  return std::clamp(model_.num_dense_layers - first, 0, LayersOf(stage));
}

StageTime LayoutCost::Time(const StepWork& work, int stage, double peer_tokens) const {
  StageTime time;
  const int num_dense = DenseLayersOf(stage);
  const auto add = [&](const StageTime& layer, int count) {
    time.compute_us += count * layer.compute_us;
    time.collective_us += count * layer.collective_us;
    time.fixed_us += count * layer.fixed_us;
  };
  if (num_dense > 0) add(LayerTime(work, peer_tokens, false), num_dense);
  if (num_dense < LayersOf(stage)) add(LayerTime(work, peer_tokens, true), LayersOf(stage) - num_dense);
  time.fixed_us += cluster_.step_us + (lock_step() ? cluster_.agree_us : 0);
  time.collective_us += CollectiveUs(GroupOf(layout_.tp, 1), EntryBytes(work.tokens, stage));
  if (stage == layout_.pp - 1) {
    const double rows = std::max(work.seqs, 1.0);
    time.compute_us += MatrixUs(rows, model_.hidden_dim * model_.vocab_size / layout_.tp, false);
    time.collective_us +=
        CollectiveUs(GroupOf(layout_.tp, 1), rows * model_.vocab_size * kLogitBytes * SentShare(layout_.tp));
  }
  return time;
}

double LayoutCost::TransferUs(double tokens) const {
  const double cut = layout_.ranks_per_stage();
  const bool inside = layout_.ranks_per_replica() <= cluster_.devices_per_node;
  const Peers next = {.size = 2, .inside = inside ? 1.0 : 0, .outside = inside ? 0.0 : 1};
  return CollectiveUs(next, tokens / cut * model_.hidden_dim * kActivationBytes);
}

double LayoutCost::WeightBytes() const {
  const ModelShape& m = model_;
  const double ranks = layout_.expert_parallel ? std::min(ExpertRanks(), m.num_experts) : layout_.tp;
  const double shared_ranks = layout_.expert_parallel && cluster_.sequence_parallel > 0 ? 1 : layout_.tp;
  const double expert = 3 * m.hidden_dim * m.moe_intermediate_dim;
  const double dense = AttentionElements() + 3 * m.hidden_dim * m.intermediate_dim / layout_.tp;
  const double sparse =
      AttentionElements() + expert * m.num_experts / ranks + expert * m.num_shared_experts / shared_ranks;
  const double ends = m.hidden_dim * m.vocab_size / layout_.tp * kActivationBytes;  // embedding, or head
  double most = 0;
  for (int stage = 0; stage < layout_.pp; ++stage) {
    const double num_dense = DenseLayersOf(stage), num_sparse = LayersOf(stage) - num_dense;
    const double bytes = m.weight_bytes * (num_dense * dense + num_sparse * sparse) +
                         ends * ((stage == 0 ? 1 : 0) + (stage == layout_.pp - 1 ? 1 : 0));
    most = std::max(most, bytes);
  }
  return most;
}

CostModel LayoutCost::Fit(int32_t max_chunk, int32_t max_len) const {
  std::vector<StepWork> steps;
  for (double len = max_chunk; len >= 16; len /= 2) {
    for (double share : {0.0, 0.125, 0.25, 0.5, 1.0}) {
      const auto history = static_cast<int32_t>(share * std::max<double>(0, max_len - len));
      for (int num_seqs : {1, 2, 4}) {
        const auto each = static_cast<int32_t>(len / num_seqs);
        if (each < 1) continue;
        const std::vector<ChunkShape> chunks(num_seqs, {.pos = history, .len = each});
        steps.push_back(WorkOf(chunks));
      }
      steps.push_back(WorkOf(ChunkShape{.pos = history, .len = 1, .is_decode = true}));
    }
  }
  CostModel model;
  for (int stage = 0; stage < layout_.pp; ++stage) {
    std::vector<CostSample> samples;
    for (const StepWork& work : steps)
      samples.push_back({.work = work, .time_us = Time(work, stage).total_us()});
    const StageFit fit = FitStageCost(samples);
    CHECK(fit.ok);
    model.stages.push_back(fit.cost);
  }
  return model;
}

}  // namespace penstock
