// Steps and results as bytes: all that a stage reads arrives, and no bytes do harm.
//
// SPDX-License-Identifier: Apache-2.0
#include "pipeline/wire.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "pipeline/testing/fake_pipeline.h"
#include "sample/sampler.h"

namespace penstock {
namespace {

using testing::MakeChunk;
using testing::Prompt;

// No two numbers alike, so that none can stand in for another.
StagePacket FullPacket() {
  StagePacket packet;
  packet.step = std::make_unique<Step>();
  packet.step->step_id = 77;
  Chunk decode = MakeChunk(5, Prompt(9, 1), 8, 1);
  decode.is_decode = true;
  SampleSpec& sample = *decode.sample;
  sample.params.temperature = 0.7f;
  sample.params.top_p = 0.95f;
  sample.params.top_k = 20;
  sample.params.min_p = 0.01f;
  sample.params.presence_penalty = 0.5f;
  sample.params.frequency_penalty = -0.25f;
  sample.params.repetition_penalty = 1.5f;
  sample.params.seed = -3;
  sample.params.logit_bias = {{3, 1.5f}, {4, -2.5f}};
  sample.params.logprobs = 6;
  sample.seed = 0x123456789abcdef0;
  sample.draw_idx = 33;
  sample.banned = {7, 8};
  sample.prompt_ids = {9, 10, 11};
  sample.output_ids = {12, 13, 14, 15};
  Chunk scored = MakeChunk(6, Prompt(9, 2), 2, 5);
  scored.logprob_targets = {1, -1, 2, -1, 3};
  scored.num_prompt_logprobs = 4;
  packet.step->chunks = {decode, scored};
  packet.result = std::make_unique<StepResult>();
  packet.result->step_id = 78;
  packet.result->tokens = {{5, 44, PositionLogprobs{{44, -0.5f, 1}, {{44, -0.5f, 1}, {45, -1.5f, 2}}}},
                           {6, 46, std::nullopt}};
  packet.result->prompt_logprobs = {{6, 3, {{{1, -2.5f, 9}, {}}, {{2, -3.5f, 8}, {{47, -0.1f, 1}}}}}};
  packet.result->skipped = {8, 9};
  packet.result->stamps = {{0, 10, 20, 30}, {1, 40, 50, 60}};
  packet.sequence_parallel = true;
  packet.own_rows = Mat(packet.step.get(), DType::kF32, 0, 4);  // of this rank there are none
  return packet;
}

// What a decoded packet is encoded as: the own rows do not travel.
std::vector<std::byte> EncodeAgain(StagePacket packet) {
  if (packet.hidden_is_own_rows) packet.own_rows = Mat(packet.step.get(), DType::kF32, 0, 4);
  return EncodePacket(packet);
}

void ExpectEqual(const SampleSpec& got, const SampleSpec& sent) {
  EXPECT_EQ(got.params.temperature, sent.params.temperature);
  EXPECT_EQ(got.params.top_p, sent.params.top_p);
  EXPECT_EQ(got.params.top_k, sent.params.top_k);
  EXPECT_EQ(got.params.min_p, sent.params.min_p);
  EXPECT_EQ(got.params.presence_penalty, sent.params.presence_penalty);
  EXPECT_EQ(got.params.frequency_penalty, sent.params.frequency_penalty);
  EXPECT_EQ(got.params.repetition_penalty, sent.params.repetition_penalty);
  EXPECT_EQ(got.params.seed, sent.params.seed);
  EXPECT_EQ(got.params.logit_bias, sent.params.logit_bias);
  EXPECT_EQ(got.params.logprobs, sent.params.logprobs);
  EXPECT_EQ(got.seed, sent.seed);
  EXPECT_EQ(got.draw_idx, sent.draw_idx);
  EXPECT_EQ(got.banned, sent.banned);
  EXPECT_EQ(got.prompt_ids, sent.prompt_ids);
  EXPECT_EQ(got.output_ids, sent.output_ids);
}

void ExpectEqual(const Chunk& got, const Chunk& sent) {
  EXPECT_EQ(got.seq, sent.seq);
  EXPECT_EQ(got.pos, sent.pos);
  EXPECT_EQ(got.len, sent.len);
  EXPECT_EQ(got.is_decode, sent.is_decode);
  EXPECT_EQ(got.token_ids, sent.token_ids);
  EXPECT_EQ(got.block_ids, sent.block_ids);
  EXPECT_EQ(got.logprob_targets, sent.logprob_targets);
  EXPECT_EQ(got.num_prompt_logprobs, sent.num_prompt_logprobs);
  ASSERT_EQ(got.sample.has_value(), sent.sample.has_value());
  if (sent.sample) ExpectEqual(*got.sample, *sent.sample);
}

void ExpectEqual(const PositionLogprobs& got, const PositionLogprobs& sent) {
  const auto equal = [](const TokenLogprob& a, const TokenLogprob& b) {
    return a.id == b.id && a.logprob == b.logprob && a.rank == b.rank;
  };
  EXPECT_TRUE(equal(got.chosen, sent.chosen));
  EXPECT_TRUE(std::ranges::equal(got.top, sent.top, equal));
}

void ExpectEqual(const StepResult& got, const StepResult& sent) {
  EXPECT_EQ(got.step_id, sent.step_id);
  EXPECT_EQ(got.skipped, sent.skipped);
  ASSERT_EQ(got.tokens.size(), sent.tokens.size());
  for (size_t i = 0; i < sent.tokens.size(); ++i) {
    EXPECT_EQ(got.tokens[i].seq, sent.tokens[i].seq);
    EXPECT_EQ(got.tokens[i].id, sent.tokens[i].id);
    ASSERT_EQ(got.tokens[i].logprobs.has_value(), sent.tokens[i].logprobs.has_value());
    if (sent.tokens[i].logprobs) ExpectEqual(*got.tokens[i].logprobs, *sent.tokens[i].logprobs);
  }
  ASSERT_EQ(got.prompt_logprobs.size(), sent.prompt_logprobs.size());
  for (size_t i = 0; i < sent.prompt_logprobs.size(); ++i) {
    EXPECT_EQ(got.prompt_logprobs[i].seq, sent.prompt_logprobs[i].seq);
    EXPECT_EQ(got.prompt_logprobs[i].pos, sent.prompt_logprobs[i].pos);
    ASSERT_EQ(got.prompt_logprobs[i].positions.size(), sent.prompt_logprobs[i].positions.size());
    for (size_t p = 0; p < sent.prompt_logprobs[i].positions.size(); ++p) {
      ExpectEqual(got.prompt_logprobs[i].positions[p], sent.prompt_logprobs[i].positions[p]);
    }
  }
  ASSERT_EQ(got.stamps.size(), sent.stamps.size());
  for (size_t i = 0; i < sent.stamps.size(); ++i) {
    EXPECT_EQ(got.stamps[i].stage, sent.stamps[i].stage);
    EXPECT_EQ(got.stamps[i].recv_us, sent.stamps[i].recv_us);
    EXPECT_EQ(got.stamps[i].begin_us, sent.stamps[i].begin_us);
    EXPECT_EQ(got.stamps[i].end_us, sent.stamps[i].end_us);
  }
}

TEST(WireTest, AllOfAPacketArrives) {
  const StagePacket sent = FullPacket();
  const Result<StagePacket> got = DecodePacket(EncodePacket(sent));
  ASSERT_TRUE(got.ok()) << got.status().message();
  EXPECT_EQ(got->step->step_id, 77u);
  ASSERT_EQ(got->step->chunks.size(), 2u);
  for (size_t i = 0; i < 2; ++i) ExpectEqual(got->step->chunks[i], sent.step->chunks[i]);
  ASSERT_NE(got->result, nullptr);
  ExpectEqual(*got->result, *sent.result);
  EXPECT_TRUE(got->sequence_parallel);
  EXPECT_FALSE(got->is_void);
  EXPECT_TRUE(got->hidden_is_own_rows);
}

// As lanes beside the leader's get it, and when the pipeline ends.
TEST(WireTest, FlagsAreTheirOwn) {
  StagePacket packet;
  packet.step = std::make_unique<Step>();
  packet.is_void = true;
  const Result<StagePacket> got = DecodePacket(EncodePacket(packet));
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got->result, nullptr);
  EXPECT_FALSE(got->sequence_parallel);
  EXPECT_TRUE(got->is_void);
  EXPECT_FALSE(got->hidden_is_own_rows);
}

TEST(WireTest, ResultsArrive) {
  const StagePacket sent = FullPacket();
  const Result<StepResult> got = DecodeResult(EncodeResult(*sent.result));
  ASSERT_TRUE(got.ok());
  ExpectEqual(*got, *sent.result);
}

// What is drawn from what has arrived is what would have been drawn here.
TEST(WireTest, DrawsAreThoseOfTheSender) {
  StagePacket sent = FullPacket();
  std::mt19937 random(1);
  Sampler sampler(FakeModel::kVocabSize);
  for (uint64_t draw = 0; draw < 200; ++draw) {
    SampleSpec& sample = *sent.step->chunks[0].sample;
    sample.draw_idx = draw;
    sample.seed = random();
    const Result<StagePacket> got = DecodePacket(EncodePacket(sent));
    std::vector<float> logits(FakeModel::kVocabSize);
    for (float& logit : logits) logit = static_cast<float>(random() % 1000) / 300;
    std::vector<float> same = logits;
    const SampledToken here = sampler.Sample(5, sample, logits);
    const SampledToken there = sampler.Sample(5, *got->step->chunks[0].sample, same);
    ASSERT_EQ(there.id, here.id);
    ExpectEqual(*there.logprobs, *here.logprobs);
  }
}

TEST(WireTest, TruncatedAndLongerBytesAreErrors) {
  const StagePacket packet = FullPacket();
  std::vector<std::byte> bytes = EncodePacket(packet);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodePacket(std::span(bytes).first(size)).ok()) << size;
  }
  bytes.push_back({});
  EXPECT_FALSE(DecodePacket(bytes).ok());
  bytes = EncodeResult(*packet.result);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeResult(std::span(bytes).first(size)).ok()) << size;
  }
  bytes.push_back({});
  EXPECT_FALSE(DecodeResult(bytes).ok());
}

TEST(WireTest, CountsBeyondTheBytesAreErrors) {
  const std::vector<std::byte> bytes = EncodePacket(FullPacket());
  for (size_t at = 0; at + 4 <= bytes.size(); ++at) {
    for (const uint32_t count : {0xffffffffu, 0x7fffffffu, 0x40000000u, 0x00ffffffu}) {
      std::vector<std::byte> spoilt = bytes;
      std::memcpy(spoilt.data() + at, &count, 4);
      Result<StagePacket> packet = DecodePacket(spoilt);
      if (!packet.ok()) continue;
      EXPECT_EQ(EncodeAgain(*std::move(packet)).size(), bytes.size());  // it was a number, not a count
    }
  }
}

TEST(WireTest, ChunksThatContradictThemselvesAreErrors) {
  for (const auto& spoil : std::vector<std::function<void(Chunk&)>>{
           [](Chunk& chunk) { chunk.len = 0; }, [](Chunk& chunk) { chunk.len = -5; },
           [](Chunk& chunk) { chunk.pos = -1; }, [](Chunk& chunk) { chunk.len += 1; },
           [](Chunk& chunk) { chunk.token_ids.pop_back(); },
           [](Chunk& chunk) { chunk.logprob_targets.pop_back(); }}) {
    StagePacket packet = FullPacket();
    spoil(packet.step->chunks[1]);
    EXPECT_FALSE(DecodePacket(EncodePacket(packet)).ok());
  }
}

// No mutation crashes, or gives more than the bytes that it was made of.
TEST(WireTest, RandomMutations) {
  const std::vector<std::byte> packet = EncodePacket(FullPacket());
  const std::vector<std::byte> result = EncodeResult(*FullPacket().result);
  std::mt19937 random(7);
  const auto mutate = [&](std::vector<std::byte> bytes) {
    for (uint32_t i = 0; i <= random() % 4; ++i) bytes[random() % bytes.size()] = std::byte(random());
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    return bytes;
  };
  int num_ok = 0;
  for (int i = 0; i < 50'000; ++i) {
    const std::vector<std::byte> bytes = mutate(packet);
    Result<StagePacket> got = DecodePacket(bytes);
    if (got.ok()) {
      ++num_ok;
      ASSERT_LE(EncodeAgain(*std::move(got)).size(), bytes.size());
    }
    const std::vector<std::byte> other = mutate(result);
    const Result<StepResult> decoded = DecodeResult(other);
    if (!decoded.ok()) continue;
    ++num_ok;
    ASSERT_LE(EncodeResult(*decoded).size(), other.size());
  }
  EXPECT_GT(num_ok, 0);
}

}  // namespace
}  // namespace penstock
