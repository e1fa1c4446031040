// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cstdlib>

#include "base/check.h"
#include "comm/inproc/inproc_group.h"
#include "comm/mpi_world.h"

namespace penstock {
namespace {

class OneRankWorld : public MpiWorld {
 public:
  OneRankWorld() {
    char name[256] = {};
    if (gethostname(name, sizeof(name) - 1) == 0) host_ = name;
  }

  int rank() const override { return 0; }
  int size() const override { return 1; }
  int local_rank() const override { return 0; }
  int local_size() const override { return 1; }
  const std::string& host(int) const override { return host_; }
  int64_t ClockOffsetUs(int) const override { return 0; }
  Status Share(const Status& own) override { return own; }
  Status Agree(const std::string&, const std::string&) override { return OkStatus(); }

  std::unique_ptr<Communicator> MakeCommunicator(std::span<const int> ranks) override {
    CHECK(ranks.size() == 1 && ranks[0] == 0) << "a world of one rank";
    return std::move(MakeInprocGroup(1).front());
  }

  std::unique_ptr<MessageEndpoint> MakeEndpoint(MessageEndpoint::OnError) override { return nullptr; }

  void Abort(int exit_code) override { std::_Exit(exit_code); }
  Status Finish(int64_t) override { return OkStatus(); }

 private:
  std::string host_ = "localhost";
};

}  // namespace

std::unique_ptr<MpiWorld> MakeOneRankWorld() { return std::make_unique<OneRankWorld>(); }

}  // namespace penstock
