// The same under mpirun: each process has one rank, or a whole stage, and process 0 asks them all.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "comm/mpi/test_world.h"
#include "pipeline/remote_groups.h"
#include "pipeline/stage_worker.h"
#include "pipeline/testing/golden_job.h"
#include "pipeline/testing/golden_layouts.h"

namespace penstock {
namespace {

using testing::GoldenCase;
using testing::GoldenModel;

constexpr size_t kNumTokens = 8;  // each takes a way through all processes

class JobGoldenTest : public ::testing::TestWithParam<GoldenCase> {
 protected:
  // Called by all processes; those that have no rank only take part in what all do.
  void Ask(DType dtype) {
    const ProcessMap map{.layout = GetParam().layout, .num_processes = GetParam().num_processes};
    ASSERT_TRUE(CheckProcessMap(map).ok());
    const GoldenModel model(GetParam().model);
    // A new one for each: what was posted on the last one stays posted.
    const auto endpoint = TestWorld().MakeEndpoint([](int peer, int channel, const Status& status) {
      CHECK(false) << "process " << peer << ", channel " << channel << ": " << status.message();
    });
    RemoteRanks remote;
    remote.endpoint = endpoint.get();
    remote.map = map;
    remote.process = TestWorld().rank();
    remote.on_error = [](const Status& status) { CHECK(false) << status.message(); };
    std::vector<RankGroups> groups = MakeRemoteGroups(map, TestWorld());
    if (remote.process == 0) {
      Lead(model, dtype, std::move(groups), remote);
    } else if (remote.process < map.num_processes) {
      Work(model, dtype, std::move(groups), remote);
    }
    // An endpoint waits for what it sends, not for what others do.
    EXPECT_TRUE(TestWorld().Share(HasFailure() ? Internal("failed") : OkStatus()).ok());
  }

 private:
  static void Lead(const GoldenModel& model, DType dtype, std::vector<RankGroups> groups,
                   const RemoteRanks& remote) {
    const ParallelLayout& layout = GetParam().layout;
    const auto replicas = MakeGoldenReplicas(model, layout, dtype, std::move(groups), &remote);
    ASSERT_FALSE(replicas.empty());
    AskReplicas(model, layout, dtype, replicas, kNumTokens);
  }

  static void Work(const GoldenModel& model, DType dtype, std::vector<RankGroups> groups,
                   RemoteRanks remote) {
    const ParallelLayout& layout = GetParam().layout;
    remote.replica = remote.map.FirstRank(remote.process) / layout.ranks_per_replica();
    const auto worker = StageWorker::Start(
        remote, {.model = testing::GoldenOptions(dtype), .run_empty_steps = testing::InLockStep(layout)},
        GoldenRanks(model, layout, remote.replica, dtype, groups));
    ASSERT_TRUE(worker.ok()) << worker.status().message();
    (*worker)->Wait();
  }
};

TEST_P(JobGoldenTest, InFp32) { Ask(DType::kF32); }
TEST_P(JobGoldenTest, InBf16) { Ask(DType::kBF16); }

INSTANTIATE_TEST_SUITE_P(
    All, JobGoldenTest,
    ::testing::ValuesIn(testing::GoldenCases({{{.tp = 2}, 2},
                                              {{.pp = 2}, 2},
                                              {{.tp = 2, .expert_parallel = true}, 2},
                                              {{.pcp = 2}, 2},
                                              {{.dp = 2}, 2},
                                              {{.dp = 2, .expert_parallel = true}, 2},
                                              {{.pp = 2, .tp = 2}, 2},
                                              {{.pp = 2, .tp = 2}, 4},
                                              {{.pp = 2, .tp = 2, .expert_parallel = true}, 4},
                                              {{.pp = 2, .pcp = 2}, 4},
                                              {{.pcp = 2, .tp = 2}, 4},
                                              {{.tp = 4, .expert_parallel = true}, 4},
                                              {{.dp = 2, .tp = 2}, 4},
                                              {{.dp = 2, .tp = 2, .expert_parallel = true}, 4},
                                              {{.dp = 2, .pp = 2}, 2},
                                              {{.dp = 2, .pp = 2}, 4},
                                              {{.dp = 2, .pp = 2, .expert_parallel = true}, 4}})),
    [](const auto& info) { return NameOf(info.param); });

}  // namespace
}  // namespace penstock
