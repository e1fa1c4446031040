// ReplicaRouter: which of several replicas a request is sent to, and the book of which one has it.
//
// A request goes where its prompt is predicted to be done first:
//
//   backlog of the replica + what was sent there and is not in it yet + this prompt without its cached blocks
//
// in microseconds of the cost model, in which attention grows with the position; without a model by the speed
// of late, without that in tokens. So one very long prompt outweighs many short ones, and a prompt follows
// others with the same beginning unless what is queued there takes longer than what it saves. Where the model
// cannot tell replicas apart, the one with the fewest live requests is taken, and of these they take turns.
//
// What a replica has cached is guessed by a PrefixShadow: asking the replica would mean to wait for its tick,
// and would not tell what it is going to have.
//
// Thread-safe. Nothing here waits or calls an engine.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "engine/engine.h"
#include "engine/prefix_shadow.h"
#include "engine/request.h"
#include "sched/prefix_hash.h"

namespace penstock {

struct ReplicaRouterConfig {
  std::vector<int32_t> num_blocks;  // of each replica's KV cache
  int32_t block_size = 0;
  bool prefix_affinity = true;  // false: nothing is cached
  SipKey key = {};              // of the names of blocks
};

// A request that was sent to a replica.
struct Assignment {
  int32_t replica = 0;
  uint64_t ticket = 0;
};

class ReplicaRouter {
 public:
  // REQUIRES: at least one replica, block_size >= 1.
  explicit ReplicaRouter(const ReplicaRouterConfig& config);

  // The names of the blocks that a replica may have cached: whole ones, without the last token.
  std::vector<BlockHash> BlocksOf(const Request& request) const;

  // Chooses among the replicas whose `may_take` is set, and writes the request down as sent there.
  // `loads`, `may_take`: [num_replicas]; REQUIRES: one may take it. kInvalidArgument if a live request has
  // this id.
  Result<Assignment> Assign(const Request& request, const std::vector<BlockHash>& blocks,
                            std::span<const EngineLoad> loads, const std::vector<bool>& may_take);
  // The replica has taken it.
  void OnTaken(const Assignment& assignment);
  // It has ended, or the replica has refused it. `computed`: its whole prompt was.
  void OnEnd(const std::string& request_id, bool computed);

  // Which replica has the request; -1: none.
  int32_t Find(const std::string& request_id) const;
  void ResetPrefixes();

 private:
  // Sent, and maybe not in the replica's numbers yet.
  struct Sent {
    uint64_t ticket = 0;
    uint64_t ordinal = 0;  // among what the replica has taken, from 1; 0: not taken yet
    int32_t pos = 0;       // cached tokens
    int32_t len = 0;       // the others
  };
  struct Replica {
    explicit Replica(size_t num_blocks) : shadow(num_blocks) {}
    PrefixShadow shadow;
    std::vector<Sent> sent;
    uint64_t num_taken = 0;
    int32_t num_live = 0;
  };
  struct Live {
    Assignment at;
    std::vector<BlockHash> new_blocks;  // that were not known there
  };
  struct Offer {
    int32_t pos = 0;    // cached tokens
    double own_us = 0;  // of the others
    double done_us = 0;
  };
  class Prices;

  Offer MakeOffer(Replica& replica, const EngineLoad& load, const Prices& prices, int32_t num_tokens,
                  const std::vector<BlockHash>& blocks) const;
  int32_t Choose(std::span<const Offer> offers, const std::vector<bool>& may_take) const;
  void Strike(Replica& replica, uint64_t ticket);

  const PrefixHasher hasher_;
  const int32_t block_size_;
  const bool prefix_affinity_;
  mutable std::mutex mutex_;
  std::vector<Replica> replicas_;               // GUARDED_BY(mutex_)
  std::unordered_map<std::string, Live> live_;  // GUARDED_BY(mutex_)
  uint64_t next_ticket_ = 1;                    // GUARDED_BY(mutex_)
  int32_t last_replica_ = -1;                   // GUARDED_BY(mutex_): chosen last
};

}  // namespace penstock
