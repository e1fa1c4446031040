// For tests: a golden checkpoint on real pipelines, whose ranks are threads of this process or are spread
// over the processes of a job.
//
// The log-probabilities of the whole vocabulary come out of a pipeline where a step asks for them, so that
// the golden logits are checked where a client would see them.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <future>
#include <memory>
#include <semaphore>
#include <string>
#include <utility>
#include <vector>

#include "base/affinity.h"
#include "model/testing/golden_data.h"
#include "pipeline/local_ranks.h"
#include "pipeline/lock_step.h"
#include "pipeline/pipeline.h"

namespace penstock::testing {

struct GoldenModel {
  explicit GoldenModel(const std::string& model_name)
      : name(model_name),
        dir(std::string(PENSTOCK_TEST_MODELS_DIR) + "/" + name),
        config(ReadModelConfig(dir).value()),
        golden(ReadGolden(name)) {
    for (std::vector<float>& row : golden.logits) {
      const float max = *std::ranges::max_element(row);
      double sum = 0;
      for (const float logit : row) sum += std::exp(static_cast<double>(logit) - max);
      for (float& logit : row) logit -= max + static_cast<float>(std::log(sum));
    }
  }

  const std::string name, dir;
  const ModelConfig config;
  Golden golden;  // `logits` less the logarithm of what their exponentials add up to
};

inline constexpr int32_t kGoldenBlockSize = 16, kGoldenBlocks = 64;

inline ModelOptions GoldenOptions(DType dtype) {
  return {.dtype = dtype,
          .block_size = kGoldenBlockSize,
          .max_batched_tokens = 264,
          .max_model_len = 512,
          .max_logit_rows = 16};
}

// Of one replica. `groups`: of the world; those of the replica's ranks are taken.
inline RankFactory GoldenRanks(const GoldenModel& model, const ParallelLayout& layout, int32_t replica,
                               DType dtype, std::vector<RankGroups>& groups) {
  const int32_t count = layout.ranks_per_replica(), first = replica * count;
  const auto cores = AssignCores(UsableCores(), layout.world_size(), 1);
  LocalRanksOptions ranks;
  ranks.model_dir = model.dir;
  ranks.config = model.config;
  ranks.model = GoldenOptions(dtype);
  ranks.num_blocks = kGoldenBlocks;
  for (int32_t rank = first; rank < first + count; ++rank) {
    const int32_t stage = CoordsOf(layout, rank).pp, num_layers = model.config.num_layers;
    ranks.ranges.push_back({num_layers * stage / layout.pp, num_layers * (stage + 1) / layout.pp, stage == 0,
                            stage + 1 == layout.pp, ShareOf(layout, rank)});
    ranks.groups.push_back(std::move(groups[rank]));
    ranks.cores.push_back(cores[rank]);
  }
  return MakeLocalRankFactory(std::move(ranks));
}

inline bool InLockStep(const ParallelLayout& layout) { return layout.dp > 1 && layout.expert_parallel; }

// One Executor for each replica. `remote` as process 0 sees it, null where all ranks are here.
inline std::vector<std::unique_ptr<Executor>> MakeGoldenReplicas(const GoldenModel& model,
                                                                 const ParallelLayout& layout, DType dtype,
                                                                 std::vector<RankGroups> groups,
                                                                 const RemoteRanks* remote = nullptr) {
  std::vector<std::unique_ptr<Executor>> replicas;
  for (int32_t replica = 0; replica < layout.dp; ++replica) {
    PipelineOptions options;
    options.num_stages = layout.pp;
    options.num_lanes = layout.ranks_per_stage();
    options.model = GoldenOptions(dtype);
    // Some of the chunks are larger.
    if (layout.tp > 1) {
      options.sequence_parallel_min_tokens = static_cast<int32_t>(model.golden.Tokens().size()) / 3;
    }
    options.told_step_us = 0;
    options.run_empty_steps = InLockStep(layout);
    if (remote != nullptr) {
      options.remote = *remote;
      options.remote->replica = replica;
    }
    auto pipeline = Pipeline::Create(options, GoldenRanks(model, layout, replica, dtype, groups));
    EXPECT_TRUE(pipeline.ok()) << pipeline.status().message();
    if (!pipeline.ok()) return {};
    replicas.push_back(*std::move(pipeline));
  }
  return InLockStep(layout) ? MakeLockStep(std::move(replicas)) : std::move(replicas);
}

// What asks one replica, from one thread.
class GoldenClient {
 public:
  GoldenClient(const GoldenModel& model, Executor& executor) : model_(model), executor_(executor) {
    executor_.SetNotify([wake = wake_] { wake->release(); });
  }
  ~GoldenClient() { executor_.SetNotify(nullptr); }

  // Of prompt and answer in chunks of these lengths, all of which are in flight at once: the
  // log-probabilities at the golden positions; rows of others are empty.
  std::vector<std::vector<float>> LogProbs(const std::vector<int32_t>& lens) {
    const std::vector<TokenId> tokens = model_.golden.Tokens();
    int32_t pos = 0;
    for (const int32_t len : lens) {
      Chunk chunk = MakeChunk(tokens, pos, len);
      chunk.logprob_targets.assign(len, -1);
      chunk.num_prompt_logprobs = model_.config.vocab_size;
      for (const int32_t wanted : model_.golden.positions) {
        if (wanted >= pos && wanted < pos + len) chunk.logprob_targets[wanted - pos] = 0;
      }
      Submit(std::move(chunk));
      pos += len;
    }
    std::vector<std::vector<float>> rows(tokens.size());
    auto wanted = model_.golden.positions.begin();
    for (size_t i = 0; i < lens.size(); ++i) {
      const std::unique_ptr<StepResult> result = Next();
      for (const PromptLogprobs& prompt : result->prompt_logprobs) {
        for (const PositionLogprobs& position : prompt.positions) rows.at(*wanted++) = Row(position);
      }
    }
    EXPECT_EQ(wanted, model_.golden.positions.end());
    ++seq_;
    return rows;
  }

  // The first `count` that follow the prompt.
  std::vector<TokenId> GreedyTokens(size_t count) {
    std::vector<TokenId> tokens = model_.golden.prompt;
    const auto length = static_cast<int32_t>(tokens.size());
    Submit(MakeChunk(tokens, 0, length / 2));
    Next();
    int32_t pos = length / 2;
    while (tokens.size() < length + count) {
      Chunk chunk = MakeChunk(tokens, pos, static_cast<int32_t>(tokens.size()) - pos);
      chunk.is_decode = pos >= length;
      chunk.sample.emplace();
      chunk.sample->params.temperature = 0;
      pos += chunk.len;
      Submit(std::move(chunk));
      tokens.push_back(Next()->tokens.at(0).id);
    }
    ++seq_;
    return {tokens.begin() + length, tokens.end()};
  }

 private:
  // Blocks in a scattered order; those of neighbouring sequences are others.
  Chunk MakeChunk(const std::vector<TokenId>& tokens, int32_t pos, int32_t len) const {
    Chunk chunk;
    chunk.seq = seq_;
    chunk.pos = pos;
    chunk.len = len;
    chunk.token_ids.assign(tokens.begin() + pos, tokens.begin() + pos + len);
    for (int32_t i = 0; i * kGoldenBlockSize < pos + len; ++i) {
      chunk.block_ids.push_back(i * 7 % (kGoldenBlocks / 2) * 2 + static_cast<BlockId>(seq_ % 2));
    }
    return chunk;
  }

  void Submit(Chunk chunk) {
    auto step = std::make_unique<Step>();
    step->step_id = ++step_id_;
    step->chunks.push_back(std::move(chunk));
    executor_.Submit(std::move(step));
  }

  std::unique_ptr<StepResult> Next() {
    while (true) {
      if (std::unique_ptr<StepResult> result = executor_.Poll()) {
        CHECK_EQ(result->step_id, ++last_step_id_);
        CHECK(result->status.ok()) << result->status.message();
        return result;
      }
      CHECK(wake_->try_acquire_for(std::chrono::seconds(30))) << "no result of step " << last_step_id_ + 1;
    }
  }

  std::vector<float> Row(const PositionLogprobs& position) const {
    std::vector<float> row(model_.config.vocab_size, NAN);
    for (const TokenLogprob& token : position.top) row.at(token.id) = token.logprob;
    return row;
  }

  const GoldenModel& model_;
  Executor& executor_;
  const std::shared_ptr<std::counting_semaphore<>> wake_ = std::make_shared<std::counting_semaphore<>>(0);
  uint64_t step_id_ = 0, last_step_id_ = 0;
  SeqId seq_ = 1;
};

// As golden_test.cc, w8a8_golden_test.cc and layout_golden_test.cc of model have it.
inline void ExpectGolden(const Error& error, const GoldenModel& model, const ParallelLayout& layout,
                         DType dtype) {
  // A token's inputs that are quantised where they lie in parts have a scale for each part: other integers.
  const bool other_integers =
      model.config.weight_types != nullptr && layout.tp > 1 && !model.name.ends_with("static");
  if (dtype == DType::kF32 && !other_integers) {
    EXPECT_LE(error.max, 3e-4);
    return;
  }
  EXPECT_LE(error.median, 3.0 * model.golden.bf16.median);
  EXPECT_LE(error.rms, 4.0 * model.golden.bf16.rms);
}

inline void AskReplica(const GoldenModel& model, const ParallelLayout& layout, DType dtype,
                       Executor& executor, bool begins_with_tokens, size_t num_tokens) {
  GoldenClient client(model, executor);
  const auto total = static_cast<int32_t>(model.golden.Tokens().size());
  const int32_t first = total * 2 / 5, third = total / 3;
  const auto ask_tokens = [&] {
    if (dtype != DType::kF32) return;
    const auto& answer = model.golden.answer;
    const size_t count = std::min(num_tokens, answer.size());
    EXPECT_EQ(client.GreedyTokens(count), std::vector<TokenId>(answer.begin(), answer.begin() + count));
  };
  if (begins_with_tokens) ask_tokens();
  // However it is cut into chunks.
  for (const std::vector<int32_t>& lens : std::vector<std::vector<int32_t>>{
           {first, 1, third, total - first - third - 1}, {1, 2, total / 4, total - total / 4 - 4, 1}}) {
    SCOPED_TRACE(::testing::Message() << "chunks of " << lens[0] << ", " << lens[1] << ", …");
    ExpectGolden(Compare(client.LogProbs(lens), model.golden), model, layout, dtype);
  }
  if (!begins_with_tokens) ask_tokens();
}

// All replicas at once, each with another sequence at a time; the last goes on when the others are idle.
inline void AskReplicas(const GoldenModel& model, const ParallelLayout& layout, DType dtype,
                        const std::vector<std::unique_ptr<Executor>>& replicas, size_t num_tokens) {
  std::vector<std::future<void>> done;
  for (size_t i = 0; i < replicas.size(); ++i) {
    done.push_back(std::async(std::launch::async, [&, i] {
      AskReplica(model, layout, dtype, *replicas[i], i % 2 == 1, num_tokens + 2 * i);
    }));
  }
  for (std::future<void>& one : done) one.wait();
}

}  // namespace penstock::testing
