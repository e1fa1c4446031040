// SPDX-License-Identifier: Apache-2.0
#include "kernels/profile/profiling_kernels.h"

#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <thread>

#include "kernels/kernels.h"
#include "kernels/profile/op_work.h"
#include "kernels/testing/kernels_test_util.h"

namespace penstock {
namespace {

const PhaseProfile& Prefill(const std::array<PhaseProfile, kNumStepKinds>& phases) { return phases[0]; }
const PhaseProfile& Decode(const std::array<PhaseProfile, kNumStepKinds>& phases) { return phases[1]; }

std::string ReadSource(const std::string& path) {
  std::ifstream file(std::string(PENSTOCK_SOURCE_DIR) + "/src/kernels/" + path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::set<std::string> Matches(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator it(text.begin(), text.end(), regex), end; it != end; ++it) found.insert((*it)[1]);
  return found;
}

// Those that are not are named here; forwarding_kernels_test.cc sees that every method reaches the kernels
// inside.
TEST(ProfilingKernels, TimesEveryOperation) {
  const std::set<std::string> untimed = {"name",          "ParallelFor",   "Pack",          "PackInt8",
                                         "PackKvB",       "PackedLayout",  "AttachMat",     "AttachKvB",
                                         "GqaBlockBytes", "MlaBlockBytes", "scratch_bytes", "QuantizedCols"};
  const std::string header = ReadSource("kernels.h");
  const std::string interface = header.substr(header.find("class Kernels {"));
  const std::set<std::string> methods = Matches(interface, R"(virtual [^;(~]*?(\w+)\()");
  EXPECT_GE(methods.size(), 20u);
  const std::set<std::string> called =
      Matches(ReadSource("profile/profiling_kernels.cc"), R"(inner_->(\w+)\()");
  for (const std::string& method : methods)
    EXPECT_NE(called.contains(method), untimed.contains(method)) << method;
}

class ProfileTest : public testing::Test {
 protected:
  // One product of 3 rows, [3, 32] · [16, 32]ᵀ.
  void RunLinear() { kernels_->Linear(x_, *w_, y_.mat()); }

  OpProfile profile_;
  std::unique_ptr<Kernels> kernels_ = MakeProfilingKernels(MakeRefKernels(), profile_);
  TestMat x_ = TestMat::Random(DType::kF32, 3, 32, 1);
  TestMat y_{DType::kF32, 3, 16};
  std::unique_ptr<PackedMat> w_ = [this] {
    const TestMat weight = TestMat::Random(DType::kF32, 16, 32, 2);
    const ConstMat part = weight;
    return kernels_->Pack(std::span(&part, 1), DType::kF32);
  }();
};

TEST_F(ProfileTest, CountsCallsTimeAndWork) {
  profile_.BeginStep(StepKind::kPrefill, 3);
  RunLinear();
  RunLinear();
  kernels_->Add(y_, y_.mat());
  profile_.EndStep();
  const auto phases = profile_.Take();
  const PhaseProfile& prefill = Prefill(phases);
  EXPECT_EQ(prefill.steps, 1);
  EXPECT_EQ(prefill.tokens, 3);
  ASSERT_EQ(prefill.ops.size(), 2u);
  const OpStats& linear = prefill.ops[0];
  EXPECT_EQ(linear.key, (OpKey{"Linear", Arithmetic::kF32, {32, 16}}));
  EXPECT_EQ(linear.calls, 2);
  EXPECT_EQ(linear.work.flops, 2 * (2.0 * 3 * 32 * 16));
  EXPECT_EQ(linear.work.bytes, 2 * 4.0 * (3 * 32 + 16 * 32 + 3 * 16));
  EXPECT_GT(linear.time_ns, 0);
  EXPECT_EQ(prefill.ops[1].key.op, "Add");
  EXPECT_EQ(prefill.ops[1].work.flops, 0);
  EXPECT_GE(prefill.between_ops_ns(), 0);
  EXPECT_EQ(Decode(phases).steps, 0);
}

TEST_F(ProfileTest, ComputesWhatTheKernelsInsideDo) {
  RunLinear();
  TestMat expected(DType::kF32, 3, 16);
  MakeRefKernels()->Linear(x_, *w_, expected.mat());
  EXPECT_EQ(MaxRelativeError(y_, expected), 0);
  EXPECT_EQ(kernels_->name(), "ref");
}

TEST_F(ProfileTest, KindsOfStepsStandApartAndTakeBeginsAnew) {
  RunLinear();  // of no step: not counted
  profile_.BeginStep(StepKind::kDecode, 1);
  RunLinear();
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  profile_.EndStep();
  const auto phases = profile_.Take();
  EXPECT_TRUE(Prefill(phases).ops.empty());
  ASSERT_EQ(Decode(phases).ops.size(), 1u);
  EXPECT_EQ(Decode(phases).ops[0].calls, 1);
  EXPECT_GE(Decode(phases).between_ops_ns(), 1'900'000);
  EXPECT_EQ(Decode(profile_.Take()).steps, 0);
}

TEST(OpWork, AttentionCountsWhatCausalityLetsThrough) {
  const SeqSpan span{.row = 0, .len = 4, .pos = 10, .block_ids = nullptr};
  EXPECT_EQ(CausalPairs(span), 11 + 12 + 13 + 14);
  const GqaShape gqa{.num_heads = 8, .num_kv_heads = 2, .head_dim = 16, .scale = 1};
  KvLayerView cache;
  cache.dtype = DType::kBF16;
  const OpWork work = GqaWork(std::span(&span, 1), gqa, cache);
  EXPECT_EQ(work.flops, 4.0 * 8 * 16 * 50);
  EXPECT_EQ(work.bytes, 2.0 * 2 * 16 * 14 * 2);
}

TEST(OpWork, LatentAttentionIsCountedInItsCheaperForm) {
  const MlaShape shape{
      .num_heads = 2, .kv_lora_rank = 64, .nope_dim = 16, .rope_dim = 16, .v_dim = 16, .scale = 1};
  const SeqSpan decode{.row = 0, .len = 1, .pos = 999, .block_ids = nullptr};
  EXPECT_EQ(MlaWork(std::span(&decode, 1), shape, {}).flops, 2.0 * 2 * (64 * 32 + 1000 * (2 * 64 + 16)));
  const SeqSpan prefill{.row = 0, .len = 1000, .pos = 0, .block_ids = nullptr};
  EXPECT_EQ(MlaWork(std::span(&prefill, 1), shape, {}).flops, 2.0 * 2 * (1000 * 64 * 32 + 500500.0 * 48));
}

}  // namespace
}  // namespace penstock
