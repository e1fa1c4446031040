// One stage's work on one step:
//
//   packet ─▶ drop cancelled chunks ─▶ Model::Forward over hidden, in place ─▶ (last stage) logits and
//   sampling
//
// Only rows whose logits are wanted reach the head: the last token of a complete prompt or of a decode, and
// every token of a prompt whose log-probabilities were asked for, in pieces of max_logit_rows.
//
// SPDX-License-Identifier: Apache-2.0
#include "pipeline/stage.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/clock.h"
#include "model/expert_load.h"

namespace penstock {
namespace {

StepKind KindOf(const Step& step) {
  const bool decodes = std::ranges::all_of(step.chunks, [](const Chunk& chunk) { return chunk.len == 1; });
  return decodes ? StepKind::kDecode : StepKind::kPrefill;
}

// Makes room for what a chunk asks for: the first of its positions.
PositionLogprobs* SizeForTargets(const Chunk& chunk, PromptLogprobs* prompt) {
  prompt->seq = chunk.seq;
  prompt->pos = chunk.pos + 1;
  prompt->positions.resize(std::ranges::count_if(chunk.logprob_targets, [](TokenId id) { return id >= 0; }));
  return prompt->positions.data();
}

}  // namespace

Stage::Stage(int32_t stage_idx, RankRuntime runtime, const ModelOptions& options, const CancelSet& cancelled,
             bool run_empty_steps)
    : stage_idx_(stage_idx),
      runtime_(std::move(runtime)),
      options_(options),
      cancelled_(cancelled),
      run_empty_steps_(run_empty_steps) {
  if (!model().range().has_head) return;
  const ModelConfig& config = model().config();
  logits_ = Buffer(sizeof(float) * options_.max_logit_rows * config.vocab_size);
  wanted_hidden_ = Buffer(DTypeBytes(options_.dtype) * options_.max_logit_rows * config.hidden_dim);
  if (lane() > 0) return;
  for (int i = 0; i < runtime_.team->size(); ++i) samplers_.emplace_back(config.vocab_size);
}

Stage::~Stage() {
  if (group() != nullptr && told_) group()->Wait(*told_);
}

void Stage::AddCounters(RankCounters& sum) const {
  const auto add = [](const std::unique_ptr<Communicator>& group, uint64_t& bytes) {
    if (group != nullptr) bytes += group->sent_bytes();
  };
  add(runtime_.groups.tp, sum.tp_bytes);
  add(runtime_.groups.pcp, sum.pcp_bytes);
  add(runtime_.groups.ep, sum.ep_bytes);
  add(runtime_.groups.stage, sum.stage_bytes);
  const ExpertLoad* const load = runtime_.model->expert_load();
  const RankShare& share = runtime_.model->range().share;
  // Ranks that route the same rows have the same counts (Model::expert_load).
  if (load != nullptr && (share.ep_size > 1 || share.tp_rank == 0)) load->AddTo(sum.expert_tokens);
}

void Stage::Execute(StagePacket& packet) {
  StageStamp stamp{.stage = stage_idx_, .recv_us = packet.recv_us, .begin_us = NowUs(), .end_us = 0};
  Decide(packet);
  if (packet.is_void) return;
  DropChunks(packet);
  packet.own_rows = {};
  if (run_empty_steps_ || !packet.step->chunks.empty()) RunModel(packet);
  stamp.end_us = NowUs();
  if (packet.result == nullptr) return;
  for (int64_t* const time : {&stamp.recv_us, &stamp.begin_us, &stamp.end_us})
    *time -= runtime_.clock_offset_us;
  packet.result->stamps.push_back(stamp);
}

void Stage::RunModel(StagePacket& packet) {
  OpProfile* const profile = runtime_.profile;
  if (profile != nullptr) profile->BeginStep(KindOf(*packet.step), packet.step->num_tokens());
  ModelBatch batch = MakeBatch(packet);
  if (model().range().has_head) batch.wanted_rows = FindWanted(*packet.step, packet.result.get());
  Mat hidden(packet.hidden.data(), options_.dtype, static_cast<int64_t>(batch.token_ids.size()),
             model().config().hidden_dim);
  if (packet.hidden_is_own_rows) {  // they were received in one piece
    const Mat own = model().OwnRows(batch, hidden);
    if (own.data != hidden.data) {
      std::memmove(own.data, hidden.data, DTypeBytes(own.dtype) * static_cast<size_t>(own.rows * own.cols));
    }
  }
  runtime_.model->Forward(batch, hidden);
  packet.hidden_is_own_rows = false;
  packet.own_rows = group() != nullptr ? model().OwnRows(batch, hidden) : hidden;
  if (model().range().has_head) ComputeLogits(batch, hidden);
  if (profile != nullptr) profile->EndStep();
}

void Stage::Decide(StagePacket& packet) {
  const std::vector<Chunk>& chunks = packet.step->chunks;
  if (group() != nullptr && told_) group()->Wait(*told_);  // they have it long since
  const bool drops = group() == nullptr || model().range().has_embedding;
  decision_.assign(1 + (drops ? chunks.size() : 0), 0);
  if (lane() == 0) {
    decision_[0] = packet.is_void || cancelled_.all();
    for (size_t i = 1; i < decision_.size(); ++i) decision_[i] = cancelled_.Contains(chunks[i - 1].seq);
  }
  if (group() != nullptr) ShareDecision();
  packet.is_void = decision_[0] != 0;
}

void Stage::ShareDecision() {
  if (lane() > 0) {
    const RecvPart part{.peer = 0, .data = decision_.data(), .bytes = decision_.size()};
    group()->Exchange({}, std::span(&part, 1));
    return;
  }
  decision_sends_.clear();
  for (int peer = 1; peer < group()->size(); ++peer) {
    decision_sends_.push_back({.peer = peer, .data = decision_.data(), .bytes = decision_.size()});
  }
  told_ = group()->Begin(decision_sends_, {});  // the leader does not wait for the others
}

void Stage::DropChunks(StagePacket& packet) {
  if (std::count(decision_.begin() + 1, decision_.end(), 1) == 0) return;
  std::vector<Chunk>& chunks = packet.step->chunks;
  // Closes the gaps in the rows that an earlier stage has written.
  const size_t row_bytes = DTypeBytes(options_.dtype) * model().config().hidden_dim;
  std::byte* rows = packet.hidden.as<std::byte>();
  size_t from = 0, to = 0;
  std::vector<Chunk> kept;
  for (size_t i = 0; i < chunks.size(); ++i) {
    const size_t bytes = row_bytes * chunks[i].len;
    if (decision_[1 + i] != 0) {
      if (packet.result != nullptr) packet.result->skipped.push_back(chunks[i].seq);
    } else {
      if (from != to && !model().range().has_embedding) std::memmove(rows + to, rows + from, bytes);
      to += bytes;
      kept.push_back(std::move(chunks[i]));
    }
    from += bytes;
  }
  chunks = std::move(kept);
}

ModelBatch Stage::MakeBatch(const StagePacket& packet) {
  token_ids_.clear();
  positions_.clear();
  spans_.clear();
  for (const Chunk& chunk : packet.step->chunks) {
    CHECK_EQ(chunk.token_ids.size(), static_cast<size_t>(chunk.len));
    spans_.push_back({.row = static_cast<int32_t>(token_ids_.size()),
                      .len = chunk.len,
                      .pos = chunk.pos,
                      .block_ids = chunk.block_ids.data()});
    token_ids_.insert(token_ids_.end(), chunk.token_ids.begin(), chunk.token_ids.end());
    for (int32_t i = 0; i < chunk.len; ++i) positions_.push_back(chunk.pos + i);
  }
  CHECK_LE(token_ids_.size(), static_cast<size_t>(options_.max_batched_tokens));
  ModelBatch batch{token_ids_, positions_, spans_};
  batch.sequence_parallel = packet.sequence_parallel;
  batch.hidden_is_own_rows = packet.hidden_is_own_rows;
  return batch;
}

std::span<const int32_t> Stage::FindWanted(const Step& step, StepResult* result) {
  size_t num_tokens = 0, num_prompts = 0;
  for (const Chunk& chunk : step.chunks) {
    num_tokens += chunk.sample.has_value();
    num_prompts += !chunk.logprob_targets.empty();
  }
  SampledToken* token = nullptr;
  PromptLogprobs* prompt = nullptr;
  if (result != nullptr) {
    result->tokens.resize(num_tokens);
    result->prompt_logprobs.resize(num_prompts);  // sized first: wanted_ points into both
    token = result->tokens.data();
    prompt = result->prompt_logprobs.data();
  }
  wanted_.clear();
  int64_t row = 0;
  for (const Chunk& chunk : step.chunks) {
    if (!chunk.logprob_targets.empty()) {
      PositionLogprobs* position = prompt != nullptr ? SizeForTargets(chunk, prompt++) : nullptr;
      for (int32_t i = 0; i < chunk.len; ++i) {
        const TokenId target = chunk.logprob_targets[i];
        if (target < 0) continue;
        wanted_.push_back({&chunk, row + i, target, position});
        if (position != nullptr) ++position;
      }
    }
    row += chunk.len;
    if (!chunk.sample) continue;
    wanted_.push_back({&chunk, row - 1, -1, nullptr, token});
    if (token != nullptr) ++token;
  }
  wanted_rows_.clear();
  for (const WantedRow& wanted : wanted_) wanted_rows_.push_back(static_cast<int32_t>(wanted.row));
  return wanted_rows_;
}

void Stage::ComputeLogits(const ModelBatch& batch, ConstMat hidden) {
  const size_t max_rows = static_cast<size_t>(options_.max_logit_rows);
  for (size_t first = 0; first < wanted_.size(); first += max_rows) {
    const size_t count = std::min(max_rows, wanted_.size() - first);
    const int64_t num_rows = static_cast<int64_t>(count);
    Mat rows(wanted_hidden_.data(), options_.dtype, num_rows, model().config().hidden_dim);
    Mat logits(logits_.data(), DType::kF32, num_rows, model().config().vocab_size);
    runtime_.model->CollectRows(batch, hidden, std::span(wanted_rows_).subspan(first, count), rows);
    runtime_.model->Logits(rows, logits);
    if (lane() == 0) SampleRows(first, count);
  }
}

void Stage::SampleRows(size_t first, size_t count) {
  const int64_t vocab_size = model().config().vocab_size;
  const int64_t num_rows = static_cast<int64_t>(count);
  const Mat logits(logits_.data(), DType::kF32, num_rows, vocab_size);
  const int64_t begin_ns = runtime_.profile != nullptr ? OpProfile::NowNs() : 0;
  runtime_.team->ForEach(num_rows, [&](int64_t i, int thread_idx) {
    const WantedRow& wanted = wanted_[first + i];
    const std::span<float> row(logits.Row<float>(i), vocab_size);
    Sampler& sampler = samplers_[thread_idx];
    if (wanted.target >= 0) {
      *wanted.logprobs = sampler.Logprobs(row, wanted.target, wanted.chunk->num_prompt_logprobs);
    } else {
      *wanted.token = sampler.Sample(wanted.chunk->seq, *wanted.chunk->sample, row);
    }
  });
  if (runtime_.profile != nullptr) {
    runtime_.profile->Record({.op = "Sample"}, begin_ns, OpProfile::NowNs(),
                             {.flops = 0, .bytes = 4.0 * static_cast<double>(num_rows * vocab_size)});
  }
}

}  // namespace penstock
