// ClusterSpec: the machine of a simulation, as far as it says how long a stage works on a step: devices,
// links between them, and what is paid however small a step is.
//
//   {"int8_flops": 7.5e14, "intra_bytes_per_s": 1.9e11, …}    any of the fields below; the rest as in a3
//   a3                                                        a reference: 16 devices of an Atlas 800 A3,
//   this engine a3-vllm-ascend                                            the same machine with the engine of
//   the seed
//   @file                                                     a file with such an object
//
// An object may begin with {"base": "a3-vllm-ascend"}.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace penstock {

// All numbers; the names are those of the JSON form. Defaults are a3's: docs/simulate.md says where each
// comes from.
struct ClusterSpec {
  // A device.
  double int8_flops = 752e12;  // operations per second, dense, at its peak
  double bf16_flops = 376e12;
  double matmul_efficiency = 0.135;    // share of the peak that matrices of many rows reach
  double attention_efficiency = 0.65;  // the same for attention, of bf16_flops
  double expand_efficiency = 0.85;     // the same for latents that become keys and values again
  double half_rows = 8;                // a matrix of r rows costs as r + half_rows: tiles that are not full
  double memory_bytes = 64e9;
  double memory_bytes_per_s = 1.6e12;
  double memory_efficiency = 0.80;

  // Links, of one device to all others together, in one direction.
  double devices_per_node = 16;
  double intra_bytes_per_s = 196e9;
  double inter_bytes_per_s = 25e9;
  double link_efficiency = 0.80;  // share of these that collectives reach
  double intra_message_us = 1;    // per peer of a collective: messages leave one after the other
  double inter_message_us = 5;
  double collective_us = 20;  // per collective: its launch, and the ranks meeting

  // What is paid however small a step is.
  double layer_us = 100;  // per layer: begins and tails of its kernels on the device
  // The host launches the kernels of a layer, and its collectives: it runs ahead of the device, so a layer
  // takes at least this, not this besides.
  double launch_us = 300;
  double launch_collective_us = 20;
  double step_us = 2'000;   // per step and stage: the host
  double agree_us = 1'000;  // per step in lock step: the hosts of the replicas agree on it

  // How the engine of the simulation shares work; 1 or 0.
  double sequence_parallel = 1;   // norms on own rows, late gathers; 0: reduce-scatter and gather at once
  double int8_gather = 1;         // gathered activations are 8-bit where the weights are
  double expert_imbalance = 1.5;  // tokens of the rank that has the most, over the mean
  double expand_history = 1;      // latents of the history become keys and values for each chunk; 0: absorbed
  double pcp_gathers_history = 0;  // context-parallel ranks keep a share of the history each (vLLM-Ascend);
                                   // 0: all of it, and gather only the chunk's
  double pcp_with_pp = 1;          // 0: context and pipeline parallelism exclude each other (vLLM-Ascend)
  double lock_step = 1;  // experts across replicas: their steps go together; 0: each replica has all experts

  bool operator==(const ClusterSpec&) const = default;
};

// A number's name and where it is, in the order of the struct.
struct ClusterField {
  std::string_view name;
  double ClusterSpec::* member;
  bool may_be_zero = false;
};
std::vector<ClusterField> ClusterFields();

struct ClusterPreset {
  std::string_view name;
  ClusterSpec cluster;
};
std::vector<ClusterPreset> ClusterPresets();

// kInvalidArgument for what is none of the above; kNotFound for a file that cannot be read.
Result<ClusterSpec> ParseClusterSpec(std::string_view text);
Json ClusterSpecJson(const ClusterSpec& cluster);

}  // namespace penstock
